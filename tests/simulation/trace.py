"""What happened, in order: one readable line per event, and one digest over all of them."""

from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

KEPT_LINES = 400


@dataclass
class Trace:
    """The last lines, and a digest that two runs of one seed must share.

    `is_whole` keeps every line, for a failure that somebody reads.
    """

    is_whole: bool = False
    count: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def __post_init__(self) -> None:
        self._hash: Any = blake2b(digest_size=16)
        if self.is_whole:
            self.lines = deque()

    def note(self, at_us: int, who: str, what: str) -> None:
        """One line. `at_us` is true time since the simulation began."""
        line = f"{at_us / 1e6:12.6f} {who:<10} {what}"
        self._hash.update(line.encode())
        self.lines.append(line)
        self.count += 1

    @property
    def digest(self) -> str:
        return str(self._hash.hexdigest())

    def forget(self) -> None:
        """Let go of the lines and the digest's state, so that it can go to another process."""
        self.lines.clear()
        self._hash = None
