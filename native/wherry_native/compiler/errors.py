"""The one family of errors that the compiler raises for a file that it cannot compile."""

from collections.abc import Sequence


class CompileError(ValueError):
    """A model file that cannot become a program. `problems` has one sentence per problem: what,
    where, the limit and the value. `str()` joins them."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))
