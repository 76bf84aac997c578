"""A fleet in virtual time around one rollout: it carries out effects as the fleet service does.

The rollout is put away and restored from its kept parts before every command and tick, so that
each scenario also shows that a restart of the controller changes nothing.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.rollouts import (
    Candidate,
    Rollout,
    State,
    all_parts,
    changes,
    decide,
    draft,
    parse_plan,
    restore,
)
from wherry_controller.core.rollouts.effects import (
    Assign,
    Audit,
    Effect,
    Finished,
    Notify,
    SendBack,
)
from wherry_controller.core.rollouts.events import (
    Approve,
    Assigned,
    Command,
    Event,
    Memory,
    Observed,
    Performance,
    Start,
    Tick,
)
from wherry_native import sketch as packed
from wherry_protocol.errors import Code
from wherry_protocol.manifest import (
    Budget,
    Contract,
    DType,
    Kind,
    Manifest,
    Tensor,
)
from wherry_protocol.messages.reported import Outcome, Phase
from wherry_protocol.sketch import sketch_of

OLD, NEW = b"o" * 32, b"n" * 32
CLASS = "linux-x86_64"
T0 = 1_000_000.0


def manifest(version: str = "1.1.0", **changed: Any) -> Manifest:
    tensor = Tensor(name="x", dtype=DType.INT8, shape=(1,), scale=1.0, zero_point=0)
    values: dict[str, Any] = {
        "format_version": 1,
        "kind": Kind.MODEL,
        "model": "digits",
        "version": version,
        "author": "ada",
        "description": "",
        "contract": Contract(inputs=(tensor,), outputs=(tensor,)),
        "engine_abi": 1,
        "program_digest": bytes(32),
        "arena_bytes": 1,
        "blobs": (),
        "golden_count": 0,
        "budgets": {CLASS: Budget(latency_us_p95=80_000, memory_bytes=1 << 20)},
    }
    return Manifest(**{**values, **changed})


def names(count: int) -> list[str]:
    return [f"dev-{number}/self" for number in range(count)]


def figures(
    latency_us: float | Iterable[float] = 50_000.0, errors: int = 0, inferences: int = 1_000
) -> Figures:
    """A window: one latency for all inferences, or p50, p95 and p99 for 94, 5 and 1 % of them."""
    if isinstance(latency_us, (int, float)):
        durations = [int(latency_us * 1_000)] * inferences
    else:
        p50, p95, p99 = (int(us * 1_000) for us in latency_us)
        durations = [p50] * (inferences * 94 // 100) + [p95] * (inferences * 4 // 100)
        durations += [p99] * (inferences - len(durations))
    return Figures(inferences, errors, packed.read(sketch_of(durations).to_bytes()))


class Voyage:
    """One rollout, its clock, and what it asked for."""

    def __init__(self, units: list[str], before: bytes | None = OLD, **table: Any) -> None:
        self.now_s = T0
        self.history: Figures | None = figures()
        self.units = units
        candidates = [Candidate(unit, CLASS, before) for unit in units]
        self.before = dict.fromkeys(units, before)
        made = draft(
            "r-1", manifest(), NEW, parse_plan(table), candidates,
            created_by="ada", now_s=self.now_s,
        )  # fmt: skip
        self.parts: dict[str, str] = all_parts(made)
        self.rollout: Rollout = made
        self.effects: list[Effect] = []
        self.ids: dict[str, bytes] = {}

    def tell(self, event: Event) -> list[Effect]:
        """One event now, on a rollout restored from its parts; Assign and SendBack are obeyed."""
        found = self.decide(event)
        for effect in found:
            if isinstance(effect, Assign | SendBack):
                self.obey(effect)
        return found

    def decide(self, event: Event) -> list[Effect]:
        if isinstance(event, Tick | Command):
            restored = restore(self.parts)
            assert all_parts(self.rollout) == all_parts(restored), "a change was not kept"
            self.rollout = restored
        self.rollout, effects = decide(self.rollout, event, self.now_s)
        for key, text in changes(self.rollout).items():
            if text is None:
                self.parts.pop(key, None)
            else:
                self.parts[key] = text
        self.effects += effects
        return effects

    def obey(self, effect: Assign | SendBack) -> None:
        digest = effect.digest if isinstance(effect, Assign) else effect.to_digest
        way = b"there" if isinstance(effect, Assign) else b"back"
        self.ids[effect.unit] = sha256(way + effect.unit.encode() + (digest or b"")).digest()
        before = self.before[effect.unit] if isinstance(effect, Assign) else NEW
        self.decide(Assigned(effect.unit, self.ids[effect.unit], before, self.history))

    def start(self) -> "Voyage":
        self.tell(Approve("grace"))
        self.tell(Start("ada"))
        return self

    def wait(self, seconds: float, **control: int) -> "Voyage":
        self.now_s += seconds
        self.tell(Tick(**control))
        return self

    def report(
        self,
        unit: str,
        outcome: Outcome = Outcome.CONFIRMED,
        phase: Phase = Phase.IDLE,
        running: bytes | None = NEW,
        good_inferences: int = 1_000,
        code: Code = Code.OK,
        candidate: bytes | None = None,
    ) -> list[Effect]:
        return self.tell(
            Observed(
                unit, self.ids[unit], phase, outcome, running, good_inferences, code, "", candidate
            )
        )

    def make_ready(self, *units: str) -> "Voyage":
        """Their candidate stands; the old version serves."""
        for unit in units or self.in_phase("offered", "fetching", "staged"):
            self.report(unit, Outcome.READY, running=OLD, candidate=NEW)
        return self

    def confirm(self, *units: str) -> "Voyage":
        for unit in units or self.in_phase("offered", "fetching", "staged", "trial"):
            self.report(unit)
            self.tell(Memory(unit, 10, 100))
        return self

    def come_back(self, *units: str) -> "Voyage":
        for unit in units or [m.unit for m in self.members() if m.way_back.value == "sent"]:
            self.report(unit, running=OLD)
        return self

    def serve(self, new: Figures | None, old: Figures | None = None) -> "Voyage":
        """One window of each unit on its version."""
        for unit in self.units:
            digest = NEW if self.phase(unit) in ("trial", "confirmed") else OLD
            shown = new if digest is NEW else old
            if shown is not None:
                self.tell(Performance(unit, CLASS, digest, shown, self.now_s))
        return self

    def members(self) -> list[Any]:
        return [self.rollout.members[unit] for unit in self.rollout.order]

    def phase(self, unit: str) -> str:
        return self.rollout.members[unit].phase.value

    def in_phase(self, *phases: str) -> list[str]:
        return [m.unit for m in self.members() if m.phase.value in phases]

    @property
    def state(self) -> State:
        return self.rollout.state

    def of(self, kind: type) -> list[Any]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def assigned(self) -> list[str]:
        return [effect.unit for effect in self.of(Assign)]

    @property
    def sent_back(self) -> list[str]:
        return [effect.unit for effect in self.of(SendBack)]

    @property
    def actions(self) -> list[str]:
        return [effect.action for effect in self.of(Audit)]

    @property
    def notices(self) -> list[Notify]:
        return self.of(Notify)

    @property
    def finished(self) -> list[Finished]:
        return self.of(Finished)
