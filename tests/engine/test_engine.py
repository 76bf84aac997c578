"""A program from Python: loaded once, run in place, refused with the place of the fault."""

import mmap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from wherry_native.engine import EngineError, Program, TensorInfo
from wherry_native.program import (
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    Rounding,
    Tensor,
    write_program,
)

from tests.engine import programs

Change = Callable[[ProgramDescription], ProgramDescription]


def test_program_tells_its_contract() -> None:
    program = Program(programs.fully_connected())
    assert program.name == "one layer"
    assert program.inputs == (TensorInfo("x", "int8", (1, 4), 0.125, -1, 4),)
    assert program.outputs == (TensorInfo("y", "int8", (1, 3), 0.125, 3, 3),)
    assert (program.input_bytes, program.output_bytes, program.arena_bytes) == (4, 3, 32)
    assert program.image_bytes == len(programs.fully_connected())


def test_every_operator_runs_and_repeats_itself_after_a_reset() -> None:
    program = Program(programs.every_operator())
    sample = bytes(range(36))
    first = program.run(sample)
    program.reset()
    assert program.run(sample) == first


def test_state_is_kept_between_runs_and_forgotten_by_a_reset() -> None:
    program = Program(programs.counter())
    assert [program.run(bytes([1, 2, 3, 4]))[0] for _ in range(3)] == [1, 2, 3]
    program.reset()
    assert program.run(bytes([5, 0, 0, 0])) == bytes([5, 0, 0, 0])


def test_program_runs_from_a_mapped_file_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(programs.fully_connected())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    program = Program(mapped)
    assert program.run(bytes(4)) == Program(programs.fully_connected()).run(bytes(4))
    with pytest.raises(BufferError):
        mapped.close()  # the program holds it


def test_a_bytearray_may_change_after_it_was_checked() -> None:
    image = bytearray(programs.fully_connected())
    program = Program(image)
    expected = program.run(bytes(4))
    image[:] = bytes(len(image))
    assert program.run(bytes(4)) == expected


def test_an_image_at_an_odd_address_runs_too() -> None:
    shifted = memoryview(b"x" + programs.fully_connected())[1:]
    assert Program(shifted).run(bytes(4)) == Program(programs.fully_connected()).run(bytes(4))


@pytest.mark.parametrize("size", [0, 3, 5])
def test_input_of_another_length_is_refused_by_name(size: int) -> None:
    program = Program(programs.fully_connected())
    with pytest.raises(
        EngineError, match=f"takes 4 and gives 3 bytes, the call has {size} and 3"
    ) as e:
        program.run(bytes(size))
    assert e.value.name == "WH_ERR_INPUT_SIZE"


def test_room_of_another_length_is_refused() -> None:
    with pytest.raises(EngineError) as e:
        Program(programs.fully_connected()).run_into(bytes(4), bytearray(4))
    assert e.value.name == "WH_ERR_OUTPUT_SIZE"


def test_refusal_says_what_is_wrong_and_what_to_do() -> None:
    build = programs.Builder()
    x, y = build.activation("x", (3,)), build.activation("y", (3,))
    build.node(Op.RESHAPE, "fc", (x,), y, Rounding.F)
    image = build.image("one layer", (x,), (y,))
    with pytest.raises(EngineError) as e:
        Program(image)
    assert str(e.value) == (
        "program 'one layer' is refused at node 0 'fc': this operator has no such rounding rule; "
        "compile the model anew (WH_ERR_ROUNDING)"
    )


def test_newer_format_is_refused_by_its_number() -> None:
    image = bytearray(programs.fully_connected())
    image[8] = 2
    with pytest.raises(EngineError, match="program format 2 is not format 1") as e:
        Program(bytes(image))
    assert e.value.name == "WH_ERR_FORMAT_VERSION"


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(EngineError, match="empty"):
        Program(b"")


def _node(**change: object) -> Change:
    def apply(d: ProgramDescription) -> ProgramDescription:
        node = replace(d.nodes[0], **change)  # type: ignore[arg-type]
        return replace(d, nodes=(node, *d.nodes[1:]))

    return apply


def _tensor(index: int, **change: object) -> Change:
    def apply(d: ProgramDescription) -> ProgramDescription:
        tensors = list(d.tensors)
        tensors[index] = replace(tensors[index], **change)  # type: ignore[arg-type]
        return replace(d, tensors=tuple(tensors))

    return apply


def _twice(d: ProgramDescription) -> ProgramDescription:
    return replace(d, nodes=(*d.nodes, *d.nodes))


def _clobbered(d: ProgramDescription) -> ProgramDescription:
    """A second node writes over the output of the first, which is the program's output."""
    z = Tensor("z", DType.INT8, (1, 4), zero_point=-1, scale=0.125, arena_offset=16)
    copy = Node(Op.RESHAPE, "copy", (0,), len(d.tensors))
    return replace(d, tensors=(*d.tensors, z), nodes=(*d.nodes, copy))


REFUSED: list[tuple[str, str, str, Change]] = [
    ("more bits than a float32", "WH_ERR_PARAM", "node 0 'fc'", _node(rounding=Rounding.F)),
    ("missing operand", "WH_ERR_OPERATOR", "node 0 'fc'", _node(operands=(0, 1, 2, 3))),
    ("empty range", "WH_ERR_PARAM", "node 0", _node(params={"act_min": 1, "act_max": 0})),
    ("wide range", "WH_ERR_PARAM", "node 0", _node(params={"act_min": -129, "act_max": 0})),
    ("output into weights", "WH_ERR_SHAPE", "node 0", _node(output=1)),
    ("reads what it writes", "WH_ERR_OVERLAP", "node 0", _tensor(2, arena_offset=0)),
    ("beyond the arena", "WH_ERR_TENSOR", "tensor 2 'y'", _tensor(2, arena_offset=32)),
    ("misaligned", "WH_ERR_TENSOR", "tensor 2", _tensor(2, arena_offset=8)),
    ("zero point", "WH_ERR_TENSOR", "tensor 0", _tensor(0, zero_point=128)),
    ("infinite scale", "WH_ERR_TENSOR", "tensor 0", _tensor(0, scale=float("inf"))),
    ("negative scale", "WH_ERR_TENSOR", "tensor 0", _tensor(0, scale=-1.0)),
    ("input in the image", "WH_ERR_LINK", "link 0", lambda d: replace(d, inputs=(1,))),
    ("no inputs", "WH_ERR_HEADER", "the header", lambda d: replace(d, inputs=())),
    ("state unlisted", "WH_ERR_LINK", "the header", _tensor(2, kind=Kind.STATE)),
    ("weights off zero", "WH_ERR_PARAM", "node 0", _tensor(1, zero_point=1)),
    ("negative multiplier", "WH_ERR_PARAM", "node 0", _tensor(4, data=b"\xff" * 12)),
    ("shift out of range", "WH_ERR_PARAM", "node 0", _tensor(5, data=b"\x1f\0\0\0" * 3)),
    ("written twice", "WH_ERR_ORDER", "node 1", _twice),
    ("nobody writes", "WH_ERR_ORDER", "link 1", lambda d: replace(d, nodes=())),
    ("output overwritten", "WH_ERR_OVERLAP", "link 1", _clobbered),
]


@pytest.mark.parametrize(
    ("status", "place", "change"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_malformed_program_is_refused_with_its_place(
    status: str, place: str, change: Change
) -> None:
    image = write_program(change(programs.describe_fully_connected()))
    with pytest.raises(EngineError, match=place) as e:
        Program(image)
    assert e.value.name == status


def test_cyclic_graph_is_refused() -> None:
    b = programs.Builder()
    x = b.activation("x", (4,))
    first, second = b.activation("first", (4,)), b.activation("second", (4,))
    b.node(Op.ADD, "one", (x, second), first, **programs.sum_params())
    b.node(Op.ADD, "two", (x, first), second, **programs.sum_params())
    with pytest.raises(EngineError) as e:
        Program(b.image("cycle", (x,), (second,)))
    assert e.value.name == "WH_ERR_ORDER"
