"""MCUboot images: built in stages, verified by threshold, the same as imgtool's."""

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.errors import DecodeError, LimitError, TrustError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.mcuboot import (
    ImageVersion,
    assemble_image,
    build_image,
    image_digest,
    make_header,
    parse_image,
    sign_digest,
    verify_image,
)

KEYS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in range(3))
PUBLIC = [key.public for key in KEYS]
VERSION = ImageVersion(1, 2, 3)
PAYLOAD = b"a program" * 20


@given(st.binary(min_size=1, max_size=500), st.integers(0, 255), st.integers(0, 65535))
def test_what_is_built_is_parsed_again(payload: bytes, major: int, revision: int) -> None:
    version = ImageVersion(major, 0, revision, 7)
    image = parse_image(build_image(payload, version, KEYS[:1]))
    assert (image.payload, image.version, image.digest) == (payload, version, image.stated_digest)


def test_the_stages_give_the_same_image_as_all_at_once() -> None:
    header = make_header(len(PAYLOAD), VERSION)
    digest = image_digest(header, PAYLOAD)
    assert digest == sha256(header + PAYLOAD).digest()
    signatures = [sign_digest(key, digest) for key in KEYS[:2]]
    assert assemble_image(header, PAYLOAD, signatures) == build_image(PAYLOAD, VERSION, KEYS[:2])


@pytest.mark.parametrize(
    ("signers", "trusted", "threshold", "is_trusted"),
    [
        (KEYS[:1], PUBLIC[:1], 1, True),
        (KEYS[:2], PUBLIC[:2], 2, True),
        (KEYS[:2], PUBLIC[1:2], 1, True),
        (KEYS[:1], PUBLIC[:2], 2, False),
        ((KEYS[0], KEYS[0]), PUBLIC[:2], 2, False),
        ((KEYS[0], KEYS[2]), PUBLIC[:2], 2, False),
        ((), PUBLIC, 1, False),
        ((), PUBLIC, 0, False),
        (KEYS[:1], [], 1, False),
    ],
    ids=[
        "one of one", "two of two", "one of two known", "one where two are needed",
        "one twice", "one and a stranger", "nobody", "a threshold of zero means one",
        "nobody is trusted",
    ],
)  # fmt: skip
def test_only_enough_different_trusted_signers_make_an_image_trusted(
    signers: tuple[SigningKey, ...], trusted: list[bytes], threshold: int, is_trusted: bool
) -> None:
    image = build_image(PAYLOAD, VERSION, signers)
    if is_trusted:
        assert verify_image(image, trusted, threshold).payload == PAYLOAD
    else:
        with pytest.raises(TrustError, match="trusted signers"):
            verify_image(image, trusted, threshold)


@pytest.mark.parametrize("at", range(len(build_image(PAYLOAD, VERSION, KEYS[:1]))))
def test_no_flipped_byte_leaves_an_image_trusted(at: int) -> None:
    image = bytearray(build_image(PAYLOAD, VERSION, KEYS[:1]))
    image[at] ^= 1
    with pytest.raises(WherryError):
        verify_image(bytes(image), PUBLIC[:1], 1)


@pytest.mark.parametrize("size", [0, 31, 32, 100, 215, 219, 255])
def test_an_image_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        parse_image(build_image(PAYLOAD, VERSION, KEYS[:1])[:size])


def test_extra_data_is_refused_unless_it_is_erased_flash() -> None:
    image = build_image(PAYLOAD, VERSION, KEYS[:1])
    assert verify_image(image + b"\xff" * 9, PUBLIC[:1], 1).payload == PAYLOAD
    with pytest.raises(DecodeError, match="1 bytes follow"):
        parse_image(image + b"\0")


def test_a_version_part_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LimitError, match="major is 256"):
        ImageVersion(256, 0, 0)


def test_an_empty_payload_is_refused() -> None:
    with pytest.raises(LimitError, match="payload of 0 bytes"):
        make_header(0, VERSION)


@pytest.fixture
def imgtool(oracle_python: Path) -> Path:
    program = oracle_python.parent / "imgtool"
    if not program.exists():
        pytest.skip("no imgtool in .venv-oracles: `make setup-oracles` installs it")
    return program


def run(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(program), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_keys(folder: Path) -> None:
    for index, key in enumerate(KEYS):
        (folder / f"key{index}.pem").write_bytes(key.to_pem())


def test_imgtool_accepts_our_image_with_the_key_of_any_signer(
    imgtool: Path, tmp_path: Path
) -> None:
    write_keys(tmp_path)
    (tmp_path / "ours.bin").write_bytes(build_image(PAYLOAD, VERSION, KEYS[:2]))
    for index in (0, 1):
        words = run(imgtool, tmp_path, "verify", "-k", f"key{index}.pem", "ours.bin")
        assert "correctly validated" in words
        assert "1.2.3" in words


def test_imgtool_refuses_our_image_with_the_key_of_a_stranger(
    imgtool: Path, tmp_path: Path
) -> None:
    write_keys(tmp_path)
    (tmp_path / "ours.bin").write_bytes(build_image(PAYLOAD, VERSION, KEYS[:2]))
    done = subprocess.run(
        [str(imgtool), "verify", "-k", "key2.pem", "ours.bin"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0


@pytest.mark.parametrize("more", [(), ("--security-counter", "3")], ids=["plain", "protected TLVs"])
def test_we_accept_imgtools_image(imgtool: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    write_keys(tmp_path)
    (tmp_path / "payload.bin").write_bytes(PAYLOAD)
    run(
        imgtool, tmp_path, "sign", "--key", "key0.pem", "--header-size", "32", "--pad-header",
        "--slot-size", "65536", "--version", "1.2.3", *more, "payload.bin", "theirs.bin",
    )  # fmt: skip
    theirs = (tmp_path / "theirs.bin").read_bytes()
    assert verify_image(theirs, PUBLIC[:1], 1).payload == PAYLOAD
    if not more:
        assert theirs == build_image(PAYLOAD, VERSION, KEYS[:1])
