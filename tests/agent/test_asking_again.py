"""A document that is refused may have been damaged on its way: the broker is asked for it again."""

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
