"""The shadow of a loop: it runs after the answer, on a sample, and nobody who waits feels it."""

import threading
import weakref

import pytest
from wherry_agent.shell.inference_request import dequantize, quantize
from wherry_native import loop as loops
from wherry_native.engine import EngineError, Program
from wherry_native.loop import Hold, Instance, Loop, in_sample

from tests.agent.bundles import INPUT_BYTES, layer_image, tensor_of
from tests.engine import programs
from tests.engine.test_loop import until

WAIT_S = 10.0
INPUTS = [bytes([n, 255 - n] * (INPUT_BYTES // 2)) for n in range(200)]


@pytest.fixture
def loop():
    made = Loop(queue_capacity=16)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def two():
    return Program(layer_image(1)), Program(layer_image(2))


def argmax(output: bytes) -> int:
    values = memoryview(output).cast("b").tolist()
    return values.index(max(values))


def far(a: bytes, b: bytes) -> int:
    pairs = zip(memoryview(a).cast("b"), memoryview(b).cast("b"), strict=True)
    return max(abs(x - y) for x, y in pairs)


def run(loop: Loop, inputs: list[bytes]) -> list[bytes]:
    """One after another, each when the shadow of the one before has ended."""
    outputs = []
    for n, one in enumerate(inputs):
        outputs.append(loop.infer(one, WAIT_S).output)
        until(lambda n=n: _seen(loop) > n)
    return outputs


def _seen(loop: Loop) -> int:
    s = loop.shadow_stats()
    skipped = (s.skipped_sampling, s.skipped_energy, s.skipped_temperature, s.skipped_deadline)
    return s.compared + s.errors + sum(skipped)


@pytest.mark.parametrize("tolerance_lsb", [None, 0, 20])
def test_agreement_is_what_the_comparator_says_of_the_two_outputs(loop, two, tolerance_lsb):
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(two[1], tag=2), tolerance_lsb=tolerance_lsb)
    assert run(loop, INPUTS) == [two[0].run(one) for one in INPUTS]
    pairs = [(two[0].run(one), two[1].run(one)) for one in INPUTS]
    same = sum(argmax(a) == argmax(b) for a, b in pairs)
    near = sum(far(a, b) <= (tolerance_lsb or 0) for a, b in pairs)
    stats = loop.shadow_stats()
    assert (stats.compared, stats.agreed_argmax, stats.agreed_tolerance) == (200, same, near)
    assert stats.agreed == (same if tolerance_lsb is None else near)
    assert 0 < same < 200
    assert stats.primary_latency.count == 200


def test_the_same_program_agrees_with_itself_to_the_last_bit(loop, two):
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(two[0], tag=2), tolerance_lsb=0)
    run(loop, INPUTS[:50])
    assert loop.shadow_stats().agreed == 50
    assert loop.take_disagreements() == []


def test_the_sample_is_a_hash_of_the_input_number_and_the_rest_is_counted(loop, two):
    loop.swap(Instance(two[0], tag=1))
    shadow = Instance(two[1], tag=2)
    loop.set_shadow(shadow, sample_bp=2_500)
    run(loop, INPUTS)
    wanted = sum(in_sample(n, 2_500) for n in range(200))
    stats = loop.shadow_stats()
    assert (stats.compared, stats.skipped_sampling) == (wanted, 200 - wanted)
    assert shadow.stats().inferences == wanted


def test_a_smaller_sample_lies_within_a_larger_one_and_is_as_large_as_asked():
    few, many = ({n for n in range(50_000) if in_sample(n, bp)} for bp in (500, 5_000))
    assert few < many
    assert abs(len(few) - 2_500) < 250
    assert abs(len(many) - 25_000) < 500


@pytest.mark.parametrize(
    ("hold", "counted"),
    [(Hold.ENERGY, "skipped_energy"), (Hold.TEMPERATURE, "skipped_temperature")],
)
def test_a_shadow_that_is_held_skips_and_says_for_which_cause(loop, two, hold, counted):
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(two[1], tag=2))
    loop.hold_shadow(hold)
    run(loop, INPUTS[:5])
    stats = loop.shadow_stats()
    assert (stats.compared, getattr(stats, counted)) == (0, 5)
    loop.hold_shadow(Hold.NONE)
    loop.infer(INPUTS[0], WAIT_S)
    until(lambda: loop.shadow_stats().compared == 1)


def test_whoever_waits_goes_first_and_the_shadow_is_skipped(loop):
    slow = Program(programs.slow(80))
    loop.swap(Instance(slow, tag=1))
    shadow = Instance(slow, tag=2)
    loop.set_shadow(shadow)
    sample = bytes(slow.input_bytes)
    waiters = [threading.Thread(target=loop.infer, args=(sample, WAIT_S)) for _ in range(6)]
    for one in waiters:
        one.start()
    for one in waiters:
        one.join()
    until(lambda: _seen(loop) == 6)
    stats = loop.shadow_stats()
    assert stats.skipped_deadline >= 1
    assert stats.compared + stats.skipped_deadline == 6
    assert shadow.stats().inferences == stats.compared


def test_a_shadow_for_which_the_deadline_has_no_time_is_skipped_until_it_may_fit_again(loop):
    slow = Program(programs.slow(80))
    sample = bytes(slow.input_bytes)
    loop.swap(Instance(slow, tag=1))
    took_us = loop.infer(sample, WAIT_S).latency_ns // 1000
    loop.set_shadow(Instance(slow, tag=2), deadline_us=max(1, took_us // 100))
    run(loop, [sample] * 5)
    stats = loop.shadow_stats()
    assert (stats.compared, stats.skipped_deadline) == (0, 5)


def test_disagreements_are_kept_up_to_four_until_they_are_taken(loop, two):
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(two[1], tag=2), tolerance_lsb=0)
    run(loop, INPUTS[:50])
    kept = loop.take_disagreements()
    assert [one.sequence for one in kept] == [0, 1, 2, 3]
    for one in kept:
        assert one.input == INPUTS[one.sequence]
        assert (one.primary, one.shadow) == (two[0].run(one.input), two[1].run(one.input))
    assert loop.take_disagreements() == []


def test_recurrent_state_is_the_shadows_own(loop):
    program = Program(programs.counter())
    sample = bytes([1] * 4)
    alone = Program(programs.counter())
    loop.swap(Instance(program, tag=1))
    expected = [alone.run(sample) for _ in range(6)]
    found = [loop.infer(sample, WAIT_S).output for _ in range(3)]
    shadow = Instance(program, tag=2)
    loop.set_shadow(shadow)
    found += run(loop, [sample] * 3)
    assert found == expected  # it was not disturbed
    assert shadow.last_output() == expected[2]  # and began at its own beginning
    loop.set_shadow(None)
    loop.swap(shadow)  # warmed up: it goes on where it stood
    assert loop.infer(sample, WAIT_S).output == expected[3]
    loop.swap(None)
    shadow.reset()
    loop.swap(shadow)
    assert loop.infer(sample, WAIT_S).output == expected[0]


def test_an_instance_is_in_one_place_at_a_time(loop, two):
    instance = Instance(two[0], tag=1)
    loop.swap(instance)
    with pytest.raises(EngineError, match="BUSY"):
        loop.set_shadow(instance)
    loop.swap(None)
    loop.set_shadow(instance)
    with pytest.raises(EngineError, match="BUSY"):
        loop.swap(instance)
    loop.set_shadow(None)
    loop.swap(instance)


class Noting:
    """The library, with a note of each return from `wh_loop_shadow`."""

    def __init__(self, library, notes):
        self._library, self._notes = library, notes

    def __getattr__(self, name):
        return getattr(self._library, name)

    def wh_loop_shadow(self, *arguments):
        status = self._library.wh_loop_shadow(*arguments)
        self._notes.append("returned")
        return status


@pytest.mark.parametrize("another", [True, False])
def test_a_shadow_lives_until_the_loop_has_let_go_of_it(loop, two, monkeypatch, another):
    loop.swap(Instance(two[0], tag=1))
    before = Instance(two[1], tag=2)
    loop.set_shadow(before)
    notes = []
    weakref.finalize(before, notes.append, "freed")
    del before
    monkeypatch.setattr(loops, "lib", Noting(loops.lib, notes))
    loop.set_shadow(Instance(two[1], tag=3) if another else None)
    assert notes == ["returned", "freed"]


def test_after_a_refused_shadow_there_is_none(loop, two):
    loop.swap(Instance(two[0], tag=1))
    before, after = (Instance(two[1], tag=tag) for tag in (2, 3))
    loop.set_shadow(before)
    with pytest.raises(EngineError, match="ARGUMENT"):
        loop.set_shadow(after, sample_bp=10_001)
    assert loop.shadow is None
    loop.set_shadow(after)
    loop.set_shadow(before)


def test_the_counts_of_a_shadow_are_final_when_it_is_taken_away(loop, two):
    loop.swap(Instance(two[0], tag=1))
    shadow = Instance(two[1], tag=2)
    loop.set_shadow(shadow)
    for one in INPUTS[:50]:
        loop.infer(one, WAIT_S)
    loop.set_shadow(None)
    assert _seen(loop) == 50
    assert loop.shadow_stats().compared == shadow.stats().inferences
    loop.set_shadow(shadow)
    assert _seen(loop) == 0


def test_inputs_or_outputs_of_another_length_are_never_compared(loop, two):
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(Program(layer_image(3, outputs=6)), tag=2))
    for _ in range(2):  # the second is answered when all about the first is over
        assert loop.infer(INPUTS[0], WAIT_S).output == two[0].run(INPUTS[0])
    assert _seen(loop) == 0


# --- models of other scales


def in_scale_of(shadow: Program, active: Program, data: bytes) -> bytes:
    """The same real values, by the rules of the local door."""
    values = dequantize(data, tensor_of(active.inputs[0]))
    return quantize(values, tensor_of(shadow.inputs[0]))


@pytest.mark.parametrize("x", [(0.25, -1), (0.05, 17), (0.125, 5), (0.125, -1)])
def test_a_shadow_of_another_input_scale_runs_on_the_same_real_values(loop, two, x):
    active, shadow = two[0], Program(programs.scaled(layer_image(2), x=x))
    loop.swap(Instance(active, tag=1))
    loop.set_shadow(Instance(shadow, tag=2), tolerance_lsb=0)
    run(loop, INPUTS[:60])
    inputs = [in_scale_of(shadow, active, one) for one in INPUTS[:60]]
    assert (inputs == INPUTS[:60]) is (x == (0.125, -1))
    pairs = [(active.run(a), shadow.run(b)) for a, b in zip(INPUTS[:60], inputs, strict=True)]
    stats = loop.shadow_stats()
    assert stats.compared == 60
    assert stats.agreed_argmax == sum(argmax(a) == argmax(b) for a, b in pairs)
    kept = loop.take_disagreements()
    assert kept
    for one in kept:  # the input as it came
        assert one.input == INPUTS[one.sequence]
        assert (one.primary, one.shadow) == pairs[one.sequence]


@pytest.mark.parametrize("y", [(0.25, 3), (0.0625, -20), (0.125, 9), (0.125, 3)])
@pytest.mark.parametrize("tolerance_lsb", [0, 4, 40])
def test_outputs_of_two_scales_are_compared_as_real_values(loop, two, y, tolerance_lsb):
    active, shadow = two[0], Program(programs.scaled(layer_image(2), y=y))
    loop.swap(Instance(active, tag=1))
    loop.set_shadow(Instance(shadow, tag=2), tolerance_lsb=tolerance_lsb)
    run(loop, INPUTS[:60])
    near = 0
    for one in INPUTS[:60]:
        a = dequantize(active.run(one), tensor_of(active.outputs[0]))
        b = dequantize(shadow.run(one), tensor_of(shadow.outputs[0]))
        near += all(abs(p - q) <= tolerance_lsb * y[0] for p, q in zip(a, b, strict=True))
    assert loop.shadow_stats().agreed == near


def test_the_same_integers_in_another_scale_do_not_agree(loop, two):
    loop.swap(Instance(two[0], tag=1))
    shadow = Program(programs.scaled(layer_image(1), y=(0.25, 3)))
    loop.set_shadow(Instance(shadow, tag=2), tolerance_lsb=1)
    run(loop, INPUTS[:20])
    stats = loop.shadow_stats()
    assert (stats.compared, stats.agreed_argmax) == (20, 20)
    assert stats.agreed_tolerance < 10  # next to zero


def test_a_program_without_scale_is_compared_with_its_like_only(loop, two):
    bare = Program(programs.scaled(layer_image(2), x=(0.0, -1)))
    loop.swap(Instance(two[0], tag=1))
    loop.set_shadow(Instance(bare, tag=2))
    for _ in range(2):
        loop.infer(INPUTS[0], WAIT_S)
    assert _seen(loop) == 0
    loop.set_shadow(None)
    loop.swap(Instance(Program(programs.scaled(layer_image(1), x=(0.0, -1))), tag=3))
    loop.set_shadow(Instance(bare, tag=4))
    run(loop, INPUTS[:3])
    assert loop.shadow_stats().compared == 3
