"""Guarding: the breakers of a unit's models, from inferences to who answers.

Rules:
1. Only a bundle that serves and is not on trial is guarded: in a trial a breach reverts, and that
   goes before. Whatever swaps another bundle in (or the same one again) ends its breaker.
2. Open: `previous` answers if it keeps the contract (the same MAJOR) and can be loaded, else the
   manifest's safe output, else nothing.
3. The record on disk says nothing of breakers: after a restart they are closed, and a bundle that
   still fails opens its own again.
4. What fails for too long (core/sustained.py; by default two minutes on end) goes back to
   `previous` for good, under the same conditions and never below the security floor; without one
   it stays, and the breaker stands. That holds where the owner has switched breakers off, too.
"""

from wherry_protocol.errors import Code, NotFoundError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Phase
from wherry_protocol.replacing import replace
from wherry_protocol.version import Version

from wherry_agent.core import breaker as breakers
from wherry_agent.core import sustained
from wherry_agent.core.breaker import Breaker, Happened, State
from wherry_agent.core.effects import Divert, LoadCandidate, Release, Tell
from wherry_agent.core.inputs import Diverted, Ran
from wherry_agent.core.model import Failing
from wherry_agent.core.state import UnitState
from wherry_agent.core.sustained import Sustained
from wherry_agent.core.turn import Turn

SECOND_US = 1_000_000


def ran(turn: Turn, given: Ran) -> None:
    """What a bundle's latest inferences came to, in their order."""
    if _confirmed_digest(turn, given.unit, given.model) != given.manifest_digest:
        return
    for is_good in given.outcomes:
        happened = Happened.SUCCEEDED if is_good else Happened.FAILED
        _step(turn, given.unit, given.model, happened)
    unit = turn.unit(given.unit)
    before = unit.sustained.get(given.model) or Sustained(given.manifest_digest, turn.now_us)
    _keep(turn, given.unit, given.model, sustained.add(before, given.outcomes))


def tick(turn: Turn) -> list[tuple[str, str, Failing]]:
    """Bundles whose time is over get their next chance; (unit, model, why) of what goes back."""
    failing = []
    for name, unit in list(turn.agent.units.items()):
        for model in list(unit.breakers):
            _step(turn, name, model, Happened.WAITED)
        for model, found in list(turn.unit(name).sustained.items()):
            why = _why_back(turn, name, model, found)
            if why is not None:
                failing.append((name, model, why))
    return failing


def _why_back(turn: Turn, unit_name: str, model: str, before: Sustained) -> Failing | None:
    """Rule 4."""
    limits = turn.agent.settings.sustained
    breaker = _breaker(turn, unit_name, model)
    was_open = breaker.state is not State.CLOSED and breaker.until_us > before.since_us
    after = sustained.close(before, was_open, limits, turn.now_us)
    if after is before:
        return None
    _keep(turn, unit_name, model, after)
    is_proved = after is not None and sustained.is_proved(after, limits)
    if not is_proved or not _has_way_back(turn, unit_name, model):
        return None
    seconds = limits.windows_min * limits.window_us / SECOND_US
    text = f"more than {100 * limits.error_rate_max:g}% of its inferences failed for {seconds:g} s"
    return Failing(before.manifest_digest, text)


def _has_way_back(turn: Turn, unit_name: str, model: str) -> bool:
    """May `previous` serve: the same contract, and not below the floor?"""
    unit = turn.unit(unit_name)
    previous = _previous(unit, model)
    if previous is None:
        return False
    return Version.parse(previous.version) >= Version.parse(unit.models[model].record.floor)


def _keep(turn: Turn, unit_name: str, model: str, found: Sustained | None) -> None:
    unit = turn.unit(unit_name)
    kept = {name: one for name, one in unit.sustained.items() if name != model}
    if found is not None:
        kept[model] = found
    turn.put(replace(unit, sustained=kept))


def reset(turn: Turn, unit_name: str, model: str) -> str:
    """Close the model's breaker; a sentence on what it was. Raises NotFoundError."""
    if _guarded_digest(turn, unit_name, model) is None:
        raise NotFoundError(f"no confirmed version of {model} serves here, so no breaker guards it")
    before = _breaker(turn, unit_name, model)
    _step(turn, unit_name, model, Happened.RESET)
    return f"the breaker of {model} was {before.state.value}, now it is closed"


def forget(turn: Turn, unit_name: str, model: str) -> None:
    """Another bundle was swapped in (rule 1)."""
    _keep(turn, unit_name, model, None)
    unit = turn.unit(unit_name)
    if model in unit.breakers:
        kept = {name: one for name, one in unit.breakers.items() if name != model}
        turn.put(replace(unit, breakers=kept))


def diverted(turn: Turn, given: Diverted) -> None:
    """The shell tells who answers: the fallback may not have been loadable."""
    unit = turn.unit(given.unit)
    breaker = unit.breakers.get(given.model)
    if breaker is None or breaker.manifest_digest != given.manifest_digest:
        return
    if breaker.state is State.OPEN and breaker.fallback != given.fallback:
        breaker = replace(breaker, fallback=given.fallback)
        turn.put(replace(unit, breakers={**unit.breakers, given.model: breaker}))
        turn.touch(given.unit)
        text = f"{given.model}: its previous version cannot be loaded; {_stand_in(turn, given)}"
        _tell(turn, given.unit, given.model, Severity.ERROR, text, Code.BREAKER_OPEN)


def reason(unit: UnitState, model: str) -> str:
    """Why the model's bundle does not answer; empty where it does."""
    breaker = unit.breakers.get(model)
    if breaker is None or breaker.state is not State.OPEN:
        return ""
    stand_in = _previous(unit, model) if breaker.fallback is not None else None
    return f"it failed again and again; {_who(stand_in, unit.serving(model))}"


# --- one step


def _confirmed_digest(turn: Turn, unit_name: str, model: str) -> bytes | None:
    """The bundle of the model that serves and is not on trial."""
    state = turn.unit(unit_name).models.get(model)
    if state is None or state.phase is Phase.TRIAL or state.record.active is None:
        return None
    return state.record.active.manifest_digest


def _guarded_digest(turn: Turn, unit_name: str, model: str) -> bytes | None:
    """The bundle of the model that a breaker may guard now; none where the owner wants none."""
    if turn.agent.settings.breaker is None:
        return None
    return _confirmed_digest(turn, unit_name, model)


def _breaker(turn: Turn, unit_name: str, model: str) -> Breaker:
    digest = _guarded_digest(turn, unit_name, model) or b""
    return turn.unit(unit_name).breakers.get(model) or Breaker(digest)


def _step(turn: Turn, unit_name: str, model: str, happened: Happened) -> None:
    limits = turn.agent.settings.breaker
    if limits is None:
        return
    before = _breaker(turn, unit_name, model)
    after = breakers.step(before, happened, limits, turn.now_us)
    if after == before:
        return
    unit = turn.unit(unit_name)
    turn.put(replace(unit, breakers={**unit.breakers, model: after}))
    if after.state is before.state:
        return
    turn.touch(unit_name, is_urgent=after.state is State.OPEN)
    if after.state is State.OPEN:
        _open(turn, unit_name, model, before)
    elif before.state is State.OPEN:
        _end_diversion(turn, unit_name, model, before)
    if after.state is not State.OPEN:
        text = f"{model}: its breaker is {after.state.value} ({happened.value})"
        _tell(turn, unit_name, model, Severity.INFO, text)


def _open(turn: Turn, unit_name: str, model: str, before: Breaker) -> None:
    unit = turn.unit(unit_name)
    breaker, previous = unit.breakers[model], _previous(unit, model)
    slot = unit.models[model].record.previous
    fallback = slot.manifest_digest if slot is not None and previous is not None else None
    breaker = replace(breaker, fallback=fallback)
    turn.put(replace(unit, breakers={**unit.breakers, model: breaker}))
    if slot is not None and previous is not None:
        turn.do(LoadCandidate(unit_name, model, slot, previous, None))
    turn.do(Divert(unit_name, model, breaker.manifest_digest, True, fallback))
    count = "once more" if before.state is State.HALF_OPEN else f"{before.in_a_row + 1} times"
    seconds = (breaker.until_us - turn.now_us) / SECOND_US
    serving = unit.serving(model)
    version = f" {serving.version}" if serving else ""
    text = (
        f"{model}{version} failed {count} in a row: its breaker is open for {seconds:g} s, "
        f"{_who(previous, serving)}"
    )
    _tell(turn, unit_name, model, Severity.ERROR, text, Code.BREAKER_OPEN)


def _end_diversion(turn: Turn, unit_name: str, model: str, before: Breaker) -> None:
    turn.do(Divert(unit_name, model, before.manifest_digest, False, None))
    is_released = turn.unit(unit_name).models[model].record.is_previous_released
    if before.fallback is not None and is_released:
        turn.do(Release(unit_name, model, before.fallback))


def _previous(unit: UnitState, model: str) -> Manifest | None:
    """The manifest of `previous`, where it may stand in for what serves."""
    previous, serving = unit.previous(model), unit.serving(model)
    if previous is None or serving is None:
        return None
    majors = {Version.parse(one.version).major for one in (previous, serving)}
    return previous if len(majors) == 1 else None


def _stand_in(turn: Turn, given: Diverted) -> str:
    unit = turn.unit(given.unit)
    previous = _previous(unit, given.model) if given.fallback is not None else None
    return _who(previous, unit.serving(given.model))


def _who(previous: Manifest | None, serving: Manifest | None) -> str:
    if previous is not None:
        return f"{previous.version} answers instead"
    if serving is not None and serving.contract.safe_output is not None:
        return "its safe output answers instead"
    return "nothing answers instead"


def _tell(
    turn: Turn, unit: str, model: str, severity: Severity, text: str, code: Code = Code.OK
) -> None:
    digest = _guarded_digest(turn, unit, model)
    turn.tell(Tell(Kind.BREAKER, severity, text, code, model, digest), unit)
