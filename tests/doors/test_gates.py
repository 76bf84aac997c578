"""Evaluation records and release gates: measured by command, judged by the controller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wherry_protocol.bundle import read_bundle
from wherry_protocol.manifest import Evaluation

from tests.cli.door import wherry
from tests.doors.quay import Quay, make_quay
from tests.doors.test_bundles import RECIPE, sign

DIGEST = bytes(range(32))
GOOD: dict[str, Any] = {
    "dataset": "held-out",
    "dataset_digest": DIGEST,
    "sample_count": 300,
    "accuracy": 0.97,
    "f1_macro": 0.96,
    "latency_us_p95": 900,
    "latency_runs": 1000,
    "hardware_class": "linux-x86_64",
}


def gates(quay: Quay, version: str = "1.0.0") -> dict[str, Any]:
    found = quay.rest("GET", f"/bundles/digits/{version}/gates")
    return {gate["name"]: gate for gate in found["gates"]} | {"all": found["is_passed"]}


def push(quay: Quay, *records: dict[str, Any], version: str = "1.0.0") -> dict[str, Any]:
    quay.push(version, evaluations=tuple(Evaluation(**record) for record in records))
    return gates(quay, version)


@pytest.fixture(scope="module")
def bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model whose recipe tells of no evaluation."""
    folder = tmp_path_factory.mktemp("gates")
    (folder / "digits.toml").write_text(RECIPE.partition("[[evaluations]]")[0])
    done = wherry(
        "model", "package", "--input", digits / "digits-1.0.0.onnx", "--name", "digits",
        "--version", "1.0.0", "--calibration", digits / "calibration.npz",
        "--manifest", folder / "digits.toml", "--output", folder / "digits.wherry",
    )  # fmt: skip
    assert done.status == 0, done
    return folder / "digits.wherry"


@pytest.fixture(scope="module")
def held_out(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("held-out") / "held-out.npz"
    with np.load(digits / "digits.npz") as data:
        images = data["test_images"][..., None].astype(np.float32) / 16
        np.savez(path, inputs=images, labels=data["test_labels"])
    return path


def test_an_evaluation_runs_the_engine_and_becomes_a_record_that_passes_the_gates(
    quay: Quay, bundle: Path, held_out: Path, tmp_path: Path
) -> None:
    output = tmp_path / "digits.wherry"
    told = wherry("model", "evaluate", bundle, "--dataset", held_out, "--class", "linux-x86_64",
                  "--output", output, "--json").json  # fmt: skip
    assert told["accuracy"] == pytest.approx(0.9567, abs=0.02)  # of the float model
    confusion = np.array(told["confusion"])
    assert confusion.sum() == told["sample_count"] == 300
    assert np.trace(confusion) / 300 == told["accuracy"]
    assert told["recall"][0] == confusion[0, 0] / confusion[0].sum()
    assert told["latency_us"]["runs"] == 1000
    assert 0 < told["latency_us"]["p50"] <= told["latency_us"]["p95"] <= told["latency_us"]["p99"]
    [record] = read_bundle(output.read_bytes()).manifest.evaluations
    assert (record.accuracy, record.f1_macro) == (told["accuracy"], told["f1_macro"])
    assert record.confusion == tuple(confusion.ravel().tolist())
    assert told["precision"][1] == confusion[1, 1] / confusion[:, 1].sum()
    f1 = [2 * confusion[i, i] / (confusion[i].sum() + confusion[:, i].sum()) for i in range(10)]
    assert told["f1"] == pytest.approx(f1)
    assert told["f1_macro"] == pytest.approx(sum(f1) / 10)
    assert (record.latency_runs, record.hardware_class) == (1000, "linux-x86_64")
    quay.cli("registry", "push", sign(quay, output, tmp_path / "signed.wherry"))
    shown = quay.wherry("model", "gates", "digits:1.0.0")
    assert (shown.status, shown.out.count("pass ")) == (0, 5), shown


def test_a_model_without_a_record_fails_every_gate_that_needs_a_figure(
    quay: Quay, bundle: Path, tmp_path: Path
) -> None:
    quay.cli("registry", "push", sign(quay, bundle, tmp_path / "signed.wherry"))
    shown = quay.wherry("model", "gates", "digits:1.0.0")
    assert shown.status == 18
    failed = {name for name, gate in gates(quay).items() if name != "all" and not gate["is_passed"]}
    assert failed == {"accuracy", "f1_macro", "latency_us_p95", "latency_us_p95/linux-x86_64"}
    assert all(gate["figure"] is None for name, gate in gates(quay).items() if name in failed)


def test_float_stands_beside_int8_with_a_picture_of_both(
    bundle: Path, held_out: Path, digits: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "confusion.png"
    told = wherry("model", "evaluate", bundle, "--dataset", held_out, "--runs", "1", "--float",
                  digits / "digits-1.0.0.onnx", "--plot", plot, "--json").json  # fmt: skip
    assert told["float"]["accuracy"] == pytest.approx(287 / 300)  # as its maker measured it
    assert abs(told["accuracy"] - told["float"]["accuracy"]) <= 0.02
    assert np.array(told["float"]["confusion"]).sum() == 300
    assert told["same_answer_fraction"] > 0.97
    with Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * 10 * 24  # two matrices of ten classes, side by side
        shades = picture.convert("RGB").getcolors(1 << 20)
    assert shades is not None
    assert len(shades) > 20


def test_packaging_evaluates_float_and_int8_and_keeps_the_record(
    held_out: Path, digits: Path, tmp_path: Path
) -> None:
    output = tmp_path / "digits.wherry"
    arguments = (
        "model", "package", "--input", digits / "digits-1.0.0.onnx", "--name", "digits",
        "--version", "1.0.0", "--calibration", digits / "calibration.npz", "--output", output,
    )  # fmt: skip
    told = wherry(*arguments, "--evaluate", held_out)
    assert told.status == 0, told
    assert "accuracy 0.9" in told.out
    assert "(float 0.9567" in told.out
    [record] = read_bundle(output.read_bytes()).manifest.evaluations
    assert (record.dataset, record.sample_count) == ("held-out.npz", 300)
    assert record.accuracy is not None
    assert record.latency_us_p95 is None  # that is measured where it serves
    refused = wherry(*arguments, "--plot", tmp_path / "x.png")
    assert refused.status != 0
    assert "--plot needs --evaluate" in refused.err


def test_answers_that_do_not_fit_the_model_are_one_sentence(bundle: Path, tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8, 1), np.float32)
    for arrays, status, sentence in (
        ({"inputs": images, "labels": np.array([0, 10])}, 12, "the model has classes 0 to 9"),
        ({"inputs": images, "labels": np.array([0.5, 1.0])}, 12, "one class number for each"),
        ({"inputs": images}, 10, "the arrays `inputs` and `labels`"),
    ):
        np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
        refused = wherry("model", "evaluate", bundle, "--dataset", tmp_path / "x.npz")
        assert refused.status == status, refused
        assert sentence in refused.err


def test_a_good_record_passes(quay: Quay) -> None:
    assert push(quay, GOOD)["all"] is True


@pytest.mark.parametrize(
    ("changed", "gate"),
    [
        ({"accuracy": 0.7999}, "accuracy"),
        ({"accuracy": None}, "accuracy"),
        ({"f1_macro": 0.7499}, "f1_macro"),
        ({"f1_macro": None}, "f1_macro"),
        ({"latency_us_p95": 10_000}, "latency_us_p95"),
        ({"latency_us_p95": None}, "latency_us_p95"),
        ({"latency_runs": 999}, "latency_us_p95"),
        ({"latency_runs": None}, "latency_us_p95"),
        ({"latency_us_p95": 1001}, "latency_us_p95/linux-x86_64"),
        ({"hardware_class": None}, "latency_us_p95/linux-x86_64"),
        ({"dataset_digest": None}, "accuracy"),
        ({"sample_count": 0}, "accuracy"),
    ],
)
def test_a_figure_that_is_missing_or_too_bad_fails(
    quay: Quay, changed: dict[str, Any], gate: str
) -> None:
    found = push(quay, GOOD | changed)
    assert (found[gate]["is_passed"], found["all"]) == (False, False)


def test_at_the_limit_accuracy_and_f1_pass(quay: Quay) -> None:
    assert push(quay, GOOD | {"accuracy": 0.80, "f1_macro": 0.75})["all"] is True


def test_the_worst_of_several_records_counts(quay: Quay) -> None:
    found = push(quay, GOOD, GOOD | {"dataset": "at night", "accuracy": 0.5})
    assert (found["accuracy"]["figure"], found["accuracy"]["is_passed"]) == (0.5, False)
    assert "at night" in found["accuracy"]["text"]


def test_what_the_fleet_measured_on_a_class_counts_before_a_record(quay: Quay) -> None:
    quay.enroll("pump-1", protocol=(1, 2))
    quay.install("1.0.0", evaluations=(Evaluation(**GOOD),))
    name = "latency_us_p95/linux-x86_64"
    assert "on record" in gates(quay)[name]["text"]
    quay.report(["pump-1"], inferences=2000, latency_ns=5_000_000)
    found = gates(quay)[name]
    assert "inferences of the fleet" in found["text"]
    assert (found["is_passed"], found["figure"] > 4500) == (False, True)


@pytest.fixture
def lenient(tmp_path: Path) -> Iterator[Quay]:
    toml = "\n[gates.digits]\naccuracy_min = 0.6\nlatency_runs_min = 100\n"
    made = make_quay(tmp_path / "acme", edit=lambda text: text + toml)
    yield made
    made.close()


def test_limits_of_one_model_are_overridden_in_the_file_and_the_override_is_shown(
    lenient: Quay,
) -> None:
    found = push(lenient, GOOD | {"accuracy": 0.65, "latency_runs": 100})
    assert found["all"] is True
    assert found["accuracy"]["override"] == "instead of 0.8"
    shown = lenient.wherry("model", "gates", "digits:1.0.0").out
    assert "needs 0.6 (instead of 0.8)" in shown
    assert found["f1_macro"]["override"] == ""
