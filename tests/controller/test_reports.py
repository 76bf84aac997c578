"""Telemetry and events: counted once, committed before they are acknowledged."""

from wherry_controller.fleet import Outbound
from wherry_controller.store import events, performance
from wherry_protocol.keys import AgreementKey

from tests.controller.device import FakeDevice
from tests.controller.world import World


def serving(world: World, name: str = "gw1") -> FakeDevice:
    device = world.enroll(name)
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)
    return device


def acked(device: FakeDevice, answers: list[Outbound]) -> int:
    for answer in answers:
        if answer.topic == device.topics.ack(device.name):
            device.take_ack(answer.payload)
    return device.acked


def inferences(world: World) -> int:
    return sum(row.inferences for row in performance.windows(world.org.db))


def test_a_report_is_counted_and_acknowledged(world: World) -> None:
    device = serving(world)
    answers = world.receive(device.telemetry(device.performance("digits", inferences=7)))
    assert acked(device, answers) == 1
    assert inferences(world) == 7


def test_a_duplicate_is_acknowledged_again_and_counted_once(world: World) -> None:
    device = serving(world)
    message = device.telemetry(device.performance("digits", inferences=7))
    for _ in range(3):
        assert acked(device, world.receive(message)) == 1
    assert inferences(world) == 7


def test_a_batch_costs_one_acknowledgement_per_connection(world: World) -> None:
    device = serving(world)
    messages = [device.telemetry(device.performance("digits")) for _ in range(20)]
    answers = world.receive(*messages)
    assert len(answers) == 1
    assert acked(device, answers) == 20


def test_a_report_from_before_a_restart_is_still_known(world: World) -> None:
    device = serving(world)
    message = device.telemetry(device.performance("digits", inferences=7))
    world.receive(message)
    world.restart()
    assert acked(device, world.receive(message)) == 1
    assert inferences(world) == 7


def test_a_gap_survives_a_restart_and_is_closed_later(world: World) -> None:
    device = serving(world)
    first, second, third = (device.telemetry(device.performance("digits")) for _ in range(3))
    assert acked(device, world.receive(first, third)) == 1
    world.restart()
    assert acked(device, world.receive(second)) == 3


def test_events_and_telemetry_share_one_sequence(world: World) -> None:
    device = serving(world)
    answers = world.receive(device.event("hello"), device.telemetry(device.performance("digits")))
    assert acked(device, answers) == 2
    assert [row.text for row in events.newest(world.org.db)] == ["hello"]


def test_forged_observation_attack_telemetry_with_another_key_is_neither_counted_nor_acknowledged(
    world: World,
) -> None:
    device = serving(world)
    honest = device.keys
    device.keys = device.agreement.agree(AgreementKey.generate().public, "acme", "gw1")
    answers = world.receive(device.telemetry(device.performance("digits")))
    device.keys = honest
    assert answers == []
    assert inferences(world) == 0
    assert [row[0] for row in events.dropped(world.org.db)] == ["signature"]


def test_hostile_telemetry_attack_is_dropped_and_the_device_may_go_on(world: World) -> None:
    device = serving(world)
    good = device.performance("digits", inferences=5)
    bad = (good[0], good[1], good[1])
    assert acked(device, world.receive(device.telemetry(bad))) == 1
    assert acked(device, world.receive(device.telemetry(good))) == 2
    assert inferences(world) == 5
    assert sum(count for _, count, _, _ in events.dropped(world.org.db)) == 1


def test_a_report_that_the_device_dropped_is_not_waited_for(world: World) -> None:
    device = serving(world)
    device.sequence, device.oldest = 9, 10
    assert acked(device, world.receive(device.telemetry(device.performance("digits")))) == 10


def test_a_device_clock_in_the_future_does_not_move_its_windows_there(world: World) -> None:
    device = serving(world)
    device.time_s = int(world.now_s) + 10**6
    world.receive(device.telemetry(device.performance("digits")))
    [row] = performance.windows(world.org.db)
    assert row.window_s <= world.now_s


def test_late_reports_fall_into_the_window_of_their_own_time(world: World) -> None:
    device = serving(world)
    device.time_s = int(world.now_s) - 7200
    world.receive(device.telemetry(device.performance("digits")))
    [row] = performance.windows(world.org.db)
    assert 7200 <= world.now_s - row.window_s < 7200 + 61


def test_raw_reports_and_events_are_bounded(world: World) -> None:
    from dataclasses import replace

    device = serving(world)
    world.org.settings = replace(world.org.settings, reports_keep=10, events_keep=5)
    for _ in range(30):
        world.receive(device.telemetry(device.performance("digits")), device.event("x"))
    world.fleet.prune()
    assert len(performance.newest_reports(world.org.db, limit=1000)) == 10
    assert len(events.newest(world.org.db, limit=1000)) == 5


def test_a_message_that_meets_a_mistake_of_ours_holds_up_no_other(world: World) -> None:
    device = serving(world)
    world.org.db.execute("DELETE FROM units WHERE connection = 'gw1'")  # a state that cannot be
    other = world.enroll("gw2")
    answers = world.receive(
        device.telemetry(device.performance("digits")), other.event("still here")
    )
    assert acked(other, answers) == 1
    assert [row.text for row in events.newest(world.org.db)] == ["still here"]
