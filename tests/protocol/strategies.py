"""Hypothesis strategies made from the field tables: any legal message of any class."""

from dataclasses import MISSING
from functools import cache
from typing import Any

from hypothesis import strategies as st
from wherry_protocol.codec import fields as f
from wherry_protocol.codec.table import Column, Nested, columns

# Names of every kind: drawing from the patterns themselves costs a hundred times more.
NAMES = (
    "a",
    "self",
    "acme",
    "pump-17",
    "z9-",
    "linux-arm64",
    "a" * 32,
    "1.2.3",
    "0.10.999999",
    "w.bin",
)


@cache
def of_type(kind: f.FieldType) -> st.SearchStrategy[Any]:
    match kind:
        case f.Int(low=low, high=high):
            return st.integers(low, high)
        case f.Real(low=low, high=high):
            return st.floats(max(low, -1e300), min(high, 1e300), allow_nan=False)
        case f.Bool():
            return st.booleans()
        case f.Text(size_max=size_max, pattern=None):
            return st.text(st.characters(codec="utf-8"), max_size=min(size_max, 20))
        case f.Text(size_max=size_max, pattern=pattern):
            assert pattern is not None
            return st.sampled_from(
                [n for n in NAMES if pattern.fullmatch(n) and len(n) <= size_max]
            )
        case f.Octets(size_max=high, size_min=low):
            least = high if low is None else low
            return st.binary(min_size=least, max_size=max(least, min(high, 64)))
        case f.Closed(enum=enum) | f.Open(enum=enum):
            return st.sampled_from(list(enum))
        case f.Sequence(of=of, count_max=count):
            return st.lists(of_type(of), max_size=min(count, 3)).map(tuple)
        case f.Mapping(key=key, of=of, count_max=count):
            return st.dictionaries(of_type(key), of_type(of), max_size=min(count, 3))
        case Nested(part=part):
            return of_class(part)
    raise RuntimeError(f"no strategy for {kind}")


def _of_column(column: Column) -> st.SearchStrategy[Any]:
    values = of_type(column.type)
    return values if column.default is MISSING else st.one_of(st.just(column.default), values)


@cache
def of_class(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any legal value of a declared class."""
    return st.builds(cls, **{c.attribute: _of_column(c) for c in columns(cls)})
