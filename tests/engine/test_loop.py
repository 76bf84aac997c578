"""The inference loop: every input is answered in order, and a swap loses none of them."""

import gc
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wherry_native.engine import EngineError, Program
from wherry_native.loop import Instance, Loop
from wherry_native.program import Op

from tests.engine import programs
from tests.engine.build import compile_c
from tests.engine.programs_16 import Builder16

SAMPLE = bytes([1, 2, 3, 4])
WAIT_S = 10.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop(queue_capacity=4)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def program() -> Program:
    return Program(programs.fully_connected())


def until(is_met: Callable[[], bool]) -> None:
    """Polls with a deadline."""
    deadline = time.monotonic() + WAIT_S
    while not is_met():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.001)


def test_loop_answers_as_the_program_does(loop: Loop, program: Program) -> None:
    loop.swap(Instance(program, tag=7))
    output = loop.infer(SAMPLE, WAIT_S)
    assert output.output == program.run(SAMPLE)
    assert (output.status, output.status_name, output.tag) == (0, "WH_OK", 7)


def test_without_an_instance_inputs_are_answered_with_no_model(loop: Loop) -> None:
    output = loop.infer(SAMPLE, WAIT_S)
    assert (output.status_name, output.output, output.tag) == ("WH_ERR_NO_MODEL", b"", 0)
    assert loop.stats().without_model == 1


def test_input_of_another_length_is_refused_and_no_error_of_the_model(
    loop: Loop, program: Program
) -> None:
    instance = Instance(program, tag=1)
    loop.swap(instance)
    assert loop.infer(b"123", WAIT_S).status_name == "WH_ERR_INPUT_SIZE"
    stats = instance.stats()
    assert (stats.refused, stats.inferences, stats.errors) == (1, 0, 0)


def test_instance_counts_what_it_did(loop: Loop, program: Program) -> None:
    instance = Instance(program, tag=1)
    loop.swap(instance)
    assert instance.last_output() is None
    for _ in range(20):
        output = loop.infer(SAMPLE, WAIT_S)
    stats = instance.stats()
    assert (stats.inferences, stats.errors, stats.latency.count) == (20, 0, 20)
    assert stats.cpu_ns > 0
    assert stats.latency.max_ns >= output.latency_ns > 0
    assert stats.latency.quantile_ns(0.5) <= stats.latency.quantile_ns(1.0)
    assert instance.last_output() == program.run(SAMPLE)


def test_late_inference_is_an_error_that_is_still_answered(loop: Loop) -> None:
    slow = Program(programs.fully_connected(inputs=4096, outputs=512))
    instance = Instance(slow, tag=1, deadline_us=1)
    loop.swap(instance)
    output = loop.infer(bytes(4096), WAIT_S)
    assert output.is_deadline_missed
    assert len(output.output) == 512
    assert (instance.stats().errors, instance.stats().errors_deadline) == (1, 1)


def test_a_swap_that_keeps_state_goes_on_where_the_other_stopped_and_loses_no_input(
    loop: Loop,
) -> None:
    """Inputs come all the time; each adds one to the state, whichever instance answers."""
    image, ones, answers = programs.counter(), bytes([1]) * 4, []
    instances = [Instance(Program(image), tag=tag) for tag in range(6)]
    loop.swap(instances[0])
    asking = threading.Thread(
        target=lambda: answers.extend(loop.infer(ones, WAIT_S).output for _ in range(100))
    )
    asking.start()
    assert all(loop.swap_keeping(instance) for instance in instances[1:])
    asking.join()
    counter = Program(image)
    assert answers == [counter.run(ones) for _ in range(100)]


def test_states_that_differ_are_not_kept(loop: Loop, program: Program) -> None:
    assert not loop.swap_keeping(Instance(Program(programs.counter()), tag=1))  # nothing served
    assert not loop.swap_keeping(Instance(Program(programs.counter(5)), tag=2))  # another shape
    assert not loop.swap_keeping(Instance(program, tag=3))  # no state


def wide_echo() -> bytes:
    """16-bit values that come out as they went in."""
    b = Builder16()
    x, y = b.wide("x", (1, 8)), b.wide("y", (1, 8))
    b.node(Op.RESHAPE, "same", (x,), y)
    return b.image("echo", (x,), (y,))


def test_output_on_the_bounds_is_valid_and_one_beyond_is_an_error(
    loop: Loop, program: Program
) -> None:
    low, high = bounds_are_held(loop, program, SAMPLE, "b")
    assert (low, high) >= (-128, -128)


def test_bounds_of_sixteen_bits_are_held_to_whole_values(loop: Loop) -> None:
    sample = struct.pack("<8h", -300, 5, 700, 0, 1, 2, 3, 4)
    assert bounds_are_held(loop, Program(wide_echo()), sample, "h") == (-300, 700)


def bounds_are_held(loop: Loop, program: Program, sample: bytes, code: str) -> tuple[int, int]:
    """The least and the largest value of the output, which are valid; one beyond is not."""
    output = program.run(sample)
    values = struct.unpack(f"<{len(output) // struct.calcsize(code)}{code}", output)
    low, high = min(values), max(values)
    assert low < high
    inside = Instance(program, tag=1, valid_min=low, valid_max=high)
    below = Instance(program, tag=2, valid_min=low + 1, valid_max=high)
    above = Instance(program, tag=3, valid_min=low, valid_max=high - 1)
    for instance, is_outside in ((inside, False), (below, True), (above, True)):
        loop.swap(instance)
        assert loop.infer(sample, WAIT_S).is_out_of_range is is_outside
        assert instance.stats().errors_range == is_outside
    return low, high


def test_one_inference_that_is_late_and_outside_is_one_error(loop: Loop) -> None:
    slow = Program(programs.fully_connected(inputs=4096, outputs=512))
    instance = Instance(slow, tag=1, deadline_us=1, valid_min=127, valid_max=127)
    loop.swap(instance)
    loop.infer(bytes(4096), WAIT_S)
    stats = instance.stats()
    assert (stats.errors, stats.errors_deadline, stats.errors_range) == (1, 1, 1)


def test_swap_returns_the_old_instance_for_good(loop: Loop, program: Program) -> None:
    first, second = Instance(program, tag=1), Instance(program, tag=2)
    assert loop.swap(first) is None
    loop.infer(SAMPLE, WAIT_S)
    assert loop.swap(second) is first
    assert loop.infer(SAMPLE, WAIT_S).tag == 2
    assert first.stats().inferences == 1
    assert loop.swap(first) is second
    assert loop.swap(None) is first
    assert loop.infer(SAMPLE, WAIT_S).status_name == "WH_ERR_NO_MODEL"


def test_instance_serves_one_loop_only(loop: Loop, program: Program) -> None:
    instance = Instance(program, tag=1)
    loop.swap(instance)
    other = Loop(1)
    for place in (loop, other):
        with pytest.raises(EngineError) as e:
            place.swap(instance)
        assert e.value.name == "WH_ERR_BUSY"


def test_replay_feeds_its_samples_in_order_again_and_again() -> None:
    loop = Loop(queue_capacity=4096)  # so that none is rejected on a busy machine
    loop.start()
    loop.swap(Instance(Program(programs.identity(2)), tag=1))
    loop.replay(bytes([0, 1, 2, 3, 4, 5]), 2, period_us=200)
    until(lambda: loop.stats().answered >= 7)
    loop.stop()
    outputs = loop.drain_outputs(7)
    assert b"".join(o.output for o in outputs) == bytes([0, 1, 2, 3, 4, 5] * 3)[:14]
    assert [o.sequence for o in outputs] == list(range(7))


def answers_of(loop: Loop, tag: int) -> set[bytes]:
    """The outputs of ten answers of this instance."""
    found: list[bytes] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < 10:
        assert time.monotonic() < deadline
        found += [one.output for one in loop.drain_outputs(256) if one.tag == tag]
    return set(found)


def test_a_replay_feeds_an_instance_its_own_samples_and_refusals_where_it_has_none() -> None:
    loop = Loop(queue_capacity=4096)
    loop.start()
    program = Program(programs.identity(2))
    plain, own, none = (Instance(program, tag=tag) for tag in range(3))
    own.feed(bytes([10, 11, 12, 13]), 2)
    none.feed(b"", 0)
    loop.swap(plain)
    loop.replay(bytes([0, 1, 2, 3, 4, 5]), 2, period_us=100)
    assert answers_of(loop, 0) == {bytes([0, 1]), bytes([2, 3]), bytes([4, 5])}
    loop.swap(own)
    assert answers_of(loop, 1) == {bytes([10, 11]), bytes([12, 13])}
    loop.swap(none)
    assert answers_of(loop, 2) == {b""}
    assert none.stats().refused >= 10
    loop.stop()
    with pytest.raises(ValueError, match="no multiple of 2"):
        Instance(program, tag=4).feed(b"123", 2)


def test_stopping_a_replay_answers_what_it_fed(loop: Loop, program: Program) -> None:
    loop.swap(Instance(program, tag=1))
    loop.replay(SAMPLE * 3, 4, period_us=50)
    until(lambda: loop.stats().answered >= 20)
    loop.stop_replay()
    stats = loop.stats()
    assert stats.answered == stats.accepted
    assert stats.replayed == stats.accepted + stats.rejected
    loop.replay(SAMPLE, 4, period_us=50)  # and another may begin


def test_forgotten_loop_ends_its_threads_before_its_memory_goes(program: Program) -> None:
    before = _thread_count()
    loop = Loop(4)
    loop.start()
    loop.swap(Instance(program, tag=1))
    loop.replay(SAMPLE * 100, 4, period_us=50)
    loop.itself = loop  # type: ignore[attr-defined]  # a cycle: the collector chooses the order
    assert _thread_count() == before + 2
    del loop
    gc.collect()
    assert _thread_count() == before


def test_interpreter_ends_while_a_loop_serves() -> None:
    code = (
        "from tests.engine import programs\n"
        "from wherry_native.engine import Program\n"
        "from wherry_native.loop import Instance, Loop\n"
        "loop = Loop(4); loop.start()\n"
        "loop.swap(Instance(Program(programs.fully_connected()), tag=1))\n"
        "loop.replay(bytes(400), 4, period_us=20)\n"
        "print(loop.infer(bytes(4), 5.0).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def _is_term_blocked(status: Path) -> bool:
    """Of the thread whose /proc status file this is."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return bool(int(lines["SigBlk"], 16) & 1 << (signal.SIGTERM - 1))


def test_signals_reach_the_program_and_not_the_loops_threads(program: Program) -> None:
    tasks = Path("/proc/self/task")
    before = set(tasks.iterdir())
    loop = Loop(4)
    loop.start()
    loop.swap(Instance(program, tag=1))
    loop.replay(SAMPLE, 4, period_us=1000)
    threads = set(tasks.iterdir()) - before
    assert len(threads) == 2
    assert all(_is_term_blocked(thread / "status") for thread in threads)
    assert not _is_term_blocked(Path("/proc/self/status"))
    loop.stop()


def _thread_count() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_second_replay_is_refused_while_one_runs(loop: Loop) -> None:
    loop.replay(SAMPLE, 4, period_us=1000)
    with pytest.raises(EngineError) as e:
        loop.replay(SAMPLE, 4, period_us=1000)
    assert e.value.name == "WH_ERR_BUSY"


@pytest.mark.parametrize("samples", [b"", b"12345"])
def test_samples_that_do_not_divide_are_refused(loop: Loop, samples: bytes) -> None:
    with pytest.raises(ValueError, match="no multiple of 4"):
        loop.replay(samples, 4, period_us=1000)


def test_stopped_loop_takes_no_input() -> None:
    loop = Loop(4)
    with pytest.raises(EngineError) as e:
        loop.infer(SAMPLE, 0.1)
    assert e.value.name == "WH_ERR_STOPPED"
    loop.start()
    assert loop.infer(SAMPLE, WAIT_S).status_name == "WH_ERR_NO_MODEL"
    loop.stop()
    with pytest.raises(EngineError):
        loop.infer(SAMPLE, 0.1)


def test_kept_outputs_are_bounded_and_the_oldest_give_way(program: Program) -> None:
    loop = Loop(4, output_capacity=3)
    loop.start()
    loop.swap(Instance(program, tag=1))
    for _ in range(5):
        loop.infer(SAMPLE, WAIT_S)
    assert [o.sequence for o in loop.drain_outputs(10)] == [2, 3, 4]
    assert loop.stats().outputs_lost == 2
    assert loop.drain_outputs(10) == []
    loop.stop()


def _occupy(loop: Loop, sample: bytes) -> threading.Thread:
    """A submitter whose inference takes long; returns once it is in work."""
    accepted = loop.stats().accepted
    thread = threading.Thread(target=loop.infer, args=(sample, WAIT_S))
    thread.start()
    until(lambda: loop.stats().accepted > accepted and loop.stats().queued == 0)
    return thread


def test_full_queue_rejects_and_a_timeout_withdraws() -> None:
    slow = Program(programs.slow())
    sample = bytes(slow.input_bytes)
    loop = Loop(queue_capacity=1)
    loop.start()
    loop.swap(Instance(slow, tag=1))
    working = _occupy(loop, sample)
    with pytest.raises(EngineError) as e:
        loop.infer(sample, 0.001)  # has room, gets no turn
    assert e.value.name == "WH_ERR_TIMEOUT"
    with pytest.raises(EngineError) as e:
        loop.infer(sample, 0.001)  # the withdrawn entry still holds the only place
    assert e.value.name == "WH_ERR_QUEUE_FULL"
    working.join()
    until(lambda: loop.stats().queued == 0)
    stats = loop.stats()
    assert (stats.withdrawn, stats.rejected, stats.answered) == (1, 1, 1)
    loop.stop()


def test_stopping_answers_what_is_queued() -> None:
    slow = Program(programs.slow(side=64))
    sample = bytes(slow.input_bytes)
    loop = Loop(queue_capacity=4)
    loop.start()
    loop.swap(Instance(slow, tag=1))
    answers: list[int] = []
    submit = lambda: answers.append(loop.infer(sample, WAIT_S).status)  # noqa: E731
    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: loop.stats().accepted == 3)
    loop.stop()
    for thread in threads:
        thread.join()
    assert answers == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_swaps_under_a_feed_drop_nothing_and_free_nothing_in_use(
    root: Path, tmp_path: Path, sanitizer: str
) -> None:
    program = compile_c(
        root, tmp_path / "swapping", root / "tests/engine/swapping.c",
        f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", with_host=True,
    )  # fmt: skip
    images = (programs.fully_connected(4, 3), programs.fully_connected(4, 300))
    for index, image in enumerate(images):
        (tmp_path / str(index)).write_bytes(image)
    done = subprocess.run(
        [program, tmp_path / "0", tmp_path / "1", "400"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answered, swaps = map(int, done.stdout.split())
    assert swaps == 401
    assert answered >= 400
