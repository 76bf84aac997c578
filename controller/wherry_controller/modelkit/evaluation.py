"""How good is a model? Measured with the engine that devices run, on samples with known answers.

Rules:
1. A class is the output element with the highest step, the first of equals; where the model ends
   in an ARG_MAX, the position that it gives.
2. Precision, recall and F1 are per class; macro is the plain mean over the classes that occur in
   the labels or the answers. A class that is never answered has precision 0.
3. Latency is of single inferences on this machine, one after the other, with the samples in turn;
   the first ones warm up and do not count. A quantile is an inference that happened (nearest
   rank), nothing is interpolated.
4. The float model answers by the same rules, on the same samples, also where only one of the two
   ends in an ArgMax; it has no latency, for numpy is no engine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil
from typing import Any, Final

import numpy as np
from wherry_native.engine import Program
from wherry_native.program import Op, read_program
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.errors import ContractError
from wherry_protocol.manifest import Evaluation

from wherry_controller.modelkit.packaging import load_program
from wherry_controller.modelkit.running import Array, run_bundle, sample_shape, steps

WARM_UP: Final = 20
CLASSES_MAX: Final = 64  # of a confusion matrix in a manifest
QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Scores:
    """`confusion[label][answer]` counts samples; precision, recall and F1 are by class."""

    sample_count: int
    accuracy: float
    f1_macro: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Latency:
    """Single inferences on this machine."""

    runs: int
    p50_us: float
    p95_us: float
    p99_us: float


def score(answers: Array, labels: Array) -> Scores:
    """`answers` has a row of outputs per sample. Raises ContractError where labels do not fit."""
    class_count = answers.shape[1]
    if labels.shape != (len(answers),) or labels.dtype.kind not in "iu" or not len(labels):
        raise ContractError(
            f"labels are {labels.dtype} {list(labels.shape)}, must be one class number for each of "
            f"{len(answers)} samples"
        )
    if labels.min() < 0 or labels.max() >= class_count:
        raise ContractError(
            f"labels go from {labels.min()} to {labels.max()}, the model has classes 0 to "
            f"{class_count - 1}"
        )
    confusion = np.zeros((class_count, class_count), np.int64)
    np.add.at(confusion, (labels.astype(np.int64), answers.argmax(axis=1)), 1)
    return _scores(confusion)


def int8_answers(bundle: Bundle, samples: Array) -> Array:
    """The program's outputs, a row of classes per sample. Raises ContractError as `run_bundle`."""
    return class_rows(bundle, run_bundle(bundle, samples).reshape(len(samples), -1))


def class_rows(bundle: Bundle, answers: Array) -> Array:
    """The answers with an element per class: a position becomes 1 at its place. Raises
    ContractError where the model gives several positions per sample."""
    program = read_program(program_image(bundle))
    last = next((node for node in program.nodes if node.output == program.outputs[0]), None)
    if last is None or last.op is not Op.ARG_MAX:
        return answers
    if answers.shape[1] != 1:
        raise ContractError(f"the model gives {answers.shape[1]} positions, a class is one")
    class_count = program.tensors[last.operands[0]].shape[last.params["axis"]]
    return _at_positions(answers, class_count)


def float_rows(answers: Array, class_count: int) -> Array:
    """A float model's answers with an element per class of the program: as they are, or from the
    positions of an ArgMax. Raises ContractError where they are neither."""
    count = answers.shape[1]
    if count == class_count:
        return answers
    is_position = count == 1 and bool(np.isin(answers, np.arange(class_count)).all())
    if not is_position:
        raise ContractError(
            f"the float model gives {count} numbers per sample, the bundle has {class_count} "
            "classes: --float takes the model that the bundle was made of, with or without its "
            "ArgMax"
        )
    return _at_positions(answers, class_count)


def _at_positions(answers: Array, class_count: int) -> Array:
    return np.eye(class_count, dtype=np.int8)[answers[:, 0].astype(np.int64)]


def real_inputs(bundle: Bundle, samples: Array) -> Array:
    """The samples in real units and in the program's shape, for a float model. Raises
    ContractError where they do not fit the program."""
    tensor = load_program(program_image(bundle)).inputs[0]
    steps(samples, tensor)
    real = samples
    if samples.dtype.kind != "f":
        steps_from_zero = samples.astype(np.float32) - tensor.zero_point
        real = np.asarray(steps_from_zero * np.float32(tensor.scale))
    return real.reshape(len(samples), *sample_shape(tensor))


def same_answers(one: Array, other: Array) -> float:
    """The part of samples to which both models give the same class."""
    return float((one.argmax(axis=1) == other.argmax(axis=1)).mean())


def _scores(confusion: Array) -> Scores:
    hits, labelled, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    precision, recall = _ratio(hits, answered), _ratio(hits, labelled)
    f1 = _ratio(2 * hits, labelled + answered)
    occurs = (labelled + answered) > 0
    total = int(confusion.sum())
    return Scores(
        sample_count=total,
        accuracy=float(hits.sum()) / total,
        f1_macro=float(f1[occurs].mean()),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _ratio(part: Array, whole: Array) -> Array:
    """0 where nothing is there to be counted."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def measure(
    bundle: Bundle, samples: Array, runs: int, now_ns: Callable[[], int] = time.perf_counter_ns
) -> Latency:
    """Time `runs` single inferences of the engine. Raises ContractError as `run_bundle`."""
    program = load_program(program_image(bundle))
    inputs = [row.tobytes() for row in steps(samples, program.inputs[0])]
    if not inputs:
        raise ContractError("there is no sample to run")
    durations = sorted(_timed(program, _in_turn(inputs, WARM_UP + runs), now_ns)[WARM_UP:])
    p50, p95, p99 = (durations[ceil(q * runs) - 1] / 1e3 for q in QUANTILES)
    return Latency(runs, p50, p95, p99)


def _in_turn(inputs: Sequence[bytes], count: int) -> list[bytes]:
    """The inputs in turn, `count` of them."""
    return list(islice(cycle(inputs), count))


def _timed(program: Program, inputs: list[bytes], now_ns: Callable[[], int]) -> list[int]:
    output, durations = bytearray(program.output_bytes), []
    for one in inputs:
        begun_ns = now_ns()
        program.run_into(one, output)
        durations.append(now_ns() - begun_ns)
    return durations


def record(
    dataset: str,
    digest: bytes,
    scores: Scores,
    latency: Latency | None = None,
    hardware_class: str | None = None,
) -> Evaluation:
    """The figures as the manifest keeps them; p95 is rounded up to whole microseconds."""
    return Evaluation(
        dataset=dataset,
        dataset_digest=digest,
        sample_count=scores.sample_count,
        accuracy=scores.accuracy,
        f1_macro=scores.f1_macro,
        latency_us_p95=None if latency is None else ceil(latency.p95_us),
        latency_runs=None if latency is None else latency.runs,
        hardware_class=hardware_class,
        confusion=_kept(scores.confusion),
    )


def _kept(confusion: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """The matrix label after label, or nothing where it would fill the manifest."""
    is_small = len(confusion) <= CLASSES_MAX
    return tuple(count for row in confusion for count in row) if is_small else ()


def as_plain(scores: Scores) -> dict[str, Any]:
    """For `--json`."""
    return {
        "sample_count": scores.sample_count,
        "accuracy": scores.accuracy,
        "f1_macro": scores.f1_macro,
        "precision": list(scores.precision),
        "recall": list(scores.recall),
        "f1": list(scores.f1),
        "confusion": [list(row) for row in scores.confusion],
    }
