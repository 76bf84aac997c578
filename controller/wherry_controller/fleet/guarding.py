"""Drives the standing guard: it watches every unit and model always, in or out of a rollout."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from wherry_protocol.errors import Code, NotFoundError
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.messages.desired import Mode
from wherry_protocol.messages.observed import Event, Kind
from wherry_protocol.replacing import replace

from wherry_controller.core.guard.keeping import keep_watch, watch_of
from wherry_controller.core.guard.limits import GuardLimits, Terms, silent_after_s
from wherry_controller.core.guard.standing import Action as GuardAction
from wherry_controller.core.guard.standing import (
    Cleared,
    EngineCrash,
    Figure,
    HoldRollouts,
    Level,
    OutOfMemory,
    Raised,
    RollBack,
    TimePassed,
    Used,
    Watch,
    Window,
    step,
)
from wherry_controller.core.guard.standing import Event as GuardEvent
from wherry_controller.core.notify import Cause
from wherry_controller.core.performance import Performance, energy_is_proof
from wherry_controller.core.plans.plan import TRIAL
from wherry_controller.core.rollouts import Rollout, State
from wherry_controller.core.rollouts import events as told
from wherry_controller.fleet import (
    assigning,
    carrying,
    desires,
    escalating,
    rollouts,
    verifying,
)
from wherry_controller.fleet.assigning import Wish
from wherry_controller.fleet.organization import Organization
from wherry_controller.fleet.reports import Seen
from wherry_controller.store import assignments, baselines, classes, devices, meta, registry
from wherry_controller.store import guard as kept
from wherry_controller.store import rollouts as notes
from wherry_controller.store.devices import WatchedUnit

LIMITS = GuardLimits()
GUARD = "guard"
LINK_CLOCK = "link.elapsed_s"
STEP_S_MAX = 10.0  # of the link's clock, between two ticks
TICK_S = 10.0
SELF_TEST = "(self-test)"
OF_UNIT = frozenset((Figure.MEMORY, Figure.SILENCE, Figure.TEMPERATURE, Figure.STORAGE))
SEVERITY = {0: "info", 1: "info", 2: "warning", 3: "critical"}


def watch(org: Organization, seen: list[Seen], now_s: float) -> None:
    """Look at every report of a transaction."""
    if not seen:
        return
    this = _round(org, {report.connection for report in seen})
    for report in seen:
        unit = this.unit(report.connection, report.unit)
        for one in report.performances:
            if one.slot == rollouts.SERVING_SLOT:
                this.step(unit, one.model, _window(one), report.ended_s)
        if report.resources:
            this.look_at_unit(unit, report.resources, now_s)
        if report.event is not None:
            this.look_at_event(unit, report.event, now_s)
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
    profiles: dict[str, HardwareClass | None] = field(default_factory=dict)
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
            _act(self, unit, model, action, at_s)

    def in_trouble(self, model: str) -> set[str]:
        """The units (`connection/unit`) of which some figure is not within its limits now."""
        found = {(row.connection, row.unit) for row in kept.in_trouble(self.org.db, model)}
        for (connection, name, watched), watch in self.watches.items():
            if watched == model:
                found.discard((connection, name))
                found |= {(connection, name)} if watch.levels else set()
        return {f"{connection}/{name}" for connection, name in found}

    def look_at_unit(
        self, unit: WatchedUnit, resources: Mapping[str, float | str], now_s: float
    ) -> None:
        """What a report says of the unit itself; each of its models is held to it."""
        profile = self._profile(unit.hardware_class)
        used = _used(resources, profile)
        if used == Used():
            return
        for row in devices.models_of(self.org.db, unit.connection, unit.unit):
            self.step(unit, row.model, used, now_s)

    def look_at_event(self, unit: WatchedUnit, event: Event, now_s: float) -> None:
        """A crash, a load that was refused for lack of memory, a slot that is damaged, or a bundle
        that the device gave back."""
        if not event.model:
            return
        if event.kind is Kind.STORAGE and event.code is Code.DIGEST:
            escalating.corrupted(self.org, unit.id, event.model, event.text, now_s)
        if event.kind is Kind.REVERTED and event.code is Code.ERROR_RATE:
            self._gave_back(unit, event, now_s)
        if event.code is Code.ENGINE_CRASH and event.manifest_digest:
            self.step(unit, event.model, EngineCrash(event.manifest_digest), now_s)
        elif event.code is Code.OVER_MEMORY:
            text = f"a load was refused for lack of memory: {event.text}"
            self.step(unit, event.model, OutOfMemory(text), now_s)

    def _gave_back(self, unit: WatchedUnit, event: Event, now_s: float) -> None:
        """What `reported` says of the assignment it had answered last may be another bundle's."""
        digest = event.manifest_digest
        if digest is None:
            return
        row = devices.unit(self.org.db, unit.connection, unit.unit)
        assigning.remember_as_bad(self.org, row, digest, Code.ERROR_RATE, event.text, now_s)
        rollouts.gave_back(self.org, unit.id, digest, event.text, now_s)

    def _profile(self, name: str) -> HardwareClass | None:
        if name not in self.profiles:
            self.profiles[name] = classes.find(self.org.db, name)
        return self.profiles[name]

    def _terms(self, unit: WatchedUnit, digest: bytes) -> Terms:
        key = (unit.hardware_class, digest)
        found = self.terms.get(key)
        if found is None:
            profile = self._profile(unit.hardware_class)
            found = self.terms[key] = _terms(self.org, unit, digest, profile)
        return found

    def keep(self) -> None:
        kept.put_all(self.org.db, [keep_watch(key, self.watches[key]) for key in self.changed])


def _used(resources: Mapping[str, float | str], profile: HardwareClass | None) -> Used:
    """The unit's figures in the guard's terms; what a unit does not measure is None."""

    def figure(name: str) -> float | None:
        value = resources.get(name)
        return value if isinstance(value, float) else None

    memory, budget = figure("memory.rss"), figure("memory.budget")
    free, taken = figure("storage.free"), figure("storage.used")
    room = None
    if free is not None and profile is not None:
        room = max(0.0, min(free, profile.storage_budget_bytes - (taken or 0.0)))
    share = memory / budget if memory is not None and budget else None
    return Used(share, figure("temperature"), room)


def _terms(
    org: Organization, unit: WatchedUnit, digest: bytes, profile: HardwareClass | None
) -> Terms:
    terms = Terms()
    if profile is not None:
        terms = Terms(
            temperature_c_min=profile.temperature_c_min,
            temperature_c_max=profile.temperature_c_max,
            storage_budget_bytes=profile.storage_budget_bytes or None,
        )
    row = registry.find_bundle(org.db, digest)
    if row is None:
        return terms
    scope = (row.model, row.major, unit.hardware_class)
    held = baselines.current(org.db, scope)
    if held is not None:
        terms = replace(terms, baseline_latency_us=held.latency_us)
    budget = desires.manifest_of(row.manifest).budgets.get(unit.hardware_class)
    if budget is None:
        return terms
    return replace(
        terms,
        budget_latency_us=float(budget.latency_us_p95),
        budget_energy_uj=budget.energy_uj,
    )


def limits_of(unit: WatchedUnit) -> GuardLimits:
    """The guard's numbers; silence counts by the interval that the unit was told to report at."""
    return _limits(unit.performance_s, unit.resources_s)


@cache
def _limits(performance_s: int, resources_s: int) -> GuardLimits:
    return replace(LIMITS, silent_s=silent_after_s(performance_s, resources_s, LIMITS))


def exercise(org: Organization, now_s: float) -> str:
    """A breach and its recovery that never were go through the guard; the topic of their alert.

    The unit's name is none that a device can have.
    """
    unit = WatchedUnit(SELF_TEST, SELF_TEST, "", 60, 30)
    watch, interval_s = Watch(), 60.0
    for errors in (100, 0):
        window = Window(b"", 1000, errors, interval_s)
        watch, actions = step(watch, window, LIMITS, Terms(), now_s, org.link_s)
        for action in actions:
            if isinstance(action, Raised | Cleared):
                notice = _notice(unit, "", action, now_s)
                notes.put_notice(org.db, replace(notice, cause=Cause.SELF_TEST.value))
    return f"guard:{unit.id}:{Figure.ERRORS.value}"


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


def _notice(unit: WatchedUnit, model: str, action: Raised | Cleared, now_s: float) -> notes.Notice:
    """What people read; figures of the unit are one matter, however many models it runs."""
    figure, is_raised = action.figure, isinstance(action, Raised)
    of_model = "" if figure in OF_UNIT else model
    topic = ":".join(filter(None, ("guard", unit.id, of_model, figure.value)))
    subject = f"{unit.id} {of_model}".rstrip()
    if isinstance(action, Raised):
        text = f"{subject}: {action.text} ({action.level.name.lower()})"
    else:
        text = f"{subject}: {figure.value} back to {action.level.name.lower()}"
    return notes.Notice(
        None,
        now_s,
        SEVERITY[action.level] if is_raised else "info",
        topic,
        "",
        text,
        figure.value,
        unit.id,
        of_model,
        int(not is_raised and action.level < Level.ALERT),
    )


def _act(this: _Round, unit: WatchedUnit, model: str, action: GuardAction, now_s: float) -> None:
    org = this.org
    if isinstance(action, Raised | Cleared):
        notes.put_notice(org.db, _notice(unit, model, action, now_s))
    elif isinstance(action, HoldRollouts):
        _hold(this, unit, model, action, now_s)
    elif isinstance(action, RollBack):
        _roll_back(org, unit, model, action, now_s)


def _hold(this: _Round, unit: WatchedUnit, model: str, action: HoldRollouts, now_s: float) -> None:
    """Trouble on a rollout's new version pauses it; it goes on when no such unit is in trouble.

    Trouble on the old version does not: the rollout may be the cure.
    """
    org = this.org
    for rollout in rollouts.open_ones(org):
        if rollout.model != model or unit.id not in rollout.members:
            continue
        is_held = rollout.state is State.PAUSED and rollout.state_reason.startswith(rollouts.HELD)
        if action.is_held and rollout.state is State.RUNNING and _is_on_new(org, rollout, unit.id):
            event = told.Pause(GUARD, f"{rollouts.HELD} {unit.id}: {action.text}")
            rollouts.tell(org, rollout.rollout_id, event, now_s)
        elif not action.is_held and is_held and not _others_in_trouble(this, rollout):
            resume = told.Resume(GUARD, f"{unit.id} has recovered")
            rollouts.tell(org, rollout.rollout_id, resume, now_s)


def _others_in_trouble(this: _Round, rollout: Rollout) -> bool:
    """Does another unit on the new version give a reason to hold?"""
    return any(
        name in rollout.members and _is_on_new(this.org, rollout, name)
        for name in this.in_trouble(rollout.model)
    )


def _is_on_new(org: Organization, rollout: Rollout, unit_id: str) -> bool:
    serving = devices.find_model(org.db, *devices.split_id(unit_id), rollout.model)
    return serving is not None and serving.active_digest == rollout.digest


def _roll_back(
    org: Organization, watched: WatchedUnit, model: str, action: RollBack, now_s: float
) -> None:
    """Put the former version back, where the bad one still serves, or a drill would bring it home,
    and a good one is known."""
    unit = devices.unit(org.db, watched.connection, watched.unit)
    key = (unit.connection, unit.unit, model)
    row, drill = devices.find_model(org.db, *key), verifying.drill_away(org, key)
    is_home = drill is not None and drill.digest == action.digest
    if row is not None and drill is not None and is_home:
        row = verifying.at_home(org, row, drill)
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
    if is_home:
        verifying.take_from_drill(org, key, f"the guard took the device: {action.text}", now_s)
    elif held is not None and held.bundle_digest == row.previous_digest:
        return  # its rollout took the failure as its own and sent the unit back already
    assigning.remember_as_bad(org, unit, action.digest, Code.FAILED, action.text, now_s)
    assigning.assign(org, devices.unit(org.db, unit.connection, unit.unit), wish, now_s)
    org.record(now_s, GUARD, "guard.rollback", unit.id, action.text, model=model,
               to_version=bundle.version)  # fmt: skip
