"""Other people's tools drive our firmware: imgtool makes and checks the image, smpmgr and
smpclient carry it."""

import subprocess
from pathlib import Path

import pytest
from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.smp import ImageCode, confirm_image, infer, read_slots, reset, try_image

from tests.firmware.conftest import KEYS, Start
from tests.firmware.device import Device
from tests.firmware.programs import shifted, shifting_program

DATA = bytes(range(16))
STEPS = 30  # 14 kB: several packets


@pytest.fixture
def tool(oracle_python: Path) -> Path:
    """The folder of the oracles' programs."""
    folder = oracle_python.parent
    for name in ("imgtool", "smpmgr"):
        if not (folder / name).exists():
            pytest.skip(f"no {name} in .venv-oracles: `make setup-oracles` installs it")
    return folder


def run(program: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(program), *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def smpmgr(tool: Path, folder: Path, device: Device, *arguments: str) -> str:
    return run(tool / "smpmgr", folder, "--port", device.path, *arguments)


def make_image(tool: Path, folder: Path, shift: int) -> str:
    """Signs a program with imgtool alone; the digest, in hexadecimal."""
    (folder / "key.pem").write_bytes(KEYS[0].to_pem())
    (folder / "program.bin").write_bytes(shifting_program(shift, steps=STEPS))
    run(
        tool / "imgtool", folder, "sign", "--key", "key.pem", "--header-size", "32",
        "--pad-header", "--slot-size", "524288", "--version", f"1.{shift}.0",
        "program.bin", f"image{shift}.bin",
    )  # fmt: skip
    return parse_image((folder / f"image{shift}.bin").read_bytes()).digest.hex()


def test_smpmgr_takes_an_image_from_imgtool_through_a_whole_update(
    tool: Path, start: Start, tmp_path: Path
) -> None:
    device = start()
    assert "r='ahoy'" in smpmgr(tool, tmp_path, device, "os", "echo", "ahoy")
    digest = make_image(tool, tmp_path, 1)
    smpmgr(tool, tmp_path, device, "image", "upload", "image1.bin")
    states = smpmgr(tool, tmp_path, device, "image", "state-read")
    assert digest.upper() in states
    assert "slot=1" in states
    smpmgr(tool, tmp_path, device, "image", "state-write", digest)
    smpmgr(tool, tmp_path, device, "os", "reset")
    smpmgr(tool, tmp_path, device, "image", "state-write", "--confirm")
    smpmgr(tool, tmp_path, device, "os", "reset")
    states = smpmgr(tool, tmp_path, device, "image", "state-read")
    assert "slot=0" in states
    assert "confirmed=True" in states
    assert "active=True" in states
    assert device.ask(infer(DATA)).output == shifted(DATA, STEPS)


def test_smpmgr_sees_a_trial_revert_and_erases_what_failed(
    tool: Path, start: Start, tmp_path: Path
) -> None:
    device = start()
    first = build_image(shifting_program(1, steps=STEPS), ImageVersion(1, 1, 0), KEYS[:1])
    device.upload(first)
    device.ask(confirm_image(parse_image(first).digest))
    device.ask(reset())
    digest = make_image(tool, tmp_path, 2)
    smpmgr(tool, tmp_path, device, "image", "upload", "image2.bin")
    smpmgr(tool, tmp_path, device, "image", "state-write", digest)
    assert "pending=True" in smpmgr(tool, tmp_path, device, "image", "state-read")
    smpmgr(tool, tmp_path, device, "os", "reset")
    assert device.ask(infer(DATA)).version == "1.2.0"
    smpmgr(tool, tmp_path, device, "os", "reset")
    assert device.ask(infer(DATA)).version == "1.1.0"
    smpmgr(tool, tmp_path, device, "image", "erase", "1")
    assert [slot.slot for slot in device.ask(read_slots())] == [0]


def test_smpmgr_reads_our_refusal_of_a_strangers_image(
    tool: Path, start: Start, tmp_path: Path
) -> None:
    device = start()
    strange = build_image(shifting_program(1), ImageVersion(1, 0, 0), KEYS[2:])
    (tmp_path / "strange.bin").write_bytes(strange)
    smpmgr(tool, tmp_path, device, "image", "upload", "strange.bin")
    digest = parse_image(strange).digest.hex()
    words = smpmgr(tool, tmp_path, device, "image", "state-write", digest)
    assert "IMAGE_CONFIRMATION_DENIED: 32" in words
    assert ImageCode.NOT_ENOUGH_SIGNATURES == 32


CLIENT = """
import asyncio, sys
from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, ResetWrite
from smpclient.transport.serial import SMPSerialTransport

async def main():
    image = open(sys.argv[2], "rb").read()
    async with SMPClient(SMPSerialTransport(), sys.argv[1]) as client:
        parameters = await client.request(MCUMgrParametersRead())
        assert success(parameters), parameters
        print(parameters.buf_size, parameters.buf_count)
        async for offset in client.upload(image):
            pass
        states = await client.request(ImageStatesRead())
        assert success(states), states
        new = next(state for state in states.images if state.slot == 1)
        assert success(await client.request(ImageStatesWrite(hash=new.hash)))
        assert success(await client.request(ResetWrite()))
        assert success(await client.request(EchoWrite(d="after")))
        print(offset)

asyncio.run(main())
"""


def test_smpclient_uploads_with_its_own_packet_sizes(
    oracle_python: Path, start: Start, tmp_path: Path
) -> None:
    device = start()
    image = build_image(shifting_program(3, steps=STEPS), ImageVersion(1, 3, 0), KEYS[:2])
    (tmp_path / "image.bin").write_bytes(image)
    (tmp_path / "client.py").write_text(CLIENT)
    words = run(oracle_python, tmp_path, "client.py", device.path, "image.bin")
    assert words.split() == ["4096", "1", str(len(image))]
    assert device.ask(infer(DATA)).version == "1.3.0"


def test_our_client_and_imgtool_agree_on_what_was_tried(
    tool: Path, start: Start, tmp_path: Path
) -> None:
    device = start()
    digest = make_image(tool, tmp_path, 1)
    device.upload((tmp_path / "image1.bin").read_bytes())
    device.ask(try_image(bytes.fromhex(digest)))
    device.ask(reset())
    assert device.ask(infer(DATA)).digest.hex() == digest
