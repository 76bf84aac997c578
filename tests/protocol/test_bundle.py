"""The container: one canonical form, and every path trick refused."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.bundle import Bundle, program_image, read_bundle, write_bundle
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, DecodeError, TrustError, WherryError
from wherry_protocol.manifest import Blob, Role
from wherry_protocol.trust import open_manifest, start

from tests.protocol.examples import (
    ASSIGNMENT,
    ENROL_ANSWER,
    MANIFEST,
    MANIFEST_SIGNATURES,
    PROGRAM,
)

BLOB = sha256(PROGRAM).digest()
STATE = start("acme", ENROL_ANSWER.roots)
BUNDLE = Bundle(encode(MANIFEST), MANIFEST_SIGNATURES, ASSIGNMENT.image_signatures, {BLOB: PROGRAM})
FILE = write_bundle(BUNDLE)
MEMBERS = {
    "manifest.cbor": BUNDLE.manifest_bytes,
    "signatures.cose": BUNDLE.signatures,
    f"blobs/{BLOB.hex()}": PROGRAM,
}


def as_it_is(info: tarfile.TarInfo) -> None:
    """No change: tarfile's own defaults are the canonical ones."""
    assert info.mtime == 0


def tar(
    members: list[tuple[str, bytes]],
    change: Callable[[tarfile.TarInfo], None] = as_it_is,
    tar_format: int = tarfile.USTAR_FORMAT,
) -> bytes:
    """A tar as somebody else would write it; `change` edits each header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def unpadded(data: bytes) -> bytes:
    """Without tarfile's padding to 10 KiB, so that only the trick under test is wrong."""
    return data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512 + 1024)


def test_a_bundle_file_reads_back_and_writes_the_same_bytes() -> None:
    assert read_bundle(FILE) == BUNDLE
    assert write_bundle(read_bundle(FILE)) == FILE
    assert program_image(BUNDLE) == PROGRAM
    assert BUNDLE.digest == sha256(BUNDLE.manifest_bytes).digest()


def test_a_plain_tar_with_the_same_members_is_a_bundle() -> None:
    unsigned = write_bundle(replace(BUNDLE, image_signatures=()))
    assert unpadded(tar(list(MEMBERS.items()))) == unsigned


def link(info: tarfile.TarInfo) -> None:
    if info.name.startswith("blobs/"):
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def hard_link(info: tarfile.TarInfo) -> None:
    if info.name.startswith("blobs/"):
        info.type, info.linkname, info.size = tarfile.LNKTYPE, "manifest.cbor", 0


def device_node(info: tarfile.TarInfo) -> None:
    if info.name.startswith("blobs/"):
        info.type, info.size = tarfile.CHRTYPE, 0


def dated(info: tarfile.TarInfo) -> None:
    info.mtime = 1


def owned(info: tarfile.TarInfo) -> None:
    info.uname = "root"


def executable(info: tarfile.TarInfo) -> None:
    info.mode = 0o755


@pytest.mark.parametrize("change", [link, hard_link, device_node, dated, owned, executable])
def test_path_tricks_attack_in_a_member_s_header(change: Callable[[tarfile.TarInfo], None]) -> None:
    with pytest.raises(DecodeError) as caught:
        read_bundle(unpadded(tar(list(MEMBERS.items()), change)))
    assert caught.value.code is Code.CONTAINER


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "blobs/../manifest.cbor",
        "./manifest.cbor",
        "MANIFEST.CBOR",
        f"blobs/{BLOB.hex().upper()}",
        f"blobs/{BLOB.hex()}/x",
        "blobs/",
        "extra.txt",
        "blobs\\evil",
        "",
    ],
)
def test_path_tricks_attack_in_a_member_s_name(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_bundle(unpadded(tar([*MEMBERS.items(), (name, b"evil")])))
    assert caught.value.code is Code.CONTAINER


def test_path_tricks_attack_a_member_that_is_there_twice() -> None:
    with pytest.raises(DecodeError, match="there twice"):
        read_bundle(unpadded(tar([*MEMBERS.items(), ("manifest.cbor", b"evil")])))


def test_path_tricks_attack_members_in_another_order() -> None:
    with pytest.raises(DecodeError, match="canonical"):
        read_bundle(unpadded(tar(list(reversed(MEMBERS.items())))))


def test_path_tricks_attack_extended_headers() -> None:
    long_name = ("blobs/" + "a" * 300, b"evil")
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with pytest.raises(DecodeError):
            read_bundle(unpadded(tar([*MEMBERS.items(), long_name], tar_format=tar_format)))


def test_extra_data_attack_bytes_after_the_end_are_refused() -> None:
    for more in (b"x", bytes(512), FILE):
        with pytest.raises(DecodeError):
            read_bundle(FILE + more)


def test_endless_data_attack_a_member_larger_than_its_file_is_refused_unread() -> None:
    def huge(info: tarfile.TarInfo) -> None:
        info.size = 1 << 33

    header = tarfile.TarInfo("manifest.cbor")
    huge(header)
    with pytest.raises(DecodeError, match="says 8589934592 bytes"):
        read_bundle(header.tobuf(tarfile.GNU_FORMAT, "ascii", "strict") + bytes(2048))


def test_decompression_bomb_attack_a_compressed_bundle_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("manifest.cbor"))
    with pytest.raises(DecodeError, match="not a tar member"):
        read_bundle(out.getvalue())


def test_mix_and_match_attack_a_blob_of_another_bundle_is_refused() -> None:
    other = b"another program of 32 bytes ...."
    mixed = [*list(MEMBERS.items())[:2], (f"blobs/{BLOB.hex()}", other)]
    with pytest.raises(TrustError, match="its bytes are not") as caught:
        read_bundle(unpadded(tar(mixed)))
    assert caught.value.code is Code.DIGEST


def test_partial_bundle_attack_a_missing_blob_is_named() -> None:
    with pytest.raises(DecodeError, match=f"blob structure .{BLOB.hex()}. is missing"):
        read_bundle(unpadded(tar(list(MEMBERS.items())[:2])))


def test_a_blob_that_the_manifest_does_not_name_is_refused() -> None:
    extra = b"extra"
    name = f"blobs/{sha256(extra).hexdigest()}"
    members = sorted([*MEMBERS.items(), (name, extra)], key=lambda m: (m[0] < "c", m[0]))
    with pytest.raises(DecodeError, match="is not in the manifest"):
        read_bundle(unpadded(tar(members)))


def test_pieces_that_do_not_add_up_to_the_program_digest_are_refused() -> None:
    wrong = replace(MANIFEST, program_digest=bytes(32))
    with pytest.raises(TrustError, match="do not add up"):
        program_image(replace(BUNDLE, manifest_bytes=encode(wrong)))


def test_the_same_content_under_two_names_is_one_blob() -> None:
    again = Blob(role=Role.ASSET, name="copy.bin", digest=BLOB, size_bytes=len(PROGRAM))
    manifest = replace(MANIFEST, blobs=(*MANIFEST.blobs, again))
    bundle = replace(BUNDLE, manifest_bytes=encode(manifest))
    assert read_bundle(write_bundle(bundle)) == bundle


@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused_or_breaks_the_signature(place: int, value: int) -> None:
    data = bytearray(FILE)
    data[place] = value
    try:
        bundle = read_bundle(bytes(data))
    except WherryError:
        return
    if bundle.digest != BUNDLE.digest:
        with pytest.raises(WherryError):
            open_manifest(STATE, BUNDLE.digest, bundle.manifest_bytes, bundle.signatures)
        return
    assert replace(bundle, signatures=b"", image_signatures=()) == replace(
        BUNDLE, signatures=b"", image_signatures=()
    )


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(DecodeError, match="the file is empty"):
        read_bundle(b"")


@given(st.binary(max_size=3000))
def test_random_bytes_are_no_bundle(data: bytes) -> None:
    with pytest.raises(WherryError):
        read_bundle(data)
