"""Whom to believe: the root chain of one organization and what follows from it.

Rules, in order (TUF 5.3, adapted):
1. The chain starts with root 1, given by hand at enrolment. Each next root has the next number
   and is signed by the threshold of its predecessor's root keys and of its own.
2. An expired root is refused as the newest, never as a link on the way there.
3. A director's message is for this organization and the root's epoch, or it is refused.
4. A manifest is what its digest says, and signed by the release threshold, before a byte of its
   blobs is kept.

Pure: `now_s` comes from the caller; None means that the time is not known yet, and then nothing
that has an expiry is accepted but the chain itself.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from wherry_protocol import cose
from wherry_protocol.codec import content_type, decode
from wherry_protocol.errors import Code, DecodeError, TrustError
from wherry_protocol.manifest import Manifest
from wherry_protocol.messages.trust import RoleKeys, Root, TrustRole
from wherry_protocol.sealed import open_sealed

T = TypeVar("T")
NO_KEYS = RoleKeys(threshold=1, keys=())


@dataclass(frozen=True, slots=True)
class TrustState:
    """The verified chain (as received) and its newest root."""

    org: str
    roots: tuple[bytes, ...]
    root: Root

    def role(self, role: TrustRole) -> RoleKeys:
        """Keys and threshold of a role; a role that the root does not name has no keys."""
        return self.root.roles.get(role, NO_KEYS)


def start(org: str, roots: tuple[bytes, ...], now_s: int | None = None) -> TrustState:
    """Verify a whole chain from root 1. Raises TrustError(ROOT_CHAIN | EXPIRED | THRESHOLD)."""
    if not roots:
        raise TrustError(f"organization {org}: its root chain is empty", Code.ROOT_CHAIN)
    first = _open_root(roots[0], None)
    if first.number != 1 or first.org != org:
        raise TrustError(
            f"root chain starts with root {first.number} of {first.org}, must be root 1 of {org}",
            Code.ROOT_CHAIN,
        )
    state = TrustState(org, roots[:1], first)
    for data in roots[1:]:
        state = _link(state, data)
    check_root_expiry(state, now_s)
    return state


def advance(state: TrustState, data: bytes, now_s: int | None = None) -> TrustState:
    """The state after the next root; the same state for a root that it already has.

    Raises TrustError(ROOT_CHAIN | ROLLBACK | EXPIRED | THRESHOLD); the old state stays valid.
    """
    if data in state.roots:
        return state
    after = _link(state, data)
    check_root_expiry(after, now_s)
    return after


def check_root_expiry(state: TrustState, now_s: int | None) -> None:
    """Raises TrustError(EXPIRED) where the newest root is known to be past its expiry."""
    if now_s is not None and now_s >= state.root.expires_s:
        raise TrustError(
            f"root {state.root.number} expired at {state.root.expires_s}, it is {now_s}; "
            "publish a newer root",
            Code.EXPIRED,
        )


def open_director(state: TrustState, cls: type[T], data: bytes) -> T:
    """A director's message for this organization and epoch. Expiry is the caller's to check.

    Raises DecodeError, TrustError(SIGNATURE | WRONG_ROLE | WRONG_TARGET | ROLLBACK).
    """
    message = open_sealed(cls, data, TrustRole.DIRECTOR, state.role(TrustRole.DIRECTOR).keys)
    org = getattr(message, "org", state.org)
    if org != state.org:
        raise TrustError(
            f"{cls.__name__}: meant for organization {org}, this is {state.org}",
            Code.WRONG_TARGET,
        )
    epoch = getattr(message, "epoch", state.root.epoch)
    if epoch != state.root.epoch:
        raise TrustError(
            f"{cls.__name__}: of director epoch {epoch}, root {state.root.number} says "
            f"{state.root.epoch}",
            Code.ROLLBACK,
        )
    return message


def open_manifest(
    state: TrustState, digest: bytes, manifest_bytes: bytes, signatures: bytes
) -> Manifest:
    """The manifest with that digest, signed by the release threshold.

    Raises TrustError(DIGEST | THRESHOLD | SIGNATURE), DecodeError.
    """
    if sha256(manifest_bytes).digest() != digest:
        raise TrustError(f"manifest is not {digest.hex()}", Code.DIGEST)
    release = state.role(TrustRole.RELEASE)
    if not signatures:
        raise TrustError(
            f"manifest {digest.hex()} is unsigned, {release.threshold} release signatures are "
            "needed",
            Code.THRESHOLD,
        )
    cose.verify(
        signatures,
        content_type=content_type(Manifest),
        role=TrustRole.RELEASE,
        keys=release.keys,
        threshold=release.threshold,
        payload=manifest_bytes,
    )
    return decode(Manifest, manifest_bytes)


def _link(state: TrustState, data: bytes) -> TrustState:
    after = _open_root(data, state.root)
    if after.org != state.org:
        raise TrustError(
            f"root {after.number} is of {after.org}, this is {state.org}", Code.WRONG_TARGET
        )
    if after.number <= state.root.number:
        raise TrustError(
            f"root {after.number} is older than root {state.root.number}", Code.ROLLBACK
        )
    if after.number != state.root.number + 1:
        raise TrustError(
            f"root {after.number} after root {state.root.number}: one is skipped",
            Code.ROOT_CHAIN,
        )
    if after.epoch < state.root.epoch:
        raise TrustError(
            f"root {after.number} has director epoch {after.epoch}, "
            f"root {state.root.number} has {state.root.epoch}",
            Code.ROLLBACK,
        )
    return TrustState(state.org, (*state.roots, data), after)


def _open_root(data: bytes, predecessor: Root | None) -> Root:
    """A root signed by its own threshold, and its predecessor's where there is one."""
    claimed = decode(Root, cose.unverified_payload(data))
    for root in (claimed, predecessor):
        if root is None:
            continue
        holders = root.roles.get(TrustRole.ROOT, NO_KEYS)
        if len(set(holders.keys)) != len(holders.keys):
            raise DecodeError(f"root {root.number} names a key twice")
        cose.verify(
            data,
            content_type=content_type(Root),
            role=TrustRole.ROOT,
            keys=holders.keys,
            threshold=holders.threshold,
        )
    return claimed
