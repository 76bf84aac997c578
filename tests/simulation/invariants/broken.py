"""How an invariant says that it does not hold."""

from typing import NoReturn


class Violation(Exception):  # noqa: N818  (a finding, not an error of the program)
    """An invariant does not hold."""


def broken(what: str) -> NoReturn:
    """The simulation ends here."""
    raise Violation(what)
