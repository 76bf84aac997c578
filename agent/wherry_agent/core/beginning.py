"""Beginning: what an assignment starts, given what is here already.

Rules, in order:
1. What serves already is confirmed; whatever stood beside it goes.
2. A shadow needs a bundle that serves, one with the same inputs and outputs, and a unit that can
   run two.
3. A bundle that stands ready is taken in where it is: as shadow, as warm candidate, or by a switch
   (no fetch, no second test, one pointer, then a trial). So is a loaded `previous`. Its manifest is
   held to its signatures and to the floor again: the keys may be others by now.
4. Anything else is fetched, and a candidate that stood goes first.
"""

from wherry_protocol.errors import Code, ContractError, WherryError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment, Mode, assignment_id
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.replacing import replace

from wherry_agent.core import acceptance, candidates
from wherry_agent.core.effects import Fetch, LoadCandidate, Remember, Wanted
from wherry_agent.core.installing import check_again, reject, swap_in_window
from wherry_agent.core.model import (
    Assigned,
    ModelState,
    Result,
    Surroundings,
    assignment_of,
    manifest_of,
    slot_of,
    tell_of,
)
from wherry_agent.core.record import ModelRecord, Slot


def begin(state: ModelState, given: Assigned, around: Surroundings) -> Result:
    """Follow a new assignment."""
    assignment = given.assignment
    found = _here(state.record, assignment, around)
    before = state.record
    if found is None or found[0] is not before.candidate:
        before, gone = candidates.let_go(before, around)
    else:
        gone = ()
    record = replace(
        before,
        assignment_id=assignment_id(assignment),
        mode=assignment.mode,
        shadow_sample_bp=assignment.shadow_sample_bp,
        outcome=Outcome.NONE,
        code=Code.OK,
        reason="",
    )
    begun = ModelState(record=record, phase=Phase.FETCHING, assignment=assignment)
    active = record.active
    if active is not None and active.manifest_digest == assignment.manifest_digest:
        if record.trial is None:
            after, effects = _confirm_what_serves(begun, active)
            return after, (*effects, *gone)
    elif found is not None:
        after, effects = _take(replace(begun, manifest=found[1]), around)
        return after, (*(effects or (Remember(),)), *gone)
    after, effects = _from_afar(begun, around)
    return after, (*effects, *gone)  # the record first


def _from_afar(begun: ModelState, around: Surroundings) -> Result:
    """Rules 2 and 4."""
    assignment = assignment_of(begun)
    try:
        check_mode(begun, None, around)
    except ContractError as error:
        return reject(begun, error, around, is_punished=False)
    wanted = Wanted(assignment.manifest_digest, assignment.manifest_bytes)
    return begun, (
        Remember(),
        tell_of(begun, Kind.ASSIGNED, Severity.INFO, f"{begun.model}: assigned"),
        Fetch(begun.model, (wanted,), is_manifest=True),
    )


def _confirm_what_serves(begun: ModelState, active: Slot) -> Result:
    """Rule 1: nothing to do but to say so."""
    slot = replace(active, deadline_us=assignment_of(begun).deadline_us)
    record = replace(begun.record, outcome=Outcome.CONFIRMED, active=slot)
    return ModelState(record=record), (Remember(),)


def _here(
    record: ModelRecord, assignment: Assignment, around: Surroundings
) -> tuple[Slot, Manifest] | None:
    """What rule 3 can take in: loaded, tested, and with the same deadline."""
    standing = record.candidate if candidates.is_ready(record) else None
    # A microcontroller's way back is tested again where it will serve.
    back = None if around.has_two_slots else candidates.loaded_previous(record)
    choices = [(standing, around.candidate)]
    if assignment.mode is Mode.ACTIVE:
        choices.append((back, around.previous))
    for slot, manifest in choices:
        if slot is None or manifest is None:
            continue
        wanted = (assignment.manifest_digest, assignment.deadline_us)
        if (slot.manifest_digest, slot.deadline_us) == wanted:
            return slot, manifest
    return None


def _take(begun: ModelState, around: Surroundings) -> Result:
    """Rule 3."""
    assignment = assignment_of(begun)
    try:
        check_again(begun, around)
        check_mode(begun, manifest_of(begun), around)
    except WherryError as error:
        return reject(begun, error, around, is_punished=False)
    tested = replace(begun, phase=Phase.SELF_TESTING)
    if assignment.mode is not Mode.ACTIVE:
        return candidates.stand(tested, around)
    tested = replace(tested, record=replace(tested.record, candidate=slot_of(tested)))
    after, effects = swap_in_window(tested, around)
    if after.phase is not Phase.TRIAL:
        return after, effects
    image = LoadCandidate(around.unit, begun.model, slot_of(begun), manifest_of(begun), assignment)
    return after, (
        effects[0],
        image,
        *effects[1:],
    )  # the record first; the loaded stays


def check_mode(state: ModelState, manifest: Manifest | None, around: Surroundings) -> None:
    """Rule 2. Raises ContractError(NO_SHADOW | CONFLICT | CONTRACT)."""
    if assignment_of(state).mode is not Mode.SHADOW:
        return
    if around.has_two_slots:
        text = f"unit {around.unit} cannot run two models on one input; assign it warm"
        raise ContractError(text, Code.NO_SHADOW)
    if state.record.active is None:
        text = f"nothing serves {state.model} yet, so a shadow has nothing to run after"
        raise ContractError(text, Code.CONFLICT)
    if manifest is not None and around.serving is not None:
        acceptance.check_comparable(manifest, around.serving)
