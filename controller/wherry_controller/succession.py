"""The next link of the root chain: drafted, then signed by each holder of a root key.

A root ends with its year, and after a theft a new director and a new epoch end what the thief could
do (docs/security.md). Who holds root and release keys stays as it is.
"""

from typing import Final

from wherry_protocol import cose
from wherry_protocol.codec import content_type, decode, encode
from wherry_protocol.errors import Code, TrustError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import RoleKeys, Root, TrustRole
from wherry_protocol.replacing import replace

ROOT_VALID_S: Final = 365 * 86_400


def draft(
    after: bytes,
    now_s: int,
    *,
    director: bytes | None = None,
    is_new_epoch: bool = False,
    valid_s: int = ROOT_VALID_S,
) -> bytes:
    """The root that follows, signed by nobody yet: the message alone, without COSE around it.

    `director`: another public key for that role.
    Raises DecodeError where `after` is no root.
    """
    before = content(after)
    roles = dict(before.roles)
    if director is not None:
        roles[TrustRole.DIRECTOR] = RoleKeys(threshold=1, keys=(director,))
    root = replace(
        before,
        number=before.number + 1,
        issued_s=now_s,
        expires_s=now_s + valid_s,
        epoch=before.epoch + is_new_epoch,
        roles=roles,
    )
    return encode(root)


def sign(root: bytes, key: SigningKey) -> bytes:
    """With one more signature. Raises DecodeError, and TrustError where the root does not know the
    key."""
    holders = content(root).roles[TrustRole.ROOT]
    if key.public not in holders.keys:
        raise TrustError(
            f"key {key.id.hex()} is none of the {len(holders.keys)} root keys", Code.WRONG_ROLE
        )
    if _is_draft(root):
        kind = content_type(Root)
        return cose.sign(root, content_type=kind, role=TrustRole.ROOT, keys=(key,))
    payload = cose.unverified_payload(root)
    return cose.add_signature(root, payload, role=TrustRole.ROOT, key=key)


def content(root: bytes) -> Root:
    """What it says, believed by nobody. Raises DecodeError."""
    return decode(Root, root if _is_draft(root) else cose.unverified_payload(root))


def _is_draft(root: bytes) -> bool:
    """A map (major type 5), where a COSE message is a tag."""
    return bool(root) and root[0] >> 5 == 5
