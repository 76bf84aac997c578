"""The arena plan: where each tensor lies while an inference runs.

Rules, in order:
1. A tensor lives from the node that writes it (an input: from the start) to the last node that
   reads it (an output: to the end). A node's operands and its output live at the same time.
2. The output of RESHAPE is its operand's bytes: both lie at the same place.
3. Tensors that live at the same time never overlap. The largest is placed first, each at the
   lowest offset that is free for its whole life. Offsets are multiples of 16.

The arena's size is therefore known before a program is loaded.

Source: greedy by size, Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
Inference" (2020).
"""

from dataclasses import dataclass, replace

from wherry_native.program import ALIGNMENT, Kind, Op, ProgramDescription


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes that one or more tensors share. `first` and `last` are node indices, inclusive;
    -1 is before the first node."""

    tensors: tuple[int, ...]
    size_bytes: int
    first: int
    last: int

    def meets(self, other: "Block") -> bool:
        """Whether both live at some moment."""
        return self.first <= other.last and other.first <= self.last


def plan(program: ProgramDescription) -> ProgramDescription:
    """The program with arena offsets and arena size."""
    offsets: dict[int, int] = {}
    placed: list[tuple[int, Block]] = []
    arena_bytes = 0
    for block in sorted(blocks(program), key=lambda b: (-b.size_bytes, b.first, b.tensors)):
        offset = _lowest_free(block, placed)
        placed.append((offset, block))
        arena_bytes = max(arena_bytes, offset + block.size_bytes)
        offsets.update(dict.fromkeys(block.tensors, offset))
    tensors = tuple(
        replace(tensor, arena_offset=offsets[index]) if index in offsets else tensor
        for index, tensor in enumerate(program.tensors)
    )
    return replace(program, tensors=tensors, arena_bytes=arena_bytes)


def blocks(program: ProgramDescription) -> list[Block]:
    """What must be placed: one block per group of tensors that share their bytes."""
    first, last = _lifetimes(program)
    groups: dict[int, list[int]] = {}
    for index, root in _roots(program).items():
        groups.setdefault(root, []).append(index)
    return [
        Block(
            tensors=tuple(members),
            size_bytes=_aligned(max(program.tensors[i].size_bytes for i in members)),
            first=min(first[i] for i in members),
            last=max(last[i] for i in members),
        )
        for members in groups.values()
    ]


def _lifetimes(program: ProgramDescription) -> tuple[dict[int, int], dict[int, int]]:
    end = len(program.nodes)
    first = dict.fromkeys(program.inputs, -1)
    last = dict.fromkeys(program.inputs, -1)
    for position, node in enumerate(program.nodes):
        first[node.output] = last[node.output] = position
        last.update({i: position for i in node.operands if i in first})
    last.update(dict.fromkeys(program.outputs, end))
    for index in program.states:
        first[index], last[index] = -1, end
    return first, last


def _roots(program: ProgramDescription) -> dict[int, int]:
    """Each arena tensor's representative: that of the operand behind a RESHAPE."""
    kinds = [tensor.kind for tensor in program.tensors]
    roots = {index: index for index, kind in enumerate(kinds) if kind is not Kind.CONSTANT}
    for node in program.nodes:
        if node.op is Op.RESHAPE and kinds[node.operands[0]] is kinds[node.output] is Kind.ARENA:
            roots[node.output] = roots[node.operands[0]]
    return roots


def _lowest_free(block: Block, placed: list[tuple[int, Block]]) -> int:
    offset = 0
    for start, other in sorted((p for p in placed if p[1].meets(block)), key=lambda p: p[0]):
        if offset + block.size_bytes <= start:
            break
        offset = max(offset, start + other.size_bytes)
    return offset


def _aligned(size: int) -> int:
    return max(-(-size // ALIGNMENT), 1) * ALIGNMENT
