"""What happened, in order: one readable line per event, and one digest over all of them.

What devices publish is told by its size. Its bytes have a sum of their own, because twins of codec
and signatures make other bytes of the same length: where the parts are the same, so is the sum.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from zlib import crc32

KEPT_LINES = 400
HASHED_LINES = 256  # at a time: hashing each for itself costs more than all that it tells of
Entry = tuple[int, str, str]  # true time since the simulation began, who, what


@dataclass
class Trace:
    """The last lines, and a digest that two runs of one seed must share.

    `is_whole` keeps every line, for a failure that somebody reads.
    """

    is_whole: bool = False
    payload_sum: int = 0
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def __post_init__(self) -> None:
        self._hash: Any = blake2b(digest_size=16)
        self._unhashed: list[str] = []
        if self.is_whole:
            self.entries = deque()

    def note(self, at_us: int, who: str, what: str) -> None:
        """One line."""
        self._unhashed.append(f"{at_us} {who} {what}")
        self.entries.append((at_us, who, what))
        if len(self._unhashed) >= HASHED_LINES:
            self._hash_all()

    def carry(self, payload: bytes) -> None:
        """These bytes were published."""
        self.payload_sum = crc32(payload, self.payload_sum)

    def _hash_all(self) -> None:
        self._hash.update("".join([f"{line}\n" for line in self._unhashed]).encode())
        self._unhashed.clear()

    @property
    def lines(self) -> list[str]:
        """What was kept, to be read."""
        return [f"{at_us / 1e6:12.6f} {who:<10} {what}" for at_us, who, what in self.entries]

    @property
    def digest(self) -> str:
        self._hash_all()
        return str(self._hash.hexdigest())

    def forget(self) -> None:
        """Let go of the lines and the digest's state, so that it can go to another process."""
        self.entries.clear()
        self._hash = None
