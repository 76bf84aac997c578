"""`wherry model evaluate`: how good and how fast a bundle is, as a record in its manifest.

`wherry model package --evaluate` uses the same parts before there is a bundle to ask.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.errors import DecodeError, WherryError
from wherry_protocol.manifest import Evaluation
from wherry_protocol.names import HARDWARE_CLASS, check_name

from wherry_controller.cli.files import read_bundle_file, read_file, write_file
from wherry_controller.cli.model_compile import (
    StateOption,
    compiler_errors,
    compiler_extra,
    state_pairs,
)
from wherry_controller.cli.output import JsonOption, show, working
from wherry_controller.modelkit.evaluation import (
    Latency,
    Scores,
    as_plain,
    float_rows,
    int8_answers,
    measure,
    real_inputs,
    record,
    same_answers,
    score,
)
from wherry_controller.modelkit.packaging import LABELS
from wherry_controller.modelkit.versioning import with_manifest

RUNS = 1000
MATRIX_SIDE_MAX = 20  # a wider one does not fit a terminal

PlotOption = Annotated[
    Path | None, typer.Option(help="Write the confusion matrices as a picture (PNG).")
]


@dataclass(frozen=True)
class Verdict:
    """Scores of one dataset: of the program, and of the float model where that is known."""

    dataset: str
    digest: bytes
    samples: Any
    int8: Scores
    real: Scores | None
    same_answer_fraction: float | None

    def record(self, latency: Latency | None, hardware_class: str | None) -> Evaluation:
        return record(self.dataset, self.digest, self.int8, latency, hardware_class)

    def as_plain(self) -> dict[str, Any]:
        """The program's figures, and beside them those of the float model."""
        return as_plain(self.int8) | {
            "dataset": self.dataset,
            "float": None if self.real is None else as_plain(self.real),
            "same_answer_fraction": self.same_answer_fraction,
        }


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle file, NAME-VERSION.wherry.")],
    dataset: Annotated[
        Path,
        typer.Option(
            help="Arrays `inputs` (a sample each, in the program's order: channels last) and "
            "`labels` (.npz)."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="What the dataset is called; by default its file's name.")
    ] = None,
    float_model: Annotated[
        Path | None,
        typer.Option("--float", help="The model file it was made of, to run beside it in float."),
    ] = None,
    state: StateOption = None,
    plot: PlotOption = None,
    hardware_class: Annotated[
        str | None, typer.Option("--class", help="The class of this machine, for its latency.")
    ] = None,
    runs: Annotated[int, typer.Option(help="So many timed inferences.", min=1)] = RUNS,
    output: Annotated[
        Path | None, typer.Option(help="Write the bundle with this record, unsigned.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a labelled dataset through the engine: accuracy, F1, and p95 on this machine.

    wherry model evaluate pump-anomaly-1.0.0.wherry --dataset held-out.npz --class linux-x86_64
    --output pump-anomaly-1.0.0.wherry
    """
    if hardware_class is not None:
        check_name("hardware class", HARDWARE_CLASS, hardware_class)
    states = tuple(state or ())
    if states and float_model is None:
        raise WherryError("--state says what --float MODEL has for memory; a bundle knows its own")
    source = read_bundle_file(bundle)
    verdict = judged(source, dataset, float_model, name, states)
    with working(f"{runs} timed inferences"):
        latency = measure(source, verdict.samples, runs)
    shown = verdict.as_plain() | {"latency_us": _latency(latency), "output": None}
    text = "\n".join([*verdict_lines(verdict), _latency_line(latency)])
    if plot is not None:
        draw(plot, verdict, source)
    if output is not None:
        made = verdict.record(latency, hardware_class)
        others = [old for old in source.manifest.evaluations if _place(old) != _place(made)]
        evaluated = with_manifest(source, evaluations=(*others, made))
        write_file(output, write_bundle(evaluated))
        shown |= {"output": str(output), "digest": evaluated.digest.hex()}
        text += f"\n{output}: has the record, {evaluated.digest.hex()}, unsigned: sign it again"
    show(shown, text)


def judged(
    bundle: Bundle,
    dataset: Path,
    float_model: Path | None,
    name: str | None = None,
    states: Sequence[str] = (),
) -> Verdict:
    """The program, and the float model if its file is given, on a labelled dataset."""
    content = read_file(dataset, "dataset")
    samples, labels = _arrays(content, dataset)
    with working(f"running {len(samples)} samples"):
        answers = int8_answers(bundle, samples)
        scores = score(answers, labels)
        real, fraction = None, None
        if float_model is not None:
            found = _float_answers(float_model, real_inputs(bundle, samples), states)
            found = float_rows(found, answers.shape[1])
            real, fraction = score(found, labels), same_answers(answers, found)
    called = name or dataset.name
    return Verdict(called, sha256(content).digest(), samples, scores, real, fraction)


def _float_answers(path: Path, samples: Any, states: Sequence[str]) -> Any:
    with compiler_extra():
        from wherry_native.compiler import read_float_model
    with compiler_errors(path, path.stem):
        return read_float_model(path, state_pairs(states)).outputs(samples)


def evaluated(
    bundle: Bundle, model: Path, dataset: Path, plot: Path | None, states: Sequence[str]
) -> tuple[Bundle, Verdict]:
    """A bundle that was just made, with the record of its accuracy: latency is measured where it
    serves. `model` is the file that it was made of, `states` what it has for memory."""
    verdict = judged(bundle, dataset, model, states=states)
    if plot is not None:
        draw(plot, verdict, bundle)
    records = (*bundle.manifest.evaluations, verdict.record(None, None))
    return with_manifest(bundle, evaluations=records), verdict


def draw(path: Path, verdict: Verdict, bundle: Bundle) -> None:
    """Writes the confusion matrices as a picture."""
    with compiler_extra():
        from wherry_controller.modelkit.plots import confusion_png

    members = {blob.name: blob.digest for blob in bundle.manifest.blobs}
    text = bundle.blobs[members[LABELS]].decode() if LABELS in members else ""
    matrices = [("int8", verdict.int8)]
    if verdict.real is not None:
        matrices.insert(0, ("float", verdict.real))
    write_file(path, confusion_png(matrices, text.splitlines()))


def _place(evaluation: Any) -> tuple[Any, ...]:
    """A newer record of the same dataset on the same class replaces the older one."""
    return evaluation.dataset, evaluation.dataset_digest, evaluation.hardware_class


def _arrays(content: bytes, path: Path) -> tuple[Any, Any]:
    """Raises DecodeError where the file has not the two arrays, or no sample."""
    wanted = f"{path}: must be an .npz file with the arrays `inputs` and `labels`"
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise DecodeError(f"{wanted}, is a .npy file of one array")
        with loaded as arrays:
            inputs, labels = arrays["inputs"], arrays["labels"]
    except (ValueError, EOFError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DecodeError(f"{wanted} ({error})") from error
    if inputs.size == 0:
        raise DecodeError(f"{path}: `inputs` has shape {list(inputs.shape)}, needs a sample")
    return inputs, labels


def verdict_lines(verdict: Verdict) -> list[str]:
    """The figures for a person: float beside int8, then each class, then the matrix."""
    int8, real = verdict.int8, verdict.real
    beside = "" if real is None else f" (float {real.accuracy:.4f}, {real.f1_macro:.4f})"
    lines = [
        f"accuracy {int8.accuracy:.4f}, macro F1 {int8.f1_macro:.4f}{beside} on "
        f"{int8.sample_count} samples"
    ]
    if verdict.same_answer_fraction is not None:
        lines.append(f"float and int8 give the same answer to {verdict.same_answer_fraction:.2%}")
    for index in range(len(int8.precision)):
        told = _class_figures(int8, index)
        also = "" if real is None else f"   float: {_class_figures(real, index)}"
        lines.append(f"  class {index}: {told}{also}")
    if len(int8.confusion) <= MATRIX_SIDE_MAX:
        width = len(str(int8.sample_count))
        lines.append("confusion of int8 (a line per label, a column per answer):")
        lines += ["  " + " ".join(f"{n:>{width}}" for n in row) for row in int8.confusion]
    return lines


def _class_figures(scores: Scores, index: int) -> str:
    return (
        f"precision {scores.precision[index]:.3f}, recall {scores.recall[index]:.3f}, "
        f"F1 {scores.f1[index]:.3f}"
    )


def _latency(latency: Latency) -> dict[str, Any]:
    return {"runs": latency.runs, "p50": latency.p50_us, "p95": latency.p95_us,
            "p99": latency.p99_us}  # fmt: skip


def _latency_line(latency: Latency) -> str:
    return (
        f"latency p50 {latency.p50_us:.1f} us, p95 {latency.p95_us:.1f} us, p99 "
        f"{latency.p99_us:.1f} us over {latency.runs} runs on this machine"
    )
