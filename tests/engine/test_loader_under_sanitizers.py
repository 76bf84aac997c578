"""A program image from a hostile or broken source: refused, or run without touching a byte that
is not its own. AddressSanitizer and UndefinedBehaviorSanitizer are the judges."""

import random
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from wherry_native.program import (
    DType,
    Node,
    ProgramDescription,
    ProgramFormatError,
    Tensor,
    read_program,
    write_program,
)

from tests.engine import programs, programs_16, programs_abi2
from tests.engine.build import compile_c

pytestmark = pytest.mark.slow
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def corrupt(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrupt")
    source = root / "tests/engine/corrupt.c"
    return compile_c(root, folder / "corrupt", source, *SANITIZE, with_host=True)


IMAGES = {
    "one layer": programs.fully_connected,
    "a state": programs.counter,
    "every operator": programs.every_operator,
    "every operator of 16 bits": programs_16.every_operator_16,
    "every operator of ABI 2": programs_abi2.every_operator_abi2,
}


@pytest.mark.parametrize("name", IMAGES)
def test_every_corrupted_byte_is_refused_or_harmless(
    corrupt: Path, tmp_path: Path, name: str
) -> None:
    image = IMAGES[name]()
    path = tmp_path / "image"
    path.write_bytes(image)
    done = subprocess.run([corrupt, path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded, refused = map(int, done.stdout.split())
    # Weights may be anything, so many corruptions load; the structure's are mostly refused.
    assert loaded > len(image) // 100
    assert refused > len(image) // 2


DIMS = (1, 2, 3, 4, 5, 7, 16, 255, 4096)
INTEGERS = (-(2**31), -65536, -256, -129, -32, -31, -1, 0, 1, 2, 3, 7, 22, 23, 30, 31, 127, 65535)


def _mutated_tensor(source: random.Random, tensor: Tensor) -> Tensor:
    """Another shape (with data to fit), place or zero point: all fields still agree."""
    shape = list(tensor.shape)
    match source.randrange(4):
        case 0:
            shape[source.randrange(len(shape))] = source.choice(DIMS)
        case 1:
            source.shuffle(shape)
        case 2:
            shape = [*shape, source.choice(DIMS)][-5:]
        case 3:
            shape = shape[1:] or [1]
    size = replace(tensor, shape=tuple(shape)).size_bytes
    return replace(
        tensor,
        shape=tuple(shape),
        data=(tensor.data * (size // len(tensor.data) + 1))[:size] if tensor.data else b"",
        arena_offset=max(0, tensor.arena_offset + source.choice((-64, -16, 0, 0, 0, 16, 64))),
        zero_point=source.choice((tensor.zero_point, tensor.zero_point, 0, -128, 127)),
    )


def _mutated_node(source: random.Random, node: Node, tensor_count: int) -> Node:
    operands = list(node.operands)
    params = dict(node.params)
    match source.randrange(3):
        case 0:
            operands[source.randrange(len(operands))] = source.randrange(tensor_count)
        case 1:
            return replace(node, output=source.randrange(tensor_count))
        case 2 if params:
            params[source.choice(sorted(params))] = source.choice(INTEGERS)
    return replace(node, operands=tuple(operands), params=params)


def _mutated(source: random.Random, program: ProgramDescription) -> ProgramDescription:
    tensors, nodes = list(program.tensors), list(program.nodes)
    for _ in range(source.randrange(1, 4)):
        if source.randrange(3):
            at = source.randrange(len(tensors))
            tensors[at] = _mutated_tensor(source, tensors[at])
        else:
            at = source.randrange(len(nodes))
            nodes[at] = _mutated_node(source, nodes[at], len(tensors))
    return replace(
        program, tensors=tuple(tensors), nodes=tuple(nodes), arena_bytes=program.arena_bytes + 4096
    )


def test_programs_that_agree_with_themselves_but_not_with_their_operators_are_harmless(
    corrupt: Path, tmp_path: Path
) -> None:
    source = random.Random(20)
    parents = [read_program(make()) for name, make in IMAGES.items() if name != "a state"]
    parents.append(read_program(programs_abi2.every_operator_abi2(DType.INT16)))
    images = []
    for _ in range(4500):
        try:
            images.append(write_program(_mutated(source, source.choice(parents))))
        except ProgramFormatError:
            continue  # refused even earlier
    small = [struct.pack("<I", len(image)) + image for image in images if len(image) < 1 << 16]
    path = tmp_path / "images"
    path.write_bytes(b"".join(small))
    done = subprocess.run(
        [corrupt, "--each", path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded, refused = map(int, done.stdout.split())
    assert loaded > 100
    assert refused > 1000
