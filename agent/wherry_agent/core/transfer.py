"""Transfer: fetch wanted blobs chunk by chunk, at the device's own pace, over any cut.

Rules, in order:
1. At most `window` chunk topics are subscribed at a time, over all models; a topic is
   unsubscribed as soon as its chunk was verified.
2. What is on disk is not fetched again: a want lists only the chunks that are missing.
3. A chunk that does not verify is counted and dropped; its topic stays subscribed, so that the
   controller's next publication of it is received.
4. No chunk for `STALL_US`: the missing ones are named in `reported`, the controller publishes
   them again.
5. Fewer than `progress_bytes_min` in `progress_us`: given up as NO_PROGRESS; whoever wanted it
   tries again later.

Pure. A want costs O(window) per chunk, whatever the blob's size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wherry_protocol import blobs
from wherry_protocol.errors import WherryError
from wherry_protocol.frozen import quick
from wherry_protocol.messages.limits import CHUNK_BYTES
from wherry_protocol.messages.reported import MISSING_CHUNKS_MAX, MissingChunks
from wherry_protocol.replacing import replace
from wherry_protocol.topics import Topics

from wherry_agent.core.effects import Effect, FinishBlob, KeepChunk, Subscribe, Unsubscribe

STALL_US: Final = 5_000_000
BLOBS_REPORTED_MAX: Final = 16


@quick
@dataclass(frozen=True, slots=True)
class Want:
    """One blob under way. `missing` was counted once; `cursor` is the next one to ask for."""

    digest: bytes
    size_bytes: int
    key: bytes
    missing: tuple[int, ...]
    is_in_memory: bool = False  # a manifest: kept by nobody before its signatures held
    cursor: int = 0
    requested: frozenset[int] = frozenset()
    parts: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return self.cursor == len(self.missing) and not self.requested

    @property
    def missing_count(self) -> int:
        return len(self.missing) - self.cursor + len(self.requested)

    def lacking(self, count_max: int) -> tuple[int, ...]:
        """The first chunks that are not here yet."""
        ahead = self.missing[self.cursor : self.cursor + count_max]
        return tuple(sorted(self.requested) + list(ahead))[:count_max]


@dataclass(frozen=True, slots=True)
class Transfer:
    """All wants of a connection, in the order in which they came."""

    topics: Topics
    window: int = 8
    progress_us: int = 120_000_000
    progress_bytes_min: int = CHUNK_BYTES
    wants: Mapping[bytes, Want] = field(default_factory=dict)
    chunk_us: int = 0  # when the last chunk arrived, or the first want came
    span_us: int = 0  # when the present progress span began
    span_bytes: int = 0
    bad_chunk_count: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Arrived:
    """A blob is complete: `content` where it was kept in memory, else it lies on disk."""

    digest: bytes
    content: bytes | None


Result = tuple[Transfer, tuple[Effect, ...]]


def want(transfer: Transfer, wanted: Want, now_us: int) -> Result:
    """Begin one blob; a blob that is under way already only takes the newer key."""
    known = transfer.wants.get(wanted.digest)
    if known is not None:
        renewed = replace(known, key=wanted.key)
        return _put(transfer, renewed), ()
    if not transfer.wants:
        transfer = replace(transfer, chunk_us=now_us, span_us=now_us, span_bytes=0)
    return plan(_put(transfer, wanted))


def renew_keys(transfer: Transfer, keys: Mapping[bytes, bytes]) -> Transfer:
    """Take the content keys of a refreshed document."""
    wants = {
        digest: replace(one, key=keys.get(digest, one.key))
        for digest, one in transfer.wants.items()
    }
    return replace(transfer, wants=wants)


def drop(transfer: Transfer, digests: frozenset[bytes]) -> Result:
    """Stop fetching these; the freed places go to the others."""
    gone = [transfer.wants[digest] for digest in digests if digest in transfer.wants]
    if not gone:
        return transfer, ()
    wants = {d: one for d, one in transfer.wants.items() if d not in digests}
    topics = tuple(
        transfer.topics.chunk(one.digest, index) for one in gone for index in sorted(one.requested)
    )
    transfer, effects = plan(replace(transfer, wants=wants))
    return transfer, ((Unsubscribe(topics), *effects) if topics else effects)


def plan(transfer: Transfer) -> Result:
    """Fill the window with the next chunks, oldest want first."""
    free = transfer.window - sum(len(one.requested) for one in transfer.wants.values())
    topics: list[str] = []
    for one in transfer.wants.values():
        indices = one.missing[one.cursor : one.cursor + max(0, free)]
        if not indices:
            continue
        free -= len(indices)
        asked = replace(
            one, cursor=one.cursor + len(indices), requested=one.requested | set(indices)
        )
        transfer = _put(transfer, asked)
        topics += [transfer.topics.chunk(one.digest, index) for index in indices]
    return transfer, ((Subscribe(tuple(topics)),) if topics else ())


def resubscribe(transfer: Transfer, now_us: int) -> Result:
    """After a reconnection: ask again for what was asked for; a cut is not a stall."""
    topics = tuple(
        transfer.topics.chunk(one.digest, index)
        for one in transfer.wants.values()
        for index in sorted(one.requested)
    )
    transfer = replace(transfer, chunk_us=now_us, span_us=now_us, span_bytes=0)
    return transfer, ((Subscribe(topics),) if topics else ())


def receive(
    transfer: Transfer, digest: bytes, index: int, segment: bytes, now_us: int
) -> tuple[Transfer, tuple[Effect, ...], Arrived | None]:
    """One chunk off the broker, believed only if its content key made it."""
    one = transfer.wants.get(digest)
    if one is None or index not in one.requested:
        return transfer, (), None
    try:
        data = blobs.open_chunk(one.key, digest, index, one.size_bytes, segment)
    except WherryError:
        return replace(transfer, bad_chunk_count=transfer.bad_chunk_count + 1), (), None
    parts = {**one.parts, index: data} if one.is_in_memory else one.parts
    one = replace(one, requested=one.requested - {index}, parts=parts)
    transfer = replace(
        _put(transfer, one), chunk_us=now_us, span_bytes=transfer.span_bytes + len(data)
    )
    done: list[Effect] = [Unsubscribe((transfer.topics.chunk(digest, index),))]
    if not one.is_in_memory:
        done.insert(0, KeepChunk(digest, one.size_bytes, index, data))
    transfer, more = plan(transfer)
    if not one.is_complete:
        return transfer, (*done, *more), None
    wants = {d: other for d, other in transfer.wants.items() if d != digest}
    transfer = replace(transfer, wants=wants)
    if one.is_in_memory:
        return transfer, (*done, *more), Arrived(digest, content_of(one))
    return transfer, (*done, *more, FinishBlob(digest, one.size_bytes)), Arrived(digest, None)


def content_of(one: Want) -> bytes:
    """The bytes of a complete want that was kept in memory."""
    return b"".join(one.parts[index] for index in sorted(one.parts))


def is_stalled(transfer: Transfer, now_us: int) -> bool:
    """Chunks are asked for and none has come for a while."""
    return bool(transfer.wants) and now_us - transfer.chunk_us >= STALL_US


def watch(transfer: Transfer, now_us: int) -> tuple[Transfer, bool]:
    """(transfer, whether the minimum progress was missed), asked on every tick."""
    if not transfer.wants or now_us - transfer.span_us < transfer.progress_us:
        return transfer, False
    failed = transfer.span_bytes < min(
        transfer.progress_bytes_min, sum(one.size_bytes for one in transfer.wants.values())
    )
    return replace(transfer, span_us=now_us, span_bytes=0), failed


def missing(transfer: Transfer, now_us: int) -> tuple[MissingChunks, ...]:
    """What a stalled device tells its controller; nothing while chunks come."""
    if not is_stalled(transfer, now_us):
        return ()
    return tuple(
        MissingChunks(digest=one.digest, chunks=one.lacking(MISSING_CHUNKS_MAX))
        for one in list(transfer.wants.values())[:BLOBS_REPORTED_MAX]
    )


def _put(transfer: Transfer, one: Want) -> Transfer:
    return replace(transfer, wants={**transfer.wants, one.digest: one})
