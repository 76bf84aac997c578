"""A bundle as a folder: the way back gives the same bytes, edits are seen, strangers refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from wherry_controller.modelkit.directory import extracted, packaged
from wherry_controller.modelkit.signing import sign_bundle, verify_bundle
from wherry_native.compiler import CompiledModel, compile_model
from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.errors import WherryError
from wherry_protocol.keys import SigningKey

from tests.modelkit.made import bundle_of

Files = dict[str, bytes]


def test_what_was_extracted_is_packaged_to_the_same_bytes(bundle: Bundle) -> None:
    assert write_bundle(packaged(extracted(bundle))) == write_bundle(bundle)


def test_signatures_come_back_while_the_manifest_is_the_same(
    compiled: CompiledModel, key: SigningKey
) -> None:
    bundle = sign_bundle(bundle_of(compiled, "microcontroller = true\n"), key)
    files = extracted(bundle)
    assert {"signatures/signatures.cose", "signatures/image-signatures.cbor"} <= files.keys()
    assert write_bundle(packaged(files)) == write_bundle(bundle)


@pytest.mark.parametrize("version", ["1.1.0", "1.2.0"])
def test_the_way_there_and_back_holds_for_other_models(version: str, digits: Any) -> None:
    compiled = compile_model(
        digits / f"digits-{version}.onnx", calibration=digits / "calibration.npz", name="digits"
    )
    bundle = bundle_of(compiled)
    assert write_bundle(packaged(extracted(bundle))) == write_bundle(bundle)


def test_the_layout_is_the_documented_one(bundle: Bundle) -> None:
    assert sorted(extracted(bundle)) == [
        "architecture.json",
        "assets/golden-inputs.bin",
        "assets/golden-outputs.bin",
        "assets/labels.txt",
        "config/optimization.json",
        "config/quantization.json",
        "manifest.json",
        "weights/layer0.weights",
        "weights/layer1.weights",
        "weights/layer2.weights",
    ]


def edited_manifest(**changes: Any) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        table = json.loads(files["manifest.json"]) | changes
        files["manifest.json"] = json.dumps(table).encode()

    return edit


def edit_weight(files: Files) -> None:
    weights = files["weights/layer2.weights"]
    files["weights/layer2.weights"] = bytes([weights[0] ^ 1]) + weights[1:]


def edit_asset(files: Files) -> None:
    files["assets/labels.txt"] = b"zero\none\n"


@pytest.mark.parametrize(
    "edit",
    [edit_weight, edit_asset, edited_manifest(description="better"),
     edited_manifest(version="1.0.1")],
    ids=["weight", "asset", "description", "version"],
)  # fmt: skip
def test_an_edit_gives_another_digest_and_drops_the_signatures(
    edit: Callable[[Files], None], bundle: Bundle, key: SigningKey
) -> None:
    files = extracted(sign_bundle(bundle, key))
    edit(files)
    again = packaged(files)
    assert again.digest != bundle.digest
    assert again.signatures == b""
    assert verify_bundle(again, None).golden_count == 4


def test_a_new_name_and_version_drop_the_signatures_too(bundle: Bundle, key: SigningKey) -> None:
    again = packaged(extracted(sign_bundle(bundle, key)), name="numbers", version="2.0.0")
    assert (again.manifest.model, again.manifest.version) == ("numbers", "2.0.0")
    assert again.signatures == b""


def test_an_edited_weight_gives_golden_outputs_that_tell_the_truth(bundle: Bundle) -> None:
    files = extracted(bundle)
    edit_weight(files)
    files["assets/golden-outputs.bin"] = b"whatever stands here"
    assert extracted(packaged(files))["assets/golden-outputs.bin"] != b"whatever stands here"


def set_file(path: str, content: bytes) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        files[path] = content

    return edit


def without(path: str) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        del files[path]

    return edit


def in_json(path: str, key: str, value: Any) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        table = json.loads(files[path])
        table[key] = value
        files[path] = json.dumps(table).encode()

    return edit


REFUSED = {
    "an unknown key of the manifest": (edited_manifest(colour="red"), ["manifest.json", "colour"]),
    "an unknown key of the architecture": (
        in_json("architecture.json", "colour", 1), ["architecture", "colour"]),
    "an unknown key of the quantization": (
        in_json("config/quantization.json", "colour", 1), ["quantization", "colour"]),
    "an unknown key of the optimization": (
        in_json("config/optimization.json", "colour", 1), ["optimization", "colour"]),
    "a value out of bounds": (edited_manifest(engine_abi=70_000), ["engine_abi", "70000"]),
    "a wrong type": (edited_manifest(blobs="none"), ["manifest.json.blobs"]),
    "a bad version": (edited_manifest(version="one"), ["version", "one"]),
    "a stray file": (set_file("notes.txt", b""), ["notes.txt", "does not belong"]),
    "a nested file": (set_file("assets/deep/x", b""), ["assets/deep/x", "does not belong"]),
    "signatures for nobody knows what": (
        set_file("signatures/signatures.cose", b"x"), ["signatures/manifest.sha256 is missing"]),
    "a stray signature": (set_file("signatures/extra", b""), ["signatures/extra"]),
    "a stray weight": (set_file("weights/layer9.weights", b""), ["layer9.weights"]),
    "a missing weight": (without("weights/layer1.weights"), ["layer1.weights"]),
    "a missing manifest": (without("manifest.json"), ["manifest.json is missing"]),
    "a missing configuration": (
        without("config/quantization.json"), ["config/quantization.json is missing"]),
    "a short weight": (set_file("weights/layer0.weights", b"\0"), ["layer0.weights"]),
    "text that is not JSON": (set_file("architecture.json", b"{"), ["architecture.json", "JSON"]),
    "JSON that never ends": (
        set_file("architecture.json", b"[" * 100_000), ["architecture.json", "not JSON"]),
    "another encoding": (set_file("manifest.json", b"\xff\xfe{\0}\0"), ["manifest.json"]),
    "golden inputs that are not whole": (
        set_file("assets/golden-inputs.bin", bytes(65)), ["65 bytes", "64"]),
    "no golden inputs": (without("assets/golden-inputs.bin"), ["at least one golden vector"]),
    "an asset's bad name": (set_file("assets/a b", b""), ["a b"]),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_folder_is_refused_for(
    edit: Callable[[Files], None], words: list[str], bundle: Bundle
) -> None:
    files = extracted(bundle)
    edit(files)
    with pytest.raises(WherryError) as caught:
        packaged(files)
    text = str(caught.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == [], text


def test_signatures_that_cannot_be_read_are_refused(bundle: Bundle, key: SigningKey) -> None:
    files = extracted(sign_bundle(bundle, key))
    files["signatures/image-signatures.cbor"] = b"\xff"
    with pytest.raises(WherryError):
        packaged(files)
