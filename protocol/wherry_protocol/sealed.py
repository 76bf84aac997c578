"""Typed messages inside COSE: what is decoded was signed as exactly that kind of message."""

from collections.abc import Iterable
from typing import TypeVar

from wherry_protocol import cose
from wherry_protocol.codec import Message, content_type, decode, encode
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import TrustRole

T = TypeVar("T")


def seal(message: Message, role: TrustRole, key: SigningKey) -> bytes:
    """COSE_Sign1 around the message, with its content type and the role."""
    return cose.sign1(encode(message), content_type=content_type(type(message)), role=role, key=key)


def open_sealed(cls: type[T], data: bytes, role: TrustRole, keys: Iterable[bytes]) -> T:
    """The message that one of `keys` signed in the role. Raises DecodeError or TrustError."""
    payload = cose.verify1(data, content_type=content_type(cls), role=role, keys=keys)
    return decode(cls, payload)


def seal_mac(message: Message, mac_key: bytes) -> bytes:
    """COSE_Mac0 around the message, with its content type."""
    return cose.mac0(encode(message), content_type=content_type(type(message)), key=mac_key)


def open_mac(cls: type[T], data: bytes, mac_key: bytes) -> T:
    """The message that the holder of `mac_key` made. Raises DecodeError or TrustError."""
    return decode(cls, cose.verify_mac0(data, content_type=content_type(cls), key=mac_key))
