"""The compiler as the command line calls it: its options, and its errors as exit statuses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.errors import Code, DecodeError, MissingExtraError, NotFoundError, WherryError


class RoundingRule(StrEnum):
    """How int8 layers round: as TFLite Micro does, or as XNNPACK does."""

    D = "D"
    F = "F"


CalibrationOption = Annotated[
    Path | None, typer.Option(help="Samples (.npz or .npy); a float model needs them.")
]
RangesOption = Annotated[
    str | None,
    typer.Option(help="How ranges follow from the samples: min-max (default), percentile, mse."),
]
PercentileOption = Annotated[
    float | None, typer.Option(help="With --ranges percentile: what is kept (99.99).")
]
EqualizeOption = Annotated[
    bool, typer.Option("--equalize", help="Bring channels of one tensor to one range first.")
]
CorrectBiasOption = Annotated[
    bool, typer.Option("--correct-bias", help="Take back the mean error of rounded weights.")
]

WideOption = Annotated[
    list[str] | None, typer.Option(help="Keep this layer in 16 bits (repeat), or: all.")
]
RoundingOption = Annotated[
    RoundingRule, typer.Option(help="Int8 layers round as TFLite Micro (D) or as XNNPACK (F).")
]
StateOption = Annotated[
    list[str] | None,
    typer.Option(help="INPUT=OUTPUT: memory, and what it becomes (repeat); 16 bits."),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for about quantization; None, False, empty and rule D: the default."""

    ranges: str | None = None
    percentile: float | None = None
    is_equalized: bool = False
    is_bias_corrected: bool = False
    wide: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    rounding: RoundingRule = RoundingRule.D


@contextmanager
def compiler_extra() -> Iterator[None]:
    """Where the compiler is imported: on a machine without it, the error names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("wherry"):
            raise
        library = (error.name or str(error)).partition(".")[0]
        raise MissingExtraError(
            f"{library} is not installed; `pip install 'wherry[compiler]'` adds the compiler"
        ) from error


def compiled(path: Path, name: str, calibration: Path | None, asked: Asked) -> Any:
    """The compiler's result. Raises DecodeError with every problem of the file at once."""
    with compiler_extra():
        from wherry_native.compiler import compile_model
        from wherry_native.program import Rounding
    with compiler_errors(path, name):
        return compile_model(
            path,
            calibration=calibration,
            name=name,
            quantizing=_quantizing(asked),
            rounding=Rounding[asked.rounding],
            states=state_pairs(asked.states),
        )


@contextmanager
def compiler_errors(path: Path, name: str) -> Iterator[None]:
    """What the compiler raises, as what the command line shows."""
    from wherry_native.compiler import CompileError

    try:
        yield
    except CompileError as error:
        text = str(error).removeprefix(f"{name} is ")
        raise DecodeError(f"{path}: {text}", Code.PROGRAM) from error
    except FileNotFoundError as error:
        raise NotFoundError(f"{error.filename or path} does not exist") from error
    except OSError as error:
        raise WherryError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _quantizing(asked: Asked) -> Any:
    """The compiler's own options; None where nothing was asked for."""
    from wherry_native.compiler import Method, Quantizing

    if replace(asked, states=(), rounding=RoundingRule.D) == Asked():
        return None
    try:
        method = Method(asked.ranges or Method.MIN_MAX)
    except ValueError as error:
        raise WherryError(
            f"--ranges is {asked.ranges!r}, must be one of {', '.join(Method)}"
        ) from error
    if asked.percentile is not None and method is not Method.PERCENTILE:
        raise WherryError(f"--percentile needs --ranges percentile, --ranges is {method}")
    return Quantizing(
        method,
        99.99 if asked.percentile is None else asked.percentile,
        asked.is_equalized,
        asked.is_bias_corrected,
        frozenset(asked.wide),
    )


def state_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Input → output. Raises WherryError where it is said otherwise."""
    pairs = [text.partition("=") for text in texts]
    for text, (before, _, after) in zip(texts, pairs, strict=True):
        if not before or not after:
            raise WherryError(
                f"--state is {text!r}, must be INPUT=OUTPUT, such as state=state_after"
            )
    return {before: after for before, _, after in pairs}
