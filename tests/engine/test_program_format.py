"""The program format in Python: equal descriptions, equal bytes; pieces that concatenate."""

from dataclasses import replace

import pytest
from wherry_native.engine import ABI_VERSION, FORMAT_VERSION, EngineError, Program
from wherry_native.program import (
    ALIGNMENT,
    ENGINE_ABI,
    ENGINE_ABI_MIN,
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    ProgramFormatError,
    Rounding,
    Tensor,
    needed_abi,
    read_pieces,
    read_program,
    write_program,
)
from wherry_native.program import (
    FORMAT_VERSION as PYTHON_FORMAT_VERSION,
)

from tests.engine import programs
from tests.engine.programs_16 import every_operator_16

IMAGES = {
    name: getattr(programs, name)() for name in ("fully_connected", "counter", "every_operator")
}


@pytest.mark.parametrize("name", IMAGES)
def test_reading_and_writing_gives_the_same_bytes(name: str) -> None:
    assert write_program(read_program(IMAGES[name])) == IMAGES[name]


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_the_concatenation_of_its_pieces(name: str) -> None:
    image = IMAGES[name]
    pieces = read_pieces(image)
    parts = [image[p.offset_bytes : p.offset_bytes + p.size_bytes] for p in pieces]
    assert b"".join(parts) == image
    assert all(p.offset_bytes % ALIGNMENT == 0 for p in pieces)


def test_each_layer_with_weights_is_a_piece_of_its_own() -> None:
    names = [piece.name for piece in read_pieces(IMAGES["every_operator"])]
    assert names == ["structure", "conv", "depthwise", "logistic", "tanh", "fc"]


def test_a_changed_head_changes_only_its_piece_and_nothing_else() -> None:
    image = IMAGES["every_operator"]
    description = read_program(image)
    head = next(i for i, t in enumerate(description.tensors) if t.name == "fc/weights")
    tensors = list(description.tensors)
    tensors[head] = replace(tensors[head], data=bytes(tensors[head].size_bytes))
    changed = write_program(replace(description, tensors=tuple(tensors)))
    for piece in read_pieces(image):
        part = slice(piece.offset_bytes, piece.offset_bytes + piece.size_bytes)
        assert (image[part] == changed[part]) is (piece.name != "fc")


def test_versions_are_the_engines() -> None:
    assert (PYTHON_FORMAT_VERSION, ENGINE_ABI) == (FORMAT_VERSION, ABI_VERSION)


def test_a_program_says_the_oldest_engine_that_runs_it() -> None:
    assert {Program(image).engine_abi for image in IMAGES.values()} == {ENGINE_ABI_MIN}
    description = programs.describe_fully_connected()
    new = replace(description.nodes[0], rounding=Rounding.W)
    assert needed_abi(replace(description, nodes=(new,))) == ENGINE_ABI


def test_abilities_of_a_newer_engine_are_refused_in_an_old_program() -> None:
    image = bytearray(every_operator_16())
    assert image[10] == ENGINE_ABI
    image[10] = ENGINE_ABI_MIN
    with pytest.raises(EngineError, match=r"is refused at tensor \d+ 'conv/bias'"):
        Program(bytes(image))


def test_a_wide_input_needs_the_newer_engine_though_only_bytes_come_out() -> None:
    rescale = {"multiplier": 1 << 30, "shift": 0, "act_min": -128, "act_max": 127}
    narrowing = ProgramDescription(
        name="narrowing",
        tensors=(
            Tensor("x", DType.INT16, (1, 8), scale=0.5),
            Tensor("y", DType.INT8, (1, 8), scale=1.0, arena_offset=16),
        ),
        nodes=(Node(Op.QUANTIZE, "narrow", (0,), 1, rescale),),
        inputs=(0,),
        outputs=(1,),
        arena_bytes=32,
    )
    image = bytearray(write_program(narrowing))
    assert Program(bytes(image)).engine_abi == ENGINE_ABI
    image[10] = ENGINE_ABI_MIN
    with pytest.raises(EngineError, match="is refused at node 0 'narrow'"):
        Program(bytes(image))


def test_a_program_of_a_newer_engine_is_refused_by_name() -> None:
    image = bytearray(IMAGES["counter"])
    image[10] = ENGINE_ABI + 1
    with pytest.raises(EngineError, match=f"needs engine ABI {ENGINE_ABI + 1}") as error:
        Program(bytes(image))
    assert error.value.name == "WH_ERR_ENGINE_ABI"


def test_description_has_the_programs_own_names() -> None:
    description = read_program(IMAGES["every_operator"])
    loaded = Program(IMAGES["every_operator"])
    assert [n.name for n in description.nodes] == [n.name for n in loaded.nodes]
    assert [n.op.name for n in description.nodes] == [n.op for n in loaded.nodes]
    inputs = [description.tensors[i] for i in description.inputs]
    assert [(t.name, t.shape) for t in inputs] == [(t.name, t.shape) for t in loaded.inputs]


def test_states_are_listed() -> None:
    description = read_program(IMAGES["every_operator"])
    assert [description.tensors[i].kind for i in description.states] == [Kind.STATE]


INTACT = IMAGES["fully_connected"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"", "damaged"),
        (INTACT[:40], "damaged"),
        (b"X" + INTACT[1:], "no Wherry program"),
        (INTACT + bytes(16), "says 624 bytes, the image has 640"),
        (INTACT[:8] + b"\x02" + INTACT[9:], "format 2 is not format 1"),
        (INTACT[:10] + b"\x09" + INTACT[11:], "engine ABI 9"),
    ],
)
def test_bytes_that_are_no_program_are_refused_in_one_sentence(image: bytes, sentence: str) -> None:
    with pytest.raises(ProgramFormatError, match=sentence):
        read_program(image)


def test_every_truncation_is_a_format_error() -> None:
    image = IMAGES["fully_connected"]
    for size in range(len(image)):
        with pytest.raises(ProgramFormatError):
            read_program(image[:size])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inputs": (99,)}, "refers to tensor 99 of 6"),
        ({"arena_bytes": 1 << 32}, "the header does not fit"),
        ({"name": "a\0b"}, "contains a NUL"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    change: dict[str, object], sentence: str
) -> None:
    description = programs.describe_fully_connected()
    with pytest.raises(ProgramFormatError, match=sentence):
        write_program(replace(description, **change))  # type: ignore[arg-type]


def test_a_node_with_other_parameters_than_its_operators_is_refused() -> None:
    description = programs.describe_fully_connected()
    node = replace(description.nodes[0], params={"act_min": 0})
    with pytest.raises(ProgramFormatError, match="'fc' \\(FULLY_CONNECTED\\) has parameters"):
        write_program(replace(description, nodes=(node,)))


def test_a_constant_whose_data_has_another_size_is_refused() -> None:
    description = programs.describe_fully_connected()
    tensors = list(description.tensors)
    tensors[1] = replace(tensors[1], data=b"123")
    with pytest.raises(ProgramFormatError, match="has 3 bytes of data, its shape"):
        write_program(replace(description, tensors=tuple(tensors)))
