"""Frozen dataclasses, made quickly.

The standard library's frozen `__init__` goes through `object.__setattr__` for each field, which
was a fifth of all that an agent did. Here `protocol/csrc/frozen.c` fills a value at once. Where
that was not compiled, a value is filled while it still is of an open class with the same slots,
and becomes one of its own class with the last assignment. Either way it is as frozen as ever.

    @quick
    @dataclass(frozen=True, slots=True)
    class Point: ...
"""

import dataclasses
from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, Final, TypeVar

try:
    from wherry_protocol import _frozen
except ImportError:  # pragma: no cover
    _frozen = None  # type: ignore[assignment]

T = TypeVar("T")

_OPEN: Final[dict[type[Any], type[Any]]] = {}


class _Default:
    """Stands for a default that is made anew for each value."""


def open_class(cls: type[Any]) -> type[Any]:
    """A class with the same slots whose attributes may be set; its values can become `cls`.

    Raises RuntimeError for a class that checks its values or has no slots.
    """
    found = _OPEN.get(cls)
    if found is None:
        names = [field.name for field in dataclasses.fields(cls)]
        has_slots = all(isinstance(getattr(cls, n, None), MemberDescriptorType) for n in names)
        if hasattr(cls, "__post_init__") or not has_slots:
            raise RuntimeError(f"{cls.__name__}: it checks its values or has no slots")
        members = {"__slots__": cls.__dict__["__slots__"], "__setattr__": object.__setattr__}
        found = _OPEN[cls] = type(f"Open{cls.__name__}", cls.__bases__, members)
    return found


def slots_of(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """(name, descriptor) of each field. Raises RuntimeError as `open_class` does."""
    open_class(cls)
    return tuple((field.name, getattr(cls, field.name)) for field in dataclasses.fields(cls))


fill: Callable[..., None] | None = None  # (value, its fields in their order), where it was compiled
if _frozen is not None:
    _frozen.describe_by(slots_of)
    fill = _frozen.fill


def quick(cls: type[T]) -> type[T]:
    """The dataclass with an `__init__` that takes the same and needs a quarter of the time."""
    return _with_init(cls, fill)


def quick_plainly(cls: type[T]) -> type[T]:
    """The same without what was compiled."""
    return _with_init(cls, None)


def _with_init(cls: type[T], fill: Callable[..., None] | None) -> type[T]:
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    known: dict[str, Any] = {
        "set_class": object.__setattr__, "Open": open_class(cls), "cls": cls, "fill": fill,
        "_Default": _Default,
    }  # fmt: skip
    parameters, values = [], {}
    for field in sorted(fields, key=lambda one: bool(one.kw_only)):
        if not field.init:
            continue
        name = field.name
        value, default = name, ""
        if field.default is not dataclasses.MISSING:
            known[f"default_{name}"], default = field.default, f"=default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            known[f"make_{name}"], default = field.default_factory, "=_Default"
            value = f"make_{name}() if {name} is _Default else {name}"
        if field.kw_only and "*" not in parameters:
            parameters.append("*")
        parameters.append(f"{name}{default}")
        values[name] = value
    if fill is not None and len(values) == len(fields):
        lines = [f"    fill(self, {', '.join(values[field.name] for field in fields)})"]
    else:
        # As `dataclasses` makes its methods: each field written out, nothing looked up by name.
        lines = ['    set_class(self, "__class__", Open)',
                 *(f"    self.{name} = {value}" for name, value in values.items()),
                 "    self.__class__ = cls"]  # fmt: skip
    exec("\n".join([f"def __init__(self, {', '.join(parameters)}):", *lines]), known)
    known["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = known["__init__"]  # type: ignore[method-assign]
    return cls
