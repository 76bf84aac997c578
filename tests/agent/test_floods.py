"""Floods against the core: wear, bandwidth and memory are bounded, whoever sends what."""

from dataclasses import replace

from wherry_agent.core.questions import REMEMBERED_MAX
from wherry_protocol.errors import Code
from wherry_protocol.messages.rpc import Verb

from tests.agent.harbour import SETTINGS, Harbour, afloat

PER_MINUTE = 5
FLOOD = 40


def under_limit() -> Harbour:
    return afloat(settings=replace(SETTINGS, revisions_per_minute=PER_MINUTE))


def flood(harbour: Harbour) -> int:
    """So many signed documents, one newer than the other; the last revision."""
    for _ in range(FLOOD):
        harbour.wish([])
    return harbour.director.revision


def test_a_flood_of_signed_revisions_wears_the_disk_no_more_than_configured():
    harbour = under_limit()
    before = harbour.disk.bytes_written
    harbour.wish([])
    one = harbour.disk.bytes_written - before
    flood(harbour)
    assert harbour.disk.bytes_written - before <= (PER_MINUTE + 1) * one
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.OVERLOADED


def test_the_newest_of_a_flood_is_followed_when_its_turn_comes():
    harbour = under_limit()
    newest = flood(harbour)
    assert harbour.reported.revision < newest
    harbour.tick(60)
    assert harbour.reported.revision == newest
    assert harbour.reported.refusal_code is Code.OK


def said(harbour: Harbour) -> bytes:
    """The newest document."""
    return harbour.director.sealed(harbour.director.desired(harbour.ashore))


def test_a_document_that_is_known_costs_no_turn():
    harbour = under_limit()
    known = said(harbour)
    for _ in range(FLOOD):
        harbour.send(known)
    harbour.wish([])
    harbour.tick(1.1)
    assert harbour.reported.revision == harbour.director.revision


def test_refusals_by_turns_are_reported_no_more_than_once_a_second():
    """An attacker who has two old documents may send them in turns for ever."""
    harbour = under_limit()
    old = [said(harbour), said(harbour)]
    harbour.wish([])
    harbour.tick(1.1)
    topic = harbour.topic("reported")
    before = sum(1 for name, _ in harbour.broker.published if name == topic)
    for n in range(FLOOD):
        harbour.send(old[n % 2])
    assert sum(1 for name, _ in harbour.broker.published if name == topic) <= before + 1
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.ROLLBACK


def test_a_flood_of_questions_is_remembered_in_bounds_and_the_rest_is_refused():
    harbour = under_limit()
    for _ in range(REMEMBERED_MAX + FLOOD):
        harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.STATUS))
    harbour.settle()
    assert len(harbour.live.agent.answered) == REMEMBERED_MAX
    assert len(harbour.questions) == REMEMBERED_MAX
    assert Code.OVERLOADED in {event.code for event in harbour.events()}
    harbour.tick(61)  # all of them have expired
    now_s = harbour.live.agent.clock.now_s(harbour.now_us) or 0
    harbour.say("rpc", harbour.director.request(harbour.ashore, Verb.STATUS, expires_s=now_s + 60))
    harbour.settle()
    assert len(harbour.questions) == REMEMBERED_MAX + 1
