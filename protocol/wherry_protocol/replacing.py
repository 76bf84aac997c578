"""`replace` for frozen, slotted dataclasses, in a tenth of the time of `dataclasses.replace`.

A step of a core is a chain of small changes to large values. The standard library copies them
field by field through a frozen `__init__`, which was a tenth of all that an agent did. Here each
class gets a copying function of its own at its first use, and only what changes is set again
(`frozen` says how a frozen value can be filled).

    >>> replace(FleetClock(nonce=bytes(16)), floor_s=7).floor_s
    7
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from wherry_protocol.frozen import open_class

T = TypeVar("T")
Copy = Callable[[Any], Any]

_COPIES: Final[dict[type[Any], Copy]] = {}


def replace(value: T, /, **changes: Any) -> T:
    """The value with these fields changed. Raises AttributeError for a field that it has not."""
    cls = type(value)
    copy = _COPIES.get(cls) or _copy_of(cls)
    made = copy(value)
    for name, change in changes.items():
        setattr(made, name, change)
    made.__class__ = cls  # from here on it is frozen
    return cast(T, made)


def _copy_of(cls: type[Any]) -> Copy:
    names = [field.name for field in dataclasses.fields(cls)]
    # As `dataclasses` makes its methods: with each field written out nothing is looked up by name.
    lines = ["def copy(value):", "    made = new(Open)"]
    lines += [f"    made.{name} = value.{name}" for name in names]
    known: dict[str, Any] = {"new": object.__new__, "Open": open_class(cls)}
    exec("\n".join([*lines, "    return made"]), known)
    copy: Copy = known["copy"]
    _COPIES[cls] = copy
    return copy
