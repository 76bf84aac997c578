"""A program as readable files: what was extracted gives the same image, and nothing else does."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wherry_native.compiler import CompileError, Parts, compile_model, from_parts, to_parts
from wherry_native.program import (
    PARAMETERS,
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    Tensor,
    read_pieces,
    write_program,
)

from tests.compiler.onnx_models import NETWORKS


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "m.onnx").write_bytes(NETWORKS["pytorch"]().SerializeToString())
    samples = np.random.default_rng(1).normal(0, 1, (8, 3, 8, 6)).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    return compile_model(folder / "m.onnx", calibration=folder / "samples.npy").image


def _through_json(parts: Parts) -> Parts:
    return Parts(
        json.loads(json.dumps(parts.architecture, allow_nan=False)),
        dict(parts.weights),
        json.loads(json.dumps(parts.quantization, allow_nan=False)),
        json.loads(json.dumps(parts.optimization, allow_nan=False)),
    )


def test_extracted_parts_give_the_same_image_through_json(image: bytes) -> None:
    assert from_parts(_through_json(to_parts(image))) == image


def test_there_is_one_file_per_layer(image: bytes) -> None:
    layers = [piece.name for piece in read_pieces(image)][1:]
    assert list(to_parts(image).weights) == [f"{name}.weights" for name in layers]


def test_multipliers_and_shifts_are_readable_numbers(image: bytes) -> None:
    channels = to_parts(image).quantization["channels"]
    assert len(channels) == 2 * 3
    assert all(2**30 <= value < 2**31 for value in channels[0]["values"])


@st.composite
def descriptions(draw: st.DrawFn) -> ProgramDescription:
    """Programs of the format, sensible or not: names may repeat, anything may refer to anything."""
    names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=6)
    count = draw(st.integers(1, 6))
    tensors = []
    for _ in range(count):
        dtype = draw(st.sampled_from(DType))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
        tensor = Tensor(
            draw(names), dtype, shape, draw(st.sampled_from(Kind)), draw(st.integers(-128, 127)),
            draw(st.floats(0, 10, width=32)), draw(st.integers(0, 4096)),
        )  # fmt: skip
        if tensor.kind is Kind.CONSTANT:
            data = draw(st.binary(min_size=tensor.size_bytes, max_size=tensor.size_bytes))
            piece = draw(st.sampled_from(["layer0", "layer1"]))
            tensor = Tensor(
                tensor.name, dtype, shape, tensor.kind, tensor.zero_point, tensor.scale,
                data=data, piece=piece,
            )  # fmt: skip
        tensors.append(tensor)
    indices = st.integers(0, count - 1)
    nodes = []
    for _ in range(draw(st.integers(0, 3))):
        op = draw(st.sampled_from(Op))
        params = {key: draw(st.integers(-(2**31), 2**31 - 1)) for key in PARAMETERS[op]}
        operands = tuple(draw(st.lists(indices, max_size=5)))
        nodes.append(Node(op, draw(names), operands, draw(indices), params))
    links = st.lists(indices, max_size=3).map(tuple)
    return ProgramDescription(
        draw(names), tuple(tensors), tuple(nodes), draw(links), draw(links), draw(links),
        draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**63)),
    )  # fmt: skip


@given(descriptions())
def test_every_canonical_image_comes_back_byte_for_byte(program: ProgramDescription) -> None:
    image = write_program(program)
    try:
        parts = to_parts(image)
    except CompileError:  # an empty constant at a piece's border cannot be told to its piece
        assert any(t.kind is Kind.CONSTANT and t.size_bytes == 0 for t in program.tensors)
        return
    assert from_parts(_through_json(parts)) == image


@pytest.mark.parametrize(
    "damage",
    [
        lambda image: image[:-16],
        lambda image: image[:0],
        lambda image: b"X" + image[1:],
        lambda image: (
            image[: read_pieces(image)[1].offset_bytes - 1]
            + b"\1"
            + image[read_pieces(image)[1].offset_bytes :]
        ),
    ],
    ids=["cut short", "empty", "other magic", "padding not zero"],
)
def test_damaged_image_is_refused_in_one_sentence(
    image: bytes, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(CompileError) as caught:
        to_parts(damage(image))
    assert len(caught.value.problems) == 1


def _edit(parts: Parts, path: list[Any], value: Any) -> None:
    target: Any = getattr(parts, path[0])
    for step in path[1:-1]:
        target = target[step]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (["architecture", "shoe"], 1, "architecture has the unknown key 'shoe'"),
        (["optimization", "shoe"], 1, "optimization has the unknown key 'shoe'"),
        (["architecture", "macs"], None, "architecture lacks the key 'macs'"),
        (["quantization", "channels"], None, "quantization lacks the key 'channels'"),
        (["architecture", "macs"], "many", "architecture.macs must be a whole number"),
        (["architecture", "macs"], True, "architecture.macs must be a whole number"),
        (["architecture", "format"], 2, "architecture.format is 2, must be 1"),
        (["architecture", "inputs", 0], "nobody", "refers to tensor 'nobody'"),
        (["architecture", "tensors", 0, "dtype"], "int4", "must be one of int8, int16, int32"),
        (["architecture", "tensors", 0, "shape", 0], -1, "must be whole numbers"),
        (["architecture", "operators", 0, "op"], "LSTM", "'LSTM', must be one of"),
        (["architecture", "operators", 0, "options", "stride_h"], None, "lacks the key 'stride_h'"),
        (["quantization", "operators", 0, "rounding"], "Z", "'Z', must be one of D, F"),
        (["quantization", "operators", 0, "operator"], "x", "in their order"),
        (["quantization", "channels", 0, "values", 0], 2**31, "must be whole numbers"),
        (["quantization", "tensors", 0, "scale"], "small", "must be a number"),
        (["optimization", "tensors", 0, "offset_bytes"], 1.5, "must be a whole number"),
        (["optimization", "arena_bytes"], 2**40, "does not fit the program format"),
        (["weights", "layer0.weights"], None, "weights/layer0.weights is missing"),
        (["weights", "layer0.weights"], b"short", "weights/layer0.weights has 5 bytes"),
        (["weights", "extra.weights"], b"", "weights/extra.weights belongs to no layer"),
    ],
)
def test_edited_parts_are_refused_by_name(
    image: bytes, path: list[Any], value: Any, sentence: str
) -> None:
    parts = copy.deepcopy(_through_json(to_parts(image)))
    _edit(parts, path, value)
    with pytest.raises(CompileError) as caught:
        from_parts(parts)
    assert any(sentence in problem for problem in caught.value.problems), caught.value.problems


def test_all_missing_and_unknown_keys_are_named_at_once(image: bytes) -> None:
    parts = _through_json(to_parts(image))
    edits: list[Callable[[], Any]] = [
        lambda: parts.architecture.pop("macs"),
        lambda: parts.architecture.pop("name"),
        lambda: parts.optimization.update(shoe=1),
    ]
    for edit in edits:
        edit()
    with pytest.raises(CompileError) as caught:
        from_parts(parts)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("layer", ["../evil", "a/b", "", ".hidden", "x" * 65])
def test_layer_that_cannot_be_a_file_name_is_refused(layer: str, image: bytes) -> None:
    parts = _through_json(to_parts(image))
    constant = next(t for t in parts.architecture["tensors"] if t["kind"] == "constant")
    constant["layer"] = layer
    with pytest.raises(CompileError, match="layer"):
        from_parts(parts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value can be edited: every key and index, all the way down."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    paths = []
    for key, inner in items:
        paths.append((*path, key))
        if isinstance(inner, dict | list):
            paths += _paths(inner, (*path, key))
    return paths


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_parts_edited_anywhere_are_taken_or_refused_and_nothing_else(
    image: bytes, data: st.DataObject
) -> None:
    parts = _through_json(to_parts(image))
    table = data.draw(st.sampled_from(["architecture", "quantization", "optimization"]))
    path = data.draw(st.sampled_from(_paths(getattr(parts, table))))
    _edit(parts, [table, *path], data.draw(JSON))
    try:
        edited = from_parts(parts)
    except CompileError:
        return
    assert from_parts(to_parts(edited)) == edited
