"""Every pair of every table has a rule, and every input a handler."""

import itertools
import typing

import pytest
from wherry_agent.core import agent as core
from wherry_agent.core import boot, inputs, update
from wherry_agent.core.boot import ACTIONS, BOOT_TABLE, Action, Trying
from wherry_agent.core.record import ModelRecord, Slot, TrialRecord
from wherry_agent.shell import runtime
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.director import TRIAL


def _pairs(*columns):
    return list(itertools.product(*columns))


OLD, NEW = Slot(manifest_digest=b"o" * 32, version="1.0.0"), Slot(
    manifest_digest=b"n" * 32, version="1.1.0"
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "kind"), _pairs(Phase, update.MODEL_INPUTS), ids=lambda one: one.__name__
    if isinstance(one, type) else one.name,
)  # fmt: skip
def test_every_pair_of_phase_and_input_has_a_rule(phase, kind):
    assert callable(update.TRANSITIONS[phase, kind])


def test_every_rule_of_its_own_is_for_a_known_pair():
    assert set(update.RULES) <= set(_pairs(Phase, update.MODEL_INPUTS))


def test_nothing_but_a_newer_assignment_disturbs_a_trial_from_outside():
    """A stop, an isolation or a failed transfer changes nothing about a bundle on trial."""
    for kind in (update.Dropped, update.TransferFailed, update.BlobsArrived, inputs.Assembled):
        assert update.TRANSITIONS[Phase.TRIAL, kind] is update.ignore


def _all_inputs() -> list[type]:
    kinds = [one for one in vars(inputs).values() if isinstance(one, type)]
    parents = {parent for one in kinds for parent in one.__mro__[1:]}
    return [k for k in kinds if issubclass(k, inputs.Input) and k not in parents]


@pytest.mark.parametrize("kind", _all_inputs())
def test_every_input_has_a_handler(kind):
    assert kind in core.HANDLERS


def test_every_effect_has_somebody_who_does_it():
    from wherry_agent.core import effects

    kinds = [one for one in vars(effects).values() if isinstance(one, type)]
    real = [
        one
        for one in kinds
        if issubclass(one, effects.Effect) and not issubclass(one, effects.Intent)
    ]
    leaves = [one for one in real if one not in (effects.Effect, effects.OnUnit)]
    assert all(issubclass(one, effects.OnUnit) or one in runtime.DOERS for one in leaves)


@pytest.mark.parametrize("key", _pairs(Trying, (True, False), (True, False)), ids=str)
def test_every_state_of_the_disk_has_an_action_on_boot(key):
    assert BOOT_TABLE[key] in ACTIONS


def test_the_boot_table_has_no_row_too_many():
    assert len(BOOT_TABLE) == len(Trying) * 4
    assert set(ACTIONS) == set(Action)


def test_no_boot_ever_serves_damaged_bytes():
    for (_, is_active_intact, is_previous_intact), action in BOOT_TABLE.items():
        if action in (Action.SERVE_ACTIVE, Action.SERVE_IN_TRIAL):
            assert is_active_intact
        if action in (Action.FALL_BACK_DAMAGED, Action.FALL_BACK_UNCONFIRMED):
            assert is_previous_intact


def test_no_boot_leaves_an_intact_confirmed_bundle_unserved():
    for (trying, is_active_intact, is_previous_intact), action in BOOT_TABLE.items():
        serves_nothing = action in (
            Action.SERVE_NOTHING_DAMAGED, Action.SERVE_NOTHING_UNCONFIRMED,
        )  # fmt: skip
        if is_previous_intact or (is_active_intact and trying is not Trying.EXHAUSTED):
            assert not serves_nothing


@pytest.mark.parametrize(
    ("starts", "intact", "serves", "code"),
    [
        (None, {OLD, NEW}, NEW, Code.OK),
        (0, {OLD, NEW}, NEW, Code.OK),
        (1, {OLD, NEW}, NEW, Code.OK),
        (2, {OLD, NEW}, OLD, Code.UNCONFIRMED_STARTS),
        (2, {NEW}, None, Code.UNCONFIRMED_STARTS),
        (2, {OLD}, OLD, Code.DIGEST),
        (None, {OLD}, OLD, Code.DIGEST),
        (0, {OLD}, OLD, Code.DIGEST),
        (None, set(), None, Code.DIGEST),
        (None, {NEW}, NEW, Code.OK),
    ],
)
def test_boot_serves_what_the_table_says(starts, intact, serves, code):
    trial = None if starts is None else TrialRecord(limits=TRIAL, start_count=starts)
    record = ModelRecord(
        model="digits", active=NEW, previous=OLD, trial=trial, outcome=Outcome.CONFIRMED
    )
    booted = boot.boot(record, frozenset(slot.manifest_digest for slot in intact))
    assert (booted.record.active, booted.code) == (serves, code)
    if serves is NEW and starts is not None:
        assert booted.record.trial is not None
        assert booted.record.trial.start_count == starts + 1
    else:
        assert booted.record.trial is None


def test_type_hints_of_the_tables_resolve():
    assert typing.get_type_hints(update.step)["return"] == update.Result
