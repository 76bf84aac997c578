"""The plan of a rollout: strategy, stages, gate, trial and limits, as read from a TOML file.

    strategy = "canary"            # or [[stages]] with share, soak_s, not_before_s, is_gated
    preset = "balanced"
    subset = "25%"
    [gate]
    requests_min = 200             # any number of the preset
    [trial]
    good_inferences_min = 50       # any field of TrialLimits

Unknown keys are refused by name, and every number that differs from its preset or default is
listed in `overrides`, so that a report can show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final

from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.messages.desired import TrialLimits

from wherry_controller.core.rollouts.limits import CHECKS, DEFAULT_PRESET, PRESETS, GateLimits
from wherry_controller.core.rollouts.strategies import STRATEGIES, Stage
from wherry_controller.core.subset import WHOLE_BP, parse_share

STAGES_MAX: Final = 100
SECONDS_MAX: Final = 366 * 86_400.0
TRIAL: Final = TrialLimits(
    good_inferences_min=100,
    trial_s_min=10.0,
    trial_s_max=3_600.0,
    error_rate_max=0.10,
    error_samples_min=50,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout will do, fixed when it is made (only `subset` is ever widened).

    Shares are basis points, times seconds. `max_failed` None: none of fewer than 20 opened
    members, else 2 % of them. `parallel_max` 0: no limit.
    """

    strategy: str
    stages: tuple[Stage, ...]
    preset: str = DEFAULT_PRESET
    gate: GateLimits = PRESETS[DEFAULT_PRESET]
    trial: TrialLimits = TRIAL
    subset_bp: int = WHOLE_BP
    parallel_max: int = 0
    max_failed: int | None = None
    silent_after_s: float = 3_600.0
    silent_share_max: float = 0.10
    silent_excess_max: float = 0.10
    settled_share: float = 0.90  # of the online members; the last stage wants all
    offline_share_max: float = 0.10
    stage_after_s_max: float = 1_209_600.0  # a stage open for longer pauses the rollout
    returns_per_s: float = 100.0
    return_after_s: float = 3_600.0  # a device that is not back by then is named
    attempt: int = 0
    inference_deadline_us: int = 0
    overrides: tuple[str, ...] = ()


# key in the file -> (lowest, highest); counts are whole numbers
SECONDS: Final = {
    "silent_after_s": (1.0, SECONDS_MAX),
    "stage_after_s_max": (1.0, SECONDS_MAX),
    "return_after_s": (1.0, SECONDS_MAX),
    "returns_per_s": (0.01, 1e6),
    "silent_share_max": (0.0, 1.0),
    "silent_excess_max": (0.0, 1.0),
    "settled_share": (0.0, 1.0),
    "offline_share_max": (0.0, 1.0),
}
COUNTS: Final = {
    "parallel_max": (0, 1_000_000),
    "max_failed": (0, 1_000_000),
    "attempt": (0, 1_000_000),
    "inference_deadline_us": (0, 10**12),
}
GATE: Final = {
    "error_rate_max": (0.0, 1.0),
    "latency_ratio": (1.0, 1_000.0),
    "interval_s": (0.1, 86_400.0),
    "latency_excess_us": (0.0, 1e9),
    "energy_ratio": (1.0, 1_000.0),
    "energy_excess_uj": (0.0, 1e12),
    "memory_share_max": (0.0, 1.0),
    "false_abort": (1e-9, 0.5),
}
GATE_COUNTS: Final = {
    "requests_min": (1, 10**9),
    "crashes_max": (0, 10**6),
    "control_units_min": (1, 10**6),
}
KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number of at least 0",
    float: "a number of at least 0",
}
STAGE_KEYS: Final = ("share", "soak_s", "not_before_s", "is_gated")
KEYS: Final = ("strategy", "stages", "preset", "subset", "gate", "trial", *SECONDS, *COUNTS)


def parse_plan(table: Mapping[str, Any]) -> Plan:
    """A plan from a rollout file's table; an empty one is `direct`.

    Raises WherryError(INVALID).
    """
    _known("rollout file", table, KEYS)
    preset = _preset(table.get("preset", DEFAULT_PRESET))
    strategy, stages = _stages(table)
    plan = Plan(
        strategy,
        stages,
        preset,
        _gate(PRESETS[preset], _table(table, "gate")),
        _trial(_table(table, "trial")),
        parse_share(table.get("subset", "100%")),
        **_numbers("rollout file", table, SECONDS, COUNTS),
    )
    return replace(plan, overrides=_overrides(plan))


def _overrides(plan: Plan) -> tuple[str, ...]:
    default = Plan(plan.strategy, plan.stages)
    found = [
        *_differences("", plan, default, (*SECONDS, *COUNTS)),
        *_differences("gate.", plan.gate, PRESETS[plan.preset], _names(GateLimits)),
        *_differences("trial.", plan.trial, TRIAL, _names(TrialLimits)),
    ]
    return tuple(found)


def _differences(prefix: str, value: object, default: object, names: tuple[str, ...]) -> list[str]:
    return [
        f"{prefix}{name} = {_shown(getattr(value, name))} ({_shown(getattr(default, name))})"
        for name in names
        if getattr(value, name) != getattr(default, name)
    ]


def _shown(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _preset(name: object) -> str:
    if not isinstance(name, str) or name not in PRESETS:
        raise _invalid(f"preset {name!r} is unknown, must be one of {', '.join(PRESETS)}")
    return name


def _stages(table: Mapping[str, Any]) -> tuple[str, tuple[Stage, ...]]:
    if "stages" not in table:
        name = table.get("strategy", "direct")
        if not isinstance(name, str) or name not in STRATEGIES:
            raise _invalid(f"strategy {name!r} is unknown, must be one of {', '.join(STRATEGIES)}")
        return name, STRATEGIES[name]()
    if "strategy" in table:
        raise _invalid("a rollout file has either strategy or stages, not both")
    rows = table["stages"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= STAGES_MAX:
        raise _invalid(f"stages must be a list of 1 to {STAGES_MAX} tables")
    stages = tuple(_stage(f"stage {number}", row) for number, row in enumerate(rows, 1))
    for number, (before, after) in enumerate(pairwise(stages), 2):
        if after.share_bp <= before.share_bp:
            raise _invalid(f"stage {number}: its share must be above that of stage {number - 1}")
    if stages[-1].share_bp != WHOLE_BP:
        raise _invalid("the last stage's share must be 100% (use subset to stop before)")
    return "stages", stages


def _stage(where: str, row: object) -> Stage:
    if not isinstance(row, Mapping) or "share" not in row:
        raise _invalid(f"{where} must be a table with a share")
    _known(where, row, STAGE_KEYS)
    is_gated = row.get("is_gated", True)
    if not isinstance(is_gated, bool):
        raise _invalid(f"{where}: is_gated is {is_gated!r}, must be true or false")
    limits = {"soak_s": (0.0, SECONDS_MAX), "not_before_s": (0.0, SECONDS_MAX)}
    times = _numbers(where, row, limits, {})
    return Stage(parse_share(row["share"]), is_gated=is_gated, **times)


def _gate(preset: GateLimits, table: Mapping[str, Any]) -> GateLimits:
    _known("gate", table, (*GATE, *GATE_COUNTS, "require"))
    gate = replace(preset, **_numbers("gate", table, GATE, GATE_COUNTS))
    if "require" not in table:
        return gate
    require = table["require"]
    if not isinstance(require, list) or not all(name in CHECKS for name in require):
        raise _invalid(f"gate: require is {require!r}, must be a list of {', '.join(CHECKS)}")
    return replace(gate, require=tuple(name for name in CHECKS if name in require))


def _trial(table: Mapping[str, Any]) -> TrialLimits:
    _known("trial", table, _names(TrialLimits))
    values = {name: _like(name, table[name], getattr(TRIAL, name)) for name in table}
    trial = replace(TRIAL, **values)
    try:
        encode(trial)
    except ValueError as error:
        raise _invalid(f"trial: {error}") from error
    return trial


def _like(name: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; the message's own codec holds its bounds."""
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    else:
        fits = isinstance(value, int | type(default)) and not isinstance(value, bool)
    if not fits or value < 0:
        raise _invalid(f"trial: {name} is {value!r}, must be {KINDS[type(default)]}")
    return type(default)(value)


def _numbers(
    where: str,
    table: Mapping[str, Any],
    reals: Mapping[str, tuple[float, float]],
    counts: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (low, high) in reals.items():
        if key in table:
            found[key] = float(_bounded(f"{where}: {key}", table[key], low, high))
    for key, (least, most) in counts.items():
        if key in table:
            if not isinstance(table[key], int):
                raise _invalid(f"{where}: {key} is {table[key]!r}, must be a whole number")
            found[key] = _bounded(f"{where}: {key}", table[key], least, most)
    return found


def _bounded(where: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _invalid(f"{where} is {value!r}, must be a number in {low:g}..{high:g}")
    return value


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise _invalid(f"{key} is {value!r}, must be a table")
    return value


def _known(where: str, table: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        raise _invalid(f"{where}: unknown {', '.join(unknown)} (known: {', '.join(allowed)})")


def _invalid(text: str) -> WherryError:
    return WherryError(text, Code.INVALID)
