"""How far one boot's reports are committed: what may be acknowledged to its device.

Rules, in order:
1. What lies below `oldest` was acknowledged or dropped by the device: nobody waits for it.
2. A sequence at or below `contiguous`, or already ahead, is a duplicate: acknowledged again,
   counted once.
3. A sequence more than `AHEAD_MAX` beyond `contiguous` is refused, so that the set is bounded;
   the device sends it again once the gap is closed.

    >>> accept(Position(4, frozenset()), sequence=6, oldest=5)
    (Position(contiguous=4, ahead=frozenset({6})), <Verdict.NEW: 1>)
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from wherry_protocol.frozen import quick

AHEAD_MAX: Final = 4096


class Verdict(Enum):
    """What to do with the report that was just looked at."""

    NEW = 1
    DUPLICATE = 2
    TOO_FAR = 3


@quick
@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to `contiguous` is committed, and of what follows, `ahead`."""

    contiguous: int
    ahead: frozenset[int]


START: Final = Position(0, frozenset())


def accept(position: Position, sequence: int, oldest: int) -> tuple[Position, Verdict]:
    """The position after a report, and whether the report is new."""
    position = _advance(max(position.contiguous, oldest - 1), position.ahead)
    if sequence <= position.contiguous or sequence in position.ahead:
        return position, Verdict.DUPLICATE
    if sequence > position.contiguous + AHEAD_MAX:
        return position, Verdict.TOO_FAR
    return _advance(position.contiguous, position.ahead | {sequence}), Verdict.NEW


def _advance(contiguous: int, ahead: frozenset[int]) -> Position:
    if not ahead:
        return Position(contiguous, ahead)
    while contiguous + 1 in ahead:
        contiguous += 1
    return Position(contiguous, frozenset(n for n in ahead if n > contiguous))
