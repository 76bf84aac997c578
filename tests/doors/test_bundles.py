"""A model as a file: packaged, extracted, edited, signed, verified and run by command."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wherry_protocol.bundle import read_bundle, write_bundle

from tests.cli.door import Answer, wherry
from tests.compiler.onnx_operators import POSITIONS
from tests.compiler.test_onnx_quantized import QdqWriter
from tests.controller.made import bundle_file
from tests.doors.quay import Quay

RECIPE = """
author = "ada"
description = "reads handwritten digits"
release_notes = "sevens with a bar are read now"
labels = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
[budgets.linux-x86_64]
latency_us_p95 = 50_000
memory_bytes = 4_000_000
[provenance]
trained_at_s = 1_700_000_000
training_samples = 1_497
git_commit = "0123abcd"
framework = "numpy"
[[evaluations]]
dataset = "held-out digits"
sample_count = 300
accuracy = 0.97
f1_macro = 0.96
"""
PARTS = {
    "manifest.json",
    "architecture.json",
    "config/quantization.json",
    "config/optimization.json",
}


def packaged(
    digits: Path, folder: Path, *more: str | Path, recipe: str = RECIPE, version: str = "1.0.0"
) -> Answer:
    folder.mkdir(exist_ok=True)
    (folder / "digits.toml").write_text(recipe)
    return wherry(
        "model", "package", "--input", digits / f"digits-{version}.onnx", "--name", "digits",
        "--version", version, "--calibration", digits / "calibration.npz",
        "--manifest", folder / "digits.toml", "--output", folder / "digits.wherry", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    made = packaged(digits, folder)
    assert made.status == 0, made
    return folder / "digits.wherry"


@pytest.fixture
def tree(bundle: Path, tmp_path: Path) -> Path:
    """The bundle, extracted."""
    assert wherry("model", "extract", bundle, "--output", tmp_path / "tree").status == 0
    return tmp_path / "tree"


def table(path: Path) -> Any:
    return json.loads(path.read_text())


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = table(path)
    change(content)
    path.write_text(json.dumps(content))


def repackaged(tree: Path) -> Answer:
    return wherry("model", "package", "--input", tree, "--output", tree.parent / "again.wherry")


def test_the_same_inputs_give_the_same_file(bundle: Path, digits: Path, tmp_path: Path) -> None:
    assert packaged(digits, tmp_path).status == 0
    assert (tmp_path / "digits.wherry").read_bytes() == bundle.read_bytes()


def test_the_folder_has_the_parts_that_were_asked_for(tree: Path) -> None:
    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert files >= PARTS
    layers = sorted(name for name in files if name.startswith("weights/"))
    assert layers[0] == "weights/layer0.weights"
    assert len(layers) > 2
    assert (tree / "assets" / "labels.txt").read_text().split()[:2] == ["zero", "one"]
    assert len([name for name in files if "golden" in name]) == 2


def test_the_manifest_says_what_it_is_and_pins_every_member(tree: Path, bundle: Path) -> None:
    manifest = table(tree / "manifest.json")
    assert (manifest["model"], manifest["version"], manifest["author"]) == (
        "digits", "1.0.0", "ada",
    )  # fmt: skip
    assert manifest["description"] == "reads handwritten digits"
    assert list(manifest["budgets"]) == ["linux-x86_64"]
    assert manifest["engine_abi"] == 1
    shown = wherry("model", "inspect", bundle, "--json").json
    assert {m["digest"] for m in shown["members"]} == {b["digest"] for b in manifest["blobs"]}
    assert all(m["size_bytes"] >= 0 and len(m["digest"]) == 64 for m in shown["members"])


def test_architecture_and_quantization_are_those_of_the_program(tree: Path) -> None:
    architecture = table(tree / "architecture.json")
    assert len(architecture["operators" if "operators" in architecture else "nodes"]) > 3
    text = (tree / "config" / "quantization.json").read_text()
    assert "scale" in text
    assert "zero_point" in text
    assert "rounding" in text
    assert "arena" in (tree / "config" / "optimization.json").read_text()


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "architecture.json", "config/quantization.json", "config/optimization.json"],
)
def test_an_unknown_key_is_refused_by_name_wherever_it_stands(tree: Path, name: str) -> None:
    edit(tree / name, lambda content: content.update(warp_factor=9))
    refused = repackaged(tree)
    assert refused.status == 10
    assert "warp_factor" in refused.err
    assert not (tree.parent / "again.wherry").exists()


@pytest.mark.parametrize("key", ["version", "author", "description"])
def test_a_manifest_without_a_mandatory_field_is_refused(tree: Path, key: str) -> None:
    edit(tree / "manifest.json", lambda content: content.pop(key))
    refused = repackaged(tree)
    assert refused.status == 10
    assert key in refused.err


def test_a_file_that_has_no_place_is_refused(tree: Path) -> None:
    (tree / "weights" / "extra.bin").write_bytes(b"x")
    refused = repackaged(tree)
    assert refused.status == 10
    assert "extra.bin" in refused.err


def test_settings_live_inside_what_is_signed(quay: Quay, bundle: Path, tmp_path: Path) -> None:
    signed = sign(quay, bundle, tmp_path / "signed.wherry")
    tree, edited = tmp_path / "tree", tmp_path / "edited.wherry"
    wherry("model", "extract", signed, "--output", tree)
    assert wherry("model", "package", "--input", tree, "--output", edited).status == 0
    assert edited.read_bytes() == signed.read_bytes(), "untouched: the signatures come back"
    weights = tree / "weights" / "layer0.weights"
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    wherry("model", "package", "--input", tree, "--output", edited)
    refused = wherry("--data", quay.data.root, "model", "verify", edited)
    assert (refused.status, "unsigned" in refused.err) == (11, True)


def sign(quay: Quay, bundle: Path, output: Path) -> Path:
    key = next(quay.data.offline.glob("release*.pem"))
    done = wherry("model", "sign", bundle, "--key", key, "--output", output)
    assert done.status == 0, done
    return output


def test_each_cause_of_a_refusal_has_its_own_status(
    quay: Quay, bundle: Path, tmp_path: Path
) -> None:
    verify = ("--data", quay.data.root, "model", "verify")
    signed = sign(quay, bundle, tmp_path / "signed.wherry")
    assert wherry(*verify, signed).status == 0
    assert wherry(*verify, tmp_path / "ghost.wherry").status == 15
    (tmp_path / "cut.wherry").write_bytes(signed.read_bytes()[:-600])
    assert wherry(*verify, tmp_path / "cut.wherry").status == 10
    assert wherry(*verify, bundle).status == 11
    changed = bytearray(signed.read_bytes())
    place = changed.rindex(b"zero\none\n")
    changed[place] ^= 1
    (tmp_path / "changed.wherry").write_bytes(changed)
    assert wherry(*verify, tmp_path / "changed.wherry").status == 11


def test_new_checksums_over_changed_bytes_do_not_help_a_forger(
    quay: Quay, bundle: Path, tmp_path: Path
) -> None:
    signed = read_bundle(sign(quay, bundle, tmp_path / "signed.wherry").read_bytes())
    tree = tmp_path / "tree"
    wherry("model", "extract", bundle, "--output", tree)
    edit(tree / "manifest.json", lambda content: content.update(description="harmless"))
    assert (
        wherry("model", "package", "--input", tree, "--output", tmp_path / "f.wherry").status == 0
    )
    forged = read_bundle((tmp_path / "f.wherry").read_bytes())
    whole = type(forged)(forged.manifest_bytes, signed.signatures, (), forged.blobs)
    (tmp_path / "forged.wherry").write_bytes(write_bundle(whole))
    assert quay.wherry("registry", "push", tmp_path / "forged.wherry").status == 11
    assert quay.rest("GET", "/bundles") == []


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("colour = 'red'", "colour"),
        ("golden_count = 0", "golden_count"),
        ("security_floor = 'new'", "security_floor"),
        ("[budgets.'../etc']\nlatency_us_p95 = 1\nmemory_bytes = 1", "etc"),
        ("[budgets.linux-arm64]\nlatency_us_p95 = -1\nmemory_bytes = 1", "latency_us_p95"),
        ("[[evaluations]]\ndataset = 'x'\nsample_count = 1\naccuracy = 1.5", "accuracy"),
    ],
)
def test_a_mistake_in_the_metadata_is_found_when_packaging(
    digits: Path, tmp_path: Path, line: str, word: str
) -> None:
    refused = packaged(digits, tmp_path, recipe=line + "\n")
    assert refused.status == 10
    assert word in refused.err
    assert not (tmp_path / "digits.wherry").exists()


@pytest.mark.parametrize("name", ["../digits", "Digits", "a b", "digits/#", "digits+", "x" * 200])
def test_a_name_that_would_be_a_path_or_a_wildcard_is_refused(
    digits: Path, tmp_path: Path, name: str
) -> None:
    refused = packaged(digits, tmp_path, "--name", name)
    assert refused.status in (1, 10)
    assert refused.err.count("\n") == 1
    founding = wherry("--data", tmp_path / "org", "init", "--org", name)
    assert founding.status in (1, 10)
    assert not (tmp_path / "org").exists()


@pytest.mark.parametrize("version", ["1.0", "v1", "1.0.0-rc1", "01.0.0", "1.0.0.0", "one"])
def test_what_is_no_semantic_version_is_refused(digits: Path, tmp_path: Path, version: str) -> None:
    refused = wherry(
        "model", "package", "--input", digits / "digits-1.0.0.onnx", "--name", "digits",
        "--version", version, "--output", tmp_path / "x.wherry",
    )  # fmt: skip
    assert refused.status in (1, 10)
    assert version in refused.err


def test_notes_and_provenance_are_kept_and_shown(quay: Quay, bundle: Path, tmp_path: Path) -> None:
    quay.cli("registry", "push", sign(quay, bundle, tmp_path / "signed.wherry"))
    manifest = quay.cli("registry", "show", "digits:1.0.0")["manifest"]
    assert manifest["release_notes"] == "sevens with a bar are read now"
    assert "sevens with a bar" in quay.wherry("registry", "show", "digits:1.0.0").out
    assert manifest["provenance"]["git_commit"] == "0123abcd"
    assert manifest["provenance"]["training_samples"] == 1497
    assert manifest["provenance"]["trained_at_s"] == 1_700_000_000
    assert manifest["evaluations"][0]["accuracy"] == 0.97


JUNIT = """<testsuites><testsuite name="pytest" tests="3">
<testcase name="a"/><testcase name="b"><system-out>x</system-out></testcase>
<testcase name="c">{}</testcase></testsuite></testsuites>"""


@pytest.mark.parametrize(("last", "counts"), [("", [3, None]), ("<skipped/>", [2, 1])])
def test_the_report_of_its_tests_is_counted_and_pinned(
    digits: Path, tmp_path: Path, last: str, counts: list[int | None]
) -> None:
    report = tmp_path / "report.xml"
    report.write_text(JUNIT.format(last))
    assert packaged(digits, tmp_path, "--tests", report).status == 0
    made = wherry("model", "inspect", tmp_path / "digits.wherry", "--json").json["manifest"]
    told = made["provenance"]
    assert [told["tests_passed"], told.get("tests_failed") or None] == counts
    assert told["tests_digest"] == sha256(report.read_bytes()).hexdigest()
    for text, words in (
        ("passed", "not XML"), ("<testsuites/>", "no testcase"), ("<!DOCTYPE a>", "no DOCTYPE"),
    ):  # fmt: skip
        report.write_text(text)
        refused = packaged(digits, tmp_path, "--tests", report)
        assert refused.status != 0
        assert words in refused.err


def test_a_version_never_changes_and_history_is_ordered_by_number(quay: Quay) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        quay.push(version)
    rows = quay.cli("registry", "list", "--model", "digits")
    versions = [row["version"] for row in rows]
    assert versions in (["1.2.0", "1.9.0", "1.10.0"], ["1.10.0", "1.9.0", "1.2.0"])
    assert {row["pushed_by"] for row in rows} == {"ada"}
    other = bundle_file(quay.stage.world.release, "1.9.0", program_bytes=6400)
    answer = quay.call("POST", "/bundles", content=other)
    assert (answer.status_code, "1.9.0" in answer.text) == (409, True)
    assert quay.cli("registry", "list", "--model", "digits") == rows


def test_nothing_is_ever_unpickled(bundle: Path, digits: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    bomb = pickle.dumps(Bomb())
    (tmp_path / "x.npy").write_bytes(bomb)
    np.save(tmp_path / "o.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "b.wherry").write_bytes(bomb)
    for name in ("x.npy", "o.npy"):
        ran = wherry("model", "run", bundle, "--inputs", tmp_path / name,
                     "--outputs", tmp_path / "y.npy")  # fmt: skip
        assert ran.status == 10
        assert packaged(digits, tmp_path / "p", "--calibration", tmp_path / name).status == 10
    assert wherry("model", "verify", tmp_path / "b.wherry").status == 10
    assert not marker.exists()


def test_packaging_reports_how_close_the_integers_come(digits: Path, tmp_path: Path) -> None:
    report = packaged(digits, tmp_path, "--json").json["report"]
    assert json.dumps(report).count("agree") >= 1
    text = packaged(digits, tmp_path).out
    assert "CONV_2D 2, FULLY_CONNECTED 1" in text


@pytest.mark.parametrize("name", ["anomaly_detection", "keyword_spotting", "image_classification"])
def test_a_real_model_gives_the_bytes_that_its_makers_published(
    mlperf_tiny: Path, tmp_path: Path, name: str
) -> None:
    made, x, y = tmp_path / "m.wherry", tmp_path / "x.npy", tmp_path / "y.npy"
    model = mlperf_tiny / f"{name}.tflite"
    done = wherry("model", "package", "--input", model, "--name", "tiny", "--version", "1.0.0",
                  "--output", made)  # fmt: skip
    assert done.status == 0, done
    with np.load(mlperf_tiny / f"{name}.vectors.npz") as vectors:
        inputs, outputs = vectors["inputs"], vectors["outputs"]
    np.save(x, inputs)
    ran = wherry("model", "run", made, "--inputs", x, "--outputs", y)
    assert ran.status == 0, ran
    assert np.count_nonzero(np.load(y).ravel() != outputs.ravel()) == 0


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
        content = b"owned" if kind == tarfile.REGTYPE else b""
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/tmp/wherry-outside", tarfile.REGTYPE),
        ("manifest", tarfile.SYMTYPE),
        ("manifest", tarfile.LNKTYPE),
    ],
)
def test_path_tricks_in_a_bundle_write_nothing_anywhere(
    tmp_path: Path, name: str, kind: bytes
) -> None:
    trick, output = tmp_path / "in" / "trick.wherry", tmp_path / "in" / "out"
    trick.parent.mkdir()
    tar_with(trick, name, kind)
    for command in (("verify", trick), ("inspect", trick), ("extract", trick, "--output", output)):
        assert wherry("model", *command).status == 10
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "trick.wherry"]
    assert not Path("/tmp/wherry-outside").exists()


def test_a_float_model_is_quantized_as_asked_and_the_report_says_what_it_cost(
    digits: Path, tmp_path: Path
) -> None:
    plain = packaged(digits, tmp_path, "--json")
    asked = packaged(
        digits, tmp_path, "--ranges", "percentile", "--percentile", "99.9", "--equalize",
        "--correct-bias", "--json",
    )  # fmt: skip
    assert plain.status == asked.status == 0, asked
    assert plain.json["digest"] != asked.json["digest"]
    report = asked.json["report"]
    assert any("equalized" in note for note in report["notes"])
    assert all(0 <= layer["noise_share"] <= 1 for layer in report["layers"])
    assert all(layer["relative_rms"] < 0.2 for layer in report["layers"])


def test_a_model_rounds_as_asked_and_answers_nearly_the_same(digits: Path, tmp_path: Path) -> None:
    images = np.load(digits / "calibration.npz")["image"].transpose(0, 2, 3, 1)
    np.save(tmp_path / "X.npy", images)
    answers = {}
    for rule in ("D", "F"):
        assert packaged(digits, tmp_path, "--rounding", rule).status == 0
        ran = wherry("model", "run", tmp_path / "digits.wherry", "--inputs", tmp_path / "X.npy",
                     "--outputs", tmp_path / f"{rule}.npy")  # fmt: skip
        assert ran.status == 0, ran
        answers[rule] = np.load(tmp_path / f"{rule}.npy")
    assert (answers["D"] != answers["F"]).any()
    assert (answers["D"].argmax(axis=1) == answers["F"].argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ranges", "widest"), "--ranges is 'widest', must be one of min-max, percentile, mse"),
        (("--percentile", "99"), "--percentile needs --ranges percentile, --ranges is min-max"),
        (("--ranges", "percentile", "--percentile", "30"), "30.0 must be above 50"),
    ],
)
def test_a_way_of_quantizing_that_is_none_is_one_sentence(
    options: tuple[str, ...], words: str, digits: Path, tmp_path: Path
) -> None:
    refused = packaged(digits, tmp_path, *options)
    assert refused.status != 0
    assert words in refused.err
    assert not (tmp_path / "digits.wherry").exists()


def test_a_model_that_ends_in_an_arg_max_answers_with_positions(tmp_path: Path) -> None:
    model = POSITIONS["arg max over rows"]()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    inputs = np.random.default_rng(3).normal(0, 1, (50, 6, 4)).astype(np.float32)
    np.save(x, inputs)
    made = wherry("model", "package", "--input", tmp_path / "m.onnx", "--name", "m", "--version",
                  "1.0.0", "--calibration", x, "--output", tmp_path / "m.wherry")  # fmt: skip
    assert made.status == 0, made
    ran = wherry("model", "run", tmp_path / "m.wherry", "--inputs", x, "--outputs", y)
    assert ran.status == 0, ran
    found = np.load(y)
    assert found.dtype == np.int32
    assert (found == inputs.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize(
    "options",
    [("--ranges", "mse"), ("--ranges", "percentile", "--percentile", "99"), ("--equalize",)],
)
def test_a_file_that_says_how_it_is_quantized_takes_no_other_way(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    w = QdqWriter()
    y = w.node("Gemm", w.pair("x"), w.codes(np.ones((6, 4), np.int8), 0.02))
    model = w.model({"x": [1, 6]}, [w.pair(y)])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "x.npy", np.ones((3, 6), np.float32))
    arguments = ("model", "package", "--input", tmp_path / "m.onnx", "--name", "m", "--version",
                 "1.0.0", "--calibration", tmp_path / "x.npy", "--output",
                 tmp_path / "m.wherry")  # fmt: skip
    refused = wherry(*arguments, *options)
    assert refused.status != 0
    assert "says itself how it is quantized (QDQ): it stays as it is" in refused.err
    assert not (tmp_path / "m.wherry").exists()
    assert wherry(*arguments).status == 0


def test_inspection_tells_memory_work_and_modelled_figures_per_class(
    bundle: Path, tmp_path: Path
) -> None:
    told = wherry("model", "inspect", bundle, "--json").json
    program, modelled = told["program"], told["estimates"]
    assert program["image_bytes"] > 0
    assert program["arena_bytes"] > 0
    assert [k["name"] for k in program["kernels"]][-1] == "portable"
    assert all(k["prepared_bytes"] > 0 for k in program["kernels"])
    assert {e["class"] for e in modelled} == {"linux-x86_64", "linux-arm64", "cortex-m-sim"}
    assert all(e["is_modelled"] and e["latency_us"] > 0 and e["energy_uj"] > 0 for e in modelled)
    board = tmp_path / "board.toml"
    board.write_text(
        'name = "pump-board"\narchitecture = "riscv"\nram_bytes = 1\nflash_bytes = 1\n'
        "memory_budget_bytes = 1\nstorage_budget_bytes = 1\n"
    )
    text = wherry("model", "inspect", bundle, "--class", board).out
    assert "modelled pump-board: none (no costs are known for architecture 'riscv'" in text
    assert "bytes of flash" in text
    assert "linux-arm64" not in text.partition("member")[0]


def test_a_liquid_network_is_packaged_with_its_state_named(root: Path, tmp_path: Path) -> None:
    liquid, output = root / "examples" / "liquid", tmp_path / "weather.wherry"
    with np.load(liquid / "series.npz") as data:
        hours = (data["san_francisco"][:72] - 55) / 15
    np.save(tmp_path / "hours.npy", hours[:, None])
    (tmp_path / "weather.toml").write_text('state_policy = "keep"\n')
    arguments = (
        "model", "package", "--input", liquid / "cfc-pure.onnx", "--name", "weather",
        "--version", "1.0.0", "--calibration", tmp_path / "hours.npy", "--output", output,
        "--manifest", tmp_path / "weather.toml",
    )  # fmt: skip
    made = wherry(*arguments, "--state", "state=state_after")
    assert made.status == 0, made
    assert "the table of" in made.out
    manifest = wherry("model", "inspect", output, "--json").json["manifest"]
    assert manifest["state_policy"] == "keep"
    assert [t["name"] for t in manifest["contract"]["inputs"]] == ["temperature"]
    assert wherry("model", "verify", output, "--unsigned").status == 0
    refused = wherry(*arguments, "--state", "state")
    assert refused.status != 0
    assert "--state is 'state', must be INPUT=OUTPUT" in refused.err
