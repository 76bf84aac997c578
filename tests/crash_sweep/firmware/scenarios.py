"""What a board goes through under the cuts. A new scenario is one function here."""

# ruff: noqa: ARG001  (every scenario takes the same parameter)

from collections.abc import Callable, Iterator
from functools import cache

from wherry_protocol.mcuboot import parse_image
from wherry_protocol.smp import confirm_image, erase_image, read_slots, try_image

from tests.crash_sweep.firmware.bench import (
    FLASH_BYTES,
    IMAGES,
    SECTOR,
    UNSIGNED,
    Bench,
    digest_of,
    refused,
    stage,
    updated,
)
from tests.crash_sweep.sweep import Broken, Leg, Scenario

SCENARIOS: dict[str, Scenario] = {}
PORTS: dict[str, Callable[[], bytes]] = {}
OLD, NEW, NEWER = 1, 2, 3


# --- ports of departure


@cache
def blank() -> bytes:
    """As it leaves the factory: not even keys."""
    return b"\xff" * FLASH_BYTES


def _after(flash: bytes, *legs: Leg) -> bytes:
    bench = Bench(flash, may_hold=True)
    for leg in legs:
        bench.wake()
        leg(bench)
    found = bytes(bench.ffi.buffer(bench.lib.board_flash(bench.board), FLASH_BYTES))
    bench.close()
    return found


@cache
def settled() -> bytes:
    """OLD is confirmed, the other slot holds what was there before."""
    return _after(blank(), updated(NEWER), updated(OLD))


@cache
def staged() -> bytes:
    """As `settled`, and NEW lies in slot 1."""
    return _after(settled(), lambda bench: bench.upload(IMAGES[NEW]))


@cache
def half_worn() -> bytes:
    """As `staged`, and the first sector of the state log is full but for one record."""
    return _worn(staged(), 2 * SECTOR)


@cache
def worn() -> bytes:
    """And the second one too."""
    return _worn(half_worn(), 3 * SECTOR)


def _worn(flash: bytes, end: int) -> bytes:
    while flash[end - 32 : end - 16] == b"\xff" * 16:
        flash = _after(flash, _try_and_revert)
    return flash


def _try_and_revert(bench: Bench) -> None:
    bench.ask(try_image(digest_of(NEW)))
    bench.restart()
    bench.restart()


def scenario(port: Callable[[], bytes] = settled) -> Callable[[Scenario], Scenario]:
    def register(act: Scenario) -> Scenario:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name], PORTS[name] = act, port
        return act

    return register


# --- updates


@scenario(blank)
def set_up(bench: Bench) -> Iterator[Leg]:
    """Keys and the first image."""
    bench.may_hold = True
    yield updated(OLD)
    bench.may_hold = False
    yield Bench.restart


@scenario()
def update(bench: Bench) -> Iterator[Leg]:
    yield updated(NEW)


@scenario()
def two_updates(bench: Bench) -> Iterator[Leg]:
    """The second one overwrites what was the way back."""
    yield updated(NEW)
    yield updated(NEWER)


@scenario()
def there_and_back(bench: Bench) -> Iterator[Leg]:
    yield updated(NEW)
    yield updated(OLD)


@scenario(staged)
def permanent(bench: Bench) -> Iterator[Leg]:
    """Confirmed before its first start."""

    def leg(now: Bench) -> None:
        if now.running == NEW:
            return
        now.ask(confirm_image(digest_of(NEW)))
        now.restart()

    yield leg


@scenario()
def revert(bench: Bench) -> Iterator[Leg]:
    """Tried, not confirmed: the next start goes back, and stays there."""
    tried = [False]

    def try_it(now: Bench) -> None:
        if tried[0] or now.running == NEW:  # the cut itself was the start of the trial
            return
        stage(now, NEW)
        tried[0] = True  # a cut from here on may be the start that ends the trial
        now.restart()

    def go_back(now: Bench) -> None:
        for _ in range(2):
            now.restart()
        if now.running != OLD:
            raise Broken(f"image {now.running} runs after the trial")

    yield try_it
    yield go_back


@scenario()
def revert_then_update(bench: Bench) -> Iterator[Leg]:
    yield from revert(bench)
    yield updated(NEWER)


# --- uploads


@scenario()
def resumed_upload(bench: Bench) -> Iterator[Leg]:
    """The gateway was away for a while, and goes on where the board says."""
    yield lambda now: now.upload(IMAGES[NEW], part=0.6)
    yield Bench.restart
    yield updated(NEW)


@scenario()
def changed_mind(bench: Bench) -> Iterator[Leg]:
    """Half of one image, then another."""
    yield lambda now: now.upload(IMAGES[NEWER], part=0.7)
    yield updated(NEW)


@scenario()
def over_a_rejected_one(bench: Bench) -> Iterator[Leg]:
    """An image that too few have signed is refused, then the right one comes."""

    def rejected(now: Bench) -> None:
        now.upload(UNSIGNED)
        refused(now, try_image(parse_image(UNSIGNED).digest))

    yield rejected
    yield updated(NEW)


@scenario(staged)
def erased(bench: Bench) -> Iterator[Leg]:
    """What lies in slot 1 goes; nothing else does."""

    def leg(now: Bench) -> None:
        now.ask(erase_image())
        if len(now.ask(read_slots())) != 1:
            raise Broken("something is left in slot 1")

    yield leg


@scenario(staged)
def erased_and_sent_again(bench: Bench) -> Iterator[Leg]:
    yield lambda now: now.ask(erase_image())
    yield updated(NEW)


# --- wear


@scenario(half_worn)
def full_state_sector(bench: Bench) -> Iterator[Leg]:
    """The log goes on in its blank sector."""
    yield from revert(bench)
    yield updated(NEWER)


@scenario(worn)
def full_state_log(bench: Bench) -> Iterator[Leg]:
    """The log turns round into its other sector in the middle of an update."""
    yield from revert(bench)
    yield updated(NEW)
    yield updated(OLD)
