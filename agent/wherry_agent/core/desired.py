"""Desired documents: which ones are believed.

Rules, in order (the first that fails names the code; nothing of a refused document is acted on):
1. Signed by a director key of the newest root, for this organization and director epoch.
2. For this connection and this unit.
3. The time is known (TIME_UNKNOWN: the document is kept and looked at again), the root chain is
   the newest that the director told of (STALE_TRUST), and the document has not expired.
4. Its revision is above the persisted one. The same revision with the same bytes is a repetition
   and is welcome; with other bytes it is refused.
5. The revision is persisted before anything in it is acted on (`core.agent`).
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from wherry_protocol.errors import Code, TrustError, WherryError
from wherry_protocol.frozen import quick
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.limits import DESIRED_BYTES_MAX
from wherry_protocol.trust import TrustState, open_director

from wherry_agent.core.record import UnitRecord


class Novelty(Enum):
    NEW = "new"
    AGAIN = "again"


@quick
@dataclass(frozen=True, slots=True)
class Believed:
    """A document to act on. AGAIN: its revision is persisted already."""

    desired: Desired
    digest: bytes
    novelty: Novelty


@quick
@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that is not acted on. `revision` is 0 where nobody vouches for it."""

    code: Code
    text: str
    revision: int = 0


@quick
@dataclass(frozen=True, slots=True)
class Addressee:
    """Who judges, and when; `now_s` None: the time is not known."""

    connection: str
    unit: str
    now_s: int | None
    newest_root: int


def judge(
    data: bytes, trust: TrustState, addressee: Addressee, memory: UnitRecord
) -> Believed | Refusal:
    """The document, or why not."""
    if len(data) > DESIRED_BYTES_MAX:
        text = f"desired document: {len(data)} bytes, at most {DESIRED_BYTES_MAX}"
        return Refusal(Code.OUT_OF_BOUNDS, text)
    try:
        desired = open_director(trust, Desired, data)
    except WherryError as error:
        return Refusal(error.code, str(error))
    digest = sha256(data).digest()
    try:
        _check_target(desired, addressee)
        _check_time(desired, trust, addressee)
        return Believed(desired, digest, _novelty(desired, digest, memory))
    except WherryError as error:
        return Refusal(error.code, str(error), desired.revision)


def _check_target(desired: Desired, addressee: Addressee) -> None:
    meant = (desired.connection, desired.unit)
    if meant != (addressee.connection, addressee.unit):
        raise TrustError(
            f"desired document: meant for {'/'.join(meant)}, this is "
            f"{addressee.connection}/{addressee.unit}",
            Code.WRONG_TARGET,
        )


def _check_time(desired: Desired, trust: TrustState, addressee: Addressee) -> None:
    if addressee.now_s is None:
        raise TrustError(
            "desired document: the director has not answered with the time yet",
            Code.TIME_UNKNOWN,
        )
    if trust.root.number < addressee.newest_root:
        raise TrustError(
            f"desired document: root {addressee.newest_root} exists, this device has root "
            f"{trust.root.number}",
            Code.STALE_TRUST,
        )
    if addressee.now_s >= trust.root.expires_s:
        raise TrustError(
            f"desired document: root {trust.root.number} expired at {trust.root.expires_s}, "
            f"it is {addressee.now_s}",
            Code.EXPIRED,
        )
    if addressee.now_s >= desired.expires_s:
        raise TrustError(
            f"desired document: revision {desired.revision} expired at {desired.expires_s}, "
            f"it is {addressee.now_s}",
            Code.EXPIRED,
        )


def _novelty(desired: Desired, digest: bytes, memory: UnitRecord) -> Novelty:
    if desired.revision > memory.revision:
        return Novelty.NEW
    if desired.revision == memory.revision and digest == memory.desired_digest:
        return Novelty.AGAIN
    raise TrustError(
        f"desired document: revision {desired.revision} is not above {memory.revision}",
        Code.ROLLBACK,
    )
