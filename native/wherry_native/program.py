"""The program format, version 1, in pure Python: what the compiler emits and people inspect.

Rules, in order:
1. One flat little-endian image; constants are used where they lie, so each begins at a multiple
   of 16.
2. The image is a plain concatenation of pieces: the structure, then one piece per layer, in the
   order in which their names first appear among the constants.
3. Equal descriptions give equal bytes; `write_program(read_program(image)) == image` for every
   image that `write_program` made.
4. The engine's loader is the judge of what may run; this module checks only what it needs to
   write or read the bytes. It needs neither numpy nor the engine.

Source: native/csrc/include/wherry/program.h, described in docs/SPEC-program.md.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

MAGIC: Final = b"WHRYPROG"
FORMAT_VERSION: Final = 1
ENGINE_ABI: Final = 2
"""The newest that is known here; an image says the least that it needs (`needed_abi`)."""
ENGINE_ABI_MIN: Final = 1
ALIGNMENT: Final = 16
RANK_MAX: Final = 5
PARAM_COUNT: Final = 16
TENSORS_MAX: Final = 8192
NODES_MAX: Final = 2048
OPERANDS_MAX: Final = 64
STRUCTURE: Final = "structure"

_HEADER: Final = struct.Struct("<8sHHIIIQ6HIII8x")
_TENSOR: Final = struct.Struct("<BBBxifII5II4x")
_NODE: Final = struct.Struct("<HBBIH2xI16i")
_PIECE: Final = struct.Struct("<III4x")


class DType(IntEnum):
    """Element type of a tensor; `.size_bytes` of one element."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4

    @property
    def size_bytes(self) -> int:
        return (1, 2, 4, 8)[self - 1]


class Kind(IntEnum):
    """Where a tensor's bytes live: arena (one inference), image (constant), arena (kept)."""

    ARENA = 1
    CONSTANT = 2
    STATE = 3


class Rounding(IntEnum):
    """How accumulators become outputs. D: gemmlowp double rounding. F: float32 scale, half to
    even. W: one rounding of 64 bits, for layers of 16-bit activations with a 64-bit bias."""

    D = 1
    F = 2
    W = 3


class Op(IntEnum):
    """Operators; those up to QUANTIZE since engine ABI 1, the others since ABI 2."""

    FULLY_CONNECTED = 1
    CONV_2D = 2
    DEPTHWISE_CONV_2D = 3
    AVERAGE_POOL_2D = 4
    MAX_POOL_2D = 5
    MEAN = 6
    ADD = 7
    SUB = 8
    MUL = 9
    CONCATENATION = 10
    PAD = 11
    RESHAPE = 12
    SOFTMAX = 13
    LOGISTIC = 14
    TANH = 15
    RELU = 16
    RELU6 = 17
    QUANTIZE = 18
    LOOKUP = 19
    DIV = 20
    LEAKY_RELU = 21
    PRELU = 22
    TRANSPOSE_CONV = 23
    TRANSPOSE = 24
    STRIDED_SLICE = 25
    GATHER = 26
    RESIZE_NEAREST = 27
    ARG_MAX = 28


_CONV = (
    "stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left", "act_min", "act_max",
)  # fmt: skip
_POOL = (
    "filter_h", "filter_w", "stride_h", "stride_w", "pad_top", "pad_left", "act_min", "act_max",
)  # fmt: skip
_SUM = (
    "left_shift", "multiplier_a", "shift_a", "multiplier_b", "shift_b", "multiplier", "shift",
    "act_min", "act_max",
)  # fmt: skip
_RESCALE = ("multiplier", "shift", "act_min", "act_max")
_SLOPES = ("multiplier", "shift", "multiplier_alpha", "shift_alpha")


def _per_axis(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{axis}" for axis in range(RANK_MAX))


PARAMETERS: Final[Mapping[Op, tuple[str, ...]]] = {
    Op.FULLY_CONNECTED: ("act_min", "act_max"),
    Op.CONV_2D: _CONV,
    Op.DEPTHWISE_CONV_2D: _CONV,
    Op.AVERAGE_POOL_2D: _POOL,
    Op.MAX_POOL_2D: _POOL,
    Op.MEAN: ("axis_mask", "multiplier", "shift"),
    Op.ADD: _SUM,
    Op.SUB: _SUM,
    Op.MUL: _RESCALE,
    Op.CONCATENATION: ("axis",),
    Op.PAD: (*_per_axis("before"), "value"),
    Op.RESHAPE: (),
    Op.SOFTMAX: ("multiplier", "left_shift", "diff_min"),
    Op.LOGISTIC: ("multiplier", "shift"),
    Op.TANH: ("multiplier", "shift"),
    Op.RELU: _RESCALE,
    Op.RELU6: _RESCALE,
    Op.QUANTIZE: _RESCALE,
    Op.LOOKUP: (),
    Op.DIV: _RESCALE,
    Op.LEAKY_RELU: _SLOPES,
    Op.PRELU: _SLOPES,
    Op.TRANSPOSE_CONV: ("stride_h", "stride_w", "pad_top", "pad_left", "act_min", "act_max"),
    Op.TRANSPOSE: _per_axis("from"),
    Op.STRIDED_SLICE: (*_per_axis("begin"), *_per_axis("extent"), *_per_axis("step")),
    Op.GATHER: ("axis",),
    Op.RESIZE_NEAREST: (),
    Op.ARG_MAX: ("axis",),
}
"""Names of an operator's parameters, in the order of the image."""

NUMERIC_PARAMETERS: Final = (
    "multiplier", "shift", "multiplier_a", "shift_a", "multiplier_b", "shift_b", "left_shift",
    "multiplier_alpha", "shift_alpha",
    "diff_min", "act_min", "act_max", "value",
)  # fmt: skip
"""Parameters that belong to quantization; the others are the architecture's options."""


class ProgramFormatError(ValueError):
    """A description that cannot be written, or bytes that are no program; one sentence."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. A constant carries `data` (little-endian) and the `piece` it travels in; the
    others carry `arena_offset` (bytes, a multiple of 16). `scale` is real units per step and only
    a contract for whoever feeds the model; 0.0 where it has no meaning (weights, bias)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    kind: Kind = Kind.ARENA
    zero_point: int = 0
    scale: float = 0.0
    arena_offset: int = 0
    data: bytes = field(default=b"", repr=False)
    piece: str = ""

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.size_bytes


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. `operands` and `output` are tensor indices; `params` has exactly the names in
    `PARAMETERS[op]`."""

    op: Op
    name: str
    operands: tuple[int, ...]
    output: int
    params: Mapping[str, int] = field(default_factory=dict)
    rounding: Rounding = Rounding.D


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the image that is transferred on its own: bytes [offset, offset + size)."""

    name: str
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ProgramDescription:
    """Everything in a program image. `inputs`, `outputs`, `states` are tensor indices; nodes run
    in their order; `macs` is for reports."""

    name: str
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    states: tuple[int, ...] = ()
    arena_bytes: int = 0
    macs: int = 0


def write_program(program: ProgramDescription) -> bytes:
    """The image. Raises ProgramFormatError when a field does not fit the format."""
    _check_counts(program)
    names = _Names()
    program_name = names.offset(program.name)
    names.offset(STRUCTURE)
    groups = _constants_by_piece(program.tensors)
    links = _links(program)
    piece_count = 1 + len(groups)
    for text in (*groups, *(t.name for t in program.tensors), *(n.name for n in program.nodes)):
        names.offset(text)
    structure_size = _aligned(
        _HEADER.size
        + _TENSOR.size * len(program.tensors)
        + _NODE.size * len(program.nodes)
        + _PIECE.size * piece_count
        + 2 * len(links)
        + len(names.data)
    )
    pieces, offsets = _place(groups, program.tensors, structure_size)
    image_size = pieces[-1].offset_bytes + pieces[-1].size_bytes
    image = bytearray(
        _pack(_HEADER, "the header", MAGIC, FORMAT_VERSION, needed_abi(program), image_size,
              structure_size, program.arena_bytes, program.macs, len(program.tensors),
              len(program.nodes), piece_count, len(program.inputs), len(program.outputs),
              len(program.states), len(links), len(names.data), program_name)
    )  # fmt: skip
    for index, tensor in enumerate(program.tensors):
        image += _tensor_record(tensor, offsets.get(index, tensor.arena_offset), names)
    first = len(program.inputs) + len(program.outputs) + len(program.states)
    for node in program.nodes:
        image += _node_record(node, first, names)
        first += len(node.operands)
    for piece in pieces:
        image += _PIECE.pack(names.offset(piece.name), piece.offset_bytes, piece.size_bytes)
    image += struct.pack(f"<{len(links)}H", *links) + names.data
    image += bytes(image_size - len(image))
    for index, offset in offsets.items():
        data = program.tensors[index].data
        image[offset : offset + len(data)] = data
    return bytes(image)


def needed_abi(program: ProgramDescription) -> int:
    """The oldest engine ABI that runs the program, so that old engines go on taking what they
    can run."""
    used = {tensor for node in program.nodes for tensor in (*node.operands, node.output)}
    is_new = (
        any(n.op > Op.QUANTIZE or n.rounding is not Rounding.D for n in program.nodes)
        or any(t.dtype is DType.INT64 for t in program.tensors)
        or any(program.tensors[i].dtype is DType.INT16 for i in used)
        or any(program.tensors[node.output].dtype is not DType.INT8 for node in program.nodes)
    )
    return ENGINE_ABI if is_new else ENGINE_ABI_MIN


def read_program(image: bytes | bytearray | memoryview) -> ProgramDescription:
    """The description of an image. Raises ProgramFormatError where the bytes are no program of
    this format; whether it may run is decided by the engine's loader."""
    try:
        return _read(bytes(image))
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, ProgramFormatError):
            raise
        raise ProgramFormatError(f"program image is damaged: {error}") from error


def read_pieces(image: bytes | bytearray | memoryview) -> tuple[Piece, ...]:
    """The pieces whose concatenation is the image. Raises ProgramFormatError."""
    try:
        return _read_pieces(bytes(image), _read_header(bytes(image)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProgramFormatError(f"program image is damaged: {error}") from error


def _check_counts(program: ProgramDescription) -> None:
    limits = (
        ("tensors", len(program.tensors), TENSORS_MAX),
        ("nodes", len(program.nodes), NODES_MAX),
        ("operands of one node", max((len(n.operands) for n in program.nodes), default=0),
         OPERANDS_MAX),
        ("dimensions of one tensor", max((len(t.shape) for t in program.tensors), default=0),
         RANK_MAX),
    )  # fmt: skip
    for what, count, limit in limits:
        if count > limit:
            raise ProgramFormatError(f"program {program.name!r} has {count} {what}, limit {limit}")


def _links(program: ProgramDescription) -> list[int]:
    links = [*program.inputs, *program.outputs, *program.states]
    for node in program.nodes:
        links += node.operands
    for link in links:
        if not 0 <= link < len(program.tensors):
            raise ProgramFormatError(
                f"program {program.name!r} refers to tensor {link} of {len(program.tensors)}"
            )
    return links


def _constants_by_piece(tensors: Sequence[Tensor]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if tensor.kind is not Kind.CONSTANT:
            continue
        if len(tensor.data) != tensor.size_bytes:
            raise ProgramFormatError(
                f"constant {tensor.name!r} has {len(tensor.data)} bytes of data, "
                f"its shape {tensor.shape} needs {tensor.size_bytes}"
            )
        if tensor.piece in ("", STRUCTURE):
            raise ProgramFormatError(f"constant {tensor.name!r} names no piece of its own")
        groups.setdefault(tensor.piece, []).append(index)
    return groups


def _place(
    groups: Mapping[str, Sequence[int]], tensors: Sequence[Tensor], structure_size: int
) -> tuple[list[Piece], dict[int, int]]:
    """Pieces in order, and each constant's offset in the image, both in bytes."""
    pieces = [Piece(STRUCTURE, 0, structure_size)]
    offsets: dict[int, int] = {}
    position = structure_size
    for name, indices in groups.items():
        start = position
        for index in indices:
            offsets[index] = position
            position += _aligned(tensors[index].size_bytes)
        pieces.append(Piece(name, start, position - start))
    return pieces, offsets


def _tensor_record(tensor: Tensor, offset: int, names: "_Names") -> bytes:
    dims = (*tensor.shape, *(0,) * (RANK_MAX - len(tensor.shape)))
    return _pack(
        _TENSOR, f"tensor {tensor.name!r}", tensor.dtype, len(tensor.shape), tensor.kind,
        tensor.zero_point, tensor.scale, offset, tensor.size_bytes, *dims,
        names.offset(tensor.name),
    )  # fmt: skip


def _node_record(node: Node, operand_first: int, names: "_Names") -> bytes:
    wanted = PARAMETERS[node.op]
    if set(node.params) != set(wanted):
        raise ProgramFormatError(
            f"node {node.name!r} ({node.op.name}) has parameters {sorted(node.params)}, "
            f"the format has {sorted(wanted)}"
        )
    params = [node.params[name] for name in wanted]
    params += [0] * (PARAM_COUNT - len(params))
    return _pack(
        _NODE, f"node {node.name!r}", node.op, node.rounding, len(node.operands), operand_first,
        node.output, names.offset(node.name), *params,
    )  # fmt: skip


def _pack(layout: struct.Struct, what: str, *fields: object) -> bytes:
    try:
        return layout.pack(*fields)
    except (struct.error, OverflowError) as error:
        raise ProgramFormatError(f"{what} does not fit the program format: {error}") from error


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Names:
    """NUL-terminated UTF-8 strings, each stored once, addressed by offset."""

    def __init__(self) -> None:
        self.data = b""
        self._offsets: dict[str, int] = {}

    def offset(self, text: str) -> int:
        if text not in self._offsets:
            if "\0" in text:
                raise ProgramFormatError(f"name {text!r} contains a NUL")
            self._offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._offsets[text]


@dataclass(frozen=True, slots=True)
class _Header:
    image_size: int
    structure_size: int
    arena_bytes: int
    macs: int
    tensor_count: int
    node_count: int
    piece_count: int
    input_count: int
    output_count: int
    state_count: int
    link_count: int
    names_size: int
    name: int

    @property
    def nodes_offset(self) -> int:
        return _HEADER.size + _TENSOR.size * self.tensor_count

    @property
    def pieces_offset(self) -> int:
        return self.nodes_offset + _NODE.size * self.node_count

    @property
    def links_offset(self) -> int:
        return self.pieces_offset + _PIECE.size * self.piece_count

    @property
    def names_offset(self) -> int:
        return self.links_offset + 2 * self.link_count


def _read_header(image: bytes) -> _Header:
    magic, format_version, engine_abi, *fields = _HEADER.unpack_from(image)
    if magic != MAGIC:
        raise ProgramFormatError("this is no Wherry program: the magic bytes are missing")
    if format_version != FORMAT_VERSION:
        raise ProgramFormatError(
            f"program format {format_version} is not format {FORMAT_VERSION}, the one known here"
        )
    if not ENGINE_ABI_MIN <= engine_abi <= ENGINE_ABI:
        raise ProgramFormatError(
            f"program needs engine ABI {engine_abi}, this one has {ENGINE_ABI_MIN} to {ENGINE_ABI}"
        )
    header = _Header(*fields)
    if header.image_size != len(image):
        raise ProgramFormatError(
            f"program says {header.image_size} bytes, the image has {len(image)}"
        )
    return header


def _read_pieces(image: bytes, header: _Header) -> tuple[Piece, ...]:
    pieces = []
    for index in range(header.piece_count):
        name, offset, size = _PIECE.unpack_from(image, header.pieces_offset + index * _PIECE.size)
        pieces.append(Piece(_name(image, header, name), offset, size))
    return tuple(pieces)


def _read(image: bytes) -> ProgramDescription:
    header = _read_header(image)
    pieces = _read_pieces(image, header)
    links = struct.unpack_from(f"<{header.link_count}H", image, header.links_offset)
    tensors = tuple(_read_tensor(image, header, pieces, i) for i in range(header.tensor_count))
    nodes = tuple(_read_node(image, header, links, i) for i in range(header.node_count))
    outputs_end = header.input_count + header.output_count
    return ProgramDescription(
        name=_name(image, header, header.name),
        tensors=tensors,
        nodes=nodes,
        inputs=links[: header.input_count],
        outputs=links[header.input_count : outputs_end],
        states=links[outputs_end : outputs_end + header.state_count],
        arena_bytes=header.arena_bytes,
        macs=header.macs,
    )


def _read_tensor(image: bytes, header: _Header, pieces: Sequence[Piece], index: int) -> Tensor:
    dtype, rank, kind, zero_point, scale, offset, size, *dims, name = _TENSOR.unpack_from(
        image, _HEADER.size + index * _TENSOR.size
    )
    is_constant = kind == Kind.CONSTANT
    return Tensor(
        name=_name(image, header, name),
        dtype=DType(dtype),
        shape=tuple(dims[:rank]),
        kind=Kind(kind),
        zero_point=zero_point,
        scale=scale,
        arena_offset=0 if is_constant else offset,
        data=image[offset : offset + size] if is_constant else b"",
        piece=_piece_of(offset, pieces) if is_constant else "",
    )


def _piece_of(offset: int, pieces: Sequence[Piece]) -> str:
    for piece in pieces:
        if piece.offset_bytes <= offset < piece.offset_bytes + piece.size_bytes:
            return piece.name
    raise ProgramFormatError(f"constant at byte {offset} lies in no piece")


def _read_node(image: bytes, header: _Header, links: Sequence[int], index: int) -> Node:
    op, rounding, count, first, output, name, *params = _NODE.unpack_from(
        image, header.nodes_offset + index * _NODE.size
    )
    return Node(
        op=Op(op),
        name=_name(image, header, name),
        operands=tuple(links[first : first + count]),
        output=output,
        params=dict(zip(PARAMETERS[Op(op)], params, strict=False)),
        rounding=Rounding(rounding),
    )


def _name(image: bytes, header: _Header, offset: int) -> str:
    start = header.names_offset + offset
    end = image.index(b"\0", start, header.names_offset + header.names_size)
    return image[start:end].decode()
