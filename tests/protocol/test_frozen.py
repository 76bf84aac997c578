"""`quick` makes the values that the standard library's `__init__` makes, as frozen as those, with
what was compiled and without."""

import dataclasses
from dataclasses import dataclass, field

import pytest
from wherry_protocol.frozen import fill, quick, quick_plainly


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


@quick_plainly
@dataclass(frozen=True, slots=True)
class QuickPlainly:
    name: str
    size: int = 3
    seen: dict[str, int] = field(default_factory=dict)
    other: int = field(default=5, kw_only=True)


BOTH = pytest.mark.parametrize("quick_class", [Quick, QuickPlainly])


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


def test_it_is_compiled_where_tests_run():
    assert fill is not None, "make setup"


@BOTH
@pytest.mark.parametrize(
    ("given", "named"), [(("a",), {}), (("a", 1), {"other": 2}), ((), {"name": "a", "seen": {}})]
)
def test_it_takes_what_the_plain_one_takes(quick_class, given, named):
    assert dataclasses.astuple(quick_class(*given, **named)) == dataclasses.astuple(
        Plain(*given, **named)
    )


@BOTH
@pytest.mark.parametrize(("given", "named"), [((), {}), (("a", 1, {}, 4), {}), (("a",), {"b": 1})])
def test_it_refuses_what_the_plain_one_refuses(quick_class, given, named):
    for cls in (Plain, quick_class):
        with pytest.raises(TypeError):
            cls(*given, **named)


@BOTH
def test_a_default_is_made_anew_for_each_value(quick_class):
    assert quick_class("a").seen is not quick_class("b").seen


@BOTH
def test_what_it_makes_is_of_its_class_and_frozen(quick_class):
    made = quick_class("a")
    assert type(made) is quick_class
    assert made == quick_class("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.size = 4


def test_what_was_made_is_not_filled_again():
    made = Quick("a")
    with pytest.raises(AttributeError):
        made.__init__("b")
    assert made.name == "a"


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
