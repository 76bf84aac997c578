"""The stages of a rollout, and what may follow what.

A stage opens a share of the members (nested, so a later one contains the earlier ones), not
before its time since the rollout's start, and does one thing to each of them. It is left when its
members have settled, its soak has passed, and its gate (where it has one) has passed.

Rules of a list, in order:
1. Within one action shares rise.
2. Only what stands as a candidate is switched to: a switch comes after a warm or shadow stage
   that opened at least as much.
3. Nothing but a decommission comes after a decommission, and it comes after something.
4. The last share of the last action is the whole (a subset stops before it).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby, pairwise
from typing import Any, Final

from wherry_controller.core.subset import WHOLE_BP, parse_share
from wherry_controller.core.tables import flag, invalid, known, numbers, one_of

STAGES_MAX: Final = 100
SECONDS_MAX: Final = 366 * 86_400.0
FLEET_MAX: Final = 10_000_000


class Action(Enum):
    """What a stage does to each of its members."""

    SWAP = "swap"  # fetch, test, serve after a trial
    WARM = "warm"  # a candidate stands, loaded and tested; what serves is untouched
    SHADOW = "shadow"  # the same, and it runs after the active one; it never serves
    SWITCH = "switch"  # the candidate serves: one pointer, then a trial
    DECOMMISSION = "decommission"  # what does not serve is unloaded

    __hash__ = object.__hash__


CANDIDATE: Final = frozenset({Action.WARM, Action.SHADOW})  # it ends in a member that is ready
SERVING: Final = frozenset({Action.SWAP, Action.SWITCH})  # it ends in a member that is confirmed


@dataclass(frozen=True, slots=True)
class Stage:
    """One step. `share_bp` of the members; times in seconds.

    `is_manual`: it opens when somebody says so, and not by itself. `fleet_min`: it is left out
    for a fleet of fewer units.
    """

    share_bp: int
    soak_s: float = 0.0  # after its members have settled
    not_before_s: float = 0.0  # since the rollout's start
    is_gated: bool = True
    action: Action = Action.SWAP
    is_manual: bool = False
    fleet_min: int = 0


KEYS: Final = (
    "share", "soak_s", "not_before_s", "is_gated", "action", "is_manual", "fleet_min",
)  # fmt: skip


def parse_stages(rows: object) -> tuple[Stage, ...]:
    """The `[[stages]]` of a rollout file. Raises WherryError(INVALID) by the rules above."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= STAGES_MAX:
        raise invalid(f"stages must be a list of 1 to {STAGES_MAX} tables")
    stages = tuple(_stage(f"stage {number}", row) for number, row in enumerate(rows, 1))
    check_order(stages)
    return stages


def _stage(where: str, row: object) -> Stage:
    if not isinstance(row, Mapping) or "share" not in row:
        raise invalid(f"{where} must be a table with a share")
    known(where, row, KEYS)
    limits = {"soak_s": (0.0, SECONDS_MAX), "not_before_s": (0.0, SECONDS_MAX)}
    action = one_of(f"{where}: action", row.get("action", "swap"), tuple(a.value for a in Action))
    values: dict[str, Any] = numbers(where, row, limits, {"fleet_min": (0, FLEET_MAX)})
    return Stage(
        parse_share(row["share"]),
        is_gated=flag(f"{where}: is_gated", row.get("is_gated", True)),
        action=Action(action),
        is_manual=flag(f"{where}: is_manual", row.get("is_manual", False)),
        **values,
    )


def check_order(stages: tuple[Stage, ...]) -> None:
    """Raises WherryError(INVALID) for a list that breaks one of the rules."""
    for number, (before, after) in enumerate(pairwise(stages), 2):
        if after.action is before.action and after.share_bp <= before.share_bp:
            raise invalid(f"stage {number}: its share must be above that of stage {number - 1}")
    runs = [list(run) for _, run in groupby(stages, key=lambda stage: stage.action)]
    if len({run[0].action for run in runs}) < len(runs):
        raise invalid("stages of one action stand together")
    standing_bp = 0
    for number, run in enumerate(runs):
        action = run[0].action
        if action in CANDIDATE:
            standing_bp = max(standing_bp, run[-1].share_bp)
        if action is Action.SWITCH and run[-1].share_bp > standing_bp:
            raise invalid("a switch comes after a warm or shadow stage of at least its share")
        if action is Action.DECOMMISSION and (number == 0 or number < len(runs) - 1):
            raise invalid("a decommission is the last stage, and not the only one")
    if stages[-1].share_bp != WHOLE_BP:
        raise invalid("the last stage's share must be 100% (use subset to stop before)")


def serves(stages: Iterable[Stage]) -> bool:
    """Does any of them end in devices that serve the version?"""
    return any(stage.action in SERVING for stage in stages)


def fitted(stages: tuple[Stage, ...], size: int) -> tuple[Stage, ...]:
    """The stages for a fleet of that size: those for larger fleets are left out, and what comes
    after them comes so much earlier."""
    found: list[Stage] = []
    earlier_s = 0.0
    for stage in stages:
        if size < stage.fleet_min:
            earlier_s += stage.soak_s
        else:
            found.append(replace(stage, not_before_s=max(0.0, stage.not_before_s - earlier_s)))
    return tuple(found)
