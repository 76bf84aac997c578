"""`wherry model evaluate`: how good and how fast a bundle is, as a record in its manifest."""

import io
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from wherry_protocol.bundle import write_bundle
from wherry_protocol.errors import DecodeError
from wherry_protocol.names import HARDWARE_CLASS, check_name

from wherry_controller.cli.files import read_bundle_file, read_file, write_file
from wherry_controller.cli.output import JsonOption, show, working
from wherry_controller.modelkit.evaluation import Latency, Scores, as_plain, measure, record, score
from wherry_controller.modelkit.versioning import with_manifest

RUNS = 1000


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle file, NAME-VERSION.wherry.")],
    dataset: Annotated[
        Path, typer.Option(help="Arrays `inputs` (first axis the sample) and `labels` (.npz).")
    ],
    name: Annotated[
        str | None, typer.Option(help="What the dataset is called; by default its file's name.")
    ] = None,
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
    source, content = read_bundle_file(bundle), read_file(dataset, "dataset")
    samples, labels = _arrays(content, dataset)
    with working(f"running {len(samples)} samples and {runs} timed inferences"):
        scores, latency = score(source, samples, labels), measure(source, samples, runs)
    made = record(name or dataset.name, sha256(content).digest(), scores, latency, hardware_class)
    shown = as_plain(scores, latency) | {"dataset": made.dataset, "output": None}
    text = _text(scores, latency)
    if output is not None:
        others = [old for old in source.manifest.evaluations if _place(old) != _place(made)]
        evaluated = with_manifest(source, evaluations=(*others, made))
        write_file(output, write_bundle(evaluated))
        shown |= {"output": str(output), "digest": evaluated.digest.hex()}
        text += f"\n{output}: has the record, {evaluated.digest.hex()}, unsigned: sign it again"
    show(shown, text)


def _place(evaluation: Any) -> tuple[Any, ...]:
    """A newer record of the same dataset on the same class replaces the older one."""
    return evaluation.dataset, evaluation.dataset_digest, evaluation.hardware_class


def _arrays(content: bytes, path: Path) -> tuple[Any, Any]:
    """Raises DecodeError where the file has not the two arrays."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return arrays["inputs"], arrays["labels"]
    except (ValueError, EOFError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DecodeError(
            f"{path}: must be an .npz file with the arrays `inputs` and `labels` ({error})"
        ) from error


def _text(scores: Scores, latency: Latency) -> str:
    lines = [
        f"accuracy {scores.accuracy:.4f}, macro F1 {scores.f1_macro:.4f} on {scores.sample_count} "
        "samples",
        f"latency p50 {latency.p50_us:.1f} us, p95 {latency.p95_us:.1f} us, p99 "
        f"{latency.p99_us:.1f} us over {latency.runs} runs on this machine",
    ]
    lines += [
        f"  class {index}: precision {p:.3f}, recall {r:.3f}, F1 {f:.3f}"
        for index, (p, r, f) in enumerate(
            zip(scores.precision, scores.recall, scores.f1, strict=True)
        )
    ]
    return "\n".join(lines)
