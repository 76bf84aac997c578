"""The selector language: what it means, and where it says what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.selector import TEXT_MAX, Facts, parse_selector, select
from wherry_protocol.errors import WherryError

NOW_S = 10_000.0
FLEET = [
    Facts("press-7", "self", "linux-x86_64", {"site": "oslo", "line": "a"}, {"digits": "1.9.0"},
          "healthy", NOW_S - 10),
    Facts("press-7", "mcu", "cortex-m-sim", {"site": "oslo"}, {"digits": "1.10.0"},
          "degraded", NOW_S - 3_600),
    Facts("press-8", "self", "linux-arm64", {"site": "bergen", "env": "production"}, {}, "", None),
]  # fmt: skip
EVERY = ["press-7/mcu", "press-7/self", "press-8/self"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", EVERY),
        ("press-7", EVERY[:2]),
        ("press-7/mcu", EVERY[:1]),
        ("press-7/mcu, press-8", [EVERY[0], EVERY[2]]),
        ("label:site=oslo", EVERY[:2]),
        ("label:site!=oslo", EVERY[2:]),
        ("label:line!=b", EVERY[1:2]),
        ("label:line", EVERY[1:2]),
        ("label:site=oslo,bergen", EVERY),
        ("class=linux-arm64,cortex-m-sim", [EVERY[0], EVERY[2]]),
        ("class!=linux-arm64", EVERY[:2]),
        ("unit=self", EVERY[1:]),
        ("health=degraded", EVERY[:1]),
        ("health!=degraded", EVERY[1:2]),
        ("version(digits)=1.10.0", EVERY[:1]),
        ("version(digits)>1.9.0", EVERY[:1]),
        ("version(digits)<v1.10.0", EVERY[1:2]),
        ("version(digits)!=1.9.0", EVERY[:1]),
        ("version(digits)=none", EVERY[2:]),
        ("version(digits)!=none", EVERY[:2]),
        ("version(other)>=0.0.0", []),
        ("last_seen<1h", EVERY[1:2]),
        ("last_seen<=60m", EVERY[:2]),
        ("last_seen>=3600s", [EVERY[0], EVERY[2]]),
        ("last_seen>1d", EVERY[2:]),
        ("seen<1h", EVERY[1:2]),
        ("env=production", EVERY[2:]),
        ("production", EVERY[2:]),
        ("not production and unit=self", EVERY[1:2]),
        ("production/self", []),
        ("not unit=self", EVERY[:1]),
        ("unit=mcu or label:site=bergen and class=linux-arm64", [EVERY[0], EVERY[2]]),
        ("(unit=mcu or label:site=bergen) and class=linux-arm64", EVERY[2:]),
        ("not not all", EVERY),
        ("50% of all", None),
    ],
)
def test_selector_means(text: str, names: list[str] | None) -> None:
    found = [facts.name for facts in select(parse_selector(text), FLEET, NOW_S)]
    if names is None:
        assert len(found) == 2
    else:
        assert found == names


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("", 1, "it ends, expected a condition"),
        ("all all", 5, "'all', expected and, or, or the end"),
        ("all and", 8, "it ends"),
        ("(all", 5, "a closing parenthesis"),
        ("all)", 4, "')'"),
        ("label:=x", 7, "a label's name"),
        ("label:site=", 12, "a label's value"),
        ("label:site<3", 11, "'<', expected and"),
        ("class", 6, "one of = !="),
        ("class=Linux", 7, "a class"),
        ("version(digits)>none", 17, "only = and != go with none"),
        ("version(digits)=1.2", 17, "a version like 1.2.3"),
        ("version(digits)=01.2.3", 17, "a version like 1.2.3"),
        ("version(digits=1.2.3", 15, "a closing parenthesis"),
        ("last_seen=1h", 10, "one of < <= > >="),
        ("last_seen<1w", 11, "a time like 30s"),
        ("all and 25%", 9, "a percentage stands only at the start"),
        ("0% of all", 1, "share '0%'"),
        ("101% of all", 1, "share '101%'"),
        ("25% all", 5, "expected of"),
        ("press-7' OR 1=1 --", 8, "means nothing here"),
        ("../etc", 1, "a unit's name"),
        ("press-7/#", 9, "means nothing here"),
        ("not " * 40 + "all", 133, "at most 32 levels"),
    ],
)
def test_selector_error_names_the_position(text: str, position: int, part: str) -> None:
    with pytest.raises(WherryError) as refused:
        parse_selector(text)
    assert f"position {position}: " in str(refused.value)
    assert part in str(refused.value)


def test_a_selector_that_is_too_long_is_refused() -> None:
    with pytest.raises(WherryError, match="at most 4096"):
        parse_selector("a" * (TEXT_MAX + 1))


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_in_one_sentence(text: str) -> None:
    try:
        selector = parse_selector(text)
    except WherryError as error:
        refusal = str(error)
    else:
        refusal = ""
        select(selector, FLEET, NOW_S)
    assert not refusal or "position" in refusal


ATOMS = st.sampled_from(
    ["all", "press-7", "label:site=oslo", "version(digits)>=1.9.0", "last_seen<1h", "unit=mcu"]
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=8,
)


def chosen(text: str) -> set[str]:
    return {facts.name for facts in select(parse_selector(text), FLEET, NOW_S)}


@given(EXPRESSIONS, EXPRESSIONS)
def test_and_or_and_not_are_those_of_sets(one: str, two: str) -> None:
    assert chosen(f"({one}) and ({two})") == chosen(one) & chosen(two)
    assert chosen(f"({one}) or ({two})") == chosen(one) | chosen(two)
    assert chosen(f"not ({one})") == set(EVERY) - chosen(one)
