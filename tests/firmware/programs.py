"""Small programs whose outputs can be told without an engine: tables that shift every value."""

from wherry_native.program import (
    DType,
    Kind,
    Node,
    Op,
    ProgramDescription,
    Tensor,
    write_program,
)


def shifting_program(shift: int, *, length: int = 16, steps: int = 1) -> bytes:
    """`length` int8 values in, each plus `steps * shift` (wrapping) out; 256 bytes of table and
    128 of structure per step."""
    room = (length + 15) // 16 * 16
    table = bytes((value + shift) & 0xFF for value in range(-128, 128))
    tensors = [Tensor("x0", DType.INT8, (1, length), scale=1.0)]
    nodes = []
    for step in range(steps):
        before = len(tensors) - 1
        tensors.append(
            Tensor(f"table{step}", DType.INT8, (256,), Kind.CONSTANT, data=table, piece="tables")
        )
        tensors.append(
            Tensor(
                f"x{step + 1}", DType.INT8, (1, length), scale=1.0,
                arena_offset=(step + 1) % 2 * room,
            )
        )  # fmt: skip
        operands, result = (before, len(tensors) - 2), len(tensors) - 1
        unscaled = {"multiplier": 0, "shift": 0}
        nodes.append(Node(Op.LOGISTIC, f"step{step}", operands, result, unscaled))
    return write_program(
        ProgramDescription(
            name="shift",
            tensors=tuple(tensors),
            nodes=tuple(nodes),
            inputs=(0,),
            outputs=(len(tensors) - 1,),
            arena_bytes=2 * room,
        )
    )


def shifted(data: bytes, shift: int) -> bytes:
    """What the program makes of `data`."""
    return bytes((value + shift) & 0xFF for value in data)
