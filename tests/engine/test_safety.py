"""A loaded program never reads or writes outside its image and arena: one hostile image per check.

docs/engine.md ("Safe") has the argument; each of its rows names the group of cases here that would
load if the check were missing. The images are patched bytes, so that no writer of ours has a say.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from wherry_native.engine import EngineError, Program
from wherry_native.program import Op

from tests.engine import programs, programs_16, programs_abi2
from tests.engine.programs import ACT, HALF, Builder, conv_params, pool_params, sum_params
from tests.engine.programs_abi2 import indices, per_axis, slices

HEADER, TENSOR, NODE, PIECE = 64, 48, 80, 16
IMAGE_SIZE, STRUCTURE_SIZE, ARENA_SIZE, TENSOR_COUNT, NAMES_SIZE = 12, 16, 20, 32, 48
FAR = 0x7FFFFFF0
"""The largest size that the format allows."""

Patch = Callable[[bytearray], None]


@dataclass(frozen=True)
class Place:
    """Where tables begin in an image."""

    tensors: int
    nodes: int
    pieces: int
    links: int
    names: int


def place(image: bytes | bytearray) -> Place:
    counts = struct.unpack_from("<6HI", image, 32)
    nodes = HEADER + counts[0] * TENSOR
    pieces = nodes + counts[1] * NODE
    links = pieces + counts[2] * PIECE
    return Place(HEADER, nodes, pieces, links, links + counts[6] * 2)


def header(offset: int, value: int, kind: str = "I") -> Patch:
    return lambda image: struct.pack_into(f"<{kind}", image, offset, value)


def tensor(index: int, offset: int, *values: int) -> Patch:
    return lambda image: struct.pack_into(
        f"<{len(values)}I", image, HEADER + index * TENSOR + offset, *values
    )


def node(offset: int, value: int, kind: str = "I") -> Patch:
    return lambda image: struct.pack_into(f"<{kind}", image, place(image).nodes + offset, value)


def piece(index: int, offset: int, value: int) -> Patch:
    return lambda image: struct.pack_into(
        "<I", image, place(image).pieces + index * PIECE + offset, value
    )


def link(index: int, value: int) -> Patch:
    return lambda image: struct.pack_into("<H", image, place(image).links + index * 2, value)


def names_without_an_end(image: bytearray) -> None:
    at = place(image).names + struct.unpack_from("<I", image, NAMES_SIZE)[0] - 1
    image[at] = ord("x")


def cut_short(image: bytearray) -> None:
    del image[-16:]


# Of one layer: tensors x, weights, y, bias, multiplier, shift; links x, y, x, weights, bias, ….
SIZE, OFFSET, DIMS = 16, 12, 20
INPUT, WEIGHTS, OUTPUT, BIAS = 0, 1, 2, 3
TABLES: list[tuple[str, str, Patch]] = [
    ("shorter than it says", "WH_ERR_TRUNCATED", cut_short),
    ("longer than it is", "WH_ERR_TRUNCATED", header(IMAGE_SIZE, FAR)),
    ("tables beyond the structure", "WH_ERR_TRUNCATED", header(TENSOR_COUNT, 8192, "H")),
    ("links beyond the structure", "WH_ERR_TRUNCATED", header(44, 0xFFFFFFFF)),
    ("names beyond the structure", "WH_ERR_TRUNCATED", header(NAMES_SIZE, 0xFFFFFFFF)),
    ("structure beyond the image", "WH_ERR_HEADER", header(STRUCTURE_SIZE, 0x10000)),
    ("arena beyond 31 bits", "WH_ERR_HEADER", header(ARENA_SIZE, 0x80000000)),
    ("more inputs than links", "WH_ERR_HEADER", header(38, 0xFFFF, "H")),
    ("names that do not end", "WH_ERR_NAME", names_without_an_end),
    ("a name beyond the names", "WH_ERR_NAME", header(52, 0x10000)),
    ("a piece that wraps", "WH_ERR_PIECE", piece(1, 8, 0xFFFFFFF0)),
    ("a piece's name beyond the names", "WH_ERR_NAME", piece(1, 0, 0x10000)),
]
TENSORS: list[tuple[str, str, Patch]] = [
    ("a place that wraps", "WH_ERR_TENSOR", tensor(OUTPUT, OFFSET, 0xFFFFFFF0)),
    ("a place at the arena's end", "WH_ERR_TENSOR", tensor(OUTPUT, OFFSET, 32)),
    ("a size beyond the arena", "WH_ERR_TENSOR", tensor(OUTPUT, SIZE, 33, 1, 33)),
    ("a size that its dims do not give", "WH_ERR_TENSOR", tensor(OUTPUT, SIZE, 4)),
    ("dims whose product wraps", "WH_ERR_TENSOR", tensor(OUTPUT, SIZE, 16, 0x10000, 0x10001)),
    ("a constant in the structure", "WH_ERR_TENSOR", tensor(WEIGHTS, OFFSET, 0)),
    ("a constant beyond the image", "WH_ERR_TENSOR", tensor(WEIGHTS, OFFSET, 624)),
    ("a rank beyond five", "WH_ERR_TENSOR", lambda image: image.__setitem__(HEADER + 1, 6)),
    ("an unknown type", "WH_ERR_TENSOR", lambda image: image.__setitem__(HEADER, 9)),
    ("a tensor's name beyond the names", "WH_ERR_NAME", tensor(INPUT, 40, 0x10000)),
]
LINKS: list[tuple[str, str, Patch]] = [
    ("a link beyond the tensors", "WH_ERR_LINK", link(2, 6)),
    ("operands beyond the links", "WH_ERR_LINK", node(4, 3)),
    ("operands that wrap", "WH_ERR_LINK", node(4, 0xFFFFFFFF)),
    ("more operands than there may be", "WH_ERR_LINK", node(3, 65, "B")),
    ("an output beyond the tensors", "WH_ERR_LINK", node(8, 6, "H")),
    ("an output in the image", "WH_ERR_SHAPE", node(8, BIAS, "H")),
    ("a node's name beyond the names", "WH_ERR_NAME", node(12, 0x10000)),
    ("an operator beyond the last", "WH_ERR_OPERATOR", node(0, 0xFFFF, "H")),
    ("no operator", "WH_ERR_OPERATOR", node(0, 0, "H")),
]
ALL = {"tables": TABLES, "tensors": TENSORS, "links": LINKS}


def refusal(image: bytes) -> str:
    with pytest.raises(EngineError) as error:
        Program(image)
    return error.value.name


@pytest.mark.parametrize(
    ("status", "patch"),
    [(status, patch) for rows in ALL.values() for _, status, patch in rows],
    ids=[f"{group}: {name}" for group, rows in ALL.items() for name, _, _ in rows],
)
def test_a_place_outside_the_image_or_the_arena_is_refused(status: str, patch: Patch) -> None:
    image = bytearray(programs.fully_connected())
    Program(bytes(image))
    patch(image)
    assert refusal(bytes(image)) == status


# --- what operators demand of shapes, so that kernels stay inside their tensors -------------------


def _layer(
    op: Op, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], **params: int
) -> bytes:
    b = Builder()
    channels = b.channels("n", w[3] if op is Op.DEPTHWISE_CONV_2D else w[0])
    operands = (b.activation("x", x), b.int8("w", w, "n"), *channels)
    out = b.activation("y", y)
    b.node(op, "n", operands, out, **params)
    return b.image("one", (operands[0],), (out,))


def _plain(op: Op, xs: list[tuple[int, ...]], y: tuple[int, ...], **params: int) -> bytes:
    b = Builder()
    operands = tuple(b.activation(f"x{i}", shape) for i, shape in enumerate(xs))
    out = b.activation("y", y)
    b.node(op, "n", operands, out, **params)
    return b.image("one", operands, (out,))


def _lookup(entries: int) -> bytes:
    b = Builder()
    x, y = b.activation("x", (4,)), b.activation("y", (4,))
    b.node(Op.TANH, "n", (x, b.int8("table", (entries,), "n")), y, multiplier=0, shift=0)
    return b.image("one", (x,), (y,))


def _gather(axis: int, y: tuple[int, ...]) -> bytes:
    b = Builder()
    x, at = b.activation("x", (3, 4)), indices(b, "at", (2,))
    b.node(Op.GATHER, "n", (x, at), b.activation("y", y), axis=axis)
    return b.image("one", (x, at), (len(b.tensors) - 1,))


def _resized(rows: list[int], columns: list[int]) -> bytes:
    b = Builder()
    x = b.activation("x", (1, 2, 3, 1))
    tables = (b.int32("rows", rows, "n"), b.int32("columns", columns, "n"))
    y = b.activation("y", (1, 2, 2, 1))
    b.node(Op.RESIZE_NEAREST, "n", (x, *tables), y)
    return b.image("one", (x,), (y,))


def _largest(y: tuple[int, ...], axis: int) -> bytes:
    b = Builder()
    x, best = b.activation("x", (3, 4)), indices(b, "best", y)
    b.node(Op.ARG_MAX, "n", (x,), best, axis=axis)
    return b.image("one", (x,), (best,))


SCATTER = {"stride_h": 2, "stride_w": 2, "pad_top": 1, "pad_left": 1, **ACT}
SCATTERED = (Op.TRANSPOSE_CONV, (1, 2, 2, 2), (3, 3, 3, 2), (1, 4, 4, 3))
MUL = {"multiplier": HALF, "shift": 0, **ACT}
MEAN = {"axis_mask": 2, "multiplier": HALF, "shift": -1}
SOFTMAX = {"multiplier": HALF, "left_shift": 22, "diff_min": -248}
BEFORE = {f"before_{i}": 0 for i in range(5)}
FITS: dict[str, bytes] = {
    "dense": _layer(Op.FULLY_CONNECTED, (2, 4), (3, 4), (2, 3), **ACT),
    "conv": _layer(Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (1, 4, 4, 3), **conv_params(pad=1)),
    "depthwise": _layer(
        Op.DEPTHWISE_CONV_2D, (1, 4, 4, 2), (1, 3, 3, 2), (1, 2, 2, 2), **conv_params()
    ),
    "pool": _plain(Op.AVERAGE_POOL_2D, [(1, 4, 4, 2)], (1, 2, 2, 2), **pool_params(2)),
    "mean": _plain(Op.MEAN, [(3, 4)], (3,), **MEAN),
    "sum": _plain(Op.ADD, [(3, 4), (4,)], (3, 4), **sum_params()),
    "product": _plain(Op.MUL, [(3, 4), (3, 1)], (3, 4), **MUL),
    "joined": _plain(Op.CONCATENATION, [(3, 4), (3, 2)], (3, 6), axis=1),
    "padded": _plain(Op.PAD, [(3, 4)], (5, 4), **{**BEFORE, "before_0": 2, "value": 0}),
    "reshaped": _plain(Op.RESHAPE, [(3, 4)], (12,)),
    "softmax": _plain(Op.SOFTMAX, [(3, 4)], (3, 4), **SOFTMAX),
    "rescaled": _plain(Op.QUANTIZE, [(3, 4)], (3, 4), **MUL),
    "looked up": _lookup(256),
    "scattered": _layer(*SCATTERED, **SCATTER),
    "turned": _plain(Op.TRANSPOSE, [(3, 4)], (4, 3), **per_axis("from", 1, 0)),
    "cut": _plain(Op.STRIDED_SLICE, [(3, 4)], (2, 2), **slices((2, 2, -2), (1, 2, 1))),
    "gathered": _gather(1, (3, 2)),
    "resized": _resized([1, 0], [2, 0]),
    "largest": _largest((3,), 1),
}
OUTSIDE: dict[str, tuple[str, bytes]] = {
    "dense: more outputs than rows of weights": (
        "WH_ERR_SHAPE", _layer(Op.FULLY_CONNECTED, (2, 4), (3, 4), (2, 4), **ACT)
    ),
    "dense: half a row": (
        "WH_ERR_SHAPE", _layer(Op.FULLY_CONNECTED, (1, 6), (3, 4), (1, 3), **ACT)
    ),
    "conv: a window behind the input": (
        "WH_ERR_PARAM",
        _layer(Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (1, 9, 4, 3), **conv_params(pad=1)),
    ),
    "conv: a window in front of the input": (
        "WH_ERR_PARAM",
        _layer(Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (1, 4, 4, 3), **conv_params(pad=3)),
    ),
    "conv: no stride": (
        "WH_ERR_PARAM",
        _layer(
            Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (1, 4, 4, 3), **{**conv_params(), "stride_h": 0}
        ),
    ),
    "conv: no dilation": (
        "WH_ERR_PARAM",
        _layer(
            Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (1, 4, 4, 3),
            **{**conv_params(), "dilation_w": 0},
        ),
    ),
    "conv: channels that make no groups": (
        "WH_ERR_SHAPE",
        _layer(Op.CONV_2D, (1, 4, 4, 3), (4, 3, 3, 2), (1, 2, 2, 4), **conv_params()),
    ),
    "conv: more images out than in": (
        "WH_ERR_SHAPE",
        _layer(Op.CONV_2D, (1, 4, 4, 2), (3, 3, 3, 2), (2, 2, 2, 3), **conv_params()),
    ),
    "depthwise: channels that belong to nobody": (
        "WH_ERR_SHAPE",
        _layer(Op.DEPTHWISE_CONV_2D, (1, 4, 4, 2), (1, 3, 3, 3), (1, 2, 2, 3), **conv_params()),
    ),
    "pool: a window without an input": (
        "WH_ERR_PARAM", _plain(Op.AVERAGE_POOL_2D, [(1, 4, 4, 2)], (1, 3, 2, 2), **pool_params(2))
    ),
    "pool: coordinates beyond 32 bits": (
        "WH_ERR_PARAM",
        _plain(
            Op.AVERAGE_POOL_2D, [(1, FAR - 16, 1, 1)], (1, 1, 1, 1),
            **{**pool_params(1), "filter_h": 65536, "pad_top": 65535},
        ),
    ),
    "mean: more kept than there is room for": (
        "WH_ERR_SHAPE", _plain(Op.MEAN, [(3, 4)], (2,), **MEAN)
    ),
    "mean: an axis that is not there": (
        "WH_ERR_PARAM", _plain(Op.MEAN, [(3, 4)], (3,), **{**MEAN, "axis_mask": 4})
    ),
    "sum: an operand that is too short": (
        "WH_ERR_SHAPE", _plain(Op.ADD, [(3, 4), (3,)], (3, 4), **sum_params())
    ),
    "product: an output that is too short": (
        "WH_ERR_SHAPE", _plain(Op.MUL, [(3, 4), (3, 1)], (3, 3), **MUL)
    ),
    "joined: more than there is room for": (
        "WH_ERR_SHAPE", _plain(Op.CONCATENATION, [(3, 4), (3, 2)], (3, 5), axis=1)
    ),
    "joined: along an axis that is not there": (
        "WH_ERR_PARAM", _plain(Op.CONCATENATION, [(3, 4), (3, 2)], (3, 6), axis=2)
    ),
    "padded: in front of the output": (
        "WH_ERR_PARAM",
        _plain(Op.PAD, [(3, 4)], (5, 4), **{**BEFORE, "before_0": -1, "value": 0}),
    ),
    "padded: behind the output": (
        "WH_ERR_PARAM", _plain(Op.PAD, [(3, 4)], (5, 4), **{**BEFORE, "before_0": 3, "value": 0})
    ),
    "reshaped: into more": ("WH_ERR_SHAPE", _plain(Op.RESHAPE, [(3, 4)], (13,))),
    "softmax: of another shape": ("WH_ERR_SHAPE", _plain(Op.SOFTMAX, [(3, 4)], (3, 5), **SOFTMAX)),
    "rescaled: into more": ("WH_ERR_SHAPE", _plain(Op.QUANTIZE, [(3, 4)], (3, 5), **MUL)),
    "looked up: in too short a table": ("WH_ERR_SHAPE", _lookup(255)),
    "scattered: no stride": ("WH_ERR_PARAM", _layer(*SCATTERED, **{**SCATTER, "stride_w": 0})),
    "scattered: in front of the output": (
        "WH_ERR_PARAM", _layer(*SCATTERED, **{**SCATTER, "pad_top": 3})
    ),
    "scattered: other channels": (
        "WH_ERR_SHAPE",
        _layer(Op.TRANSPOSE_CONV, (1, 2, 2, 3), (3, 3, 3, 2), (1, 4, 4, 3), **SCATTER),
    ),
    "turned: one axis twice": (
        "WH_ERR_PARAM", _plain(Op.TRANSPOSE, [(3, 3)], (3, 3), **per_axis("from", 1, 1))
    ),
    "turned: an axis that is not there": (
        "WH_ERR_PARAM", _plain(Op.TRANSPOSE, [(3, 4)], (4, 3), **per_axis("from", 1, 2))
    ),
    "turned: of another shape": (
        "WH_ERR_SHAPE", _plain(Op.TRANSPOSE, [(3, 4)], (3, 4), **per_axis("from", 1, 0))
    ),
    "cut: from behind the axis": (
        "WH_ERR_PARAM", _plain(Op.STRIDED_SLICE, [(3, 4)], (1, 2), **slices((3, 1, 1), (1, 2, 1)))
    ),
    "cut: to behind the axis": (
        "WH_ERR_PARAM", _plain(Op.STRIDED_SLICE, [(3, 4)], (2, 3), **slices((0, 2, 2), (1, 3, 2)))
    ),
    "cut: to in front of the axis": (
        "WH_ERR_PARAM", _plain(Op.STRIDED_SLICE, [(3, 4)], (2, 2), **slices((0, 2, -1), (1, 2, 1)))
    ),
    "cut: by a step that is never taken": (
        "WH_ERR_PARAM", _plain(Op.STRIDED_SLICE, [(3, 4)], (1, 2), **slices((0, 1, 9), (1, 2, 1)))
    ),
    "cut: without a step": (
        "WH_ERR_PARAM", _plain(Op.STRIDED_SLICE, [(3, 4)], (2, 2), **slices((0, 2, 0), (1, 2, 1)))
    ),
    "cut: more than there is room for": (
        "WH_ERR_SHAPE", _plain(Op.STRIDED_SLICE, [(3, 4)], (2, 1), **slices((0, 2, 1), (1, 2, 1)))
    ),
    "gathered: along an axis that is not there": ("WH_ERR_PARAM", _gather(2, (3, 2))),
    "gathered: more than there is room for": ("WH_ERR_SHAPE", _gather(1, (3, 1))),
    "resized: from a row that is not there": ("WH_ERR_PARAM", _resized([2, 0], [2, 0])),
    "resized: from in front of the row": ("WH_ERR_PARAM", _resized([1, 0], [-1, 0])),
    "resized: by too short a table": ("WH_ERR_SHAPE", _resized([1], [2, 0])),
    "largest: more than there is room for": ("WH_ERR_SHAPE", _largest((2,), 1)),
    "largest: along an axis that is not there": ("WH_ERR_PARAM", _largest((3,), 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_the_programs_that_the_hostile_ones_are_made_of_load(name: str) -> None:
    Program(FITS[name])


@pytest.mark.parametrize("name", OUTSIDE)
def test_shapes_that_would_lead_a_kernel_outside_its_tensors_are_refused(name: str) -> None:
    status, image = OUTSIDE[name]
    assert refusal(image) == status


@pytest.mark.parametrize("index", [-(2**31), -1, 3, 2**31 - 1])
def test_an_index_of_an_input_leads_nowhere_but_into_the_tensor(index: int) -> None:
    program = Program(_gather(0, (2, 4)))
    rows = bytes(range(12))
    nearest = rows[:4] if index < 0 else rows[8:]
    assert program.run(rows + struct.pack("<2i", index, 1)) == nearest + rows[4:8]


def test_every_operator_is_among_the_programs_that_are_corrupted_byte_by_byte() -> None:
    programs_of_all = (
        programs.every_operator(),
        programs_16.every_operator_16(),
        programs_abi2.every_operator_abi2(),
    )
    seen = {layer.op for image in programs_of_all for layer in Program(image).nodes}
    assert seen == {op.name for op in Op}


def test_each_row_of_the_argument_names_a_test_that_is_there(root: Path) -> None:
    page = (root / "docs" / "engine.md").read_text()
    argument = page[page.index("## Safe") : page.index("## The loop")]
    named = re.findall(r"`(test_\w+)`", argument)
    sources = "".join(p.read_text() for p in (root / "tests").glob("*/test_*.py"))
    assert len(set(named)) > 6
    assert [name for name in named if f"def {name}(" not in sources] == []
