"""Drives the standing guard: it watches every unit and model always, in or out of a rollout."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache

from wherry_protocol.errors import Code, NotFoundError
from wherry_protocol.messages.desired import Mode
from wherry_protocol.replacing import replace

from wherry_controller.core.guard.keeping import keep_watch, watch_of
from wherry_controller.core.guard.limits import GuardLimits, Terms
from wherry_controller.core.guard.standing import Action as GuardAction
from wherry_controller.core.guard.standing import (
    Cleared,
    EngineCrash,
    HoldRollouts,
    Raised,
    RollBack,
    TimePassed,
    Used,
    Watch,
    Window,
    step,
)
from wherry_controller.core.guard.standing import Event as GuardEvent
from wherry_controller.core.performance import Performance, energy_is_proof
from wherry_controller.core.rollouts import State
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.plan import TRIAL
from wherry_controller.fleet import assigning, carrying, desires, rollouts
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.organization import Organization
from wherry_controller.fleet.reports import Seen
from wherry_controller.store import assignments, devices, meta, registry
from wherry_controller.store import guard as kept
from wherry_controller.store import rollouts as notes
from wherry_controller.store.devices import WatchedUnit

LIMITS = GuardLimits()
MISSED_REPORTS = 3  # a unit that was told to report rarely is silent later
GUARD = "guard"
LINK_CLOCK = "link.elapsed_s"
STEP_S_MAX = 10.0  # of the link's clock, between two ticks
TICK_S = 10.0
SEVERITY = {0: "info", 1: "info", 2: "warning", 3: "critical"}


def watch(org: Organization, seen: list[Seen], now_s: float) -> None:
    """Look at every report of a transaction."""
    this = _round(org, {report.connection for report in seen})
    for report in seen:
        unit = this.unit(report.connection, report.unit)
        for one in report.performances:
            if one.slot == rollouts.SERVING_SLOT:
                this.step(unit, one.model, _window(one), report.ended_s)
        used, budget = report.resources.get("memory.rss"), report.resources.get("memory.budget")
        if isinstance(used, float) and isinstance(budget, float) and budget > 0:
            for row in devices.models_of(org.db, unit.connection, unit.unit):
                this.step(unit, row.model, Used(used / budget), now_s)
        event = report.event
        if (
            event is not None
            and event.code is Code.ENGINE_CRASH
            and event.model
            and event.manifest_digest
        ):
            this.step(unit, event.model, EngineCrash(event.manifest_digest), now_s)
    this.keep()


def _window(one: Performance) -> Window:
    p95_ns = one.latency.quantile_ns(0.95)
    mean_ns = one.latency.mean_ns
    return Window(
        one.digest,
        one.inferences,
        one.errors,
        one.interval_s,
        None if mean_ns is None else mean_ns / 1e3,
        None if p95_ns is None else p95_ns / 1e3,
        None if one.energy_j is None else one.energy_j * 1e6,
        energy_is_proof(one.energy_source),
    )


def _round(org: Organization, connections: Collection[str]) -> "_Round":
    units = devices.watched_units(org.db, connections)
    watches = kept.of_connections(org.db, connections)
    return _Round(
        org,
        {(unit.connection, unit.unit): unit for unit in units},
        {(row.connection, row.unit, row.model): watch_of(row) for row in watches},
    )


@dataclass(slots=True)
class _Round:
    """One look at many reports, within a transaction: rows are read and written all at once."""

    org: Organization
    units: dict[tuple[str, str], WatchedUnit]
    watches: dict[tuple[str, str, str], Watch]
    terms: dict[tuple[str, bytes], Terms] = field(default_factory=dict)
    changed: set[tuple[str, str, str]] = field(default_factory=set)

    def unit(self, connection: str, name: str) -> WatchedUnit:
        """Raises NotFoundError."""
        found = self.units.get((connection, name))
        if found is None:
            raise NotFoundError(f"device {connection}/{name} is not enrolled here")
        return found

    def step(self, unit: WatchedUnit, model: str, event: GuardEvent, at_s: float) -> None:
        key = (unit.connection, unit.unit, model)
        before = self.watches.get(key) or Watch()
        digest = event.digest if isinstance(event, Window | EngineCrash) else before.digest
        after, actions = step(
            before,
            event,
            limits_of(unit),
            self._terms(unit, digest),
            at_s,
            self.org.link_s,
        )
        self.watches[key] = after
        if after != before:
            self.changed.add(key)
        for action in actions:
            _act(self.org, unit, model, action, at_s)

    def _terms(self, unit: WatchedUnit, digest: bytes) -> Terms:
        key = (unit.hardware_class, digest)
        found = self.terms.get(key)
        if found is None:
            found = self.terms[key] = _terms(self.org, unit, digest)
        return found

    def keep(self) -> None:
        kept.put_all(self.org.db, [keep_watch(key, self.watches[key]) for key in self.changed])


def _terms(org: Organization, unit: WatchedUnit, digest: bytes) -> Terms:
    row = registry.find_bundle(org.db, digest)
    if row is None:
        return Terms()
    budget = desires.manifest_of(row.manifest).budgets.get(unit.hardware_class)
    if budget is None:
        return Terms()
    return Terms(float(budget.latency_us_p95), None, budget.energy_uj)


def limits_of(unit: WatchedUnit) -> GuardLimits:
    """The guard's numbers; silence counts by the interval that the unit was told to report at."""
    return _limits(min(unit.performance_s, unit.resources_s))


@cache
def _limits(interval_s: int) -> GuardLimits:
    return replace(LIMITS, silent_s=max(LIMITS.silent_s, MISSED_REPORTS * interval_s))


def tick(org: Organization, now_s: float) -> None:
    """Look for silence, and keep the link's clock: a restart goes on where it stood."""
    meta.put(org.db, LINK_CLOCK, repr(org.link_s))
    silent = kept.newly_silent(org.db, org.link_s - LIMITS.silent_s)
    this = _round(org, {row.connection for row in silent})
    for row in silent:
        unit = this.unit(row.connection, row.unit)
        this.step(unit, row.model, TimePassed(), now_s)
    this.keep()


def start(org: Organization) -> None:
    """The link's clock goes on where the last process kept it."""
    org.link_s = float(meta.get(org.db, LINK_CLOCK) or 0.0)


def pass_time(org: Organization, elapsed_s: float) -> None:
    """A process that slept, or a clock that jumped, makes nobody silent."""
    if org.link_is_up:
        org.link_s += min(max(0.0, elapsed_s), STEP_S_MAX)


def _act(
    org: Organization, unit: WatchedUnit, model: str, action: GuardAction, now_s: float
) -> None:
    topic = f"guard:{unit.id}:{model}"
    if isinstance(action, Raised):
        severity, figure = SEVERITY[action.level], action.figure.value
        text = f"{unit.id} {model}: {action.text} ({action.level.name.lower()})"
        notes.put_notice(org.db, notes.Notice(None, now_s, severity, f"{topic}:{figure}", "", text))
    elif isinstance(action, Cleared):
        text = f"{unit.id} {model}: {action.figure.value} back to {action.level.name.lower()}"
        notice = notes.Notice(None, now_s, "info", f"{topic}:{action.figure.value}", "", text)
        notes.put_notice(org.db, notice)
    elif isinstance(action, HoldRollouts):
        _hold(org, unit, model, action, now_s)
    elif isinstance(action, RollBack):
        _roll_back(org, unit, model, action, now_s)


def _hold(
    org: Organization, unit: WatchedUnit, model: str, action: HoldRollouts, now_s: float
) -> None:
    """Trouble on a rollout's new version pauses it; recovery lets it go on.

    Trouble on the old version does not: the rollout may be the cure.
    """
    serving = devices.find_model(org.db, unit.connection, unit.unit, model)
    reason = f"held for {unit.id}"
    for rollout in rollouts.open_ones(org):
        if rollout.model != model or unit.id not in rollout.members:
            continue
        is_on_new = serving is not None and serving.active_digest == rollout.digest
        if action.is_held and is_on_new and rollout.state is State.RUNNING:
            event = told.Pause(GUARD, f"{reason}: {action.text}")
            rollouts.tell(org, rollout.rollout_id, event, now_s)
        elif (
            not action.is_held and rollout.state is State.PAUSED and reason in rollout.state_reason
        ):
            resume = told.Resume(GUARD, f"{unit.id} has recovered")
            rollouts.tell(org, rollout.rollout_id, resume, now_s)


def _roll_back(
    org: Organization, watched: WatchedUnit, model: str, action: RollBack, now_s: float
) -> None:
    """Put the former version back, where the bad one still serves and a good one is known."""
    unit = devices.unit(org.db, watched.connection, watched.unit)
    row = devices.find_model(org.db, unit.connection, unit.unit, model)
    if row is None or row.active_digest != action.digest or row.previous_digest is None:
        return
    bundle = registry.find_bundle(org.db, row.previous_digest)
    failure = assignments.failure(org.db, unit.connection, unit.unit, row.previous_digest)
    if bundle is None or failure is not None:
        return
    manifest = desires.manifest_of(bundle.manifest)
    if unit.hardware_class not in manifest.budgets:
        return
    attempt = assigning.next_attempt(org, unit, model)
    trial = carrying.way_back_trial(TRIAL, unit, bundle)
    wish = Wish(bundle, manifest, trial, GUARD, "", Mode.ACTIVE, attempt)
    if assigning.why_unfit(org, unit, wish) is not None:
        return
    rollouts.preempt(org, unit.id, model, f"guard: {action.text}", now_s, action.digest)
    held = assignments.find(org.db, unit.connection, unit.unit, model)
    if held is not None and held.bundle_digest == row.previous_digest:
        return  # its rollout took the failure as its own and sent the unit back already
    assigning.remember_as_bad(org, unit, action.digest, Code.FAILED, action.text, now_s)
    assigning.assign(org, devices.unit(org.db, unit.connection, unit.unit), wish, now_s)
    org.record(now_s, GUARD, "guard.rollback", unit.id, action.text, model=model,
               to_version=bundle.version)  # fmt: skip
