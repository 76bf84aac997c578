"""Packaging: what is derived, what is checked, and that the same inputs give the same bundle."""

from dataclasses import replace

import pytest
from wherry_controller.modelkit.packaging import (
    golden_outputs,
    load_program,
    quantized,
    seeded_inputs,
)
from wherry_native.compiler import CompiledModel
from wherry_native.engine import Program
from wherry_protocol import mcuboot
from wherry_protocol.bundle import Bundle, program_image, read_bundle, write_bundle
from wherry_protocol.errors import Code, ContractError, DecodeError
from wherry_protocol.manifest import Role

from tests.modelkit.made import bundle_of


def test_the_same_inputs_give_the_same_bundle(compiled: CompiledModel, bundle: Bundle) -> None:
    assert write_bundle(bundle_of(compiled)) == write_bundle(bundle)


def test_a_bundle_reads_back_from_its_file(bundle: Bundle) -> None:
    assert read_bundle(write_bundle(bundle)) == bundle


def test_what_only_the_program_knows_is_derived_from_it(
    compiled: CompiledModel, bundle: Bundle
) -> None:
    manifest, program = bundle.manifest, Program(compiled.image)
    assert program_image(bundle) == compiled.image
    assert manifest.arena_bytes == program.arena_bytes
    assert manifest.golden_count == 4
    assert [t.name for t in manifest.contract.inputs] == ["image"]
    assert manifest.contract.inputs[0].shape == (1, 8, 8, 1)


def test_golden_outputs_are_the_engines_own(compiled: CompiledModel, bundle: Bundle) -> None:
    program = Program(compiled.image)
    expected = b"".join(program.run(sample) for sample in compiled.sample_inputs[:4])
    assert bundle.pieces(Role.GOLDEN_OUTPUTS) == expected
    assert len(set(compiled.sample_inputs[:4])) == 4


def test_a_derived_field_that_lies_is_made_true(compiled: CompiledModel, bundle: Bundle) -> None:
    lie = replace(bundle.manifest, arena_bytes=1, golden_count=9, program_digest=bytes(32))
    assert bundle_of(compiled, manifest=lie) == bundle


def test_every_layer_is_a_blob_of_its_own_so_that_a_retrained_head_sends_only_itself(
    bundle: Bundle, compiled: CompiledModel
) -> None:
    names = [blob.name for blob in bundle.manifest.blobs if blob.role == Role.PROGRAM]
    assert names == ["structure.program", "layer0.weights", "layer1.weights", "layer2.weights"]
    changed = compiled.image[:-1] + bytes([compiled.image[-1] ^ 1])
    retrained = bundle_of(compiled, image=changed)
    kept = bundle.blobs.keys() & retrained.blobs.keys()
    kept_names = {blob.name for blob in bundle.manifest.blobs if blob.digest in kept}
    assert {"layer0.weights", "layer1.weights"} <= kept_names
    assert "layer2.weights" not in kept_names


def test_a_microcontrollers_bundle_starts_with_a_header_of_its_version(
    compiled: CompiledModel,
) -> None:
    bundle = bundle_of(compiled, "microcontroller = true\n")
    header = bundle.pieces(Role.IMAGE_HEADER)
    assert header == mcuboot.make_header(len(compiled.image), mcuboot.ImageVersion(1, 0, 0))


def test_real_limits_are_quantized_by_the_outputs_own_scale(bundle: Bundle) -> None:
    contract = bundle.manifest.contract
    assert (contract.valid_min, contract.valid_max) == (-128, 127)


@pytest.mark.parametrize(("value", "step"), [(0.0, -128), (0.5, 0), (1e9, 127), (-1e9, -128)])
def test_a_real_value_becomes_the_nearest_step_and_saturates(
    value: float, step: int, compiled: CompiledModel
) -> None:
    assert quantized(value, Program(compiled.image).outputs[0]) == step


def test_seeded_inputs_are_whole_and_always_the_same(compiled: CompiledModel) -> None:
    program = Program(compiled.image)
    assert len(seeded_inputs(program, 3)) == 3 * program.input_bytes
    assert seeded_inputs(program, 3) == seeded_inputs(program, 3)


def test_a_bundle_without_golden_vectors_is_refused(compiled: CompiledModel) -> None:
    with pytest.raises(ContractError, match="at least one golden vector"):
        bundle_of(compiled, golden_inputs=b"")


def test_golden_inputs_that_are_not_whole_are_refused(compiled: CompiledModel) -> None:
    with pytest.raises(ContractError, match="65 bytes, must be a multiple of the input's 64"):
        golden_outputs(Program(compiled.image), bytes(65))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("safe_output = [0.0]\n", "safe_output has 1 bytes, the model's output has 10"),
        ("", "valid range is empty"),
    ],
)
def test_a_contract_that_cannot_hold_is_refused(
    more: str, words: str, compiled: CompiledModel, bundle: Bundle
) -> None:
    contract = replace(bundle.manifest.contract, valid_min=5, valid_max=4)
    changed = {} if more else {"manifest": replace(bundle.manifest, contract=contract)}
    with pytest.raises(ContractError, match=words):
        bundle_of(compiled, more, **changed)


def test_a_program_that_the_engine_refuses_is_a_decode_error(compiled: CompiledModel) -> None:
    with pytest.raises(DecodeError) as caught:
        load_program(compiled.image[:100])
    assert caught.value.code is Code.PROGRAM
