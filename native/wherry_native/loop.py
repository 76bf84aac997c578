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
from enum import IntEnum
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


@dataclass(frozen=True, slots=True)
class ShadowStats:
    """Since the shadow was set. `agreed` is by its comparator, the two others by each of them;
    `primary_latency` is the active instance's on the inputs that were compared."""

    compared: int
    agreed: int
    agreed_argmax: int
    agreed_tolerance: int
    errors: int
    error_name: str
    skipped_sampling: int
    skipped_energy: int
    skipped_temperature: int
    skipped_deadline: int
    primary_latency: LatencyHistogram


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An input on which the two differed; the outputs one after another."""

    sequence: int
    input: bytes
    primary: bytes
    shadow: bytes


class Hold(IntEnum):
    """Why a shadow may not run now."""

    NONE = 0
    ENERGY = 1
    TEMPERATURE = 2


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
        self.samples: tuple[bytes, int] = (b"", 0)
        limits = ffi.new("wh_limits *")
        limits.deadline_ns = deadline_us * _NS_PER_US
        limits.has_valid_range = valid_min is not None
        limits.valid_min = valid_min or 0
        limits.valid_max = valid_max or 0
        created = ffi.new("wh_instance **")
        runner = program.runner
        _check(lib.wh_instance_create(runner, limits, tag, created))
        # The destructor holds the runner, whose prepared weights the instance reads until then.
        self._instance = ffi.gc(created[0], lambda made, _=runner: lib.wh_instance_free(made))

    @property
    def memory_bytes(self) -> int:
        """Image, prepared weights, and two arenas with scratch: its own and its program's."""
        program = self.program
        arena_bytes = program.arena_bytes + program.scratch_bytes
        return program.image_bytes + program.prepared_bytes + 2 * arena_bytes

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

    def feed(self, samples: bytes, sample_size: int) -> None:
        """A replay feeds it these in the place of the samples that it began with; without any, what
        is fed is refused. The instance must be in no loop. Raises ValueError."""
        count = _sample_count(samples, sample_size) if samples else 0
        lib.wh_instance_feed(self._instance, ffi.from_buffer(samples), sample_size, count)
        self.samples = samples, sample_size  # C reads them as long as the instance is there

    def reset(self) -> None:
        """States become their zero point again; the instance must be in no loop."""
        _check(lib.wh_instance_reset(self._instance))

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

    def swap_keeping(self, instance: Instance) -> bool:
        """As `swap`, and the instance goes on from the recurrent state that the active one has at
        that moment, between two inferences. False where their states differ (names, types, shapes,
        quantization) or nothing served: then it has its own."""
        is_kept = ffi.new("int *")
        _check(lib.wh_loop_swap_keeping(self._loop, instance._instance, is_kept))
        self._held.active = instance
        return bool(is_kept[0])

    def set_shadow(
        self,
        instance: Instance | None,
        *,
        sample_bp: int = 10_000,
        tolerance_lsb: int | None = None,
        deadline_us: int = 0,
    ) -> None:
        """Runs an instance after the active one on `sample_bp` of 10,000 inputs; None: no longer.

        Outputs agree where the first one's largest element is the same, or, with `tolerance_lsb`,
        where every element is within it. `deadline_us` 0: none. Returns when the loop has let go
        of the shadow before, whose statistics are final then; a new one's begin anew. On an error
        there is no shadow. Raises EngineError WH_ERR_BUSY, WH_ERR_MEMORY, WH_ERR_ARGUMENT.
        """
        config = ffi.new("wh_shadow_config *")
        config.sample_bp = sample_bp
        config.comparator = 1 if tolerance_lsb is None else 2  # WH_COMPARE_…
        config.tolerance_lsb = tolerance_lsb or 0
        config.deadline_ns = deadline_us * _NS_PER_US
        wanted = ffi.NULL if instance is None else instance._instance
        status = lib.wh_loop_shadow(self._loop, wanted, config)
        if status != 0:
            lib.wh_loop_shadow(self._loop, ffi.NULL, ffi.NULL)  # whatever was refused
        # Not before: the one that was there may run until the call returns.
        self._held.shadow = instance if status == 0 else None
        _check(status)

    @property
    def shadow(self) -> Instance | None:
        return self._held.shadow

    def hold_shadow(self, hold: Hold) -> None:
        """Inputs are skipped for this cause until it is NONE again."""
        lib.wh_loop_hold_shadow(self._loop, int(hold))

    def shadow_stats(self) -> ShadowStats:
        """A consistent copy."""
        stats = ffi.new("wh_shadow_stats *")
        lib.wh_loop_shadow_stats_copy(self._loop, stats)
        return ShadowStats(
            compared=stats.compared,
            agreed=stats.agreed,
            agreed_argmax=stats.agreed_argmax,
            agreed_tolerance=stats.agreed_tolerance,
            errors=stats.errors,
            error_name=str(ffi.string(lib.wh_error_name(stats.error)).decode()),
            skipped_sampling=stats.skipped_sampling,
            skipped_energy=stats.skipped_energy,
            skipped_temperature=stats.skipped_temperature,
            skipped_deadline=stats.skipped_deadline,
            primary_latency=from_c(stats.primary_latency),
        )

    def take_disagreements(self) -> list[Disagreement]:
        """The few that were kept since the last call, the oldest first."""
        shadow = self._held.shadow
        if shadow is None:
            return []
        program, found = shadow.program, []
        split, end = program.input_bytes, program.input_bytes + program.output_bytes
        data = bytearray(end + program.output_bytes)
        sequence = ffi.new("uint64_t *")
        buffer = ffi.from_buffer(data)
        while lib.wh_loop_take_disagreement(self._loop, sequence, buffer, len(data)) == 0:
            parts = bytes(data[:split]), bytes(data[split:end]), bytes(data[end:])
            found.append(Disagreement(sequence[0], *parts))
        return found

    def infer(self, inputs: bytes, timeout_s: float) -> Output:
        """Waits at most `timeout_s` for room in the queue and the answer together. Raises
        EngineError WH_ERR_QUEUE_FULL, WH_ERR_TIMEOUT or WH_ERR_STOPPED."""
        answer = ffi.new("wh_answer *")
        timeout_ns = int(timeout_s * _NS_PER_S)
        _check(lib.wh_loop_infer(self._loop, inputs, len(inputs), timeout_ns, answer))
        return _output(answer)

    def replay(self, samples: bytes, sample_size: int, period_us: int) -> None:
        """Feeds sample after sample, for ever, one per period; rejected inputs are counted. Where
        the instance that answers has samples of its own (`Instance.feed`), it is fed those.
        Raises EngineError WH_ERR_BUSY while a replay runs, WH_ERR_STOPPED, ValueError."""
        count = _sample_count(samples, sample_size)
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
    shadow: Instance | None = None
    samples: Any = None


def _end(loop: Any, held: _Held) -> None:
    lib.wh_loop_stop(loop)
    lib.wh_loop_swap(loop, ffi.NULL)
    if held.shadow is not None:
        lib.wh_loop_shadow(loop, ffi.NULL, ffi.NULL)
    held.active = held.shadow = held.samples = None


def in_sample(sequence: int, sample_bp: int) -> bool:
    """Does a shadow run on the input of this number?"""
    return bool(lib.wh_shadow_draw(sequence) < sample_bp)


def _sample_count(samples: bytes, sample_size: int) -> int:
    if sample_size <= 0 or not samples or len(samples) % sample_size:
        raise ValueError(
            f"{len(samples)} bytes of samples are no multiple of {sample_size} bytes each"
        )
    return len(samples) // sample_size


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
