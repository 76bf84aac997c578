"""The arena plan: tensors that live at the same time never share a byte."""

from hypothesis import given
from hypothesis import strategies as st
from wherry_native.compiler.plan import plan
from wherry_native.program import ALIGNMENT, DType, Node, Op, ProgramDescription, Tensor


@st.composite
def programs(draw: st.DrawFn) -> ProgramDescription:
    """Any graph of nodes that read what was written before; the operators do not matter here,
    but for RESHAPE, which shares the bytes of its operand."""
    sizes = draw(st.lists(st.integers(1, 200), min_size=2, max_size=24))
    input_count = draw(st.integers(1, min(3, len(sizes) - 1)))
    nodes = []
    for output in range(input_count, len(sizes)):
        operands = draw(st.lists(st.integers(0, output - 1), min_size=1, max_size=3))
        is_reshape = draw(st.booleans())
        if is_reshape:
            sizes[output] = sizes[operands[0]]
        op = Op.RESHAPE if is_reshape else Op.CONCATENATION
        chosen = tuple(operands[:1] if is_reshape else operands)
        nodes.append(Node(op, f"n{output}", chosen, output))
    outputs = draw(st.lists(st.sampled_from(range(input_count, len(sizes))), unique=True))
    tensors = tuple(Tensor(f"t{i}", DType.INT8, (size,)) for i, size in enumerate(sizes))
    last = len(sizes) - 1
    return ProgramDescription(
        "p", tensors, tuple(nodes), tuple(range(input_count)), tuple(sorted({*outputs, last}))
    )


def _run(program: ProgramDescription) -> None:
    """Executes the plan with every tensor's name in place of its bytes: what a node reads must
    still be what was written there."""
    arena: list[object] = [None] * program.arena_bytes

    def write(index: int, mark: object) -> None:
        tensor = program.tensors[index]
        for position in range(tensor.size_bytes):
            arena[tensor.arena_offset + position] = (mark, position)

    def check(index: int, mark: object) -> None:
        tensor = program.tensors[index]
        for position in range(tensor.size_bytes):
            assert arena[tensor.arena_offset + position] == (mark, position), tensor.name

    marks: dict[int, object] = {}
    for index in program.inputs:
        marks[index] = f"input {index}"
        write(index, marks[index])
    for node in program.nodes:
        for operand in node.operands:
            check(operand, marks[operand])
        is_reshape = node.op is Op.RESHAPE
        marks[node.output] = marks[node.operands[0]] if is_reshape else node.name
        write(node.output, marks[node.output])
        for operand in node.operands:
            check(operand, marks[operand])
    for index in program.outputs:
        check(index, marks[index])


@given(programs())
def test_every_node_reads_what_was_written_for_it(program: ProgramDescription) -> None:
    _run(plan(program))


@given(programs())
def test_offsets_are_aligned_and_inside_the_arena(program: ProgramDescription) -> None:
    planned = plan(program)
    assert planned.arena_bytes % ALIGNMENT == 0
    for tensor in planned.tensors:
        assert tensor.arena_offset % ALIGNMENT == 0
        assert tensor.arena_offset + tensor.size_bytes <= planned.arena_bytes


def test_a_chain_needs_only_its_two_largest_neighbours() -> None:
    sizes = (64, 512, 256, 32)
    tensors = tuple(Tensor(f"t{i}", DType.INT8, (size,)) for i, size in enumerate(sizes))
    nodes = tuple(Node(Op.RELU, f"n{i}", (i,), i + 1) for i in range(3))
    assert plan(ProgramDescription("chain", tensors, nodes, (0,), (3,))).arena_bytes == 512 + 256


def test_reshape_lies_where_its_operand_lies() -> None:
    tensors = tuple(Tensor(f"t{i}", DType.INT8, (64,)) for i in range(4))
    ops = (Op.RESHAPE, Op.RELU, Op.RESHAPE)
    nodes = tuple(Node(op, f"n{i}", (i,), i + 1) for i, op in enumerate(ops))
    planned = plan(ProgramDescription("moves", tensors, nodes, (0,), (3,)))
    offsets = [tensor.arena_offset for tensor in planned.tensors]
    assert offsets[0] == offsets[1]
    assert offsets[2] == offsets[3]
    assert planned.arena_bytes == 128
