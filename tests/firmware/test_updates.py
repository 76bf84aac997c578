"""Images come, are tried, stay or go; what does not hold is refused and leaves the rest alone."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from wherry_protocol.errors import DecodeError
from wherry_protocol.keys import SigningKey
from wherry_protocol.mcuboot import (
    ImageVersion,
    assemble_image,
    build_image,
    image_digest,
    make_header,
    parse_image,
    sign_digest,
)
from wherry_protocol.smp import (
    ImageCode,
    RefusedError,
    confirm_image,
    erase_image,
    infer,
    read_slots,
    reset,
    statistics,
    try_image,
    upload_chunk,
)

from tests.firmware.conftest import KEYS, Start
from tests.firmware.device import Device, provisioning, run_to_end
from tests.firmware.programs import shifted, shifting_program

DATA = bytes(range(16))


def image(shift: int, *keys: SigningKey, steps: int = 4) -> bytes:
    """Version 1.`shift`.0, which adds `shift` to every value in each of its steps."""
    program = shifting_program(shift, steps=steps)
    return build_image(program, ImageVersion(1, shift, 0), keys or KEYS[:1])


def runs(device: Device, shift: int, steps: int = 4) -> bool:
    answer = device.ask(infer(DATA))
    return answer.output == shifted(DATA, shift * steps) and answer.version == f"1.{shift}.0"


def digest(data: bytes) -> bytes:
    return parse_image(data).digest


def install(device: Device, data: bytes) -> None:
    device.upload(data)
    device.ask(try_image(digest(data)))
    device.ask(reset())
    device.ask(confirm_image())


def refused(code: ImageCode, action: Callable[[], object]) -> None:
    with pytest.raises(RefusedError) as caught:
        action()
    assert (caught.value.group, caught.value.rc) == (1, code)


def test_a_new_device_runs_nothing_until_an_image_is_tried(start: Start) -> None:
    device = start()
    assert device.ask(read_slots()) == ()
    assert device.ask(statistics()).boot_action == "hold"
    with pytest.raises(RefusedError, match="NO_MODEL"):
        device.ask(infer(DATA))
    device.upload(image(1))
    with pytest.raises(RefusedError, match="NO_MODEL"):
        device.ask(infer(DATA))
    device.ask(try_image(digest(image(1))))
    device.ask(reset())
    assert runs(device, 1)


def test_an_image_that_is_confirmed_stays(start: Start) -> None:
    device = start()
    install(device, image(1))
    device.ask(reset())
    assert device.ask(statistics()).boot_action == "run"
    assert runs(device, 1)
    (slot,) = device.ask(read_slots())
    assert (slot.is_active, slot.is_confirmed, slot.slot) == (True, True, 0)


def test_a_trial_that_is_not_confirmed_reverts_at_the_next_boot(start: Start) -> None:
    device = start()
    install(device, image(1))
    device.upload(image(2))
    device.ask(try_image(digest(image(2))))
    assert runs(device, 1)  # until the reset nothing changes
    device.ask(reset())
    assert runs(device, 2)
    running, way_back = device.ask(read_slots())
    assert (running.is_active, running.is_confirmed) == (True, False)
    assert (way_back.is_active, way_back.is_confirmed) == (False, True)
    device.ask(reset())
    assert device.ask(statistics()).boot_action == "revert"
    assert runs(device, 1)


def test_the_way_back_cannot_be_overwritten_during_a_trial(start: Start) -> None:
    device = start()
    install(device, image(1))
    device.upload(image(2))
    device.ask(try_image(digest(image(2))))
    refused(ImageCode.NO_FREE_SLOT, lambda: device.upload(image(3)))
    device.ask(reset())
    refused(ImageCode.NO_FREE_SLOT, lambda: device.upload(image(3)))
    refused(ImageCode.NO_FREE_SLOT, lambda: device.ask(erase_image()))
    device.ask(reset())
    assert runs(device, 1)


def test_confirming_an_image_before_it_ran_boots_it_for_good(start: Start) -> None:
    device = start()
    install(device, image(1))
    device.upload(image(2))
    slots = device.ask(confirm_image(digest(image(2))))
    assert (slots[1].is_pending, slots[1].is_permanent) == (True, True)
    refused(ImageCode.ALREADY_PENDING, lambda: device.ask(try_image(digest(image(2)))))
    device.ask(reset())
    device.ask(reset())
    assert runs(device, 2)


def test_the_previous_image_can_be_brought_back(start: Start) -> None:
    device = start()
    install(device, image(1))
    install(device, image(2))
    assert runs(device, 2)
    device.ask(try_image(digest(image(1))))
    device.ask(reset())
    device.ask(confirm_image())
    device.ask(reset())
    assert runs(device, 1)


def test_an_erased_slot_is_empty_and_the_running_image_stays(start: Start) -> None:
    device = start()
    install(device, image(1))
    install(device, image(2))
    device.ask(erase_image())
    assert [slot.slot for slot in device.ask(read_slots())] == [0]
    device.ask(reset())
    assert runs(device, 2)


def unsigned(data: bytes) -> bytes:
    parsed = parse_image(data)
    return build_image(parsed.payload, parsed.version, [])


def tampered(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def resealed(data: bytes) -> bytes:
    """Another payload, an honest digest of it, and the signature of the first one."""
    other = bytearray(tampered(data))
    hashed = parse_image(data).payload
    end = 32 + len(hashed)
    other[end + 8 : end + 40] = sha256(other[:end]).digest()
    return bytes(other)


NO_PROGRAM = build_image(b"no program" * 8, ImageVersion(1, 2, 0), KEYS[:1])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (unsigned(image(2)), ImageCode.NOT_ENOUGH_SIGNATURES),
        (image(2, KEYS[2]), ImageCode.NOT_ENOUGH_SIGNATURES),
        (tampered(image(2)), ImageCode.INVALID_HASH),
        (resealed(image(2)), ImageCode.NOT_ENOUGH_SIGNATURES),
        (NO_PROGRAM, ImageCode.INVALID_PROGRAM),
    ],
    ids=["unsigned", "signed by a stranger", "tampered", "tampered and resealed", "no program"],
)  # fmt: skip
def test_arbitrary_software_never_becomes_pending(
    start: Start, bad: bytes, code: ImageCode
) -> None:
    device = start()
    install(device, image(1))
    device.upload(bad)
    stated = parse_image(bad).stated_digest
    refused(code, lambda: device.ask(try_image(stated)))
    refused(code, lambda: device.ask(confirm_image(stated)))
    device.ask(reset())
    assert runs(device, 1)


def test_one_key_cannot_stand_for_two_signers(start: Start) -> None:
    device = start(threshold=2)
    for data in (image(1, KEYS[0]), image(1, KEYS[0], KEYS[0]), image(1, KEYS[0], KEYS[2])):
        device.upload(data)
        refused(
            ImageCode.NOT_ENOUGH_SIGNATURES,
            lambda data=data: device.ask(try_image(digest(data))),  # type: ignore[misc]
        )
    install(device, image(1, KEYS[1], KEYS[0]))
    assert runs(device, 1)


def test_a_flash_without_keys_runs_nothing(sanitized: Path, tmp_path: Path) -> None:
    with Device(sanitized, tmp_path / "flash") as device:
        device.upload(image(1))
        refused(ImageCode.NOT_ENOUGH_SIGNATURES, lambda: device.ask(try_image(digest(image(1)))))


def announce(data: bytes, **changes: object) -> dict[str, object]:
    return {"image": 0, "len": len(data), "sha": sha256(data).digest(), **changes}


@pytest.mark.parametrize(
    ("data", "changes", "code"),
    [
        (b"\0" * 64, {}, ImageCode.WRONG_MAGIC),
        (image(2)[:16], {}, ImageCode.INVALID_IMAGE_HEADER),
        (image(2)[:64], {"len": 1 << 20}, ImageCode.TOO_LARGE),
        (image(2)[:64], {"len": 100}, ImageCode.INVALID_IMAGE_HEADER),
        (image(2)[:64], {"image": 1}, ImageCode.INVALID_SLOT),
        (image(2)[:64], {"sha": b"short"}, ImageCode.INVALID_LENGTH),
        (image(2) + b"more", {"len": len(image(2))}, ImageCode.DATA_OVERRUN),
        (image(1), {"upgrade": True}, ImageCode.CURRENT_VERSION_IS_NEWER),
    ],
    ids=[
        "wrong magic", "no whole header", "larger than a slot", "header beyond the length",
        "another image number", "sha of a wrong length",
        "endless data", "no upgrade",
    ],
)  # fmt: skip
def test_an_upload_that_cannot_succeed_is_refused_at_its_first_byte(
    start: Start, data: bytes, changes: dict[str, object], code: ImageCode
) -> None:
    device = start()
    install(device, image(1))
    refused(code, lambda: device.ask(upload_chunk(0, data, announce(data, **changes))))
    device.ask(reset())
    assert runs(device, 1)


def test_a_program_that_needs_more_memory_is_refused(start: Start) -> None:
    device = start("--arena-size", "16")
    device.upload(image(1))
    refused(ImageCode.NO_FREE_MEMORY, lambda: device.ask(try_image(digest(image(1)))))


def test_a_boot_with_too_little_memory_forgets_nothing(start: Start) -> None:
    device = start()
    install(device, image(1))
    device.stop()
    device = start("--arena-size", "16")
    assert device.ask(statistics()).boot_action == "hold"
    device.stop()
    device = start()
    assert runs(device, 1)
    assert device.ask(statistics()).is_confirmed


def test_an_unknown_digest_is_no_image(start: Start) -> None:
    device = start()
    refused(ImageCode.NO_IMAGE, lambda: device.ask(try_image(bytes(32))))
    refused(ImageCode.NO_IMAGE, lambda: device.ask(confirm_image()))


def test_the_running_image_cannot_be_tried(start: Start) -> None:
    device = start()
    install(device, image(1))
    refused(ImageCode.TEST_OF_ACTIVE, lambda: device.ask(try_image(digest(image(1)))))


def test_bytes_that_changed_on_flash_are_noticed_at_boot(start: Start, tmp_path: Path) -> None:
    device = start()
    install(device, image(1))
    install(device, image(2))
    device.stop()
    damage(tmp_path / "flash", image(2))
    device = start()
    assert device.ask(statistics()).boot_action == "fall back"
    assert runs(device, 1)


def damage(flash: Path, data: bytes) -> None:
    """Flips a bit in the program of an image that lies in a slot."""
    whole = bytearray(flash.read_bytes())
    whole[whole.find(data) + 300] ^= 1
    flash.write_bytes(whole)


def test_an_image_that_was_only_uploaded_is_no_way_back(start: Start, tmp_path: Path) -> None:
    device = start()
    install(device, image(1))
    install(device, image(2))
    device.upload(image(3))  # where the good image 1 was
    device.stop()
    damage(tmp_path / "flash", image(2))
    device = start()
    assert device.ask(statistics()).boot_action == "hold"
    with pytest.raises(RefusedError, match="NO_MODEL"):
        device.ask(infer(DATA))
    device.ask(confirm_image(digest(image(3))))
    device.ask(reset())
    assert runs(device, 3)


def test_a_damaged_state_record_leaves_the_one_before_it(start: Start, tmp_path: Path) -> None:
    device = start()
    install(device, image(1))
    install(device, image(2))
    device.stop()
    flash = tmp_path / "flash"
    whole = bytearray(flash.read_bytes())
    last = max(at for at in range(4096, 3 * 4096, 16) if whole[at] != 0xFF)
    whole[last + 8] ^= 1  # which bank is active; before it came the record of the trial
    flash.write_bytes(whole)
    device = start()
    assert device.ask(statistics()).boot_action == "revert"
    assert runs(device, 1)


def test_what_changed_on_flash_since_the_boot_is_not_confirmed(
    start: Start, tmp_path: Path
) -> None:
    device = start()
    install(device, image(1))
    device.upload(image(2))
    device.ask(try_image(digest(image(2))))
    device.ask(reset())
    assert runs(device, 2)  # so the boot is over
    at = (tmp_path / "flash").read_bytes().find(image(2)) + 300
    with (tmp_path / "flash").open("r+b") as flash:  # in place: the device has it mapped
        flash.seek(at)
        flash.write(bytes([image(2)[300] ^ 1]))
    refused(ImageCode.INVALID_HASH, lambda: device.ask(confirm_image()))
    device.ask(reset())
    assert device.ask(statistics()).boot_action == "revert"
    assert runs(device, 1)


def test_nothing_is_written_to_an_image_that_is_pending(start: Start) -> None:
    device = start()
    data = image(1) + b"\xff" * 64  # its sender says more than the image holds
    device.ask(upload_chunk(0, data[:-32], announce(data)))
    device.ask(try_image(digest(image(1))))
    assert device.ask(upload_chunk(len(data) - 32, bytes(32))).offset == len(data) - 32
    device.ask(reset())
    assert runs(device, 1)


def test_protected_tlvs_must_have_their_form(start: Start) -> None:
    device = start()
    payload = shifting_program(1)
    header = bytearray(make_header(len(payload), ImageVersion(1, 1, 0)))
    header[10] = 8  # bytes of protected TLVs, which these are not:
    hashed = payload + b"\x08\x69\x07\x00\0\0\0\0"
    signature = sign_digest(KEYS[0], image_digest(bytes(header), hashed))
    bad = assemble_image(bytes(header), hashed, [signature])
    with pytest.raises(DecodeError, match="no valid TLV area"):
        parse_image(bad)
    device.upload(bad)
    assert device.ask(read_slots()) == ()
    stated = image_digest(bytes(header), hashed)
    refused(ImageCode.NO_IMAGE, lambda: device.ask(try_image(stated)))


def test_keys_are_written_once(start: Start, sanitized: Path, tmp_path: Path) -> None:
    start().stop()
    others = provisioning(tmp_path, [KEYS[2].public], 1)
    done = run_to_end(sanitized, "--flash", str(tmp_path / "flash"), *others)
    assert done.returncode == 2
    assert "keys are written once" in done.stderr


def test_an_upload_goes_on_where_it_was_cut(start: Start) -> None:
    device = start()
    data = image(1, steps=40)
    first = announce(data)
    device.ask(upload_chunk(0, data[:3000], first))
    device.ask(upload_chunk(3000, data[3000:6000]))
    assert device.ask(upload_chunk(0, data[:64], first)).offset == 6000
    device.stop()
    device = start()
    answer = device.ask(upload_chunk(0, data[:64], first))
    assert answer.offset == 4096  # the last sector may be torn: it is sent again
    while answer.offset < len(data):
        answer = device.ask(upload_chunk(answer.offset, data[answer.offset :][:3000]))
    assert answer.is_match is True
    assert device.ask(upload_chunk(0, data[:64], first)).offset == len(data)
    device.ask(try_image(digest(data)))
    device.ask(reset())
    assert runs(device, 1, steps=40)


def test_a_chunk_at_a_wrong_offset_is_answered_with_the_right_one(start: Start) -> None:
    device = start()
    data = image(1)
    device.ask(upload_chunk(0, data[:100], announce(data)))
    assert device.ask(upload_chunk(500, data[500:600])).offset == 100
    assert device.ask(upload_chunk(100, data[100:])).is_match is True


def test_another_image_than_announced_does_not_match(start: Start) -> None:
    device = start()
    data = image(1)
    answer = device.ask(upload_chunk(0, data, announce(data, sha=bytes(32))))
    assert answer.is_match is False
