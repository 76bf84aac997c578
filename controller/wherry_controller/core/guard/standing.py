"""One model on one unit, watched always.

Rules:
1. Each figure has a level: OK, WATCH, ALERT or ROLLBACK; the highest limit that is breached.
2. People are told when a level rises or falls back, never for a level that stays.
3. ROLLBACK is asked for once, until another digest has served (the shell rolls back only where
   the digest is still the one that is assigned).
4. Errors roll back only when every measured window of 120 s is above the limit; latency (mean),
   energy (measured or calibrated) and an engine crash do so at once.
5. Silence and every level above OK stop rollouts from widening; they are let go on recovery.
   Silence is measured on the clock of the controller's own link (`link_s`).
6. A figure that is missing leaves its level as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from wherry_protocol.frozen import quick
from wherry_protocol.replacing import replace

from wherry_controller.core.guard.limits import GuardLimits, Terms


class Level(IntEnum):
    OK = 0
    WATCH = 1
    ALERT = 2
    ROLLBACK = 3


class Figure(Enum):
    ERRORS = "errors"
    LATENCY = "latency"
    ENERGY = "energy"
    MEMORY = "memory"
    TEMPERATURE = "temperature"
    STORAGE = "storage"
    CRASH = "crash"
    SILENCE = "silence"


@quick
@dataclass(frozen=True, slots=True)
class Window:
    """One report of one unit on one model. None: the figure cannot be had."""

    digest: bytes
    inferences: int
    errors: int
    interval_s: float
    latency_us_mean: float | None = None
    latency_us_p95: float | None = None
    energy_uj: float | None = None
    is_energy_trusted: bool = False  # measured or calibrated


@dataclass(frozen=True, slots=True)
class Used:
    """What one report says of the unit itself. None: the figure cannot be had.

    `memory_share` is of the budget; `storage_room_bytes` is what bundles and records may still
    take.
    """

    memory_share: float | None = None
    temperature_c: float | None = None
    storage_room_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A load was refused, or a process ended, for lack of memory."""

    text: str


@dataclass(frozen=True, slots=True)
class EngineCrash:
    digest: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """Anything at all came from the unit."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing came from the unit until now."""


Event = Window | Used | OutOfMemory | EngineCrash | Heard | TimePassed


@dataclass(frozen=True, slots=True)
class Raised:
    """A figure's level rose: tell people."""

    figure: Figure
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """A figure's level fell (to OK, or to WATCH from above)."""

    figure: Figure
    level: Level


@dataclass(frozen=True, slots=True)
class HoldRollouts:
    """Rollouts of this model shall not widen, as long as it `is_held`."""

    is_held: bool
    text: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Put the former version back under the guard's authority, in place of `digest`."""

    digest: bytes
    text: str


Action = Raised | Cleared | HoldRollouts | RollBack


@quick
@dataclass(frozen=True, slots=True)
class Watch:
    """The guard's memory of one (unit, model)."""

    levels: dict[Figure, Level] = field(default_factory=dict)
    digest: bytes = b""  # that the last window was of
    bad_s: float = 0.0  # how long every measured window was above the error limit
    bad_until_s: float | None = None
    heard_link_s: float | None = None  # when anything was heard last, on the link's clock
    rolled_back: bytes | None = None


@quick
@dataclass(frozen=True, slots=True)
class Reading:
    """One figure's level now, and the sentence for it."""

    figure: Figure
    level: Level
    text: str


HEARD: Final = Reading(Figure.SILENCE, Level.OK, "")


def step(
    watch: Watch, event: Event, limits: GuardLimits, terms: Terms, now_s: float, link_s: float
) -> tuple[Watch, tuple[Action, ...]]:
    """The guard after an event, and what to do.

    `now_s` is Unix seconds (for a Window its end), `link_s` the link's clock.
    """
    if isinstance(event, TimePassed):
        return _silence(watch, limits, link_s)
    watch = replace(watch, heard_link_s=max(link_s, watch.heard_link_s or 0.0))
    if isinstance(event, Window):
        watch = _streak(watch, event, limits, now_s)
        readings = [HEARD, *_read_window(watch, event, limits, terms)]
        if watch.rolled_back not in (None, event.digest):
            watch = replace(watch, rolled_back=None)
        return _settle(watch, readings, event.digest)
    if isinstance(event, EngineCrash):
        crash = Reading(Figure.CRASH, Level.ROLLBACK, "the engine crashed")
        return _settle(watch, [HEARD, crash], event.digest)
    if isinstance(event, Used):
        return _settle(watch, [HEARD, *_read_unit(event, limits, terms)], None)
    if isinstance(event, OutOfMemory):
        refused = Reading(Figure.MEMORY, Level.ALERT, event.text)
        return _settle(watch, [HEARD, refused], None)
    return _settle(watch, [HEARD], None)


def _streak(watch: Watch, window: Window, limits: GuardLimits, now_s: float) -> Watch:
    """How long this digest's error rate has been above the rollback limit (rule 4)."""
    if window.digest != watch.digest:
        watch = replace(watch, digest=window.digest, bad_s=0.0, bad_until_s=None)
    if window.inferences < limits.samples_min:
        return watch
    if window.errors / window.inferences <= limits.error_rollback:
        is_clean = watch.bad_until_s is None
        return watch if is_clean else replace(watch, bad_s=0.0, bad_until_s=None)
    began_s = now_s - window.interval_s
    is_gap = watch.bad_until_s is None or began_s - watch.bad_until_s > limits.streak_gap_s
    bad_s = window.interval_s + (0.0 if is_gap else watch.bad_s)
    return replace(watch, bad_s=bad_s, bad_until_s=now_s)


def _read_window(
    watch: Watch, window: Window, limits: GuardLimits, terms: Terms
) -> Iterable[Reading]:
    if window.inferences < limits.samples_min:
        return
    yield _read_errors(watch, window, limits)
    yield from _read_latency(window, limits, terms)
    yield from _read_energy(window, limits, terms)
    if window.digest != watch.rolled_back:
        yield Reading(Figure.CRASH, Level.OK, "")


def _read_errors(watch: Watch, window: Window, limits: GuardLimits) -> Reading:
    rate = window.errors / window.inferences
    if rate < limits.error_watch:
        return Reading(Figure.ERRORS, Level.OK, "")  # people are told of what is not
    text = f"error rate {rate:.4f} of {window.inferences}"
    if rate > limits.error_rollback and watch.bad_s >= limits.error_rollback_s:
        text += f", above {limits.error_rollback:g} for {watch.bad_s:g} s"
        return Reading(Figure.ERRORS, Level.ROLLBACK, text)
    if rate > limits.error_alert:
        return Reading(Figure.ERRORS, Level.ALERT, f"{text}, above {limits.error_alert:g}")
    text += f", should be below {limits.error_watch:g}"
    return Reading(Figure.ERRORS, Level.WATCH, text)


def limit(value: float, ratio: float) -> float:
    """`value * ratio` as one writes it down: 1.15 of 100 is 115 and not a hair less."""
    return round(value * ratio, 6)


def _read_latency(window: Window, limits: GuardLimits, terms: Terms) -> Iterable[Reading]:
    mean, p95 = window.latency_us_mean, window.latency_us_p95
    budget, baseline = terms.budget_latency_us, terms.baseline_latency_us
    if mean is not None and budget is not None and mean > limit(budget, limits.latency_rollback):
        text = f"mean latency {mean:.0f} us, above {limits.latency_rollback:g}x {budget:.0f} us"
        yield Reading(Figure.LATENCY, Level.ROLLBACK, text)
    elif p95 is not None and budget is not None and p95 > limit(budget, limits.latency_alert):
        text = f"p95 latency {p95:.0f} us, above {limits.latency_alert:g}x {budget:.0f} us"
        yield Reading(Figure.LATENCY, Level.ALERT, text)
    elif p95 is not None and budget is None and p95 > limits.latency_us_unbudgeted:
        text = f"p95 latency {p95:.0f} us, above {limits.latency_us_unbudgeted:g} us (no budget)"
        yield Reading(Figure.LATENCY, Level.ALERT, text)
    elif p95 is not None and baseline is not None and p95 >= limit(baseline, limits.latency_watch):
        text = f"p95 latency {p95:.0f} us, at {limits.latency_watch:g}x {baseline:.0f} us or above"
        yield Reading(Figure.LATENCY, Level.WATCH, text)
    elif p95 is not None:
        yield Reading(Figure.LATENCY, Level.OK, f"p95 latency {p95:.0f} us")


def _read_energy(window: Window, limits: GuardLimits, terms: Terms) -> Iterable[Reading]:
    energy, budget = window.energy_uj, terms.budget_energy_uj
    if energy is None or budget is None:
        return
    text = f"{energy:.1f} uJ per inference, the budget is {budget:.1f} uJ"
    if energy > limit(budget, limits.energy_rollback) and window.is_energy_trusted:
        yield Reading(Figure.ENERGY, Level.ROLLBACK, text)
    elif energy > limit(budget, limits.energy_alert):
        yield Reading(Figure.ENERGY, Level.ALERT, text)
    elif energy > limit(budget, limits.energy_watch):
        yield Reading(Figure.ENERGY, Level.WATCH, text)
    else:
        yield Reading(Figure.ENERGY, Level.OK, text)


def _read_unit(event: Used, limits: GuardLimits, terms: Terms) -> Iterable[Reading]:
    if event.memory_share is not None:
        yield _read_memory(event.memory_share, limits)
    if event.temperature_c is not None:
        yield from _read_temperature(event.temperature_c, terms)
    if event.storage_room_bytes is not None and terms.storage_budget_bytes is not None:
        yield _read_storage(event.storage_room_bytes, terms.storage_budget_bytes, limits)


def _read_memory(share: float, limits: GuardLimits) -> Reading:
    text = f"{share:.0%} of the memory budget used"
    if share >= limits.memory_alert:
        return Reading(Figure.MEMORY, Level.ALERT, text)
    return Reading(Figure.MEMORY, Level.WATCH if share > limits.memory_watch else Level.OK, text)


def _read_temperature(celsius: float, terms: Terms) -> Iterable[Reading]:
    """Where the class names no range there is no verdict."""
    low, high = terms.temperature_c_min, terms.temperature_c_max
    if low is None and high is None:
        return
    is_safe = (low is None or celsius >= low) and (high is None or celsius <= high)
    text = f"{celsius:.1f} C, the class allows {_end(low)}..{_end(high)} C"
    yield Reading(Figure.TEMPERATURE, Level.OK if is_safe else Level.ALERT, text)


def _end(celsius: float | None) -> str:
    return "" if celsius is None else f"{celsius:g}"


def _read_storage(room_bytes: float, budget_bytes: float, limits: GuardLimits) -> Reading:
    share = room_bytes / budget_bytes
    text = f"room for {room_bytes / 1024:.0f} KiB more, {share:.0%} of the storage budget"
    if share < limits.storage_alert:
        return Reading(Figure.STORAGE, Level.ALERT, text)
    return Reading(Figure.STORAGE, Level.WATCH if share < limits.storage_watch else Level.OK, text)


def _silence(watch: Watch, limits: GuardLimits, link_s: float) -> tuple[Watch, tuple[Action, ...]]:
    if watch.heard_link_s is None or link_s - watch.heard_link_s < limits.silent_s:
        return watch, ()
    text = f"nothing heard for {limits.silent_s:g} s"
    return _settle(watch, [Reading(Figure.SILENCE, Level.ALERT, text)], None)


def _settle(
    watch: Watch, readings: Iterable[Reading], digest: bytes | None
) -> tuple[Watch, tuple[Action, ...]]:
    """Compare the readings with the levels so far (rules 2, 3 and 5)."""
    before = watch.levels
    after = dict(before)
    actions: list[Action] = []
    for reading in readings:
        level = before.get(reading.figure, Level.OK)
        after[reading.figure] = reading.level
        if reading.level > level:
            actions.append(Raised(reading.figure, reading.level, reading.text))
        elif reading.level < level:
            actions.append(Cleared(reading.figure, reading.level))
        if reading.level is Level.ROLLBACK and digest is not None and digest != watch.rolled_back:
            actions.append(RollBack(digest, reading.text))
            watch = replace(watch, rolled_back=digest)
    was_held, is_held = any(before.values()), any(after.values())
    if was_held != is_held:
        text = "; ".join(a.text for a in actions if isinstance(a, Raised))
        actions.append(HoldRollouts(is_held, text or "all figures are back within their limits"))
    levels = {figure: level for figure, level in after.items() if level}
    return watch if levels == before else replace(watch, levels=levels), tuple(actions)
