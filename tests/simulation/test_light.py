"""The twin of devices does what they do: the same messages, the same controller, the same end."""

from dataclasses import dataclass
from math import trunc
from typing import Any

import pytest
from wherry_agent.core.reports import Held, SpooledReport
from wherry_protocol.replacing import replace

from tests.simulation.lean import sail_canary
from tests.simulation.lean.light import LightWorld
from tests.simulation.lean.numbers import Number, Tracing
from tests.simulation.lean.shapes import Shapes
from tests.simulation.models import BAD, GOOD, Behaviour
from tests.simulation.twins import codec, signatures

DEVICES = 200
BY_NAME = {one.name: one for one in BAD}
NAMES = ["failing", "slow", "lying", "creeping", "hungry"]


@pytest.mark.parametrize(
    "behaviour", [GOOD, *(BY_NAME[one] for one in NAMES)], ids=lambda b: b.name
)
def test_light_devices_give_the_trace_of_the_real_cores(behaviour: Behaviour) -> None:
    """Of every message in both directions, of what the rollout is told and asks for, and of every
    device in the end."""
    real = sail_canary(DEVICES, behaviour, is_traced=True)
    assert sail_canary(DEVICES, behaviour, is_light=True, is_traced=True) == real


def test_light_devices_play_the_same_in_however_many_processes() -> None:
    alone = sail_canary(60, is_light=True, is_traced=True)
    assert sail_canary(60, processes=2, is_light=True, is_traced=True) == alone


def test_a_message_that_says_something_else_is_another_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sail_canary(20, is_light=True, is_traced=True)
    ack = LightWorld.heed
    monkeypatch.setattr(
        LightWorld, "heed", lambda world, now_us, number, text: ack(world, now_us + 1, number, text)
    )
    after = sail_canary(20, is_light=True, is_traced=True)
    assert (after.confirmed, after.events) == (before.confirmed, before.events)
    assert after.trace != before.trace


def test_the_real_core_is_asked_once_for_each_way_and_not_for_each_device() -> None:
    def learned(device_count: int) -> int:
        with signatures.in_place(), codec.in_place(codec.Attaching()):
            world = LightWorld(device_count, GOOD, 60)
            for number in range(device_count):
                world.to_device(number, "", b"")
            while world.now_us < 40_000_000:
                world.run_until(world.now_us + 100_000)
                if world.now_us % 1_000_000 == 0:
                    world.front.acknowledge()
            assert len(world.lights) == device_count
            return sum(len(plays) for node in world.nodes for plays in node.values())

    assert learned(400) <= 1.5 * learned(100)


# --- numbers


def test_arithmetic_is_kept_as_python_and_comparisons_as_guards() -> None:
    with Tracing() as tracing:
        now_us, since_us = tracing.name("now", 90), tracing.name("h0", 20)
        spent_us = max(0, now_us - since_us) // 2
        assert not spent_us > 50
        assert tracing.source_of(trunc(spent_us * 0.5)) == "n3"
    assert tracing.lines == [
        ("n0", "now - h0"), ("", "n0 > 0"), ("n1", "n0 // 2"), ("", "not n1 > 50"),
        ("n2", "n1 * 0.5"), ("n3", "int(n2)"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "use", [str, int, float, bool, "{:.0f}".format, "abc".__getitem__, [1].__mul__]
)
def test_whoever_wants_the_value_itself_binds_all_who_follow_to_it(use: Any) -> None:
    with Tracing() as tracing:
        use(tracing.name("n", 1))
    assert list(tracing.guards) in (["n == 1"], ["n != 0"])


@pytest.mark.parametrize("use", [hash, abs, len, {1: 2}.get, lambda n: n % 3, lambda n: 1 << n])
def test_what_cannot_be_kept_is_refused(use: Any) -> None:
    with Tracing() as tracing, pytest.raises(TypeError):
        use(tracing.name("n", 1))


def test_a_number_is_worth_nothing_once_its_step_is_over() -> None:
    with Tracing() as tracing:
        number = tracing.name("n", 1)
    with pytest.raises(RuntimeError):
        number + 1
    with Tracing(), pytest.raises(KeyError):
        number + 1


# --- shapes


@dataclass(frozen=True)
class Pair:
    first: Any
    second: Any


def test_a_shape_tells_everything_but_what_numbers_are_worth() -> None:
    shapes, one, other = Shapes(), Number(), Number()
    same = [Pair(one, {"a": (other,)}), Pair(other, {"a": (one,)})]
    assert len({shapes.of(value)[0] for value in same}) == 1
    different = [
        Pair(one, {"a": (one,)}), Pair(one, {"a": (1,)}), Pair(one, {"b": (other,)}),
        Pair(one, {"a": [other]}), Pair(1, 2), Pair(1, 2.0), Pair(1, True), Pair(2, 1),
    ]  # fmt: skip
    assert len({shapes.of(value)[0] for value in (same[0], *different)}) == 1 + len(different)


def test_the_numbers_of_a_value_come_in_the_order_of_its_shape() -> None:
    shapes, one, other = Shapes(), Number(), Number()
    _, numbers = shapes.of(Pair(other, (one, other)))
    assert [number is other for number in numbers] == [True, False]


def test_a_part_that_was_met_before_keeps_its_place_among_the_numbers() -> None:
    """What is remembered of a part that has no numbers must not be taken for one that has."""
    shapes, one, other = Shapes(), Number(), Number()
    part = Held(SpooledReport(boot_id=b"", sequence=1, topic="t", payload=b""), one)  # type: ignore[arg-type]
    first, _ = shapes.of((one, part))
    second, _ = shapes.of((other, replace(part, made_us=one)))
    third, _ = shapes.of((one, part))
    assert first == third != second
