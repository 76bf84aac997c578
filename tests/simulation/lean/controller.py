"""The real rollout core over a very large fleet: what devices said since the last time goes in,
and what it asks for comes out, for `front` to carry out.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from wherry_controller.core.rollouts import Candidate, Rollout, decide, draft, parse_plan
from wherry_controller.core.rollouts import events as told
from wherry_controller.core.rollouts.effects import Assign, SendBack
from wherry_controller.core.rollouts.events import Event
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import assignment_id
from wherry_protocol.messages.reported import Outcome, Phase

from tests.simulation.engine import UNIT
from tests.simulation.lean.device import name_of
from tests.simulation.lean.front import HARDWARE, Given, Heard, assignment_of
from tests.simulation.models import Made

PHASES = {int(one): one for one in Phase}
OUTCOMES = {int(one): one for one in Outcome}
CODES = {int(one): one for one in Code}


class LeanController:
    """One rollout of version 2 to every device. `given` is what devices shall run next."""

    def __init__(
        self, versions: list[Made], plan: dict[str, Any], device_count: int, now_s: float
    ) -> None:
        self.now_s = now_s
        self.made: Mapping[bytes, Made] = {one.digest: one for one in versions}
        self.first_digest = versions[0].digest
        self.units = [f"{name_of(n)}/{UNIT}" for n in range(device_count)]
        self.numbers = {unit: n for n, unit in enumerate(self.units)}
        candidates = [Candidate(unit, HARDWARE, self.first_digest) for unit in self.units]
        self.rollout: Rollout = draft(
            "canary", versions[1].manifest, versions[1].digest, parse_plan(plan), candidates,
            created_by="ada", now_s=now_s,
        )  # fmt: skip
        self.identities: dict[Given, bytes] = {}
        self.given: list[tuple[int, Given]] = []
        self.problems: list[str] = []

    def start(self) -> None:
        self.tell(told.Approve("ada"))
        self.tell(told.LinkChanged(True))
        self.tell(told.Start("ada"))

    def tick(self) -> None:
        self.tell(told.Tick(0, 0))

    def take(self, heard: Iterable[Heard]) -> None:
        """What devices said."""
        for _, number, observed, performance in heard:
            if performance is not None:
                self.tell(performance)
            if observed is None:
                continue
            identity, phase, outcome, running, good_inferences, code, reason = observed
            self.tell(
                told.Observed(
                    self.units[number], identity, PHASES[phase], OUTCOMES[outcome], running,
                    good_inferences, CODES[code], reason,
                )
            )  # fmt: skip

    def tell(self, event: Event) -> None:
        """Hand an event to the core and do what it asks for, as `fleet.rollouts.tell` does."""
        self.rollout, effects = decide(self.rollout, event, self.now_s)
        waiting = deque(effects) if effects else ()
        while waiting:
            effect = waiting.popleft()
            if isinstance(effect, (Assign, SendBack)):
                answer = self._assign(effect) if isinstance(effect, Assign) else (
                    self._send_back(effect))  # fmt: skip
                self.rollout, effects = decide(self.rollout, answer, self.now_s)
                waiting.extend(effects)
        self.rollout.changed.clear()
        self.rollout.pools.changed.clear()

    def _assign(self, effect: Assign) -> Event:
        rollout = self.rollout
        member = rollout.members[effect.unit]
        if member.index >= rollout.progress.opened_count:
            self.problems.append(f"{effect.unit} is touched, and no stage has opened it")
        identity = self._give(effect.unit, Given(effect.digest, effect.trial, 0))
        return told.Assigned(effect.unit, identity, self.first_digest)

    def _send_back(self, effect: SendBack) -> Event:
        back = Given(self.first_digest, self.rollout.plan.trial, 1)
        return told.Assigned(effect.unit, self._give(effect.unit, back))

    def _give(self, unit: str, what: Given) -> bytes:
        """It will be told to the unit; the id of its assignment."""
        identity = self.identities.get(what)
        if identity is None:
            identity = assignment_id(assignment_of(self.made[what.digest], what))
            self.identities[what] = identity
        self.given.append((self.numbers[unit], what))
        return identity
