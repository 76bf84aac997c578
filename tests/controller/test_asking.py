"""Questions to units: signed and fresh on the way there, believed only from whom was asked."""

import pytest
from wherry_controller.fleet import asking
from wherry_controller.http.views import answer
from wherry_controller.store import audit, events, questions
from wherry_protocol import trust
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.messages.rpc import InferReply, Reply, Request, Verb
from wherry_protocol.sealed import seal_mac

from tests.controller.device import FakeDevice, Message
from tests.controller.world import World


def ask(world: World, name: str = "gw1") -> bytes:
    body = asking.body_of(Verb.INFER, "digits", b"\x01", 0)
    return world.do(
        lambda org: asking.ask(org, name, Verb.INFER, body, "ada", "curious", world.now_s)
    )


def reply(device: FakeDevice, question_id: bytes, version: str = "1.0.0") -> Message:
    body = InferReply(
        output=b"\x02", manifest_digest=bytes(32), version=version, slot="active", latency_us=7
    )
    message = Reply(
        org="acme", connection=device.name, unit="self", id=question_id, code=Code.OK,
        body=encode(body),
    )  # fmt: skip
    return device.topics.reply(device.name, "self"), seal_mac(message, device.keys.mac_key)


def test_a_question_is_signed_short_lived_and_audited(world: World) -> None:
    device = world.enroll("gw1")
    question_id = ask(world)
    request = trust.open_director(device.trust, Request, world.told[-1].payload)
    assert (request.id, request.verb) == (question_id, Verb.INFER)
    assert request.expires_s - world.now_s <= asking.VALID_S
    [row] = [r for r in audit.everything(world.org.db) if r.action == "device.infer"]
    assert (row.who, row.subject, row.reason) == ("ada", "gw1/self", "curious")


def test_the_first_answer_is_kept_and_shown(world: World) -> None:
    device = world.enroll("gw1")
    question_id = ask(world)
    world.now_s += 0.5
    world.receive(reply(device, question_id), reply(device, question_id, "9.9.9"))
    row = questions.find(world.org.db, question_id)
    assert row is not None
    shown = answer(row)
    assert (shown["code"], shown["body"]["version"], shown["body"]["output"]) == (
        "OK",
        "1.0.0",
        "02",
    )
    assert shown["round_trip_s"] == pytest.approx(0.5)


def test_forged_observation_attack_another_device_cannot_answer(world: World) -> None:
    world.enroll("gw1")
    other = world.enroll("gw2")
    question_id = ask(world)
    world.receive(reply(other, question_id))
    row = questions.find(world.org.db, question_id)
    assert row is not None
    assert row.answered_s is None
    assert [r[0] for r in events.dropped(world.org.db)] == ["replay"]


def test_a_unit_that_is_offline_is_not_asked(world: World) -> None:
    device = world.enroll("gw1")
    world.receive(device.presence(is_online=False))
    with pytest.raises(StateError, match="offline"):
        ask(world)
    assert world.fleet.take_asked() == []


def test_an_input_that_is_too_long_is_refused_before_it_is_sent(world: World) -> None:
    world.enroll("gw1")
    with pytest.raises(WherryError, match="60001 bytes"):
        asking.body_of(Verb.INFER, "digits", bytes(60_001), 0)
