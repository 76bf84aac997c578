"""What was damaged or lost on its way is asked for again: a document that is refused, the time."""

from itertools import pairwise

from wherry_protocol.errors import Code

from tests.agent.harbour import Harbour, afloat


def damaged() -> Harbour:
    """The broker has the right document, and has delivered another."""
    harbour = afloat()
    desired = harbour.director.sealed(harbour.director.desired(harbour.ashore))
    harbour.send(desired[:-1] + bytes([desired[-1] ^ 1]))
    harbour.broker.retained[harbour.topic("desired")] = desired
    return harbour


def test_the_document_is_asked_for_again_and_followed():
    harbour = damaged()
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is Code.SIGNATURE
    harbour.tick(31)
    assert harbour.reported.refusal_code is Code.OK
    assert harbour.reported.revision == harbour.director.revision


def test_it_is_asked_for_ever_more_rarely():
    harbour = damaged()
    topic = harbour.topic("desired")
    harbour.broker.retained[topic] = b"\0"
    asked_s = []
    for second in range(4000):
        harbour.broker.subscribed.discard(topic)
        harbour.tick(1)
        if topic in harbour.broker.subscribed:
            asked_s.append(second)
    waits = [b - a for a, b in pairwise(asked_s)]
    assert 5 <= len(asked_s) <= 8
    assert waits == sorted(waits)
    assert waits[-1] > 900


def test_nobody_is_asked_while_nothing_is_refused():
    harbour = afloat()
    harbour.broker.subscribed.clear()
    for _ in range(100):
        harbour.tick(60)
    assert harbour.topic("desired") not in harbour.broker.subscribed


def times_said(harbour: Harbour, seconds: int) -> list[int]:
    """In which seconds the device says again that it does not know the time."""
    found = []
    for second in range(seconds):
        before = harbour.reported.sequence
        harbour.tick(1)
        if harbour.reported.sequence != before:
            assert harbour.reported.nonce is not None
            found.append(second)
    return found


def test_the_time_is_asked_for_ever_more_rarely_and_anew_on_each_connection():
    harbour = afloat(answers_time=False)
    waits = [b - a for a, b in pairwise(times_said(harbour, 3500))]
    assert waits == [60, 120, 240, 480, 960]
    harbour.cut()
    assert times_said(harbour, 4000) == []
    harbour.connect()
    assert len(times_said(harbour, 100)) == 2
    harbour.answers_time = True
    for _ in range(200):
        harbour.tick(1)
    known = harbour.reported
    assert known.time_s is not None
    for _ in range(1000):
        harbour.tick(1)
    assert harbour.reported == known
