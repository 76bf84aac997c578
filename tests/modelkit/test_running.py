"""Running a bundle on arrays: steps in and out, real units in and out, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from wherry_controller.modelkit.inspection import described
from wherry_controller.modelkit.running import run_bundle, steps
from wherry_controller.modelkit.signing import sign_bundle
from wherry_native.engine import Program, TensorInfo
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.errors import ContractError
from wherry_protocol.keys import SigningKey


@pytest.fixture(scope="module")
def images(digits: Path) -> np.ndarray:
    data = np.load(digits / "digits.npz")
    found: np.ndarray = data["test_images"][:20].astype(np.float32)[..., None] / 16
    return found


def test_steps_give_the_engines_steps(bundle: Bundle, images: np.ndarray) -> None:
    steps = np.round(images * 255 - 128).astype(np.int8)
    found = run_bundle(bundle, steps)
    program = Program(program_image(bundle))
    assert (found.dtype, found.shape) == (np.int8, (20, 10))
    assert found.tobytes() == b"".join(program.run(row.tobytes()) for row in steps)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_real_units_give_real_units(dtype: type, bundle: Bundle, images: np.ndarray) -> None:
    found = run_bundle(bundle, images.astype(dtype))
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(1.0, abs=0.05)


def test_the_model_reads_held_out_digits(bundle: Bundle, digits: Path, images: np.ndarray) -> None:
    labels = np.load(digits / "digits.npz")["test_labels"][:20]
    assert (run_bundle(bundle, images).argmax(axis=1) == labels).mean() > 0.8


@pytest.mark.parametrize("shape", [(20, 8, 8, 1), (20, 1, 8, 8, 1), (20, 64)])
def test_a_batch_axis_and_flat_samples_are_the_same_bytes(
    shape: tuple[int, ...], bundle: Bundle, images: np.ndarray
) -> None:
    assert (run_bundle(bundle, images.reshape(shape)) == run_bundle(bundle, images)).all()


def test_no_samples_give_no_outputs(bundle: Bundle, images: np.ndarray) -> None:
    assert run_bundle(bundle, images[:0]).shape == (0, 10)


def test_values_beyond_the_range_saturate(bundle: Bundle, images: np.ndarray) -> None:
    full = np.where(images > 0, 1e9, -1e9)
    edge = np.where(images > 0, 1.0, 0.0)
    assert (run_bundle(bundle, full) == run_bundle(bundle, edge)).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 1, 8, 8), np.float32), r"\[20, 1, 8, 8\].*give X.transpose\(0, 2, 3, 1\)"),
        (np.zeros((8, 8, 1), np.float32), r"\[8, 8, 1\].*X\[None\] for one"),
        (np.zeros((20, 9, 8, 1), np.float32), r"must be \[n, 8, 8, 1\] \(channels last\)$"),
        (np.float32(1.0), r"shape \[\]"),
        (np.zeros((20, 8, 8, 1), np.uint8), "uint8, must be int8"),
        (np.zeros((20, 8, 8, 1), np.int64), "int64, must be int8"),
        (np.zeros((20, 8, 8, 1), bool), "bool, must be int8"),
        (np.full((1, 8, 8, 1), np.nan), "not finite"),
        (np.full((1, 8, 8, 1), np.inf), "not finite"),
    ],
)
def test_an_array_that_does_not_fit_is_told_what_does(
    array: np.ndarray, words: str, bundle: Bundle
) -> None:
    with pytest.raises(ContractError, match=words):
        run_bundle(bundle, np.asarray(array))


def test_images_for_a_program_in_the_files_order_are_told_so() -> None:
    tensor = TensorInfo("x", "int8", (1, 3, 5, 4), 0.1, 0, 60)
    words = r"\[n, 3, 5, 4\] \(the file's order\): give X.transpose\(0, 3, 1, 2\)"
    with pytest.raises(ContractError, match=words):
        steps(np.zeros((20, 5, 4, 3), np.float32), tensor)


def test_inspection_shows_members_program_and_signers(bundle: Bundle, key: SigningKey) -> None:
    shown = described(sign_bundle(bundle, key))
    program = Program(program_image(bundle))
    assert shown["digest"] == bundle.digest.hex()
    assert shown["signers"] == [key.id.hex()]
    assert shown["program"]["arena_bytes"] == program.arena_bytes
    assert shown["program"]["macs"] == 23_680  # examples/digits/models.json
    assert [m["size_bytes"] for m in shown["members"]] == [
        blob.size_bytes for blob in bundle.manifest.blobs
    ]
    assert shown["manifest"]["contract"]["inputs"][0]["shape"] == [1, 8, 8, 1]
