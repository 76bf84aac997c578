"""The shape of a value: everything in it but what its numbers are worth.

Two states of one shape differ in nothing but the values of their `Number`s, and where one number
stands in two places of the first, one number stands in both places of the second. Whatever a step
does to the first it does to the second too, as long as its comparisons come out the same.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from tests.simulation.lean.numbers import Number
from tests.simulation.twins.codec import Opaque

PLAIN = (bool, int, str, bytes, type(None))
MUTABLE = (dict, list, set)


class Shapes:
    """Gives every shape a number of its own."""

    def __init__(self) -> None:
        self._tokens: dict[Any, int] = {}
        self._ground: dict[int, tuple[Any, int]] = {}  # what has no numbers in it, by identity
        self._numbers: list[Number] = []
        self._met = 0

    def of(self, value: Any) -> tuple[int, list[Number]]:
        """(its shape, its numbers in the order in which they are met)."""
        self._numbers = []
        return self._token(value), self._numbers

    def _token(self, value: Any) -> int:
        kind = type(value)
        if kind in PLAIN:
            return self._intern((kind, value))
        if kind is Number:
            return self._intern((Number, self._place(value)))
        known = self._ground.get(id(value))
        if known is not None:
            return known[1]
        met = self._met
        token = self._intern((kind, *self._inner(value)))
        if met == self._met and not isinstance(value, MUTABLE):
            self._ground[id(value)] = (value, token)
        return token

    def _intern(self, key: Any) -> int:
        return self._tokens.setdefault(key, len(self._tokens))

    def _place(self, number: Number) -> int:
        self._met += 1
        for place, one in enumerate(self._numbers):
            if one is number:
                return place
        self._numbers.append(number)
        return len(self._numbers) - 1

    def _inner(self, value: Any) -> list[Any]:
        if type(value) is Opaque:
            carried = value.carried
            return self._all((len(value), carried.message, carried.right))
        if dataclasses.is_dataclass(value):
            return self._all(getattr(value, one.name) for one in dataclasses.fields(value))
        if isinstance(value, dict):
            return self._all(one for pair in value.items() for one in pair)
        if isinstance(value, (tuple, list)):
            return self._all(value)
        if isinstance(value, (set, frozenset)):
            return self._all(sorted(value))
        if isinstance(value, float):
            return [repr(value)]
        return [id(value)]  # kept alive in `_ground`

    def _all(self, values: Iterable[Any]) -> list[int]:
        return [self._token(one) for one in values]
