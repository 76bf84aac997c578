"""What the simulator has found, each as small as it gets. docs/reliability.md lists them."""

import cbor2
import pytest
from wherry_agent.core.effects import SpoolDrop
from wherry_agent.core.presence import presence
from wherry_agent.core.reports import Reports, Segment, trim
from wherry_protocol import cose
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.trust import ReportRequest

from tests.agent.director import ORG
from tests.agent.harbour import Harbour, afloat
from tests.controller.world import make_world


@pytest.mark.parametrize("header", [cbor2.CBORSimpleValue(16), 7, b"", []])
def test_an_unprotected_header_that_is_no_empty_map_is_refused(header: object) -> None:
    """Seed 38: one flipped bit in a message was a TypeError in whoever opened it."""
    data = cbor2.dumps(cbor2.CBORTag(cose.TAG_MAC0, [b"", header, b"", b""]), canonical=True)
    with pytest.raises(DecodeError, match="the other one empty"):
        cose.verify_mac0(data, content_type="x", key=bytes(32))


def test_a_way_back_that_could_not_be_written_stays_a_way_back() -> None:
    """Seed 108: the pointer went back on a full disk, then the record confirmed the other one."""
    harbour = afloat()
    old, new = harbour.director.made("1.0.0", seed=1), harbour.director.made("1.1.0", seed=2)
    harbour.install(old).assign(new)
    harbour.disk.is_full = True
    harbour.serve_well(new, 5, error_count=50)
    assert harbour.serving == old.digest
    harbour.serve_well(new, 1000).tick(10)
    harbour.disk.is_full = False
    harbour.tick(2).tick(2)
    assert harbour.serving == old.digest
    assert harbour.model.outcome is Outcome.REVERTED
    harbour.disk = harbour.disk.after_power_cut()
    assert harbour.boot().serving == old.digest


def _asked(harbour: Harbour) -> None:
    director = harbour.director
    request = ReportRequest(org=ORG, epoch=0, issued_s=director.now_s, nonce=bytes(16), spread_s=5)
    harbour.broker.say(director.topics.report, director.sealed(request))
    harbour.settle()


def test_a_device_that_is_asked_to_report_says_that_it_is_here_too() -> None:
    """Seed 168: a controller from a backup believed a connected device away, for ever."""
    harbour = afloat()
    topic = harbour.director.topics.presence(harbour.ashore.name)
    _asked(harbour)
    harbour.tick(6)
    said = [payload for name, payload in harbour.broker.published if name == topic]
    assert harbour.ashore.identity is not None
    assert said == [presence(harbour.ashore.identity, harbour.connection_number, True)]


def test_a_broker_that_forgot_our_session_makes_us_ask_everybody(tmp_path) -> None:
    """Seed 170: what devices said between the broker's start and ours was lost, for ever."""
    world = make_world(tmp_path)
    world.publish()
    world.told.clear()
    world.fleet.link_changed(False, False, world.now_s)
    world.fleet.link_changed(True, False, world.now_s)
    world.publish()
    assert world.org.topics.report in [one.topic for one in world.told]


def test_a_spool_above_its_limit_is_trimmed_at_the_start() -> None:
    """Long night, seed 403: power went between a segment's write and the drop of an older one."""
    first, last = Segment("a", 50, b"b" * 16, 2, 2), Segment("b", 60, b"b" * 16, 5, 3)
    held, effects = trim(Reports(bytes(16), 7, spool_bytes_max=100, segments=(first, last)))
    assert held.segments == (last,)
    assert held.dropped_count == 2
    assert effects == (SpoolDrop("a"),)
