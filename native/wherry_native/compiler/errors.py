"""The one family of errors that the compiler raises for a file that it cannot compile."""

from collections.abc import Sequence
from typing import Final

PROBLEM_LENGTH_MAX: Final = 400
"""Characters; a hostile file has names of any length."""

AXES_ADVICE: Final = (
    "a device's tensors have no more: drop axes of one element, or join neighbouring axes by a "
    "Reshape, which moves no byte"
)
"""What to do about a tensor of too many axes."""


class CompileError(ValueError):
    """A model file that cannot become a program. `problems` has one sentence per problem: what,
    where, the limit and the value. `str()` joins them. Control characters, which names of a
    damaged file may hold, are escaped."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        sentences = [problems] if isinstance(problems, str) else problems
        self.problems: list[str] = [_printable(sentence) for sentence in sentences]
        super().__init__("; ".join(self.problems))


def _printable(sentence: str) -> str:
    escaped = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    is_long = len(escaped) > PROBLEM_LENGTH_MAX
    return escaped[: PROBLEM_LENGTH_MAX - 1] + "…" if is_long else escaped
