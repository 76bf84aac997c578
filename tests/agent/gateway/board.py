"""A gateway's unit with everything around it real: firmware on a pty, blob store, signed bundles.

The pty's name changes with every start, so the unit is given a link that follows it, as udev's
/dev/serial/by-id does.
"""

import queue
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from wherry_agent.config import UnitConfig
from wherry_agent.core.effects import (
    LoadCandidate,
    MakePermanent,
    SelfTest,
    Swap,
    UnwatchTrial,
    WatchTrial,
)
from wherry_agent.core.inputs import Figures
from wherry_agent.core.record import Slot
from wherry_agent.gateway import McuHost, Surroundings
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.sources import Samples
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import decode, encode
from wherry_protocol.hardware import EnergyModel, HardwareClass
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import Blob, Budget, Manifest, Role
from wherry_protocol.mcuboot import ImageVersion, image_digest, make_header, sign_digest
from wherry_protocol.messages.desired import Assignment, ImageSignature, Mode, TrialLimits

from tests.agent.bundles import layer_image, make_bundle
from tests.agent.sim_disk import SimDisk
from tests.firmware.device import keys_text

KEYS = tuple(SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
STRANGER = SigningKey.from_seed(bytes([9]) * 32)
WAIT_S = 30.0
MODEL = "digits"
CLASS = "cortex-m-sim"
LIMITS = TrialLimits(
    good_inferences_min=5, trial_s_min=0.0, trial_s_max=600.0, error_rate_max=0.1,
    error_samples_min=5,
)  # fmt: skip


def mcu_class() -> HardwareClass:
    return HardwareClass(
        name=CLASS,
        architecture="armv7e-m",
        ram_bytes=1 << 20,
        flash_bytes=1 << 21,
        memory_budget_bytes=1 << 20,
        storage_budget_bytes=1 << 20,
        energy_model=EnergyModel(nj_per_cycle=0.4, uncertainty=0.25),
    )


@dataclass(frozen=True)
class McuModel:
    """A bundle for a microcontroller and its release signatures over the image."""

    bundle: Bundle
    manifest: Manifest
    signatures: tuple[ImageSignature, ...]
    image: bytes

    @property
    def digest(self) -> bytes:
        return self.bundle.digest

    @property
    def slot(self) -> Slot:
        return Slot(manifest_digest=self.digest, version=self.manifest.version)

    def assignment(self, mode: Mode = Mode.ACTIVE) -> Assignment:
        return Assignment(
            model=MODEL,
            manifest_digest=self.digest,
            manifest_bytes=len(self.bundle.manifest_bytes),
            signatures=b"not checked here",
            mode=mode,
            trial=LIMITS,
            image_signatures=self.signatures,
        )


def mcu_model(version: str, seed: int = 1, signers: tuple[SigningKey, ...] = KEYS[:2]) -> McuModel:
    """A bundle whose blobs are an image header and a program."""
    program = layer_image(seed)
    budget = Budget(latency_us_p95=1_000_000, memory_bytes=1 << 19)
    bundle = make_bundle(version, model=MODEL, seed=seed, budgets={CLASS: budget})
    major, minor, patch = map(int, version.split("."))
    header = make_header(len(program), ImageVersion(major, minor, patch))
    digest = sha256(header).digest()
    member = Blob(role=Role.IMAGE_HEADER, name="header.bin", digest=digest, size_bytes=len(header))
    manifest = decode(Manifest, bundle.manifest_bytes)
    manifest = replace(manifest, blobs=(member, *manifest.blobs))
    whole = Bundle(encode(manifest), b"", (), {**bundle.blobs, digest: header})
    signed = image_digest(header, program)
    return McuModel(whole, manifest, tuple(sign_digest(key, signed) for key in signers), program)


class Board:
    """The firmware's process and its flash; `link` always leads to its port."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._keys = folder / "keys.txt"
        self._keys.write_text(keys_text(key.public for key in KEYS))
        self._flash = folder / "flash.bin"
        self.link = folder / "mcu"
        self._process: subprocess.Popen[str] | None = None

    def power_on(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--flash", self._flash, "--keys", self._keys, "--threshold", "2"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        path = self._process.stdout.readline().strip()
        new = self.link.with_suffix(".new")
        new.symlink_to(path)
        new.rename(self.link)

    def power_off(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Unit:
    """An `McuHost` and what it told."""

    def __init__(self, board: Board, samples: Samples | None = None, **config: Any) -> None:
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.store = BlobStore(SimDisk())
        around = Surroundings(
            base="acme/gw1/mcu1/",
            store=self.store,
            tell=self.told.put,
            hardware=mcu_class,
            samples=samples,
        )
        settings: dict[str, Any] = {"response_s_max": 1.0, "poll_s": 0.2, **config}
        self.host = McuHost(UnitConfig(name="mcu1", port=str(board.link), **settings), around)
        self.host.start()

    def next(self, kind: type[Any], wait_s: float = WAIT_S) -> Any:
        """The next thing told of a kind; others are passed over."""
        deadline = time.monotonic() + wait_s
        while True:
            left_s = deadline - time.monotonic()
            given = self.told.get(timeout=max(left_s, 0.001))
            if isinstance(given, kind):
                return given

    def figures_until(self, holds: Callable[[Figures], bool]) -> Figures:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for found in self.host.figures():
                if holds(found):
                    return found
            time.sleep(0.02)
        raise TimeoutError("no such figures")

    def status_until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            status = self.host.status()
            if holds(status):
                return status
            time.sleep(0.02)
        raise TimeoutError(f"status is {self.host.status()}")

    # --- what the core does

    def keep(self, model: McuModel) -> None:
        """The bundle's blobs are on disk, the program is assembled."""
        for digest, data in model.bundle.blobs.items():
            self.store.keep_blob(digest, data)
        self.store.assemble(model.manifest)

    def load(self, model: McuModel, mode: Mode = Mode.ACTIVE) -> None:
        self.keep(model)
        assignment = model.assignment(mode)
        self.host.execute(LoadCandidate("mcu1", MODEL, model.slot, model.manifest, assignment))

    def load_again(self, model: McuModel) -> None:
        """As after a boot: what the record names, without an assignment."""
        self.keep(model)
        self.host.execute(LoadCandidate("mcu1", MODEL, model.slot, model.manifest, None))

    def test(self, model: McuModel) -> None:
        self.host.execute(SelfTest("mcu1", MODEL, model.digest))

    def swap(self, model: McuModel | None) -> None:
        self.host.execute(Swap("mcu1", MODEL, model.digest if model else None))

    def watch(self, model: McuModel) -> None:
        self.host.execute(WatchTrial("mcu1", MODEL, model.digest))

    def confirm(self, model: McuModel) -> None:
        self.host.execute(UnwatchTrial("mcu1", MODEL))
        self.host.execute(MakePermanent("mcu1", MODEL, model.digest))
