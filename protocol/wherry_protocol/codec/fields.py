"""The types a field can have: each checks its bounds both ways and names the place it fails.

Every length and every range has a limit here, so that nothing on the wire is unbounded.
"""

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

from wherry_protocol.errors import Code, DecodeError

UINT_MAX: Final = (1 << 63) - 1  # what SQLite and a signed 64-bit integer of C can hold


@dataclass(frozen=True, slots=True)
class Unknown:
    """An enum value in an observation that this version does not know."""

    value: int

    @property
    def name(self) -> str:
        return f"UNKNOWN({self.value})"


class FieldType(Protocol):
    """One wire type. `strict` is True inside instructions, False inside observations."""

    def to_wire(self, value: Any, where: str) -> Any:
        """The CBOR value. Raises ValueError where our own value breaks its bounds."""

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        """The Python value. Raises DecodeError where the peer's value breaks its bounds."""


def wrong(where: str, text: str) -> DecodeError:
    return DecodeError(f"{where}: {text}", Code.OUT_OF_BOUNDS)


class Bounded(ABC):
    """A type whose values stand on the wire as they are, within bounds."""

    __slots__ = ()

    @abstractmethod
    def check(self, raw: Any, where: str) -> Any:
        """The value, if it is within its bounds. Raises DecodeError."""

    def to_wire(self, value: Any, where: str) -> Any:
        try:
            return self.check(value, where)
        except DecodeError as error:  # our own value: our mistake, not the peer's
            raise ValueError(str(error)) from error

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        del strict
        return self.check(raw, where)


@dataclass(frozen=True, slots=True)
class Int(Bounded):
    """An integer in [low, high]."""

    low: int
    high: int

    def check(self, raw: Any, where: str) -> int:
        if type(raw) is not int:
            raise wrong(where, f"{type(raw).__name__}, must be an integer")
        if not self.low <= raw <= self.high:
            raise wrong(where, f"{raw}, must be in {self.low}..{self.high}")
        return raw


def Uint(high: int = UINT_MAX) -> Int:  # noqa: N802  (a type's name, like its siblings)
    """An integer in [0, high]."""
    return Int(0, high)


@dataclass(frozen=True, slots=True)
class Real(Bounded):
    """A finite number in [low, high]; integers are accepted on the wire, floats come out."""

    low: float = -math.inf
    high: float = math.inf

    def check(self, raw: Any, where: str) -> float:
        if type(raw) not in (int, float):
            raise wrong(where, f"{type(raw).__name__}, must be a number")
        if not math.isfinite(raw) or not self.low <= raw <= self.high:
            raise wrong(where, f"{raw}, must be finite and in {self.low}..{self.high}")
        return float(raw)


@dataclass(frozen=True, slots=True)
class Bool(Bounded):
    def check(self, raw: Any, where: str) -> bool:
        if type(raw) is not bool:
            raise wrong(where, f"{type(raw).__name__}, must be true or false")
        return raw


@dataclass(frozen=True, slots=True)
class Text(Bounded):
    """UTF-8 of at most `size_max` characters, matching `pattern` (whole) where given."""

    size_max: int
    pattern: re.Pattern[str] | None = None

    def check(self, raw: Any, where: str) -> str:
        if type(raw) is not str:
            raise wrong(where, f"{type(raw).__name__}, must be text")
        if len(raw) > self.size_max:
            raise wrong(where, f"{len(raw)} characters, at most {self.size_max}")
        if self.pattern is not None and not self.pattern.fullmatch(raw):
            raise wrong(where, f"{raw!r} does not match {self.pattern.pattern}")
        return raw


@dataclass(frozen=True, slots=True)
class Octets(Bounded):
    """A byte string of `size_min` to `size_max` bytes; one argument means exactly that many."""

    size_max: int
    size_min: int | None = None

    def check(self, raw: Any, where: str) -> bytes:
        low = self.size_max if self.size_min is None else self.size_min
        if type(raw) is not bytes:
            raise wrong(where, f"{type(raw).__name__}, must be bytes")
        if not low <= len(raw) <= self.size_max:
            raise wrong(where, f"{len(raw)} bytes, must be {low}..{self.size_max}")
        return raw


@dataclass(frozen=True, slots=True)
class Closed:
    """An enum whose unknown values are an error everywhere."""

    enum: type[IntEnum]

    def to_wire(self, value: Any, where: str) -> Any:
        if not isinstance(value, self.enum):
            raise ValueError(f"{where}: {value!r} is not a {self.enum.__name__}")
        return int(value)

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        del strict
        known = type(raw) is int and raw in self.enum._value2member_map_
        if not known:
            raise wrong(where, f"{raw!r} is not a known {self.enum.__name__}")
        return self.enum(raw)


@dataclass(frozen=True, slots=True)
class Open:
    """An enum whose unknown values are kept as `Unknown` in observations only."""

    enum: type[IntEnum]

    def to_wire(self, value: Any, where: str) -> Any:
        if isinstance(value, Unknown):
            return value.value
        return Closed(self.enum).to_wire(value, where)

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        if not strict and type(raw) is int and raw not in self.enum._value2member_map_:
            return Unknown(Int(0, UINT_MAX).check(raw, where))
        return Closed(self.enum).from_wire(raw, where, strict)


@dataclass(frozen=True, slots=True)
class Sequence:
    """An array of at most `count_max` items of one type; a tuple in Python."""

    of: FieldType
    count_max: int

    def to_wire(self, value: Any, where: str) -> Any:
        if len(value) > self.count_max:
            raise ValueError(f"{where}: {len(value)} items, at most {self.count_max}")
        if not where:  # nobody asks for places
            return [self.of.to_wire(item, "") for item in value]
        return [self.of.to_wire(item, f"{where}[{i}]") for i, item in enumerate(value)]

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        if type(raw) is not list:
            raise wrong(where, f"{type(raw).__name__}, must be an array")
        if len(raw) > self.count_max:
            raise wrong(where, f"{len(raw)} items, at most {self.count_max}")
        return tuple(self.of.from_wire(item, f"{where}[{i}]", strict) for i, item in enumerate(raw))


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map of at most `count_max` entries; a dict in Python."""

    key: FieldType
    of: FieldType
    count_max: int

    def to_wire(self, value: Any, where: str) -> Any:
        if len(value) > self.count_max:
            raise ValueError(f"{where}: {len(value)} entries, at most {self.count_max}")
        return {
            self.key.to_wire(key, where): self.of.to_wire(item, f"{where}[{key!r}]")
            for key, item in value.items()
        }

    def from_wire(self, raw: Any, where: str, strict: bool) -> Any:
        if type(raw) is not dict:
            raise wrong(where, f"{type(raw).__name__}, must be a map")
        if len(raw) > self.count_max:
            raise wrong(where, f"{len(raw)} entries, at most {self.count_max}")
        return {
            self.key.from_wire(key, where, strict): self.of.from_wire(
                item, f"{where}[{key!r}]", strict
            )
            for key, item in raw.items()
        }
