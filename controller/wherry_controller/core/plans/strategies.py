"""Strategies as data: each is a function from its parameters to a list of stages.

A rollout file says `strategy = "linear"` and, where it wants other numbers than the strategy's
own, a table `[parameters]`. A new strategy is a row of STRATEGIES.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wherry_controller.core.plans.stages import STAGES_MAX, Action, Stage
from wherry_controller.core.subset import WHOLE_BP, parse_share
from wherry_controller.core.tables import bounded, invalid, known, one_of

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
SOAK_S: Final = 300.0
CANARY_LADDER: Final = ((500, 1), (1_000, 2), (2_500, 3), (5_000, 5), (WHOLE_BP, 7))
EXPERIMENT_LADDER: Final = (2_500, 5_000, WHOLE_BP)
HOURS: Final = (0.01, 8_784.0)

Given = Mapping[str, Any]  # the parameters, all of them, checked


@dataclass(frozen=True, slots=True)
class Share:
    """A parameter that is a part of the fleet: `25%` or 0.25; basis points inside."""

    default: int

    def read(self, _where: str, value: Any) -> int:
        return parse_share(value)

    def shown(self, value: Any) -> str:
        return f"{value / 100:g}%"


@dataclass(frozen=True, slots=True)
class Number:
    """A parameter that is a number within bounds."""

    default: float
    low: float
    high: float

    def read(self, where: str, value: Any) -> float:
        return float(bounded(where, value, self.low, self.high))

    def shown(self, value: Any) -> str:
        return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of some words."""

    default: str
    words: tuple[str, ...]

    def read(self, where: str, value: Any) -> str:
        return one_of(where, value, self.words)

    def shown(self, value: Any) -> str:
        return str(value)


Parameter = Share | Number | Choice


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to spread a version: what it is for, its parameters, and the stages they make."""

    summary: str
    make: Callable[[Given], tuple[Stage, ...]]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    stops_at: str = ""  # the parameter that is the subset at which it stops


def direct(_given: Given) -> tuple[Stage, ...]:
    """Everyone at once; success is what each device proves."""
    return (Stage(WHOLE_BP, is_gated=False),)


def rolling(given: Given) -> tuple[Stage, ...]:
    """A part, a time of observation against the gate, then all."""
    shares = (given["initial"], WHOLE_BP) if given["initial"] < WHOLE_BP else (WHOLE_BP,)
    return tuple(Stage(share_bp, given["dwell_s"]) for share_bp in shares)


def canary(given: Given) -> tuple[Stage, ...]:
    """5, 10, 25, 50 and 100 % on days 1, 2, 3, 5 and 7."""
    day_s = given["day_hours"] * HOUR_S
    return tuple(
        Stage(share_bp, min(SOAK_S, day_s), (day - 1) * day_s) for share_bp, day in CANARY_LADDER
    )


def linear(given: Given) -> tuple[Stage, ...]:
    """Equal steps at equal intervals."""
    initial, step, interval_s = (
        given["initial"], given["increment"], given["increment_interval_hours"] * HOUR_S,
    )  # fmt: skip
    shares = [*range(initial, given["target"], step), given["target"]]
    if given["target"] < initial:
        raise invalid("linear: target is below initial")
    shares += [WHOLE_BP] if given["target"] < WHOLE_BP else []
    if len(shares) > STAGES_MAX:
        raise invalid(f"linear: {len(shares)} steps, at most {STAGES_MAX}; take a larger increment")
    soak_s = min(SOAK_S, interval_s)
    return tuple(Stage(share, soak_s, n * interval_s) for n, share in enumerate(shares))


def blue_green(given: Given) -> tuple[Stage, ...]:
    """A candidate everywhere; one switch; a bake; what served before is unloaded."""
    is_manual = given["switch"] == "manual"
    stages = (
        Stage(WHOLE_BP, is_gated=False, action=Action.WARM),
        Stage(WHOLE_BP, given["bake_s"], action=Action.SWITCH, is_manual=is_manual),
    )
    last = Stage(WHOLE_BP, is_gated=False, action=Action.DECOMMISSION)
    return (*stages, last) if given["decommission"] == "automatic" else stages


def shadow(given: Given) -> tuple[Stage, ...]:
    """A candidate that runs after what serves, on the same inputs, is compared, and goes."""
    return (
        Stage(WHOLE_BP, given["hours"] * HOUR_S, action=Action.SHADOW),
        Stage(WHOLE_BP, is_gated=False, action=Action.DECOMMISSION),
    )


def ab(given: Given) -> tuple[Stage, ...]:
    """A treatment group that grows, and whose members stay in it."""
    shares = [share for share in EXPERIMENT_LADDER if share > given["split"]]
    return tuple(
        Stage(share, given["hours"] * HOUR_S, is_manual=number > 0)
        for number, share in enumerate([given["split"], *shares])
    )


def pilot(given: Given) -> tuple[Stage, ...]:
    """A small part for a day before the ladder, where the fleet is large enough for it."""
    ladder = STRATEGIES[given["ladder"]]
    later_s = given["hours"] * HOUR_S
    stages = ladder.make({name: one.default for name, one in ladder.parameters.items()})
    first = Stage(given["initial"], later_s, fleet_min=int(given["fleet_min"]))
    if stages[0].share_bp <= first.share_bp:
        raise invalid(f"pilot: initial must be below the {given['ladder']} ladder's first share")
    return (first, *(replace(s, not_before_s=s.not_before_s + later_s) for s in stages))


STRATEGIES: Final[dict[str, Strategy]] = {
    "direct": Strategy("everybody at once: development and tests", direct),
    "rolling": Strategy(
        "a quarter, 300 s against the gate, then all",
        rolling,
        {"initial": Share(2_500), "dwell_s": Number(300.0, 0.0, 31 * DAY_S)},
    ),
    "canary": Strategy(
        "5, 10, 25, 50 and 100 % on days 1, 2, 3, 5 and 7",
        canary,
        {"day_hours": Number(24.0, *HOURS)},
    ),
    "linear": Strategy(
        "5 % more every 24 hours",
        linear,
        {
            "initial": Share(500),
            "target": Share(WHOLE_BP),
            "increment": Share(500),
            "increment_interval_hours": Number(24.0, *HOURS),
        },
        stops_at="target",
    ),
    "blue-green": Strategy(
        "a warm candidate everywhere, one switch, 900 s of bake; back is one pointer",
        blue_green,
        {
            "bake_s": Number(900.0, 0.0, 31 * DAY_S),
            "switch": Choice("manual", ("manual", "automatic")),
            "decommission": Choice("manual", ("manual", "automatic")),
            "bytes": Choice("keep", ("keep", "purge")),
        },
    ),
    "shadow": Strategy(
        "it runs after what serves on the same inputs, is compared and never serves",
        shadow,
        {"sampling": Share(WHOLE_BP), "hours": Number(1.0, *HOURS)},
    ),
    "ab": Strategy(
        "5, 25, 50 and 100 % of the devices, each step for a day and by hand; the rest is control",
        ab,
        {"split": Share(500), "hours": Number(24.0, *HOURS)},
    ),
    "pilot": Strategy(
        "1 % for 24 hours before the canary, in a fleet of 100 units and more",
        pilot,
        {
            "initial": Share(100),
            "hours": Number(24.0, *HOURS),
            "fleet_min": Number(100.0, 1.0, 1e7),
            "ladder": Choice("canary", ("canary", "linear", "rolling")),
        },
    ),
}


def parameters_of(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of a strategy, checked. Raises WherryError(INVALID)."""
    wanted = STRATEGIES[name].parameters
    known(f"parameters of {name}", table, tuple(wanted))
    return {
        key: one.read(f"parameters: {key}", table[key]) if key in table else one.default
        for key, one in wanted.items()
    }
