"""The table of courses, walked against a model of a boot loader that swaps and reverts."""

from dataclasses import dataclass, replace
from itertools import product

import pytest
from wherry_agent.gateway.course import COURSES, Act, Running, Where, next_act
from wherry_protocol.smp import SlotState

A, B, C = (bytes([i]) * 32 for i in range(3))


@dataclass(frozen=True)
class Flash:
    """MCUboot's rules on two slots: what is tried boots once; unconfirmed, it goes back."""

    running: bytes | None
    is_confirmed: bool = True
    other: bytes | None = None
    is_pending: bool = False

    def slots(self) -> tuple[SlotState, ...]:
        def slot(number: int, digest: bytes, is_active: bool) -> SlotState:
            return SlotState(
                number, "1.0.0", digest, is_active, is_active and self.is_confirmed,
                not is_active and self.is_pending, False, True,
            )  # fmt: skip

        found = [(0, self.running, True), (1, self.other, False)]
        return tuple(slot(n, digest, active) for n, digest, active in found if digest)

    def reset(self) -> "Flash":
        if self.is_pending or not self.is_confirmed:
            is_trial = self.is_pending
            return Flash(self.other, not is_trial, self.running)
        return self

    def do(self, act: Act, wanted: bytes) -> "Flash":
        if act is Act.UPLOAD:
            assert self.is_confirmed, "the way back was written over"
            return replace(self, other=wanted)
        if act is Act.TRY_AND_RESET:
            assert self.other == wanted
            return replace(self, is_pending=True).reset()
        assert act is Act.RESET
        return self.reset()


def test_every_situation_has_a_course():
    assert set(COURSES) == set(product(Where, Running))


@pytest.mark.parametrize(
    "flash",
    [
        Flash(None),
        Flash(A),
        Flash(A, other=B),
        Flash(A, other=C),
        Flash(A, is_confirmed=False, other=B),
        Flash(A, is_confirmed=False, other=C),
        Flash(C, other=A),
        Flash(C, is_confirmed=False, other=A),
        Flash(None, other=C),
    ],
)
def test_every_course_ends_with_the_wanted_image_running_and_never_loses_the_way_back(flash):
    for _ in range(5):
        act = next_act(flash.slots(), C)
        if act is Act.DONE:
            break
        flash = flash.do(act, C)
    assert flash.running == C
