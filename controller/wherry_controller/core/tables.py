"""Reading a table of a rollout file: unknown keys and numbers out of bounds are refused by name."""

from collections.abc import Mapping
from typing import Any

from wherry_protocol.errors import Code, WherryError


def invalid(text: str) -> WherryError:
    """What to raise: the file is wrong, and this says where."""
    return WherryError(text, Code.INVALID)


def known(where: str, table: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Raises WherryError(INVALID) for a key that means nothing here."""
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        names = ", ".join(allowed) or "none"
        raise invalid(f"{where}: unknown {', '.join(unknown)} (known: {names})")


def bounded(where: str, value: object, low: float, high: float) -> float:
    """A number within bounds. Raises WherryError(INVALID)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid(f"{where} is {value!r}, must be a number in {low:g}..{high:g}")
    return value


def flag(where: str, value: object) -> bool:
    """True or false. Raises WherryError(INVALID)."""
    if not isinstance(value, bool):
        raise invalid(f"{where} is {value!r}, must be true or false")
    return value


def one_of(where: str, value: object, choices: tuple[str, ...]) -> str:
    """One of these words. Raises WherryError(INVALID)."""
    if not isinstance(value, str) or value not in choices:
        raise invalid(f"{where} {value!r} is unknown, must be one of {', '.join(choices)}")
    return value


def text(where: str, value: object, size_max: int) -> str:
    """A text of so many characters at most. Raises WherryError(INVALID)."""
    if not isinstance(value, str) or len(value) > size_max:
        raise invalid(f"{where} must be a text of at most {size_max} characters")
    return value


def numbers(
    where: str,
    table: Mapping[str, Any],
    reals: Mapping[str, tuple[float, float]],
    counts: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    """The numbers that the table has, each within its bounds; counts are whole."""
    found: dict[str, Any] = {}
    for key, (low, high) in reals.items():
        if key in table:
            found[key] = float(bounded(f"{where}: {key}", table[key], low, high))
    for key, (least, most) in counts.items():
        if key in table:
            if not isinstance(table[key], int):
                raise invalid(f"{where}: {key} is {table[key]!r}, must be a whole number")
            found[key] = bounded(f"{where}: {key}", table[key], least, most)
    return found


def inner(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The table under a key; an empty one if it is left out. Raises WherryError(INVALID)."""
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise invalid(f"{key} is {value!r}, must be a table")
    return value
