"""Reports (telemetry and events): numbered, held until the controller has them, bounded.

Rules, in order:
1. All reports of a connection share one sequence per boot, from 1. A report's bytes never change.
2. Only the controller's authenticated ack releases a report; the broker's PUBACK does not.
3. What is unacknowledged for `hold_us`, or more than `held_bytes_max`, or held when the agent
   stops, is written to the spool as one segment; a connected device hardly writes.
4. The spool is bounded: the oldest segment is dropped, and every dropped report is counted.
5. A segment that the disk does not take is held in memory again, and tried again later; what has
   no room there is dropped, oldest first, and counted.
6. On a connection, and when no ack released anything for `RESEND_US`, everything is sent again,
   oldest first, one spool segment at a time. Duplicates are the controller's to ignore.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from wherry_protocol.codec import (
    Int,
    Nested,
    Octets,
    Sequence,
    Text,
    Uint,
    decode,
    encode,
    instruction,
    part,
)
from wherry_protocol.codec import field as wire
from wherry_protocol.errors import DecodeError
from wherry_protocol.frozen import quick
from wherry_protocol.messages.limits import REPORT_BYTES_MAX, BootId
from wherry_protocol.replacing import replace

from wherry_agent.core.effects import Effect, Publish, SpoolDrop, SpoolRead, SpoolWrite

FORMAT_VERSION: Final = 1
RESEND_US: Final = 30_000_000
SEGMENT_BYTES_MAX: Final = 512 * 1024
SEGMENT_COUNT_MAX: Final = 4096
CHECKSUM_BYTES: Final = 32


@part
class SpooledReport:
    """One report as it goes on the wire."""

    boot_id: bytes = wire(1, BootId)
    sequence: int = wire(2, Uint())
    topic: str = wire(3, Text(256))
    payload: bytes = wire(4, Octets(REPORT_BYTES_MAX * 2, 0))


@instruction("wherry-spool-segment")
class SpoolSegment:
    """A file of the spool."""

    format_version: int = wire(1, Int(FORMAT_VERSION, FORMAT_VERSION))
    reports: tuple[SpooledReport, ...] = wire(2, Sequence(Nested(SpooledReport), SEGMENT_COUNT_MAX))


@quick
@dataclass(frozen=True, slots=True)
class Held:
    """A report in memory."""

    report: SpooledReport
    made_us: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment on disk, without its reports: only what releasing and sending it need."""

    name: str
    size_bytes: int
    boot_id: bytes
    last_sequence: int
    count: int


@quick
@dataclass(frozen=True, slots=True)
class Reports:
    """All unacknowledged reports of a connection."""

    boot_id: bytes
    boot_count: int
    hold_us: int = 60_000_000
    held_bytes_max: int = SEGMENT_BYTES_MAX
    spool_bytes_max: int = 8 * 1024 * 1024
    next_sequence: int = 1
    held: Mapping[int, Held] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    dropped_count: int = 0
    sent_us: int = 0  # when everything was sent, or an ack released something, last
    is_connected: bool = False

    @property
    def oldest(self) -> int:
        """The lowest sequence of this boot that is still held; the next one where none is."""
        spooled = [
            segment.last_sequence - segment.count + 1
            for segment in self.segments
            if segment.boot_id == self.boot_id
        ]
        # What is held was added in its order, so that the first is the lowest.
        return min([*spooled, next(iter(self.held), self.next_sequence)])

    @property
    def held_bytes(self) -> int:
        return sum(len(one.report.payload) for one in self.held.values())

    @property
    def spool_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)


Result = tuple[Reports, tuple[Effect, ...]]


def held_bytes_max(spool_bytes_max: int) -> int:
    """A segment is written before older ones make room for it, and must not fill the spool."""
    return min(SEGMENT_BYTES_MAX, spool_bytes_max // 4)


def add(reports: Reports, topic: str, payload: bytes, now_us: int) -> Result:
    """A new report, made with `reports.next_sequence` as its number."""
    sequence = reports.next_sequence
    report = SpooledReport(boot_id=reports.boot_id, sequence=sequence, topic=topic, payload=payload)
    is_first = not reports.held and not reports.segments
    reports = replace(
        reports,
        next_sequence=sequence + 1,
        held={**reports.held, sequence: Held(report, now_us)},
        sent_us=now_us if is_first else reports.sent_us,
    )
    sent: tuple[Effect, ...] = (Publish(topic, payload),) if reports.is_connected else ()
    if reports.held_bytes <= reports.held_bytes_max and len(reports.held) < SEGMENT_COUNT_MAX:
        return reports, sent
    reports, spooled = spool_all(reports)
    return reports, (*sent, *spooled)


def acknowledge(reports: Reports, boot_id: bytes, sequence: int, now_us: int) -> Result:
    """The controller has committed everything of `boot_id` up to `sequence`.

    An ack that releases nothing is no news: what is missing there must still be sent again.
    """
    held_count = len(reports.held)
    if boot_id == reports.boot_id:
        held = {number: one for number, one in reports.held.items() if number > sequence}
        reports = replace(reports, held=held)
    done = tuple(
        segment
        for segment in reports.segments
        if segment.boot_id == boot_id and segment.last_sequence <= sequence
    )
    kept = tuple(segment for segment in reports.segments if segment not in done)
    is_news = bool(done) or len(reports.held) < held_count
    sent_us = now_us if is_news else reports.sent_us
    reports = replace(reports, segments=kept, sent_us=sent_us)
    dropped: tuple[Effect, ...] = tuple(SpoolDrop(segment.name) for segment in done)
    if done and kept and reports.is_connected:
        return reports, (*dropped, SpoolRead(kept[0].name))
    return reports, dropped


def tick(reports: Reports, now_us: int) -> Result:
    """Rules 3 and 6 as time goes on."""
    is_due = any(now_us - one.made_us >= reports.hold_us for one in reports.held.values())
    effects: tuple[Effect, ...] = ()
    if is_due:
        reports, effects = spool_all(reports)
    if reports.is_connected and now_us - reports.sent_us >= RESEND_US:
        reports, more = resend(reports, now_us)
        effects = (*effects, *more)
    return reports, effects


def connect(reports: Reports, now_us: int) -> Result:
    return resend(replace(reports, is_connected=True), now_us)


def disconnect(reports: Reports) -> Reports:
    return replace(reports, is_connected=False)


def resend(reports: Reports, now_us: int) -> Result:
    """The oldest segment is read (its reports follow), then what is in memory."""
    reading = (SpoolRead(reports.segments[0].name),) if reports.segments else ()
    sending = tuple(
        Publish(one.report.topic, one.report.payload) for _, one in sorted(reports.held.items())
    )
    return replace(reports, sent_us=now_us), (*reading, *sending)


def segment_read(reports: Reports, name: str, data: bytes | None) -> Result:
    """A segment's reports go out again; one that is gone or damaged is counted as dropped."""
    segment = next((one for one in reports.segments if one.name == name), None)
    if segment is None:
        return reports, ()
    try:
        content = decode_segment(data or b"")
    except DecodeError:
        return _drop_segment(reports, segment)
    if not reports.is_connected:
        return reports, ()
    return reports, tuple(Publish(one.topic, one.payload) for one in content.reports)


def missing_before(reports: Reports, name: str) -> tuple[bytes, int] | None:
    """(boot, its last sequence before this segment), where the segment is of an earlier boot.

    Segments are sent in order, so all of that is delivered, or gave way. What those reports say
    about `oldest` was sealed before they did: somebody must say so once more.
    """
    segment = next((one for one in reports.segments if one.name == name), None)
    if segment is None or segment.boot_id == reports.boot_id:
        return None
    last = segment.last_sequence - segment.count
    return (segment.boot_id, last) if last > 0 else None


def spool_all(reports: Reports) -> Result:
    """Everything in memory becomes one segment; the oldest segments make room."""
    if not reports.held:
        return reports, ()
    numbers = sorted(reports.held)
    data = encode_segment(tuple(reports.held[number].report for number in numbers))
    name = f"{reports.boot_count:010d}-{numbers[0]:012d}"
    segment = Segment(name, len(data), reports.boot_id, numbers[-1], len(numbers))
    reports = replace(reports, held={}, segments=(*reports.segments, segment))
    reports, dropped = trim(reports)
    return reports, (SpoolWrite(name, data), *dropped)


def write_failed(reports: Reports, name: str, data: bytes, now_us: int) -> Result:
    """Rule 5."""
    segment = next((one for one in reports.segments if one.name == name), None)
    if segment is None:
        return reports, ()  # it has given way meanwhile, or was acknowledged
    again = {one.sequence: Held(one, now_us) for one in decode_segment(data).reports}
    held = {**again, **reports.held}
    room, kept = reports.held_bytes_max, set()
    for number in sorted(held, reverse=True)[: SEGMENT_COUNT_MAX - 1]:
        room -= len(held[number].report.payload)
        if room < 0:
            break
        kept.add(number)
    return replace(
        reports,
        held={number: one for number, one in held.items() if number in kept},
        segments=tuple(one for one in reports.segments if one is not segment),
        dropped_count=reports.dropped_count + len(held) - len(kept),
    ), ()


def trim(reports: Reports) -> Result:
    """Rule 4; also after a boot, since power may have gone between a write and a drop."""
    effects: list[Effect] = []
    while reports.spool_bytes > reports.spool_bytes_max:
        reports, dropped = _drop_segment(reports, reports.segments[0])
        effects += dropped
    return reports, tuple(effects)


def _drop_segment(reports: Reports, segment: Segment) -> Result:
    kept = tuple(one for one in reports.segments if one is not segment)
    reports = replace(reports, segments=kept, dropped_count=reports.dropped_count + segment.count)
    return reports, (SpoolDrop(segment.name),)


def encode_segment(reports: tuple[SpooledReport, ...]) -> bytes:
    """SHA-256 of the body, then the body."""
    body = encode(SpoolSegment(format_version=FORMAT_VERSION, reports=reports))
    return sha256(body).digest() + body


def decode_segment(data: bytes) -> SpoolSegment:
    """Raises DecodeError for a torn or foreign file."""
    body = data[CHECKSUM_BYTES:]
    if sha256(body).digest() != data[:CHECKSUM_BYTES]:
        raise DecodeError("spool segment: its checksum does not fit its content")
    return decode(SpoolSegment, body)


def found_segment(name: str, data: bytes) -> Segment:
    """A segment that an earlier boot left. Raises DecodeError where it is torn."""
    content = decode_segment(data)
    if not content.reports:
        raise DecodeError(f"spool segment {name} is empty")
    last = content.reports[-1]
    return Segment(name, len(data), last.boot_id, last.sequence, len(content.reports))
