"""Names, topics and versions: what may go into a topic, a file or a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.errors import WherryError
from wherry_protocol.names import CONNECTION, MODEL, ORG, check_name
from wherry_protocol.topics import Topics, parse_chunk_topic, parse_device_topic
from wherry_protocol.version import Version

ACME = Topics("acme")


@pytest.mark.parametrize(
    "name", ["", "+", "#", "a/b", "a b", "A", "..", ".", "a..b", "a.", "é", "a\0", "-a", "x" * 64]
)
def test_a_name_with_wildcards_paths_or_capitals_is_refused(name: str) -> None:
    for pattern in (ORG, CONNECTION, MODEL):
        with pytest.raises(WherryError, match="is not allowed"):
            check_name("any", pattern, name)


def test_topics_are_those_of_the_design() -> None:
    assert ACME.desired("gw1", "self") == "wherry/1/acme/d/gw1/self/desired"
    assert ACME.presence("gw1") == "wherry/1/acme/d/gw1/presence"
    assert ACME.chunk(bytes(32), 7) == f"wherry/1/acme/b/{'00' * 32}/7"
    assert ACME.root(2) == "wherry/1/acme/trust/root/2"
    assert ACME.stop == "wherry/1/acme/all/stop"
    with pytest.raises(WherryError, match="connection name"):
        ACME.desired("+", "self")


def test_a_device_topic_reads_back_as_its_address() -> None:
    address = parse_device_topic(ACME.reported("gw1", "mcu0"))
    assert address is not None
    assert (address.org, address.connection, address.unit, address.leaf) == (
        "acme",
        "gw1",
        "mcu0",
        "reported",
    )
    presence = parse_device_topic(ACME.presence("gw1"))
    assert presence is not None
    assert presence.unit is None


@given(st.text(max_size=60))
def test_any_other_text_is_no_topic(text: str) -> None:
    assert parse_device_topic(text) is None
    assert parse_chunk_topic(text) is None


@pytest.mark.parametrize(
    "topic",
    [
        "wherry/1/acme/d/gw1/self/reported/more",
        "wherry/2/acme/d/gw1/self/reported",
        "wherry/1/ACME/d/gw1/self/reported",
        "wherry/1/acme/d/g w/self/reported",
        "wherry/1/acme/b/00/1",
        f"wherry/1/acme/b/{'zz' * 32}/1",
        f"wherry/1/acme/b/{'00' * 32}/-1",
        f"wherry/1/acme/b/{'00' * 32}/12345678",
    ],
)
def test_a_topic_that_is_almost_right_is_not_one(topic: str) -> None:
    assert parse_device_topic(topic) is None
    assert parse_chunk_topic(topic) is None


def test_a_chunk_topic_reads_back() -> None:
    assert parse_chunk_topic(ACME.chunk(bytes(32), 12)) == (bytes(32), 12)


def test_versions_are_ordered_as_numbers() -> None:
    texts = ["1.9.0", "1.10.0", "0.99.99", "v10.0.0", "9.0.0"]
    assert [str(v) for v in sorted(map(Version.parse, texts))] == [
        "0.99.99",
        "1.9.0",
        "1.10.0",
        "9.0.0",
        "10.0.0",
    ]


@pytest.mark.parametrize("text", ["1.2", "1.2.3.4", "01.2.3", "1.2.x", "", "1.2.3-rc1", "-1.2.3"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(WherryError, match=r"is not MAJOR\.MINOR\.PATCH"):
        Version.parse(text)
