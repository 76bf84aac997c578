"""`quick` makes the values that the standard library's `__init__` makes, as frozen as those."""

import dataclasses
from dataclasses import dataclass, field

import pytest
from wherry_protocol.frozen import quick


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 3
    seen: dict[str, int] = field(default_factory=dict)
    other: int = field(default=5, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    seen: dict[str, int] = field(default_factory=dict)
    other: int = field(default=5, kw_only=True)


class Happening:
    __slots__ = ()


@quick
@dataclass(frozen=True, slots=True)
class First(Happening):
    unit: str


@quick
@dataclass(frozen=True, slots=True)
class Second(First):
    model: str


@pytest.mark.parametrize(
    ("given", "named"), [(("a",), {}), (("a", 1), {"other": 2}), ((), {"name": "a", "seen": {}})]
)
def test_it_takes_what_the_plain_one_takes(given, named):
    assert dataclasses.astuple(Quick(*given, **named)) == dataclasses.astuple(
        Plain(*given, **named)
    )


@pytest.mark.parametrize(("given", "named"), [((), {}), (("a", 1, {}, 4), {}), (("a",), {"b": 1})])
def test_it_refuses_what_the_plain_one_refuses(given, named):
    for cls in (Plain, Quick):
        with pytest.raises(TypeError):
            cls(*given, **named)


def test_a_default_is_made_anew_for_each_value():
    assert Quick("a").seen is not Quick("b").seen


def test_what_it_makes_is_of_its_class_and_frozen():
    made = Quick("a")
    assert type(made) is Quick
    assert made == Quick("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.size = 4


def test_a_class_that_inherits_fields_keeps_them():
    made = Second("self", "digits")
    assert (made.unit, made.model, isinstance(made, First)) == ("self", "digits", True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.unit = "other"


def test_a_class_that_checks_its_values_is_refused():
    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            raise ValueError

    with pytest.raises(RuntimeError, match="it checks its values"):
        quick(Checked)
