"""What to do so that a wanted image runs on a microcontroller with two slots.

Rules:
1. An image that runs needs nothing.
2. While the running image is unconfirmed, slot 1 holds the way back: nothing is written over it.
   A reset lets the way back boot.
3. An image in slot 1 is tried: it boots once, and stays only if it is confirmed afterwards.
4. An image that is nowhere is uploaded first.

COURSES is the whole decision; tests walk it, and the firmware's own boot table answers it.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Final

from wherry_protocol.smp import SlotState


class Where(Enum):
    """Where the wanted image is."""

    RUNS = "runs"
    WAITS = "waits in slot 1"
    ABSENT = "is absent"


class Running(Enum):
    """What runs now, whatever it is."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    NOTHING = "nothing"


class Act(Enum):
    """One thing to do; then the slots are read again."""

    DONE = "done"
    RESET = "reset"
    TRY_AND_RESET = "try and reset"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the slots hold, seen from the wanted image."""

    where: Where
    running: Running


COURSES: Final[dict[tuple[Where, Running], Act]] = {
    **{(Where.RUNS, running): Act.DONE for running in Running},
    (Where.WAITS, Running.CONFIRMED): Act.TRY_AND_RESET,
    (Where.WAITS, Running.UNCONFIRMED): Act.RESET,
    (Where.WAITS, Running.NOTHING): Act.TRY_AND_RESET,
    (Where.ABSENT, Running.CONFIRMED): Act.UPLOAD,
    (Where.ABSENT, Running.UNCONFIRMED): Act.RESET,
    (Where.ABSENT, Running.NOTHING): Act.UPLOAD,
}
if set(COURSES) != set(product(Where, Running)):
    raise RuntimeError("the table of courses has a hole")


def situation(slots: tuple[SlotState, ...], wanted: bytes) -> Situation:
    """The situation in an answer of the image group; `wanted` is an image's digest."""
    active = next((slot for slot in slots if slot.is_active), None)
    if active is None:
        running = Running.NOTHING
    else:
        running = Running.CONFIRMED if active.is_confirmed else Running.UNCONFIRMED
    if active is not None and active.digest == wanted:
        return Situation(Where.RUNS, running)
    waits = any(slot.digest == wanted for slot in slots)
    return Situation(Where.WAITS if waits else Where.ABSENT, running)


def next_act(slots: tuple[SlotState, ...], wanted: bytes) -> Act:
    """What to do next."""
    seen = situation(slots, wanted)
    return COURSES[seen.where, seen.running]
