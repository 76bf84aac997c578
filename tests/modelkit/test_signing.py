"""Signing and verifying: thresholds, distinct keys, and everything that a signature pins."""

from dataclasses import replace
from hashlib import sha256

import pytest
from wherry_controller.modelkit.signing import sign_bundle, verify_bundle
from wherry_native.compiler import CompiledModel
from wherry_protocol import mcuboot
from wherry_protocol.bundle import Bundle, program_image
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, ContractError, TrustError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import Role

from tests.modelkit.made import bundle_of, organization

KEYS = [SigningKey.from_seed(bytes([n]) * 32) for n in range(1, 4)]


def signed(bundle: Bundle, *keys: SigningKey) -> Bundle:
    for key in keys:
        bundle = sign_bundle(bundle, key)
    return bundle


def test_a_bundle_that_enough_keys_signed_is_trusted(bundle: Bundle) -> None:
    checked = verify_bundle(signed(bundle, *KEYS[:2]), organization(KEYS, 2))
    assert checked.is_trusted
    assert checked.signer_ids == (KEYS[0].id, KEYS[1].id)
    assert (checked.golden_count, checked.digest) == (4, bundle.digest)


def test_without_a_root_nobody_is_believed(bundle: Bundle) -> None:
    checked = verify_bundle(bundle, None)
    assert not checked.is_trusted
    assert checked.signer_ids == ()


def test_signing_keeps_the_bundles_identity(bundle: Bundle) -> None:
    assert signed(bundle, *KEYS).digest == bundle.digest


@pytest.mark.parametrize(
    "keys",
    [[], KEYS[:1], [KEYS[0], KEYS[0]], [KEYS[0], SigningKey.from_seed(bytes([9]) * 32)]],
    ids=["unsigned", "one of two", "one twice", "one and a stranger"],
)
def test_key_loss_below_threshold_a_bundle_without_enough_distinct_keys_is_refused(
    keys: list[SigningKey], bundle: Bundle
) -> None:
    with pytest.raises(TrustError):
        verify_bundle(signed(bundle, *keys), organization(KEYS, 2))


def test_a_microcontrollers_image_is_signed_once_by_each_key(compiled: CompiledModel) -> None:
    bundle = bundle_of(compiled, "microcontroller = true\n")
    twice = signed(bundle, KEYS[0], KEYS[1], KEYS[0])
    assert [s.key for s in twice.image_signatures] == [KEYS[1].public, KEYS[0].public]
    digest = mcuboot.image_digest(bundle.pieces(Role.IMAGE_HEADER), program_image(bundle))
    assert mcuboot.sign_digest(KEYS[0], digest) in twice.image_signatures


def test_mix_and_match_an_exchanged_blob_is_refused(bundle: Bundle) -> None:
    first, *rest = bundle.blobs
    exchanged = replace(bundle, blobs={first: b"other", **{d: bundle.blobs[d] for d in rest}})
    with pytest.raises(TrustError) as caught:
        verify_bundle(signed(exchanged, KEYS[0]), organization(KEYS, 1))
    assert caught.value.code is Code.DIGEST


def with_golden(bundle: Bundle, outputs: bytes) -> Bundle:
    """The bundle with other golden outputs, everything else true to them."""
    old = next(b for b in bundle.manifest.blobs if b.role == Role.GOLDEN_OUTPUTS)
    new = replace(old, digest=sha256(outputs).digest(), size_bytes=len(outputs))
    blobs = tuple(new if blob == old else blob for blob in bundle.manifest.blobs)
    manifest = replace(bundle.manifest, blobs=blobs)
    contents = {d: c for d, c in bundle.blobs.items() if d != old.digest}
    return Bundle(encode(manifest), b"", (), contents | {new.digest: outputs})


def test_a_golden_vector_that_the_engine_does_not_give_is_named(bundle: Bundle) -> None:
    outputs = bytearray(bundle.pieces(Role.GOLDEN_OUTPUTS))
    outputs[13] ^= 1
    wrong = with_golden(bundle, bytes(outputs))
    with pytest.raises(ContractError, match=r"golden vector 1: output byte 3 is \d+, must be"):
        verify_bundle(wrong, None)


def test_golden_outputs_of_another_length_are_refused(bundle: Bundle) -> None:
    wrong = with_golden(bundle, bundle.pieces(Role.GOLDEN_OUTPUTS)[:-1])
    with pytest.raises(ContractError) as caught:
        verify_bundle(wrong, None)
    assert caught.value.code is Code.GOLDEN_MISMATCH


def test_a_contract_of_another_size_than_the_program_is_refused(bundle: Bundle) -> None:
    tensor = replace(bundle.manifest.contract.inputs[0], shape=(1, 8, 9, 1))
    contract = replace(bundle.manifest.contract, inputs=(tensor,))
    wrong = replace(bundle, manifest_bytes=encode(replace(bundle.manifest, contract=contract)))
    with pytest.raises(ContractError, match="input has 72 bytes, the program's has 64"):
        verify_bundle(wrong, None)


def test_a_program_digest_that_does_not_hold_is_refused(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, program_digest=bytes(32))
    with pytest.raises(WherryError, match="program digest"):
        verify_bundle(replace(bundle, manifest_bytes=encode(manifest)), None)
