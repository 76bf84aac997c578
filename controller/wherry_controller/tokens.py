"""Bearer tokens of operators: 256 random bits, kept as their SHA-256 only."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Final

PREFIX: Final = "wherry_"


def make_token(random_bytes: Callable[[int], bytes]) -> str:
    return PREFIX + urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")


def token_hash(token: str) -> bytes:
    """32 bytes. The token has 256 bits of entropy, so no slow hash is needed."""
    return sha256(token.encode()).digest()
