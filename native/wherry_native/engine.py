"""The engine from Python: load and check a program image, run it, no numpy.

    program = Program(image)            # raises EngineError with the place of the fault
    output = program.run(input_bytes)   # all inputs one after another in, all outputs out

Its kernels are the fastest that this processor has (`kernel_names`), or those that the environment
variable WHERRY_ENGINE_KERNELS names; all give the same bytes.

A program runs where its image lies: `Program` keeps the buffer alive, and uses it without a copy
when it begins at a multiple of 16 and nobody can write to it (bytes, or a read-only mmap). What is
mapped must not be changed as long as the program lives.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any, Final

from wherry_native._engine import ffi, lib

ABI_VERSION: Final[int] = lib.WH_ENGINE_ABI
"""The newest that this engine runs."""
ABI_VERSION_MIN: Final[int] = lib.WH_ENGINE_ABI_MIN
"""The oldest that it runs; programs say which one they need."""
FORMAT_VERSION: Final[int] = lib.WH_PROGRAM_FORMAT
ALIGNMENT: Final = 16

_infer: Final = lib.wh_runner_infer

_REASONS: Final = {
    "WH_ERR_BYTE_ORDER": "this processor is big-endian; the engine runs on little-endian ones",
    "WH_ERR_TRUNCATED": "its tables are longer than the structure",
    "WH_ERR_HEADER": "a count or size is out of its limits",
    "WH_ERR_PIECE": "the pieces do not tile the image",
    "WH_ERR_NAME": "a name lies outside the names",
    "WH_ERR_TENSOR": "its type, shape, size and place contradict each other or leave the memory",
    "WH_ERR_ENGINE_ABI": "it has what the program's engine ABI does not have",
    "WH_ERR_OPERATOR": "this engine has no such operator with that many operands",
    "WH_ERR_ROUNDING": "this operator has no such rounding rule",
    "WH_ERR_LINK": "an operand, input, output or state is no such tensor",
    "WH_ERR_SHAPE": "shapes or types do not fit the operator",
    "WH_ERR_PARAM": "a parameter, multiplier, shift or zero point is out of range",
    "WH_ERR_ORDER": "it reads what nobody has written, or writes what has been written",
    "WH_ERR_OVERLAP": "memory is shared that must not be",
    "WH_ERR_MEMORY": "there is no memory for its weights and arena",
}
KERNELS_VARIABLE: Final = "WHERRY_ENGINE_KERNELS"

Image = bytes | bytearray | memoryview | mmap.mmap

_DTYPES: Final = {1: "int8", 2: "int16", 3: "int32", 4: "int64"}
_PARTS: Final = ("the image", "the header", "piece {}", "tensor {}", "node {}", "link {}")


class EngineError(Exception):
    """A status of the C engine: `code` (negative), `name` (WH_ERR_…) and one sentence."""

    def __init__(self, code: int, sentence: str = "") -> None:
        self.code = code
        self.name: str = ffi.string(lib.wh_error_name(code)).decode()
        super().__init__(f"{sentence} ({self.name})" if sentence else self.name)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output. `scale` is real units per step; real = scale * (q - zero_point)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One operator of a loaded program, for reports."""

    name: str
    op: str


class Program:
    """A checked program with an arena of its own. Calls from several threads take turns.

    `arena_bytes` is what the format asks for; `kernels` ask for `prepared_bytes` and
    `scratch_bytes` beyond it.
    """

    def __init__(self, image: Image, kernels: str | None = None) -> None:
        """Raises EngineError when the image is no program that this engine may run, or when this
        processor has no such kernels."""
        self.image = ffi.from_buffer(_runnable(image))  # a cffi buffer; keeps the image alive
        created = ffi.new("wh_runner **")
        where = ffi.new("wh_location *")
        status = lib.wh_runner_create(self.image, len(self.image), _named(kernels), created, where)
        if status != 0:
            raise EngineError(status, _fault(status, self.image, where, kernels))
        self.runner = ffi.gc(created[0], lib.wh_runner_free)
        self._program = lib.wh_runner_program(self.runner)
        header = self._program.header
        self.name: str = _name(self._program, header.name)
        self.inputs = tuple(
            _info(self._program, lib.wh_input(self._program, i)) for i in range(header.input_count)
        )
        self.outputs = tuple(
            _info(self._program, lib.wh_output(self._program, i))
            for i in range(header.output_count)
        )
        self.engine_abi: int = header.engine_abi
        self.kernels: str = _kernels_name(self._program.kernels)
        self.arena_bytes: int = header.arena_size
        self.scratch_bytes: int = self._program.arena_size - header.arena_size
        self.prepared_bytes: int = lib.wh_prepare_size(self._program, self._program.kernels)
        self.image_bytes: int = header.image_size
        self.macs: int = header.macs
        self._spare: list[tuple[bytearray, Any]] = []  # room for outputs, kept from call to call
        self.input_bytes: int = lib.wh_input_bytes(self._program)
        self.output_bytes: int = lib.wh_output_bytes(self._program)

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        nodes = (self._program.nodes[i] for i in range(self._program.header.node_count))
        return tuple(
            NodeInfo(_name(self._program, n.name), ffi.string(lib.wh_op_name(n.op)).decode())
            for n in nodes
        )

    def run(self, inputs: bytes) -> bytes:
        """One inference: all inputs one after another in, all outputs out. Raises EngineError."""
        try:
            room = self._spare.pop()
        except IndexError:  # the first call, or as many at once as never before
            output = bytearray(self.output_bytes)
            room = output, ffi.from_buffer(output)
        status = _infer(self.runner, inputs, len(inputs), room[1], self.output_bytes)
        result = bytes(room[0])
        self._spare.append(room)
        if status != 0:
            raise EngineError(status, self._size_fault(inputs, result))
        return result

    def run_into(self, inputs: bytes, outputs: bytearray) -> None:
        """As `run`, into room of exactly `output_bytes`. Raises EngineError."""
        status = lib.wh_runner_infer(
            self.runner, inputs, len(inputs), ffi.from_buffer(outputs), len(outputs)
        )
        if status != 0:
            raise EngineError(status, self._size_fault(inputs, outputs))

    def reset(self) -> None:
        """Recurrent states become their zero point again."""
        status = lib.wh_runner_reset(self.runner)
        if status != 0:
            raise EngineError(status)

    def _size_fault(self, inputs: bytes, outputs: bytes | bytearray) -> str:
        return (
            f"program {self.name!r} takes {self.input_bytes} and gives {self.output_bytes} bytes, "
            f"the call has {len(inputs)} and {len(outputs)}"
        )


def kernel_names() -> tuple[str, ...]:
    """The kernels that this processor can run, the fastest first; the last is "portable"."""
    names: list[str] = []
    while (table := lib.wh_kernels_at(len(names))) != ffi.NULL:
        names.append(_kernels_name(table))
    return tuple(names)


def chosen_kernels() -> str:
    """The kernels that programs run by unless told otherwise: those that WHERRY_ENGINE_KERNELS
    names, or the first. Raises EngineError where this processor has none of that name."""
    chosen = ffi.new("struct wh_kernels **")
    status = lib.wh_choose_kernels(ffi.NULL, chosen)
    if status != 0:
        raise EngineError(status, _no_such_kernels(None))
    return _kernels_name(chosen[0])


def _kernels_name(table: Any) -> str:
    return str(ffi.string(lib.wh_kernels_name(table)).decode())


def _named(kernels: str | None) -> Any:
    return ffi.NULL if kernels is None else kernels.encode()


def _runnable(image: Image) -> Image | mmap.mmap:
    """The image itself where it can run in place, else a copy at a page's start."""
    if len(image) == 0:
        raise EngineError(lib.WH_ERR_TRUNCATED, "the program image is empty")
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(image)))
    is_private = isinstance(image, mmap.mmap) or memoryview(image).readonly
    if address % ALIGNMENT == 0 and is_private:
        return image
    copy = mmap.mmap(-1, len(image))
    copy[:] = bytes(image)
    return copy


def _fault(status: int, image: Any, where: Any, kernels: str | None = None) -> str:
    """One sentence: the place with its name, and what is wrong there."""
    if status == lib.WH_ERR_KERNELS:
        return _no_such_kernels(kernels)
    # Here only: a device that just runs programs has no use for the format's description.
    from wherry_native.program import ProgramFormatError, read_program

    place = _PARTS[where.part].format(where.index)
    try:
        description = read_program(ffi.buffer(image)[:])
    except ProgramFormatError as error:
        return str(error)
    named = {"tensor": description.tensors, "node": description.nodes}.get(place.split()[0])
    if named is not None:
        place += f" {named[where.index].name!r}"
    name = ffi.string(lib.wh_error_name(status)).decode()
    reason = _REASONS.get(name, "it cannot be prepared")
    return f"program {description.name!r} is refused at {place}: {reason}; compile the model anew"


def _no_such_kernels(kernels: str | None) -> str:
    wanted = os.environ.get(KERNELS_VARIABLE, "") if kernels is None else kernels
    named_by = f"{KERNELS_VARIABLE} names" if kernels is None else "the call names"
    return (
        f"{named_by} kernels {wanted!r}, this processor has {', '.join(kernel_names())}: "
        "name one of these, or leave it out for the first"
    )


def _name(program: Any, offset: int) -> str:
    return str(ffi.string(lib.wh_name(program, offset)).decode(errors="replace"))


def _info(program: Any, tensor: Any) -> TensorInfo:
    return TensorInfo(
        name=_name(program, tensor.name),
        dtype=_DTYPES[tensor.dtype],
        shape=tuple(tensor.dims[i] for i in range(tensor.rank)),
        scale=struct.unpack("<f", struct.pack("<I", tensor.scale_bits))[0],
        zero_point=tensor.zero_point,
        size_bytes=tensor.size,
    )
