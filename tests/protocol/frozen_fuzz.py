"""Run by a Python under sanitizers: copies values with a sanitized `_frozen`.

usage: frozen_fuzz.py FOLDER, which holds the extension.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

path = Path(sys.argv[1]) / "_frozen.abi3.so"
spec = importlib.util.spec_from_file_location("_frozen", path)
assert spec is not None
assert spec.loader is not None
frozen = importlib.util.module_from_spec(spec)
spec.loader.exec_module(frozen)


def refused(value: Any, **changes: Any) -> str:
    """The name of the error that comes of it."""
    try:
        frozen.replace(value, **changes)
    except Exception as error:
        return type(error).__name__
    return ""


def not_filled(*given: Any) -> str:
    """The name of the error that comes of it."""
    try:
        frozen.fill(*given)
    except Exception as error:
        return type(error).__name__
    return ""


def made(count: int) -> Any:
    """A class of that many fields."""
    names = [f"field_{n}" for n in range(count)]
    return dataclasses.make_dataclass("Made", names, frozen=True, slots=True)


def slots(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((one.name, getattr(cls, one.name)) for one in dataclasses.fields(cls))


assert refused(made(1)(1)) == "RuntimeError"  # nobody has said how classes are described
frozen.describe_by(slots)
for count in range(40):
    cls = made(count)
    value = cls(*([n] for n in range(count)))
    for n in range(count):
        copy = frozen.replace(value, **{f"field_{n}": str(n)})
        assert copy == dataclasses.replace(value, **{f"field_{n}": str(n)})
        for _ in range(50):
            copy = frozen.replace(copy, **{f"field_{n}": [copy]})
    assert refused(value, colour=1) == "AttributeError"
    empty = object.__new__(cls)
    for wrong_count in {0, count - 1, count + 1} - {count, -1}:
        assert not_filled(empty, *range(wrong_count)) == "TypeError"
    if count:
        frozen.fill(empty, *([n] for n in range(count)))
        assert empty == value
        assert not_filled(empty, *range(count)) == not_filled(value, *range(count))
        assert not_filled(value, *range(count)) == "AttributeError"

last = (("field_0", made(2).field_0),)
wrong = [None, (), last, (*last, *last), ((1, 2), (3, 4)), (("a", 1), ("b", 2)), ((), ())]
for one in wrong:
    frozen.describe_by(lambda _cls, one=one: one)
    assert refused(made(2)(1, 2)) == "TypeError"
assert not_filled() == not_filled(1, 2) == not_filled("text") == "TypeError"
assert refused(1) == refused("text") == refused(print) == "TypeError"
