"""The inference loop from Python: the thread, the queue and the swap are C, without the GIL.

    loop = Loop(queue_capacity=64)
    loop.start()
    loop.swap(Instance(Program(image), tag=1, deadline_us=5000))
    output = loop.infer(input_bytes, timeout_s=1.0)

Rules (the C header wherry/host.h has them in full):
1. Every accepted input is answered exactly once, in order, whatever is swapped meanwhile.
2. A swap takes effect between two inferences and returns when the loop has let go of the old
   instance, whose statistics are then final.
3. Without an instance inputs are answered with the status WH_ERR_NO_MODEL.
"""

import weakref
from dataclasses import dataclass
from typing import Any, Final

from wherry_native._engine import ffi, lib
from wherry_native.engine import EngineError, Program
from wherry_native.latency import LatencyHistogram, from_c

_NS_PER_S: Final = 1_000_000_000
_NS_PER_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class Output:
    """The answer to one input. `status` is 0 or the engine's (negative) code with `status_name`;
    `output` is empty on an error. `tag` is the instance's, 0 without one. `finished_ns` is
    CLOCK_MONOTONIC."""

    status: int
    sequence: int
    tag: int
    latency_ns: int
    finished_ns: int
    is_deadline_missed: bool
    is_out_of_range: bool
    output: bytes

    @property
    def status_name(self) -> str:
        return str(ffi.string(lib.wh_error_name(self.status)).decode())


@dataclass(frozen=True, slots=True)
class InstanceStats:
    """Since the instance was made. An inference counts once in `errors` even when it is late and
    out of range; `refused` inputs (wrong length) are no inferences. `cycles` is the time-stamp
    counter, 0 where the processor has none."""

    inferences: int
    errors: int
    errors_engine: int
    errors_deadline: int
    errors_range: int
    refused: int
    cpu_ns: int
    cycles: int
    latency: LatencyHistogram


@dataclass(frozen=True, slots=True)
class LoopStats:
    """Since the loop was made; `queued` is now."""

    accepted: int
    answered: int
    withdrawn: int
    rejected: int
    without_model: int
    outputs_lost: int
    swaps: int
    replayed: int
    replay_late: int
    queued: int


class Instance:
    """A program that a loop can serve, with an arena, limits and statistics of its own."""

    def __init__(
        self,
        program: Program,
        *,
        tag: int,
        deadline_us: int = 0,
        valid_min: int | None = None,
        valid_max: int | None = None,
    ) -> None:
        """`deadline_us` 0: none. `valid_min`, `valid_max`: quantized bounds of every element of
        the first output, both or neither. Raises EngineError, ValueError."""
        if (valid_min is None) != (valid_max is None):
            raise ValueError("valid_min and valid_max are given together or not at all")
        self.program = program
        self.tag = tag
        limits = ffi.new("wh_limits *")
        limits.deadline_ns = deadline_us * _NS_PER_US
        limits.has_valid_range = valid_min is not None
        limits.valid_min = valid_min or 0
        limits.valid_max = valid_max or 0
        created = ffi.new("wh_instance **")
        where = ffi.new("wh_location *")
        image = program.image
        _check(lib.wh_instance_create(image, len(image), limits, tag, created, where))
        self._instance = ffi.gc(created[0], lib.wh_instance_free)

    def stats(self) -> InstanceStats:
        """A consistent copy, at any time."""
        stats = ffi.new("wh_instance_stats *")
        lib.wh_instance_stats_copy(self._instance, stats)
        return InstanceStats(
            inferences=stats.inferences,
            errors=stats.errors,
            errors_engine=stats.errors_engine,
            errors_deadline=stats.errors_deadline,
            errors_range=stats.errors_range,
            refused=stats.refused,
            cpu_ns=stats.cpu_ns,
            cycles=stats.cycles,
            latency=from_c(stats.latency),
        )

    def last_output(self) -> bytes | None:
        """The outputs of the latest inference; None before the first."""
        output = bytearray(self.program.output_bytes)
        status = lib.wh_instance_last_output(self._instance, ffi.from_buffer(output), len(output))
        return bytes(output) if status == 0 else None


class Loop:
    """One inference thread with a bounded queue. All methods may be called from any thread."""

    def __init__(self, queue_capacity: int = 64, output_capacity: int = 256) -> None:
        """`output_capacity` answers are kept for `drain_outputs`; the oldest give way."""
        created = ffi.new("wh_loop **")
        _check(lib.wh_loop_create(queue_capacity, output_capacity, created))
        self._loop = ffi.gc(created[0], lib.wh_loop_free)
        self._held = _Held()
        weakref.finalize(self, _end, self._loop, self._held)

    @property
    def active(self) -> Instance | None:
        return self._held.active

    def start(self) -> None:
        """Starts the thread; harmless when it runs. Raises EngineError."""
        _check(lib.wh_loop_start(self._loop))

    def stop(self) -> None:
        """Ends the replay, answers what is queued, ends the thread."""
        lib.wh_loop_stop(self._loop)
        self._held.samples = None

    def swap(self, instance: Instance | None) -> Instance | None:
        """Puts an instance in the active place and returns the one that was there, which the loop
        no longer touches. Raises EngineError WH_ERR_BUSY when the instance serves already.
        Swaps are made by one thread at a time."""
        _check(lib.wh_loop_swap(self._loop, instance._instance if instance else ffi.NULL))
        previous, self._held.active = self._held.active, instance
        return previous

    def infer(self, inputs: bytes, timeout_s: float) -> Output:
        """Waits at most `timeout_s` for room in the queue and the answer together. Raises
        EngineError WH_ERR_QUEUE_FULL, WH_ERR_TIMEOUT or WH_ERR_STOPPED."""
        answer = ffi.new("wh_answer *")
        timeout_ns = int(timeout_s * _NS_PER_S)
        _check(lib.wh_loop_infer(self._loop, inputs, len(inputs), timeout_ns, answer))
        return _output(answer)

    def replay(self, samples: bytes, sample_size: int, period_us: int) -> None:
        """Feeds sample after sample, for ever, one per period; rejected inputs are counted.
        Raises EngineError WH_ERR_BUSY while a replay runs, WH_ERR_STOPPED, ValueError."""
        if sample_size <= 0 or not samples or len(samples) % sample_size:
            raise ValueError(
                f"{len(samples)} bytes of samples are no multiple of {sample_size} bytes each"
            )
        count = len(samples) // sample_size
        kept = ffi.from_buffer(samples)
        period_ns = period_us * _NS_PER_US
        _check(lib.wh_loop_replay(self._loop, kept, sample_size, count, period_ns))
        self._held.samples = kept  # until then `kept` itself keeps them

    def stop_replay(self) -> None:
        """Ends the replay; returns when its last input has been answered."""
        lib.wh_loop_stop_replay(self._loop)
        self._held.samples = None

    def drain_outputs(self, count_max: int) -> list[Output]:
        """Up to `count_max` kept answers, the oldest first."""
        outputs: list[Output] = []
        answer = ffi.new("wh_answer *")
        while len(outputs) < count_max and lib.wh_loop_take_output(self._loop, answer) == 0:
            outputs.append(_output(answer))
        return outputs

    def stats(self) -> LoopStats:
        """A consistent copy."""
        stats = ffi.new("wh_loop_stats *")
        lib.wh_loop_stats_copy(self._loop, stats)
        return LoopStats(
            accepted=stats.accepted,
            answered=stats.answered,
            withdrawn=stats.withdrawn,
            rejected=stats.rejected,
            without_model=stats.without_model,
            outputs_lost=stats.outputs_lost,
            swaps=stats.swaps,
            replayed=stats.replayed,
            replay_late=stats.replay_late,
            queued=stats.queued,
        )


@dataclass(slots=True)
class _Held:
    """What the C thread uses and Python owns: it lives until the thread has ended, in whatever
    order the collector (or the interpreter's end) takes the objects apart."""

    active: Instance | None = None
    samples: Any = None


def _end(loop: Any, held: _Held) -> None:
    lib.wh_loop_stop(loop)
    lib.wh_loop_swap(loop, ffi.NULL)
    held.active = held.samples = None


def _output(answer: Any) -> Output:
    """A Python copy; frees the C one."""
    output = bytes(ffi.buffer(answer.output, answer.output_size)) if answer.output else b""
    lib.wh_answer_free(answer)
    return Output(
        status=answer.status,
        sequence=answer.sequence,
        tag=answer.tag,
        latency_ns=answer.latency_ns,
        finished_ns=answer.finished_ns,
        is_deadline_missed=bool(answer.flags & lib.WH_DEADLINE_MISSED),
        is_out_of_range=bool(answer.flags & lib.WH_OUT_OF_RANGE),
        output=output,
    )


def _check(status: int) -> None:
    if status != 0:
        raise EngineError(status)
