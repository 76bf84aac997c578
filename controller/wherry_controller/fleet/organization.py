"""What every part of the fleet's service works on: one organization's store, keys and trust."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from wherry_protocol.codec import Message
from wherry_protocol.keys import ConnectionKeys
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal
from wherry_protocol.topics import Topics
from wherry_protocol.trust import TrustState

from wherry_controller.core.assurance import Policy
from wherry_controller.core.assurance.suites import Exam
from wherry_controller.core.notify import Route
from wherry_controller.core.rollouts import Rollout
from wherry_controller.keyring import Keyring
from wherry_controller.settings import AlertSettings, FleetSettings, RegistrySettings
from wherry_controller.store import audit
from wherry_controller.store.devices import Connection
from wherry_controller.store.verifications import Examination
from wherry_controller.vault import Vault

ExamKey = tuple[str, str, str]  # connection, unit, model
SYSTEM = "wherry"  # who acts where no operator does


@dataclass(frozen=True, slots=True)
class Outbound:
    """One message for the broker. `version` is of its outbox row, None without one."""

    topic: str
    payload: bytes
    is_retained: bool = False
    version: int | None = None
    qos: int = 1


@dataclass(slots=True)
class Organization:
    """One organization. `random(n)` gives n bytes; `trust` moves on with the root chain."""

    name: str
    db: Database
    vault: Vault
    keyring: Keyring
    trust: TrustState
    settings: FleetSettings
    random: Callable[[int], bytes]
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    routes: tuple[Route, ...] = ()
    alerts: AlertSettings = field(default_factory=AlertSettings)
    folder: Path | None = None  # the data directory; None: everything is in memory
    policies: dict[str, Policy] = field(default_factory=dict)  # by environment, from the file
    link_is_up: bool = False
    link_down_since_s: float | None = None
    looked_s: float = 0.0  # when the controller's own state was looked at last
    link_s: float = 0.0  # how long the link was up, over all processes
    rollouts: dict[str, Rollout] = field(default_factory=dict)  # as kept, or ahead if in `dirty`
    dirty: set[str] = field(default_factory=set)
    topics: Topics = field(init=False)
    open_ids: tuple[str, ...] | None = None  # of the open rollouts as kept; None: to be read
    winding_ids: tuple[str, ...] | None = None  # and of those that wind down
    control_counted_s: dict[str, float] = field(default_factory=dict)  # by rollout
    asked: list[Outbound] = field(default_factory=list)  # to be sent once it is committed
    exams: dict[ExamKey, tuple[Examination, Exam]] | None = None  # open ones; None: to be read
    exams_to_resume: set[ExamKey] = field(default_factory=set)
    exam_questions: dict[bytes, ExamKey] = field(default_factory=dict)
    has_waiting: bool = True  # examinations that wait for their turn; found out at the first tick
    _keys: dict[bytes, ConnectionKeys] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.topics = Topics(self.name)

    @property
    def epoch(self) -> int:
        return self.trust.root.epoch

    def keys_of(self, connection: Connection) -> ConnectionKeys:
        """What is shared with a device; derived once."""
        found = self._keys.get(connection.agreement_key)
        if found is None:
            found = self.keyring.of_connection(self.name, connection.name, connection.agreement_key)
            self._keys[connection.agreement_key] = found
        return found

    def direct(self, message: Message) -> bytes:
        """The message, signed by the director."""
        return seal(message, TrustRole.DIRECTOR, self.keyring.director)

    def record(
        self, now_s: float, who: str, action: str, subject: str, reason: str = "", /, **details: Any
    ) -> None:
        """One row of the audit log, in the transaction that is open."""
        audit.add(self.db, now_s, who, action, subject, reason, details)
