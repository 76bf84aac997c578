"""A board on the bench, and the gateway that asks it: what runs is looked at after every start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.smp import (
    Answered,
    Failed,
    RefusedError,
    Request,
    SmpClient,
    Upload,
    confirm_image,
    infer,
    read_slots,
    reset,
    statistics,
    try_image,
)

from tests.crash_sweep.firmware.build import Mistake, library
from tests.crash_sweep.sweep import Broken, Cut, CutError, Leg
from tests.firmware.conftest import KEYS
from tests.firmware.programs import shifted, shifting_program

T = TypeVar("T")
WAYS = ("after", "torn", "smeared")
CUT, BROKEN = 1, 2
SECTOR = 4096
SLOT_BYTES = 2 * SECTOR
FLASH_BYTES = 4 * SECTOR + 2 * SLOT_BYTES
PACKET_BYTES = 1024
OUTPUT_MAX = 65536
DATA = bytes(range(16))
STEPS = 11  # an image of two sectors
MISTAKES: list[Mistake] = []  # patched into every board that is made from now on


def image(shift: int, keys: Sequence[Any] = KEYS[:2]) -> bytes:
    """Its version tells its shift."""
    return build_image(shifting_program(shift, steps=STEPS), ImageVersion(1, shift, 0), keys)


IMAGES = {shift: image(shift) for shift in (1, 2, 3)}
UNSIGNED = image(9, KEYS[:1])  # one signer is too few
SHIFTS = {parse_image(data).digest: shift for shift, data in IMAGES.items()}


def digest_of(shift: int) -> bytes:
    return parse_image(IMAGES[shift]).digest


@dataclass
class Bench:
    """`may_hold`: nothing was confirmed yet. `confirmed` are the images of which the board said so
    and that nobody has sent again since."""

    flash: bytes
    cuts: list[Cut] = field(default_factory=list)
    may_hold: bool = False
    confirmed: set[int] = field(default_factory=set)
    is_dark: bool = True
    steps_done: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ffi, self.lib = library(tuple(MISTAKES))
        self.board = self.lib.board_new(self.flash, len(self.flash))
        self._buffer = self.ffi.new("uint8_t[]", OUTPUT_MAX)
        self._arm()

    def _arm(self) -> None:
        if self.cuts:
            at, way = self.cuts.pop(0)
            self.lib.board_arm(self.board, at, WAYS.index(way))
        else:
            self.lib.board_arm(self.board, 0, 0)

    def close(self) -> None:
        self.lib.board_free(self.board)

    def _held(self, status: int) -> None:
        if status == CUT:
            raise CutError
        if status == BROKEN:
            raise Broken("a flash operation was refused")

    # --- power

    def wake(self) -> None:
        if not self.is_dark:
            return
        keys = b"".join(key.public for key in KEYS[:2])
        self._held(self.lib.board_provision(self.board, keys, 2, 2))
        self._held(self.lib.board_boot(self.board))
        self.is_dark = False
        self.client = SmpClient()
        self.check_start()

    def darken(self) -> None:
        self.is_dark = True
        self.steps_done.append(self.lib.board_steps(self.board))
        self._arm()

    def check_start(self) -> None:
        """A verified image runs where one was confirmed, and computes what it must."""
        found = self.ask(statistics())
        if not found.digest:
            if not self.may_hold:
                raise Broken(f"nothing runs: {found.boot_action}")
            return
        if found.digest not in SHIFTS:
            raise Broken("something runs that nobody signed")
        if found.boot_action == "continue" and not self.may_hold:
            raise Broken("an unconfirmed image goes on after a start, and there was a way back")
        shift = SHIFTS[found.digest]
        if self.ask(infer(DATA)).output != shifted(DATA, shift * STEPS):
            raise Broken(f"image {shift} computes something else")
        if shift in self.confirmed and not found.is_confirmed:
            raise Broken(f"image {shift} was confirmed, and the board has forgotten it")

    # --- the wire

    def ask(self, request: Request[T]) -> T:
        """The answer. Raises the refusals that the board gives; CutError where power went."""
        line = self.client.ask(request, 0)
        self._held(self.lib.board_receive(self.board, line, len(line)))
        size = self.lib.board_take(self.board, self._buffer)
        for outcome in self.client.receive(bytes(self.ffi.buffer(self._buffer, size))):
            match outcome:
                case Answered(value=value):
                    return value  # type: ignore[no-any-return]
                case Failed(error=error):
                    raise error
        raise Broken("no answer")

    def restart(self) -> None:
        self.ask(reset())
        self.check_start()

    def upload(self, data: bytes, part: float = 1.0) -> None:
        """Carries the image into slot 1, or the first part of it."""
        upload = Upload(data, PACKET_BYTES)
        for request in upload.requests():
            upload.take(self.ask(request))
            if upload.offset >= part * len(data):
                return

    @property
    def running(self) -> int | None:
        return SHIFTS.get(self.ask(statistics()).digest)

    @property
    def is_confirmed(self) -> bool:
        return any(slot.is_active and slot.is_confirmed for slot in self.ask(read_slots()))

    # --- the runner's questions

    def counts(self) -> tuple[int, ...]:
        return (*self.steps_done, self.lib.board_steps(self.board))

    def end(self) -> dict[str, object]:
        """After one more start, which must change nothing."""
        self.restart()
        slots = self.ask(read_slots())
        return {
            "runs": self.running,
            "slots": [(slot.slot, SHIFTS.get(slot.digest), slot.is_active, slot.is_confirmed,
                       slot.is_pending, slot.is_permanent) for slot in slots],
        }  # fmt: skip


# --- legs: each looks first at what an earlier attempt has done


def updated(shift: int) -> Leg:
    """Uploaded, tried, confirmed; as a gateway does it."""

    def leg(bench: Bench) -> None:
        if bench.running != shift:
            stage(bench, shift)
            bench.restart()
        if bench.running != shift:
            raise Broken(f"image {shift} was pending, and does not run")
        bench.ask(confirm_image())
        bench.confirmed.add(shift)

    return leg


def stage(bench: Bench, shift: int) -> None:
    """In slot 1 and pending for one start."""
    if not any(slot.is_pending for slot in bench.ask(read_slots())):
        bench.confirmed.discard(shift)
        bench.upload(IMAGES[shift])
        bench.ask(try_image(digest_of(shift)))


def refused(bench: Bench, request: Request[Any]) -> None:
    try:
        bench.ask(request)
    except RefusedError:
        return
    raise Broken("it should have been refused")
