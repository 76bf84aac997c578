"""The program cuts its own power where it is told: a verified image boots afterwards, and the same
update then succeeds. Every flash operation of every scenario is cut in `tests/crash_sweep`."""

import shutil
from pathlib import Path

import pytest
from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.smp import (
    confirm_image,
    infer,
    read_slots,
    reset,
    statistics,
    try_image,
)

from tests.firmware.conftest import KEYS
from tests.firmware.device import Device, PowerCutError, provisioning
from tests.firmware.programs import shifted, shifting_program

DATA = bytes(range(16))
STEPS = 20  # an image of three sectors
OLD, NEW = (
    build_image(shifting_program(shift, steps=STEPS), ImageVersion(1, shift, 0), KEYS[:2])
    for shift in (1, 2)
)
DIGESTS = {parse_image(image).digest: shift for shift, image in ((1, OLD), (2, NEW))}
SLOT_BYTES = 16384
OPERATIONS = (1, 5, 12, 20, 28, 29, 30, 31)  # erasures, writes; the records come last


def update(device: Device, image: bytes) -> None:
    """Upload, test, reboot, confirm; skips what an earlier attempt has done already."""
    digest = parse_image(image).digest
    active = next((slot for slot in device.ask(read_slots()) if slot.is_active), None)
    if active is None or active.digest != digest:
        if not any(slot.is_pending for slot in device.ask(read_slots())):
            device.upload(image, 1024)
            device.ask(try_image(digest))
        device.ask(reset())
    device.ask(confirm_image())


def running_shift(device: Device) -> int:
    """Which image runs; its output is checked against its digest."""
    shift = DIGESTS[device.ask(statistics()).digest]
    assert device.ask(infer(DATA)).output == shifted(DATA, shift * STEPS)
    return shift


@pytest.fixture(scope="module")
def settled(firmware: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flash on which OLD is confirmed and the other slot holds what was there before."""
    folder = tmp_path_factory.mktemp("settled")
    trust = provisioning(folder, [key.public for key in KEYS[:2]], 2)
    options = ["--slot-size", str(SLOT_BYTES), *trust]
    with Device(firmware, folder / "flash", *options) as device:
        for image in (NEW, OLD):
            update(device, image)
        assert running_shift(device) == 1
    return folder / "flash"


def cut_once(firmware: Path, flash: Path, options: list[str]) -> bool:
    """Runs the update until the power goes; False if it never went."""
    try:
        with Device(firmware, flash, *options) as device:
            update(device, NEW)
    except PowerCutError:
        return True
    return False


@pytest.mark.parametrize("tear", [[], ["--tear"]], ids=["after", "in the midst of"])
def test_a_verified_image_boots_after_the_program_has_cut_its_own_power(
    firmware: Path, settled: Path, tmp_path: Path, tear: list[str]
) -> None:
    flash = tmp_path / "flash"
    actions = set()
    for operation in OPERATIONS:
        shutil.copy(settled, flash)
        assert cut_once(firmware, flash, ["--cut-after", str(operation), *tear])
        with Device(firmware, flash) as device:
            assert running_shift(device) in (1, 2)
            actions.add(device.ask(statistics()).boot_action)
            update(device, NEW)
            device.ask(reset())
            assert running_shift(device) == 2, f"after a cut at operation {operation}"
    assert "run" in actions
    assert actions & {"try", "revert"}
