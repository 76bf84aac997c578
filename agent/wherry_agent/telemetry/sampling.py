"""When a unit's figures are due, and what they are: differences between two looks at its loops.

Rules:
1. A bundle in a slot is looked at by its `key`, which is never used again: counters begin at 0
   with it, and a bundle that is loaded again has a new key.
2. The active bundle and a shadow have a pack in every interval; any other one where it did
   something.
3. What was unloaded, or left its slot as a shadow, is given to `closing` once, and its last counts
   there are sent.
4. A changed interval takes effect at once, from the last look on.

Pure: `now_us` is monotonic; counters and the rail's integral come in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from wherry_protocol.messages.desired import TelemetryConfig

from wherry_agent.core.inputs import Figures
from wherry_agent.telemetry.counters import Counters, since
from wherry_agent.telemetry.energy import (
    Basis,
    EnergyFigure,
    Integral,
    Snapshot,
    Unavailable,
    Work,
    figures,
)
from wherry_agent.telemetry.pack import Pack, Performance, performance_pack
from wherry_agent.telemetry.shadow import ShadowCounts
from wherry_agent.telemetry.shadow import since as shadow_since

if TYPE_CHECKING:
    from wherry_native.loop import Disagreement

ACTIVE: Final = "active"
PREVIOUS: Final = "previous"
SHADOW: Final = "shadow"
CANDIDATE: Final = "candidate"  # warm: it counts nothing, so only a look at the moment shows it
SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """One bundle in its slot and what it counted so far (totals)."""

    key: str
    model: str
    version: str
    slot: str
    manifest_digest: bytes
    counters: Counters
    shadow: ShadowCounts | None = None  # where it runs as a shadow: since `shadow_key`'s beginning
    shadow_key: str = ""
    disagreements: tuple["Disagreement", ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """A unit's last looks. `base` is `pack.unit_base(…)`."""

    base: str
    config: TelemetryConfig
    at_us: int
    rail: Integral
    resources_us: int
    counters: Mapping[str, Counters]
    shadows: Mapping[str, ShadowCounts] = field(default_factory=dict)
    closed: tuple[Look, ...] = ()


def begin(base: str, config: TelemetryConfig, now_us: int, rail: Integral) -> Sampling:
    """Looking begins: the first packs are due one interval from now, resources at once."""
    overdue_us = now_us - config.resources_s * SECOND_US
    return Sampling(base, config, now_us, rail, overdue_us, {})


def configure(state: Sampling, config: TelemetryConfig) -> Sampling:
    return replace(state, config=config)


def closing(state: Sampling, look: Look) -> Sampling:
    """The bundle is unloaded now; its last counts wait for the next packs."""
    return replace(state, closed=(*state.closed, look))


def is_performance_due(state: Sampling, now_us: int) -> bool:
    return now_us - state.at_us >= state.config.performance_s * SECOND_US


def is_resources_due(state: Sampling, now_us: int) -> bool:
    return now_us - state.resources_us >= state.config.resources_s * SECOND_US


def resources_sent(state: Sampling, now_us: int) -> Sampling:
    return replace(state, resources_us=now_us)


def performance(
    state: Sampling, now_us: int, looks: Sequence[Look], rail: Integral, basis: Basis
) -> tuple[Sampling, tuple[Pack, ...]]:
    """The packs of the interval that ends now, and the next interval's beginning."""
    everyone, done = _everyone(state, looks)
    costs = _energy(state, now_us, done, rail, basis)
    interval_s = (now_us - state.at_us) / SECOND_US
    packs = tuple(
        performance_pack(
            state.base,
            Performance(
                look.model, look.version, look.slot, look.manifest_digest, interval_s,
                done[key], costs[key], _shadowed(state, look), look.disagreements,
            ),
        )
        for key, look in everyone.items()
        if look.slot in (ACTIVE, SHADOW) or done[key].inferences or done[key].refused
    )  # fmt: skip
    counters = {look.key: look.counters for look in looks}
    shadows = {look.shadow_key: look.shadow for look in looks if look.shadow is not None}
    return replace(
        state, at_us=now_us, rail=rail, counters=counters, shadows=shadows, closed=()
    ), packs


def _everyone(
    state: Sampling, looks: Sequence[Look]
) -> tuple[dict[str, Look], dict[str, Counters]]:
    """Each look of the interval and what was done up to it, in its slot: by key, slot and, where a
    shadow ended and began again, by its counts."""
    known, everyone, done = dict(state.counters), {}, {}
    for look in (*state.closed, *looks):
        place = f"{look.key} {look.slot} {look.shadow_key}"
        before = known.get(look.key, Counters())
        everyone[place], done[place] = look, since(look.counters, before)
        known[look.key] = look.counters
    return everyone, done


def _shadowed(state: Sampling, look: Look) -> ShadowCounts | None:
    if look.shadow is None:
        return None
    return shadow_since(look.shadow, state.shadows.get(look.shadow_key, ShadowCounts()))


def energy_now(
    state: Sampling, now_us: int, looks: Sequence[Look], rail: Integral, basis: Basis
) -> dict[str, EnergyFigure | Unavailable]:
    """Energy since the last packs, by key; nothing changes by asking."""
    done = {
        look.key: since(look.counters, state.counters.get(look.key, Counters())) for look in looks
    }
    return _energy(state, now_us, done, rail, basis)


def trial_figures(
    unit: str, look: Look, before: Counters, energy: EnergyFigure | Unavailable
) -> Figures:
    """What the core judges a trial by: everything since `before`; energy where it may revert."""
    done = since(look.counters, before)
    judged = energy if isinstance(energy, EnergyFigure) and energy.may_revert else None
    return Figures(
        unit=unit,
        model=look.model,
        manifest_digest=look.manifest_digest,
        good_count=done.inferences - done.errors,
        error_count=done.errors,
        latency_us_mean=(done.latency.mean_ns or 0.0) / 1000,
        latency_us_p95=(done.latency.quantile_ns(0.95) or 0) // 1000,
        energy_uj_mean=judged.per_inference_uj if judged else None,
    )


def _energy(
    state: Sampling, now_us: int, done: Mapping[str, Counters], rail: Integral, basis: Basis
) -> dict[str, EnergyFigure | Unavailable]:
    nothing = {key: Work() for key in done}
    work = {key: counters.work for key, counters in done.items()}
    return figures(Snapshot(state.at_us, state.rail, nothing), Snapshot(now_us, rail, work), basis)
