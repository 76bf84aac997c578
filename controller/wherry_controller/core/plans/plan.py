"""The plan of a rollout: strategy, stages, gate, trial and limits, as read from a TOML file.

    strategy = "linear"            # or [[stages]] with share, soak_s, not_before_s, is_gated, ...
    preset = "balanced"
    subset = "25%"
    on_call = "ada, 555-0100"      # and notes: who is to be called, and what is to be known
    [parameters]
    increment = "10%"              # any parameter of the strategy
    [gate]
    requests_min = 200             # any number of the preset
    inconclusive = "pause"         # or wait: what a stage does that only lacks figures
    [[gate.custom]]                # see `custom`
    name = "complaints"
    operator = ">"
    limit = 5
    [trial]
    good_inferences_min = 50       # any field of TrialLimits

Unknown keys are refused by name, and every number that differs from its preset or default is
listed in `overrides`, so that a report can show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from wherry_protocol.codec import encode
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.version import Version

from wherry_controller.core.gates.custom import parse_rules
from wherry_controller.core.gates.limits import (
    CHECKS,
    DEFAULT_PRESET,
    PAUSE,
    PRESETS,
    WAIT,
    GateLimits,
)
from wherry_controller.core.plans.pace import (
    AT_ONCE,
    NEVER_AGAIN,
    Ramp,
    Retries,
    parse_ramp,
    parse_retries,
)
from wherry_controller.core.plans.schedule import ALWAYS, Schedule, parse_schedule
from wherry_controller.core.plans.stages import SECONDS_MAX, Action, Stage, parse_stages
from wherry_controller.core.plans.strategies import STRATEGIES, parameters_of
from wherry_controller.core.subset import WHOLE_BP, parse_share
from wherry_controller.core.tables import inner, invalid, known, numbers, one_of, text

TRIAL: Final = TrialLimits(
    good_inferences_min=100,
    trial_s_min=10.0,
    trial_s_max=3_600.0,
    error_rate_max=0.10,
    error_samples_min=50,
)


SKIP: Final = "skip"
BRING: Final = "bring"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout will do, fixed when it is made (only `subset` is ever widened).

    Shares are basis points, times seconds. `max_failed` None: none of fewer than 20 opened
    members, else 2 % of them. `parallel_max` 0: no limit. `chunk_window` 0: each device's own.
    """

    strategy: str
    stages: tuple[Stage, ...]
    preset: str = DEFAULT_PRESET
    gate: GateLimits = PRESETS[DEFAULT_PRESET]
    trial: TrialLimits = TRIAL
    subset_bp: int = WHOLE_BP
    parallel_max: int = 0
    chunk_window: int = 0  # so many chunks at most a device asks for at a time
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
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the strategy, all of them
    sampling_bp: int = WHOLE_BP  # of the inputs that a shadow runs on
    slot: str = "green"  # where a switched version is staged; the other one serves until then
    is_purged: bool = False  # a decommission deletes the bytes too
    schedule: Schedule = ALWAYS
    ramp: Ramp = AT_ONCE
    retries: Retries = NEVER_AGAIN
    must_pass: tuple[str, ...] = ()  # versions that a unit must have run when it starts
    must_pass_missing: str = SKIP  # or BRING: what becomes of a unit that has not
    after: str = ""  # the rollout that has to succeed before it starts
    target: str = ""  # the selector that chose its units
    environment: str = ""  # the label `env` of its units, as they were selected
    on_call: str = ""  # whom to call about it
    notes: str = ""


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
    "chunk_window": (0, 8),
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
    "error_increase_min": (0.0, 1.0),
    "update_failure_max": (1e-6, 0.999),
    "inconclusive_after_s": (1.0, SECONDS_MAX),
    "experiment_s": (1.0, SECONDS_MAX),
    "experiment_alpha": (1e-6, 0.5),
    "shadow_agreement_min": (0.0, 1.0),
    "shadow_latency_ratio": (1.0, 1_000.0),
}
GATE_COUNTS: Final = {
    "requests_min": (1, 10**9),
    "crashes_max": (0, 10**6),
    "shadow_requests_min": (1, 10**9),
    "experiment_devices_min": (2, 10**6),
    "control_units_min": (1, 10**6),
}
KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number of at least 0",
    float: "a number of at least 0",
}
VERSIONS_MAX: Final = 16
TEXTS: Final = {"after": 128, "on_call": 128, "notes": 1_024}  # longest, in characters
KEYS: Final = (
    "strategy", "parameters", "slot", "not_before", "not_after", "window", "ramp",
    "retries", "must_pass", "must_pass_missing",
    "stages", "preset", "subset", "gate", "trial",
    *SECONDS, *COUNTS, *TEXTS,
)  # fmt: skip


def parse_plan(table: Mapping[str, Any]) -> Plan:
    """A plan from a rollout file's table; an empty one is `direct`.

    Raises WherryError(INVALID).
    """
    known("rollout file", table, KEYS)
    preset = one_of("preset", table.get("preset", DEFAULT_PRESET), tuple(PRESETS))
    strategy, stages, given = _stages(table)
    plan = Plan(
        strategy,
        stages,
        preset,
        _gate(PRESETS[preset], inner(table, "gate")),
        _trial(inner(table, "trial")),
        _subset(table, strategy, given),
        parameters=given,
        schedule=parse_schedule(table),
        ramp=parse_ramp(table),
        retries=parse_retries(table),
        must_pass=_versions(table.get("must_pass", [])),
        must_pass_missing=one_of(
            "must_pass_missing", table.get("must_pass_missing", SKIP), (SKIP, BRING)
        ),
        sampling_bp=given.get("sampling", WHOLE_BP),
        is_purged=given.get("bytes") == "purge",
        **numbers("rollout file", table, SECONDS, COUNTS),
        slot=one_of("slot", table.get("slot", "green"), ("blue", "green")),
        **_texts(table),
    )
    if plan.subset_bp < WHOLE_BP and any(s.action is not Action.SWAP for s in stages):
        raise invalid(f"{strategy} has no subset; take a part of the target, like '25% of all'")
    if plan.must_pass_missing == BRING and any(s.action is not Action.SWAP for s in stages):
        raise invalid(f"{strategy} brings nothing first; bring the older version by itself")
    return replace(plan, overrides=_overrides(plan))


def _versions(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > VERSIONS_MAX:
        raise invalid(f"must_pass is {value!r}, must be a list of at most {VERSIONS_MAX} versions")
    return tuple(str(Version.parse(str(one))) for one in value)


def _texts(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: text(key, table[key], size) for key, size in TEXTS.items() if key in table}


def _overrides(plan: Plan) -> tuple[str, ...]:
    default = Plan(plan.strategy, plan.stages)
    found = [
        *_parameter_differences(plan),
        *_differences("", plan, default, (*SECONDS, *COUNTS)),
        *_differences("gate.", plan.gate, PRESETS[plan.preset], _names(GateLimits)),
        *_differences("trial.", plan.trial, TRIAL, _names(TrialLimits)),
    ]
    return tuple(found)


def _parameter_differences(plan: Plan) -> list[str]:
    wanted = STRATEGIES[plan.strategy].parameters if plan.strategy in STRATEGIES else {}
    return [
        f"parameters.{name} = {one.shown(plan.parameters[name])} ({one.shown(one.default)})"
        for name, one in wanted.items()
        if plan.parameters[name] != one.default
    ]


def _differences(prefix: str, value: object, default: object, names: tuple[str, ...]) -> list[str]:
    return [
        f"{prefix}{name} = {_shown(getattr(value, name))} ({_shown(getattr(default, name))})"
        for name in names
        if getattr(value, name) != getattr(default, name)
    ]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _stages(table: Mapping[str, Any]) -> tuple[str, tuple[Stage, ...], dict[str, Any]]:
    if "stages" not in table:
        given_name = table.get("strategy", "direct")
        name = str(given_name).replace("_", "-") if isinstance(given_name, str) else given_name
        name = one_of("strategy", name, tuple(STRATEGIES))
        given = parameters_of(name, inner(table, "parameters"))
        return name, STRATEGIES[name].make(given), given
    if "strategy" in table or "parameters" in table:
        raise invalid("a rollout file has either strategy or stages, not both")
    return "stages", parse_stages(table["stages"]), {}


def _subset(table: Mapping[str, Any], strategy: str, given: Mapping[str, Any]) -> int:
    """Where it stops: the file's subset, or what the strategy's own parameter says."""
    subset_bp = parse_share(table.get("subset", "100%"))
    stops_at = STRATEGIES[strategy].stops_at if strategy in STRATEGIES else ""
    return min(subset_bp, given[stops_at]) if stops_at else subset_bp


def _gate(preset: GateLimits, table: Mapping[str, Any]) -> GateLimits:
    known("gate", table, (*GATE, *GATE_COUNTS, "require", "custom", "inconclusive"))
    gate = replace(
        preset,
        **numbers("gate", table, GATE, GATE_COUNTS),
        custom=parse_rules(table.get("custom", [])),
        inconclusive=one_of("gate: inconclusive", table.get("inconclusive", WAIT), (WAIT, PAUSE)),
    )
    if "require" not in table:
        return gate
    require = table["require"]
    if not isinstance(require, list) or not all(name in CHECKS for name in require):
        raise invalid(f"gate: require is {require!r}, must be a list of {', '.join(CHECKS)}")
    return replace(gate, require=tuple(name for name in CHECKS if name in require))


def _trial(table: Mapping[str, Any]) -> TrialLimits:
    known("trial", table, _names(TrialLimits))
    values = {name: _like(name, table[name], getattr(TRIAL, name)) for name in table}
    trial = replace(TRIAL, **values)
    try:
        encode(trial)
    except ValueError as error:
        raise invalid(f"trial: {error}") from error
    return trial


def _like(name: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; the message's own codec holds its bounds."""
    if isinstance(default, bool):
        fits = isinstance(value, bool)
    else:
        fits = isinstance(value, int | type(default)) and not isinstance(value, bool)
    if not fits or value < 0:
        raise invalid(f"trial: {name} is {value!r}, must be {KINDS[type(default)]}")
    return type(default)(value)
