"""`wherry model …`: files in, files out, whole or not at all."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from wherry_protocol.bundle import read_bundle
from wherry_protocol.keys import SigningKey

from tests.cli.door import Answer, wherry
from tests.compiler.onnx_models import ModelWriter
from tests.compiler.tflite_files import Row, tflite_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of an organization with passphrases and two release keys."""
    folder, secret = tmp_path / "acme", tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    made = wherry("--data", folder, "init", "--org", "acme", "--operator", "ada",
                  "--release", "2-of-2", "--passphrase-file", secret)  # fmt: skip
    assert made.status == 0, made
    return folder


def refused(answer: Answer, status: int, *words: str) -> None:
    assert (answer.status, answer.out) == (status, ""), answer
    assert answer.err.startswith("wherry: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == [], answer.err


def package_model(path: Path, output: Path, *more: str | Path) -> Answer:
    return wherry("model", "package", "--input", path, "--name", "pump", "--version", "1.0.0",
                  "--output", output, *more)  # fmt: skip


def test_a_float_model_becomes_a_bundle_with_a_report(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pump-1.0.0.wherry"
    monkeypatch.setenv("WHERRY_AUTHOR", "ada")
    made = package_model(
        digits / "digits-1.0.0.onnx", output, "--calibration", digits / "calibration.npz", "--json"
    )
    assert made.status == 0, made
    bundle = read_bundle(output.read_bytes())
    assert made.json["digest"] == bundle.digest.hex()
    assert made.json["report"]["agreement"]["sample_count"] == 128
    assert (bundle.manifest.author, bundle.manifest.golden_count) == ("ada", 16)
    assert output.stat().st_mode & 0o777 == 0o644


def test_the_report_names_layers_and_agreement(digits: Path, tmp_path: Path) -> None:
    made = package_model(digits / "digits-1.0.0.onnx", tmp_path / "x.wherry",
                         "--calibration", digits / "calibration.npz")  # fmt: skip
    assert "float against int8 on 128 samples: same argmax" in made.out
    assert "23680 multiply-accumulates" in made.out
    assert "unsigned" in made.out.splitlines()[-1]


def test_a_tflite_model_becomes_a_bundle_without_calibration(tmp_path: Path) -> None:
    path, output = tmp_path / "tanh.tflite", tmp_path / "tanh.wherry"
    rows = [Row("x", "int8", (1, 4), (0.05,), 3), Row("y", "int8", (1, 4), (1 / 128,), 0)]
    path.write_bytes(tflite_file(rows, [("TANH", [0], [1], {})]))
    assert package_model(path, output).status == 0
    bundle = read_bundle(output.read_bytes())
    assert [t.name for t in bundle.manifest.contract.outputs] == ["y"]
    assert bundle.manifest.golden_count == 16


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(2000)], ids=["empty", "text", "zeros"])
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_broken_model_file_leaves_nothing_behind(
    content: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"pump.{suffix}"
    path.write_bytes(content)
    refused(package_model(path, tmp_path / "pump.wherry"), 10, str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_truncated_model_file_is_refused(digits: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes((digits / "digits-1.0.0.onnx").read_bytes()[:700])
    refused(package_model(path, tmp_path / "cut.wherry"), 10, "cut.onnx")


def test_unsupported_operators_are_all_listed_with_their_nodes(tmp_path: Path) -> None:
    writer = ModelWriter()
    outputs = [writer.node(op, "x") for op in ("Det", "Celu", "Mish")]
    path = tmp_path / "odd.onnx"
    graph = onnx.helper.make_graph(
        writer.nodes,
        "odd",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 4])],
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    refused(package_model(path, tmp_path / "odd.wherry"), 10, *outputs, "Det", "Celu", "Mish")


def test_a_package_needs_what_it_needs(digits: Path, tmp_path: Path) -> None:
    model, output = digits / "digits-1.0.0.onnx", tmp_path / "x.wherry"
    refused(wherry("model", "package", "--input", model, "--output", output), 1, "--name")
    refused(package_model(tmp_path / "ghost.onnx", output), 15, "ghost.onnx does not exist")
    refused(package_model(model, output), 10, "calibration")
    refused(package_model(model, output, "--calibration", tmp_path / "ghost.npz"), 15, "ghost.npz")
    bad = wherry("model", "package", "--input", model, "--name", "Pump!", "--version", "1.0.0",
                 "--output", output)  # fmt: skip
    refused(bad, 1, "Pump!")
    bad = wherry("model", "package", "--input", model, "--name", "pump", "--version", "one",
                 "--output", output)  # fmt: skip
    refused(bad, 1, "one")
    nowhere = tmp_path / "nowhere" / "x.wherry"
    calibrated = ("--calibration", digits / "calibration.npz")
    refused(package_model(model, nowhere, *calibrated), 13, "nowhere", "cannot be written")
    recipe = tmp_path / "pump.toml"
    recipe.write_text("colour = 'red'\n")
    refused(package_model(model, output, "--manifest", recipe, *calibrated), 10, "'colour'")
    recipe.write_bytes(b"\xff\xfe")
    refused(package_model(model, output, "--manifest", recipe, *calibrated), 10, "not UTF-8")
    assert not output.exists()


def test_extract_and_package_are_there_and_back(package: Path, tmp_path: Path) -> None:
    tree, again = tmp_path / "tree", tmp_path / "again.wherry"
    assert wherry("model", "extract", package, "--output", tree).status == 0
    assert wherry("model", "package", "--input", tree, "--output", again).status == 0
    assert again.read_bytes() == package.read_bytes()
    refused(wherry("model", "extract", package, "--output", tree), 1, "not an empty directory")
    refused(
        wherry("model", "package", "--input", tree, "--output", again, "--author", "eve"),
        1, "manifest.json",
    )  # fmt: skip
    (tree / "assets" / "link").symlink_to("/etc/hostname")
    refused(wherry("model", "package", "--input", tree, "--output", again), 1, "is a link")


def test_what_cannot_be_written_leaves_nothing_beside_it(package: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("kept")
    refused(
        wherry("model", "sign", package, "--key", key_file(tmp_path), "--output", folder),
        13, "folder cannot be written",
    )  # fmt: skip
    inside = file / "tree"
    refused(wherry("model", "extract", package, "--output", inside), 13, "tree cannot be written")
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert (left, file.read_text()) == (["file", "folder", "key.pem"], "kept")


def key_file(folder: Path) -> Path:
    path = folder / "key.pem"
    path.write_bytes(SigningKey.generate().to_pem())
    return path


def test_a_locked_key_signs_with_its_passphrase_only(
    package: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed, wrong = tmp_path / "signed.wherry", tmp_path / "wrong"
    wrong.write_text("battery staple\n")
    key = data / "offline" / "release-1.pem"
    sign = ("model", "sign", package, "--key", key, "--output", signed)
    refused(wherry(*sign, "--passphrase-file", wrong), 10, "release-1.pem", "passphrase")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused(wherry(*sign), 1, "release-1.pem is locked: give --passphrase-file")
    refused(wherry("model", "sign", package, "--key", wrong, "--output", signed), 10, str(wrong))
    assert not signed.exists()
    done = wherry(*sign, "--passphrase-file", tmp_path / "passphrase", "--json")
    assert done.status == 0, done
    assert len(done.json["signers"]) == 1


def test_a_bundle_is_trusted_once_enough_keys_signed(
    package: Path, data: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "digits.wherry"
    bundle.write_bytes(package.read_bytes())
    root = ("--root", data / "roots" / "1.cose", "--org", "acme")
    secret = ("--passphrase-file", tmp_path / "passphrase")
    for number in (1, 2):
        refused(wherry("model", "verify", bundle, *root), 11, "release signatures")
        key = data / "offline" / f"release-{number}.pem"
        assert wherry("model", "sign", bundle, "--key", key, *secret).status == 0
    trusted = wherry("model", "verify", bundle, *root)
    assert "trusted; 16 golden vectors exact" in trusted.out
    by_folder = wherry("--data", data, "model", "verify", bundle, "--json")
    assert by_folder.json["is_trusted"] is True
    refused(wherry("model", "verify", bundle, "--root", root[1]), 1, "--org")
    refused(wherry("model", "verify", bundle, *root[:2], "--org", "other"), 11, "other")


def test_without_a_root_a_bundle_is_only_whole(package: Path, data: Path, tmp_path: Path) -> None:
    alone = wherry("--data", tmp_path / "none", "model", "verify", package)
    assert alone.status == 0
    assert "signers unchecked (no root: give --root and --org, or --data)" in alone.out
    refused(wherry("--data", data, "model", "verify", package), 11, "unsigned")
    whole = wherry("--data", data, "model", "verify", package, "--unsigned", "--json")
    assert (whole.status, whole.json["is_trusted"]) == (0, False)


def test_a_data_directory_without_its_database_is_told_as_one(
    package: Path, data: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(data, half, ignore=shutil.ignore_patterns("wherry.db*"))
    found = wherry("--data", half, "model", "verify", package)
    refused(found, 15, "there is no database, which knows the newer roots")


def test_partial_bundle_a_file_cut_anywhere_is_refused(package: Path, tmp_path: Path) -> None:
    content, cut = package.read_bytes(), tmp_path / "cut.wherry"
    for size in (0, 100, 512, len(content) // 2, len(content) - 1024, len(content) - 1):
        cut.write_bytes(content[:size])
        refused(wherry("model", "verify", cut), 10, str(cut))


def test_a_flipped_byte_of_a_blob_is_refused(package: Path, tmp_path: Path) -> None:
    content = bytearray(package.read_bytes())
    content[-2000] ^= 1
    broken = tmp_path / "broken.wherry"
    broken.write_bytes(content)
    answer = wherry("model", "verify", broken, "--json")
    assert answer.status in (10, 11)
    assert str(broken) in json.loads(answer.err)["error"]


def test_inspection_names_tensors_members_and_work(package: Path) -> None:
    text = wherry("model", "inspect", package).out
    assert "input image: int8 [1, 8, 8, 1], real = (q - -128) * 0.00392157" in text
    assert "layer2.weights" in text
    shown = wherry("model", "inspect", package, "--json").json
    assert shown["program"]["macs"] == 23_680


def test_an_array_is_run_and_written(package: Path, digits: Path, tmp_path: Path) -> None:
    images = np.load(digits / "digits.npz")["test_images"].astype(np.float32)[..., None] / 16
    np.save(tmp_path / "x.npy", images)
    done = wherry("model", "run", package, "--inputs", tmp_path / "x.npy",
                  "--outputs", tmp_path / "y.npy", "--json")  # fmt: skip
    assert done.json["shape"] == [300, 10]
    answers = np.load(tmp_path / "y.npy").argmax(axis=1)
    assert (answers == np.load(digits / "digits.npz")["test_labels"]).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ghost.npy", "does not exist"),
        ("text.npy", "not a .npy array"),
        ("several.npz", "holds several arrays"),
        ("objects.npy", "not a .npy array"),
    ],
)
def test_what_is_no_array_is_refused(name: str, words: str, package: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("hello")
    np.savez(tmp_path / "several.npz", a=np.zeros(1), b=np.zeros(1))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    answer = wherry("model", "run", package, "--inputs", tmp_path / name,
                    "--outputs", tmp_path / "y.npy")  # fmt: skip
    refused(answer, 15 if name == "ghost.npy" else 10, name, words)
    assert not (tmp_path / "y.npy").exists()


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from wherry_controller.main import main
sys.argv = ["wherry", *{arguments!r}]
main()
"""


def without(names: list[str], *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """`wherry` on a machine where these libraries are not installed."""
    code = WITHOUT.format(names=names, arguments=[str(argument) for argument in arguments])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_without_the_compiler_the_extra_is_named_and_the_rest_works(
    package: Path, digits: Path, tmp_path: Path
) -> None:
    gone = ["onnx", "tflite", "flatbuffers"]
    for command in (
        ["package", "--input", digits / "digits-1.0.0.onnx", "--name", "a", "--version", "1.0.0",
         "--output", tmp_path / "a.wherry"],
        ["package", "--input", tmp_path, "--output", tmp_path / "a.wherry"],
        ["extract", package, "--output", tmp_path / "tree"],
    ):  # fmt: skip
        tried = without(gone, "model", *command)
        assert tried.returncode == 19, tried
        assert "`pip install 'wherry[compiler]'` adds the compiler" in tried.stderr
        assert tried.stderr.count("\n") == 1
    assert without(gone, "model", "inspect", package).returncode == 0
    assert without(gone, "model", "verify", package, "--unsigned").returncode == 0


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("typer", "registry list"),
        ("httpx", "registry list"),
        ("rich", "registry list"),
        ("sqlite_utils", "init --org acme"),
        ("numpy", "model inspect a.wherry"),
        ("numpy", "--help"),
    ],
)
def test_without_the_controller_the_extra_is_named(name: str, line: str) -> None:
    tried = without([name], *line.split())
    assert (tried.returncode, tried.stdout) == (19, "")
    assert f"{name} is not installed" in tried.stderr
    assert "wherry[controller]" in tried.stderr
    assert tried.stderr.count("\n") == 1
