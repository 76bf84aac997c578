"""`replace` gives what `dataclasses.replace` gives, for whatever the agent's core changes."""

import dataclasses
from dataclasses import dataclass

import pytest
from wherry_agent.core.breaker import Breaker, State
from wherry_agent.core.reports import Reports
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.replacing import replace
from wherry_protocol.topics import Topics

LIMITS = TrialLimits(good_inferences_min=1, trial_s_min=1.0, trial_s_max=2.0, error_rate_max=0.1,
                     error_samples_min=3)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (LIMITS, {}),
        (LIMITS, {"trial_s_max": 9.0, "may_confirm_by_golden": True}),
        (Breaker(bytes(32)), {"state": State.OPEN, "until_us": 7}),
        (Reports(bytes(16), 3), {"held": {}, "next_sequence": 9}),
    ],
)
def test_the_copy_is_the_same_but_for_the_changes(value, changes):
    made = replace(value, **changes)
    assert made == dataclasses.replace(value, **changes)
    assert type(made) is type(value)
    assert made is not value


def test_what_is_replaced_stays_as_it_was():
    before = dataclasses.replace(LIMITS)
    replace(LIMITS, error_samples_min=99)
    assert before == LIMITS


def test_an_unknown_field_is_an_error():
    with pytest.raises(AttributeError):
        replace(LIMITS, colour="red")


@dataclass(frozen=True)
class WithoutSlots:
    size: int


@pytest.mark.parametrize("value", [WithoutSlots(1), Topics("acme")])
def test_a_class_that_it_cannot_copy_is_refused_by_name(value):
    """`Topics` checks its name: a copy without that check would be another class's promise."""
    with pytest.raises(RuntimeError, match="it checks its values or has no slots"):
        replace(value)
