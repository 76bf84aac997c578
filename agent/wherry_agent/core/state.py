"""The agent's whole state, as values, and how it becomes the record on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.keys import ConnectionKeys, SigningKey
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.desired import Assignment, Desired
from wherry_protocol.replacing import replace
from wherry_protocol.topics import Topics
from wherry_protocol.trust import TrustState

from wherry_agent.core.breaker import DEFAULT_LIMITS, Breaker, BreakerLimits
from wherry_agent.core.clock import FleetClock
from wherry_agent.core.desired import Refusal
from wherry_agent.core.effects import Wanted
from wherry_agent.core.model import ModelState
from wherry_agent.core.record import FORMAT_VERSION, AgentRecord, Penalty, UnitRecord
from wherry_agent.core.reports import Reports
from wherry_agent.core.sustained import DEFAULT_LIMITS as SUSTAINED_LIMITS
from wherry_agent.core.sustained import Sustained, SustainedLimits
from wherry_agent.core.tokens import Bucket
from wherry_agent.core.transfer import Transfer

_topics = lru_cache(maxsize=8)(Topics)  # checked once, not for every message
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is; from enrolment. `classes` maps each unit to its hardware class."""

    org: str
    connection: str
    signing_key: SigningKey
    keys: ConnectionKeys
    classes: Mapping[str, HardwareClass]

    @property
    def topics(self) -> Topics:
        return _topics(self.org)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner's config and this program decide; units in the names."""

    agent_version: str
    abi_min: int
    abi_max: int
    report_hold_us: int = 60_000_000
    spool_bytes_max: int = 8 * 1024 * 1024
    events_per_minute: int = 30
    revisions_per_minute: int = 60
    transfer_progress_us: int = 120_000_000
    memory_bytes_max: int = 1 << 40  # of all models on this very device
    breaker: BreakerLimits | None = DEFAULT_LIMITS  # None: there are none
    sustained: SustainedLimits = SUSTAINED_LIMITS


@quick
@dataclass(frozen=True, slots=True)
class Waiting:
    """An assignment that may not begin before `until_us`, and why."""

    assignment: Assignment
    until_us: int
    code: Code
    reason: str


@quick
@dataclass(frozen=True, slots=True)
class Plan:
    """What an install of one model still lacks.

    `surveying` until the disk has told what is there; `unfetched` are on their way;
    `unfinished` are not hashed yet.
    """

    blobs: tuple[Wanted, ...]
    is_manifest: bool
    is_surveying: bool = True
    unfetched: frozenset[bytes] = frozenset()
    unfinished: frozenset[bytes] = frozenset()
    retry_count: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """When `reported` was sent, and whether it has to be sent again."""

    sequence: int = 0
    sent_us: int | None = None
    is_dirty: bool = True
    is_urgent: bool = True
    due_us: int | None = None  # asked for by all/report


@quick
@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit. `memory` holds what is not in `models`: revision, isolation, penalties."""

    memory: UnitRecord
    models: Mapping[str, ModelState] = field(default_factory=dict)
    manifests: Mapping[bytes, Manifest] = field(default_factory=dict)  # of occupied slots
    taken_bytes: Mapping[bytes, int] = field(default_factory=dict)  # loaded, by program digest
    plans: Mapping[str, Plan] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    retry_counts: Mapping[str, int] = field(default_factory=dict)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    sustained: Mapping[str, Sustained] = field(default_factory=dict)
    document: bytes | None = None  # the last one received, believed or not
    desired: Desired | None = None  # the last one believed
    refusal: Refusal | None = None
    ask_us: int | None = None  # when the document is asked for again, while one is refused
    ask_wait_us: int = 0
    outgoing: Outgoing = Outgoing()

    @property
    def name(self) -> str:
        return self.memory.unit

    def serving(self, model: str) -> Manifest | None:
        """The manifest of the bundle that serves."""
        active = self.models[model].record.active
        return None if active is None else self.manifests.get(active.manifest_digest)

    def previous(self, model: str) -> Manifest | None:
        """The manifest of the rollback target."""
        slot = self.models[model].record.previous
        return None if slot is None else self.manifests.get(slot.manifest_digest)

    def candidate(self, model: str) -> Manifest | None:
        """The manifest of what stands beside."""
        slot = self.models[model].record.candidate
        return None if slot is None else self.manifests.get(slot.manifest_digest)

    @property
    def penalties(self) -> tuple[Penalty, ...]:
        return self.memory.penalties


@quick
@dataclass(frozen=True, slots=True)
class Agent:
    """Everything that the next decision depends on."""

    identity: Identity
    settings: Settings
    boot_id: bytes
    boot_count: int
    trust: TrustState
    clock: FleetClock
    units: Mapping[str, UnitState]
    transfer: Transfer
    reports: Reports
    stop_sequence: int = 0
    is_stopped: bool = False
    is_connected: bool = False
    connection_number: int = 0
    is_trust_stale: bool = False
    buckets: Mapping[tuple[int, int], Bucket] = field(default_factory=dict)
    revisions: Bucket | None = None  # tokens for new revisions; None: all of them
    answered: Mapping[bytes, int] = field(default_factory=dict)  # rpc id -> its expiry
    free_bytes: int | None = None
    persisted: AgentRecord | None = None


def record_of(agent: Agent) -> AgentRecord:
    """What has to be on disk for this state."""
    return AgentRecord(
        format_version=FORMAT_VERSION,
        boot_count=agent.boot_count,
        roots=agent.trust.roots,
        stop_sequence=agent.stop_sequence,
        is_stopped=agent.is_stopped,
        time_floor_s=agent.clock.floor_s,
        units=tuple(_unit_record(agent.units[name]) for name in sorted(agent.units)),
    )


def _unit_record(unit: UnitState) -> UnitRecord:
    models = tuple(unit.models[name].record for name in sorted(unit.models))
    return replace(unit.memory, models=models)


def kept_bundles(agent: Agent) -> frozenset[bytes]:
    """Manifest digests of whatever must stay on disk: slots, and what is under way."""
    kept: set[bytes] = set()
    for unit in agent.units.values():
        for state in unit.models.values():
            record = state.record
            slots = (record.active, record.previous, record.candidate)
            kept.update(slot.manifest_digest for slot in slots if slot is not None)
            if state.digest is not None:
                kept.add(state.digest)
        kept.update(one.assignment.manifest_digest for one in unit.waiting.values())
    return frozenset(kept)
