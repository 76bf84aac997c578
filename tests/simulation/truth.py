"""What truly happened, as nobody in the simulation can know it: the measure of the invariants."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Truth:
    """Counts are by manifest digest."""

    inferences: Counter[bytes] = field(default_factory=Counter)
    errors: Counter[bytes] = field(default_factory=Counter)
    compared: Counter[bytes] = field(default_factory=Counter)  # inputs that a shadow ran on
    rollout_states: dict[str, str] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    advanced: set[str] = field(default_factory=set)  # rollouts that an operator hurried
    given: set[tuple[str, bytes]] = field(default_factory=set)  # (device, what it was to run)
    audited: int = 0  # rows whose chain was checked
    audit_hash: bytes = bytes(32)
    audit_epoch: int = 0  # counts restores: another log begins
    audited_changes: dict[str, int] = field(default_factory=dict)  # rollout -> its newest row
    looked_at: tuple[int, int] = (0, 0)  # the controller's changes, as invariants saw them last
    marks: dict[str, Any] = field(default_factory=dict)  # rollouts as they were looked at last
    offered: dict[tuple[str, str], float] = field(default_factory=dict)  # at which link time
    opened_by_hand: set[str] = field(default_factory=set)  # rollouts of which somebody said so
    slots: dict[str, str] = field(default_factory=dict)  # rollout -> the slot that serves
    # rollout -> (its opened units, those of its control group), as they were looked at last
    arms: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)
    confirmed_s: dict[tuple[str, str], float] = field(default_factory=dict)  # as it was seen first
    bundle_count: int = 0  # in the registry, as it was looked at last
    subscribed: set[str] = field(default_factory=set)  # devices whose subscriptions changed
    turn: int = 0  # which devices are looked at next, where nothing disturbs them
    is_clock_wrong: bool = False  # the controller's clock was wrong at some time

    def count(self, digest: bytes, inferences: int, errors: int) -> None:
        """A device packed this into a report."""
        self.inferences[digest] += inferences
        self.errors[digest] += errors
