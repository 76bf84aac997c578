"""What an owner wants to know of a running agent, as plain values for JSON."""

from collections.abc import Mapping
from typing import Any

from wherry_native.engine import ABI_VERSION, EngineError, chosen_kernels

from wherry_agent.core import candidates
from wherry_agent.core.breaker import Breaker
from wherry_agent.core.model import ModelState
from wherry_agent.core.record import ModelRecord, Slot
from wherry_agent.core.reporting import progress_permille, why
from wherry_agent.core.state import Agent, UnitState


def describe(agent: Agent, now_us: int, is_connected: bool) -> Mapping[str, Any]:
    """The whole agent."""
    return {
        "organization": agent.identity.org,
        "connection": agent.identity.connection,
        "agent_version": agent.settings.agent_version,
        "engine": {"abi": ABI_VERSION, "kernels": _kernels()},
        "is_connected": is_connected,
        "boot_count": agent.boot_count,
        "time_s": agent.clock.now_s(now_us),
        "root_number": agent.trust.root.number,
        "director_epoch": agent.trust.root.epoch,
        "is_trust_stale": agent.is_trust_stale,
        "are_updates_stopped": agent.is_stopped,
        "storage_free_bytes": agent.free_bytes,
        "reports": {
            "held": len(agent.reports.held),
            "spool_bytes": agent.reports.spool_bytes,
            "dropped": agent.reports.dropped_count,
        },
        "units": {name: _unit(agent, unit) for name, unit in agent.units.items()},
    }


def _kernels() -> str:
    """Their name, or the sentence that says why there are none: no model loads then."""
    try:
        return chosen_kernels()
    except EngineError as error:
        return str(error)


def deferral(agent: Agent, until_s: int) -> Mapping[str, Any]:
    """What a deferral until then does to each swap that waits, for whoever asked for it."""
    waiting = {}
    for unit in agent.units.values():
        for name, state in unit.models.items():
            window = state.assignment.window if state.assignment else None
            if state.waits_for_window and window is not None:
                waiting[f"{unit.name}/{name}"] = min(until_s, window.defer_until_s)
    return {"deferred_s": until_s, "waiting": waiting}


def _unit(agent: Agent, unit: UnitState) -> Mapping[str, Any]:
    refusal = unit.refusal
    return {
        "hardware_class": agent.identity.classes[unit.name].name,
        "revision": unit.memory.revision,
        "is_isolated": unit.memory.is_isolated,
        "deferred_s": unit.memory.deferred_s,
        "refusal": None if refusal is None else {"code": refusal.code.name, "text": refusal.text},
        "models": {name: _model(agent, unit, state) for name, state in unit.models.items()},
    }


def _model(agent: Agent, unit: UnitState, state: ModelState) -> Mapping[str, Any]:
    record = state.record
    code, reason = why(unit, state)
    return {
        "phase": state.phase.name.lower(),
        "outcome": record.outcome.name.lower(),
        "code": code.name,
        "reason": reason,
        "active": _slot(record.active),
        "previous": _slot(record.previous),
        "is_previous_loaded": candidates.is_previous_loaded(unit, record),
        "candidate": _candidate(record),
        "floor": record.floor,
        "progress_permille": progress_permille(agent, unit, state),
        "good_inferences": state.trial.good_count if state.trial else 0,
        "start_count": state.trial.start_count if state.trial else 0,
        "breaker": _breaker(agent, unit.breakers.get(state.model)),
    }


def _candidate(record: ModelRecord) -> Mapping[str, str] | None:
    """With its mode, once it is ready: warm or shadow."""
    slot, mode = _slot(record.candidate), candidates.mode_of(record)
    if slot is None:
        return None
    return {**slot, "mode": "on its way" if mode is None else mode.name.lower()}


def _breaker(agent: Agent, breaker: Breaker | None) -> Mapping[str, Any] | None:
    """None where the owner wants no breakers."""
    if agent.settings.breaker is None:
        return None
    known = breaker or Breaker(b"")
    return {
        "state": known.state.value,
        "in_a_row": known.in_a_row,
        "opened_count": known.opened_count,
        "fallback": known.fallback.hex() if known.fallback else None,
    }


def _slot(slot: Slot | None) -> Mapping[str, str] | None:
    if slot is None:
        return None
    return {"version": slot.version, "digest": slot.manifest_digest.hex()}
