"""One turn of the agent: the state so far and the effects so far, while one input is handled.

The only mutable thing in the core. It lives from `agent.step`'s beginning to its end, so that
from outside a step is a function from (state, input, moment) to (state, effects).
"""

from typing import Any

from wherry_protocol.codec import Message
from wherry_protocol.errors import Code
from wherry_protocol.messages.observed import Event, Kind, Origin, Severity, Telemetry
from wherry_protocol.names import SELF
from wherry_protocol.replacing import replace
from wherry_protocol.sealed import seal_mac
from wherry_protocol.senml import Record

from wherry_agent.core import reports as spool
from wherry_agent.core import tokens
from wherry_agent.core.effects import Effect, Persist, Publish, PublishOnce, Say, Tell
from wherry_agent.core.inputs import Moment
from wherry_agent.core.mirror import senml_json
from wherry_agent.core.state import Agent, UnitState, record_of
from wherry_agent.core.tokens import Bucket

TEXT_MAX = 512


class Turn:
    """`agent` and `effects` of the input that is being handled at `moment`."""

    __slots__ = ("_is_ours", "_units", "agent", "effects", "moment", "now_us")

    def __init__(self, agent: Agent, moment: Moment) -> None:
        self.agent = agent
        self._is_ours = False  # the agent is a copy that nobody else has seen
        self._units: dict[str, UnitState] = {}  # of that copy
        self.moment = moment
        self.now_us = moment.now_us
        self.effects: list[Effect] = []

    @property
    def now_s(self) -> int | None:
        """Fleet time, or None while it is unknown."""
        return self.agent.clock.now_s(self.now_us)

    def unit(self, name: str) -> UnitState:
        return self.agent.units[name]

    def change(self, **changes: Any) -> None:
        """These fields of the agent have other values from here on.

        The agent is copied once in a turn and then changed in place: a turn makes many small
        changes, and until it ends nobody else sees any of them.
        """
        if not self._is_ours:
            self._units = dict(self.agent.units)
            self.agent = replace(self.agent, units=self._units)
            self._is_ours = True
        for name, value in changes.items():
            object.__setattr__(self.agent, name, value)

    def put(self, unit: UnitState) -> None:
        """The unit's new state."""
        if not self._is_ours:
            self.change()
        self._units[unit.memory.unit] = unit

    def do(self, *effects: Effect) -> None:
        self.effects.extend(effects)

    def persist(self) -> None:
        """What follows happens only once the state is durable; nothing is written if it is."""
        record = record_of(self.agent)
        if record != self.agent.persisted:
            self.change(persisted=record)
            self.do(Persist(record, self.agent))
            self._is_ours = False  # whoever carries this out may come back to it

    def touch(self, unit: str, *, is_urgent: bool = False) -> None:
        """`reported` of this unit has changed."""
        state = self.unit(unit)
        before = state.outgoing
        if before.is_dirty and before.is_urgent >= is_urgent:
            return
        outgoing = replace(before, is_dirty=True, is_urgent=before.is_urgent or is_urgent)
        self.put(replace(state, outgoing=outgoing))

    def touch_all(self, *, is_urgent: bool = False) -> None:
        for name in self.agent.units:
            self.touch(name, is_urgent=is_urgent)

    def tell(self, tell: Tell, unit: str = SELF) -> None:
        """Queue an event and its log line, unless its kind and code came too often of late."""
        key = (int(tell.kind), int(tell.code))
        per_minute = self.agent.settings.events_per_minute
        bucket = self.agent.buckets.get(key, Bucket(float(per_minute), self.now_us))
        bucket, is_allowed, suppressed = tokens.take(bucket, self.now_us, per_minute)
        self.change(buckets={**self.agent.buckets, key: bucket})
        if is_allowed:
            left_out = f" ({suppressed} more like this were left out)" if suppressed else ""
            self.do(Say(tell.severity, tell.text + left_out, unit))
            self._report_event(tell, unit, suppressed)

    def refuse(self, text: str, code: Code, unit: str = SELF) -> None:
        """Tell of a message that was not believed."""
        self.tell(Tell(Kind.REFUSED, Severity.WARNING, text[:TEXT_MAX], code), unit)

    def _report_event(self, tell: Tell, unit: str, suppressed: int) -> None:
        event = Event(
            origin=self._origin(unit),
            kind=tell.kind,
            severity=tell.severity,
            code=tell.code,
            text=tell.text[:TEXT_MAX],
            model=tell.model,
            manifest_digest=tell.manifest_digest,
            suppressed=suppressed,
        )
        self._report(event, self.agent.identity.topics.event(self._connection, unit))

    def tell_missing(self, boot_id: bytes, last: int) -> None:
        """Nobody shall wait for what an earlier boot reported up to `last`.

        It takes the place of that report: whoever has it takes this for a duplicate, and to
        anybody else the gap is closed. Nothing is held: it is told with each sending again.
        """
        origin = replace(self._origin(SELF), boot_id=boot_id, sequence=last, oldest=last)
        text = f"reports of an earlier start, up to {last}, gave way to newer ones"
        event = Event(origin=origin, kind=Kind.STORAGE, severity=Severity.WARNING, text=text)
        payload = seal_mac(event, self.agent.identity.keys.mac_key)
        self.do(Publish(self.agent.identity.topics.event(self._connection, SELF), payload))

    def report_telemetry(self, unit: str, pack: tuple[Record, ...]) -> None:
        """Send a SenML pack as the next report, and once more as JSON where that is wanted."""
        telemetry = Telemetry(origin=self._origin(unit), pack=pack)
        topics = self.agent.identity.topics
        self._report(telemetry, topics.telemetry(self._connection, unit))
        desired = self.unit(unit).desired
        if desired is not None and desired.telemetry.json_mirror and self.agent.is_connected:
            topic = topics.telemetry_json(self._connection, unit)
            self.do(PublishOnce(topic, senml_json(pack, self.now_s)))

    def _report(self, message: Message, topic: str) -> None:
        payload = seal_mac(message, self.agent.identity.keys.mac_key)
        held, effects = spool.add(self.agent.reports, topic, payload, self.now_us)
        self.change(reports=held)
        self.do(*effects)

    @property
    def _connection(self) -> str:
        return self.agent.identity.connection

    def _origin(self, unit: str) -> Origin:
        reports = self.agent.reports
        return Origin(
            org=self.agent.identity.org,
            connection=self._connection,
            unit=unit,
            boot_id=self.agent.boot_id,
            sequence=reports.next_sequence,
            oldest=reports.oldest,
            monotonic_us=self.now_us,
            time_s=self.now_s,
        )
