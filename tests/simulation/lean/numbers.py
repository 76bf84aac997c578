"""Numbers that know where they came from, so that what was done to them can be done to others.

While a `Tracing` is on, arithmetic with a `Number` makes another one, and every comparison is kept
as a guard: a piece of Python that must come out the same for whoever shall follow.

Rules:
1. A number has no value of its own. What it is worth, and by which Python it is had, the tracing
   knows that it was named in; anywhere else it cannot be used.
2. Whatever asks for the very value (a text, an index, a C function) pins it: only who has the same
   value may follow. What else is unknown here is a TypeError, and no step is traced wrongly.

    >>> with Tracing() as tracing:
    ...     now_us = tracing.name("now", 70)
    ...     is_due = now_us - 20 >= 50
    >>> is_due, tracing.lines
    (True, [('n0', 'now - 20'), ('', 'n0 >= 50')])
"""

import operator
import re
from collections.abc import Callable
from typing import Any

Plain = int | float
MARK = re.compile("\0([^\0]*)\0")
_current: "Tracing | None" = None


class Tracing:
    """What became of the numbers of one step. `lines` are the Python that makes the numbers, each
    once, and asks the guards, in their order; `guards` are those alone."""

    def __init__(self) -> None:
        self.guards: dict[str, None] = {}
        self.lines: list[tuple[str, str]] = []  # (name or "", what it is or what must hold)
        self._known: dict[int, tuple[Number, str, Plain]] = {}
        self._names: dict[str, Number] = {}  # by the Python that makes them
        self._is_rendering = False

    def __enter__(self) -> "Tracing":
        global _current
        if _current is not None:
            raise RuntimeError("a step is being traced already")
        _current = self
        return self

    def __exit__(self, *_exception: object) -> None:
        global _current
        _current = None

    def name(self, source: str, value: Plain, number: "Number | None" = None) -> "Number":
        """The number that is had under this name and is worth so much now."""
        number = Number() if number is None else number
        self._known[id(number)] = (number, source, value)
        return number

    def source_of(self, value: Any) -> str:
        """Python that makes it; of anything but a number, its own."""
        return self._known[id(value)][1] if type(value) is Number else repr(value)

    def value_of(self, value: Any) -> Any:
        return self._known[id(value)][2] if type(value) is Number else value

    def derive(self, form: str, function: Callable[..., Any], *operands: Any) -> "Number":
        source = form.format(*map(self.source_of, operands))
        known = self._names.get(source)
        if known is not None:
            return known
        name = f"n{len(self._names)}"
        self.lines.append((name, source))
        made = self.name(name, function(*map(self.value_of, operands)))
        self._names[source] = made
        return made

    def compare(self, form: str, function: Callable[..., bool], *operands: Any) -> bool:
        """Whether it holds; from here on it must."""
        holds = function(*map(self.value_of, operands))
        source = form.format(*map(self.source_of, operands))
        self.guard(source if holds else f"not {source}")
        return holds

    def guard(self, condition: str) -> None:
        """It must hold for all who follow."""
        if condition not in self.guards:
            self.guards[condition] = None
            self.lines.append(("", condition))

    def pin(self, number: "Number") -> Plain:
        """Its value, which all who follow must have too."""
        value = self.value_of(number)
        self.guard(f"{self.source_of(number)} == {value!r}")
        return value  # type: ignore[no-any-return]

    def shown(self, number: "Number") -> str:
        return f"\0{self.source_of(number)}\0" if self._is_rendering else repr(self.pin(number))

    def text(self, value: object, also: dict[str, str]) -> str:
        """Python that makes `repr(value)`; what stands in `also` is had by its Python."""
        self._is_rendering = True
        try:
            text = repr(value)
        finally:
            self._is_rendering = False
        for found, source in also.items():
            text = text.replace(found, f"\0{source}\0")
        sources = MARK.findall(text)
        form = MARK.sub("%s", text.replace("%", "%%"))
        return f"({form!r} % ({''.join(f'{source}, ' for source in sources)}))"


def _traced() -> Tracing:
    if _current is None:
        raise RuntimeError("a number of a step that nobody traces any more")
    return _current


def _arithmetic(form: str, function: Callable[..., Any]) -> tuple[Any, Any]:
    def forward(self: "Number", other: Any) -> Any:
        if not isinstance(other, (int, float, Number)):
            return NotImplemented
        if function is operator.sub and other is self:
            return 0
        if function in (operator.add, operator.sub) and type(other) is int and other == 0:
            return self
        return _traced().derive(form, function, self, other)

    def backward(self: "Number", other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        return _traced().derive(form, function, other, self)

    return forward, backward


def _comparison(form: str, function: Callable[..., bool]) -> Any:
    def compared(self: "Number", other: Any) -> Any:
        if not isinstance(other, (int, float, Number)):
            return NotImplemented
        return _traced().compare(form, function, self, other)

    return compared


class Number:
    """In the place of an int or float while a step is traced."""

    __slots__ = ()
    __add__, __radd__ = _arithmetic("{} + {}", operator.add)
    __sub__, __rsub__ = _arithmetic("{} - {}", operator.sub)
    __mul__, __rmul__ = _arithmetic("{} * {}", operator.mul)
    __truediv__, __rtruediv__ = _arithmetic("{} / {}", operator.truediv)
    __floordiv__, __rfloordiv__ = _arithmetic("{} // {}", operator.floordiv)
    __lt__ = _comparison("{} < {}", operator.lt)
    __le__ = _comparison("{} <= {}", operator.le)
    __gt__ = _comparison("{} > {}", operator.gt)
    __ge__ = _comparison("{} >= {}", operator.ge)
    __hash__ = None  # type: ignore[assignment]  # nothing may be looked up by it

    def __eq__(self, other: object) -> Any:
        if other is self:
            return True
        if not isinstance(other, (int, float, Number)):
            return NotImplemented
        return _traced().compare("{} == {}", operator.eq, self, other)

    def __bool__(self) -> bool:
        return _traced().compare("{} != 0", bool, self)

    def __trunc__(self) -> "Number":
        return _traced().derive("int({})", int, self)

    def __int__(self) -> int:
        return int(_traced().pin(self))

    def __index__(self) -> int:
        return operator.index(_traced().pin(self))  # type: ignore[arg-type]

    def __float__(self) -> float:
        return float(_traced().pin(self))

    def __format__(self, form: str) -> str:
        return format(_traced().pin(self), form)

    def __repr__(self) -> str:
        return _traced().shown(self)

    __str__ = __repr__
