"""Every table of kernels gives the portable one's bytes, whatever shapes, zero points, shifts and
weights are.

One example is one layer, with weights, biases, multipliers and shifts that are now ordinary, now at
the edges: dead channels, sums that wrap, results that saturate, shifts in both directions.
"""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wherry_native.engine import Program, kernel_names
from wherry_native.program import Op, Rounding

from tests.engine.programs import Builder

OTHERS = kernel_names()[:-1]
INT32 = (-(2**31), 2**31 - 1)

held = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def _weights(rng: random.Random, size: int) -> bytes:
    way = rng.randrange(5)
    if way == 0:
        return bytes([128]) * size
    if way == 1:
        return bytes(rng.choice((127, 128, 129, 0)) for _ in range(size))
    if way == 2:  # small ones with a few large: what training leaves
        return bytes(rng.choice((127, 128)) if rng.random() < 0.01 else rng.randrange(-64, 64) % 256
                     for _ in range(size))  # fmt: skip
    return rng.randbytes(size)


def _channel(rng: random.Random, is_extreme: bool) -> tuple[int, int, int]:
    """Bias, multiplier, shift of one channel."""
    if rng.random() < 0.1:
        return rng.randrange(*INT32), 0, 0  # a dead channel
    if is_extreme:
        multiplier = rng.choice((2**31 - 1, 2**30, 1, rng.randrange(2**31)))
        return rng.choice((*INT32, rng.randrange(*INT32))), multiplier, rng.randrange(-31, 31)
    # The first two of these multipliers put many sums on a tie, or beside one.
    multiplier = rng.choice((2**30, 2**30 + 1, rng.randrange(2**30, 2**31)))
    return rng.randrange(-3000, 3000), multiplier, rng.randrange(-12, -4)


def _accumulating(
    build: Builder, x: int, shape: tuple[int, ...], channels: int, rounding: Rounding
) -> tuple[int, int, int, int, int]:
    """The five operands of a layer with weights of that shape."""
    is_extreme = build.source.random() < 0.4
    weights = build.int8("layer", shape, "layer")
    tensor = build.tensors[weights]
    object.__setattr__(tensor, "data", _weights(build.source, tensor.size_bytes))
    drawn = [_channel(build.source, is_extreme) for _ in range(channels)]
    if rounding is Rounding.F:
        drawn = [(bias, multiplier & ~127, shift) for bias, multiplier, shift in drawn]
    bias, multiplier, shift = (
        build.int32(name, [one[i] for one in drawn], "layer")
        for i, name in enumerate(("bias", "multiplier", "shift"))
    )
    return x, weights, bias, multiplier, shift


def _zero(rng: random.Random) -> int:
    return rng.choice((-128, 127, 0, rng.randrange(-128, 128)))


def _activation(rng: random.Random) -> dict[str, int]:
    low, high = sorted((rng.randrange(-128, 128), rng.randrange(-128, 128)))
    return rng.choice(({"act_min": -128, "act_max": 127}, {"act_min": low, "act_max": high}))


def _fully_connected(rng: random.Random) -> bytes:
    rows, inputs = rng.choice((1, 1, 2, 7, 13)), rng.choice((1, 2, 31, rng.randrange(1, 300)))
    outputs = rng.choice((1, 8, 16, 33, rng.randrange(1, 70)))
    build = Builder(rng)
    x = build.activation("x", (rows, inputs), _zero(rng))
    y = build.activation("y", (rows, outputs), _zero(rng))
    rounding = rng.choice((Rounding.D, Rounding.D, Rounding.F))
    operands = _accumulating(build, x, (outputs, inputs), outputs, rounding)
    build.node(Op.FULLY_CONNECTED, "layer", operands, y, rounding, **_activation(rng))
    return build.image("one layer", (x,), (y,))


def _axis(rng: random.Random) -> tuple[int, int, int, int, int, int]:
    """In, out, taps, stride, dilation, pad of one axis, such that the loader takes them."""
    taps, stride, dilation = rng.choice((1, 1, 2, 3, 3, 5, 7)), rng.choice((1, 1, 2, 3)), 1
    if rng.random() < 0.3:
        dilation = rng.randrange(1, 4)
    reach = (taps - 1) * dilation
    size, pad = rng.randrange(1, 15), rng.randrange(reach + 1)
    out = rng.randrange(1, (size - 1 + pad) // stride + 2)
    return size, out, taps, stride, dilation, pad


def _window(rows: tuple[int, ...], columns: tuple[int, ...]) -> dict[str, int]:
    pads = {"pad_top": rows[5], "pad_left": columns[5]}
    steps = {f"{n}_{a}": v[3 + i] for i, n in enumerate(("stride", "dilation"))
             for a, v in (("h", rows), ("w", columns))}  # fmt: skip
    return {**steps, **pads}


def _conv_2d(rng: random.Random) -> bytes:
    rows, columns, batches = _axis(rng), _axis(rng), rng.choice((1, 1, 2))
    groups = rng.choice((1, 1, 1, 2, 3))
    group_c, per_group = rng.choice((1, 2, 3, 8, 17)), rng.choice((1, 2, 8, 11, 16, 20, 33))
    build = Builder(rng)
    x = build.activation("x", (batches, rows[0], columns[0], groups * group_c), _zero(rng))
    y = build.activation("y", (batches, rows[1], columns[1], groups * per_group), _zero(rng))
    shape = (groups * per_group, rows[2], columns[2], group_c)
    rounding = rng.choice((Rounding.D, Rounding.D, Rounding.F))
    operands = _accumulating(build, x, shape, groups * per_group, rounding)
    params = {**_window(rows, columns), **_activation(rng)}
    build.node(Op.CONV_2D, "layer", operands, y, rounding, **params)
    return build.image("one layer", (x,), (y,))


def _depthwise_conv_2d(rng: random.Random) -> bytes:
    rows, columns, batches = _axis(rng), _axis(rng), rng.choice((1, 1, 2))
    channels, multiplicity = rng.choice((1, 3, 8, 16, 21, 40)), rng.choice((1, 1, 1, 2, 5))
    build = Builder(rng)
    x = build.activation("x", (batches, rows[0], columns[0], channels), _zero(rng))
    out_c = channels * multiplicity
    y = build.activation("y", (batches, rows[1], columns[1], out_c), _zero(rng))
    shape = (1, rows[2], columns[2], out_c)
    rounding = rng.choice((Rounding.D, Rounding.D, Rounding.F))
    operands = _accumulating(build, x, shape, out_c, rounding)
    params = {**_window(rows, columns), **_activation(rng)}
    build.node(Op.DEPTHWISE_CONV_2D, "layer", operands, y, rounding, **params)
    return build.image("one layer", (x,), (y,))


def _axis_of_3(rng: random.Random) -> tuple[int, int, int, int, int, int]:
    """As `_axis`, of three taps side by side; most outputs even in number."""
    size, pad = rng.randrange(2, 18), rng.randrange(3)
    out = rng.randrange(1, size + pad + 1)
    return size, out - out % 2 if rng.random() < 0.8 and out > 1 else out, 3, 1, 1, pad


def _conv_3x3(rng: random.Random) -> bytes:
    rows, columns, batches = _axis_of_3(rng), _axis_of_3(rng), rng.choice((1, 1, 2))
    in_c, out_c = rng.choice((16, 32, 48, 15)), rng.choice((16, 17, 32, 40))
    build = Builder(rng)
    x = build.activation("x", (batches, rows[0], columns[0], in_c), _zero(rng))
    y = build.activation("y", (batches, rows[1], columns[1], out_c), _zero(rng))
    rounding = rng.choice((Rounding.D, Rounding.D, Rounding.F))
    operands = _accumulating(build, x, (out_c, 3, 3, in_c), out_c, rounding)
    params = {**_window(rows, columns), **_activation(rng)}
    build.node(Op.CONV_2D, "layer", operands, y, rounding, **params)
    return build.image("one layer", (x,), (y,))


def _depthwise_3x3(rng: random.Random) -> bytes:
    rows, columns, batches = _axis_of_3(rng), _axis_of_3(rng), rng.choice((1, 1, 2))
    channels = rng.choice((16, 17, 31, 32, 64, 83))
    build = Builder(rng)
    x = build.activation("x", (batches, rows[0], columns[0], channels), _zero(rng))
    y = build.activation("y", (batches, rows[1], columns[1], channels), _zero(rng))
    rounding = rng.choice((Rounding.D, Rounding.D, Rounding.F))
    operands = _accumulating(build, x, (1, 3, 3, channels), channels, rounding)
    params = {**_window(rows, columns), **_activation(rng)}
    build.node(Op.DEPTHWISE_CONV_2D, "layer", operands, y, rounding, **params)
    return build.image("one layer", (x,), (y,))


def _sum(op: Op) -> Callable[[random.Random], bytes]:
    def layer(rng: random.Random) -> bytes:
        build = Builder(rng)
        shape = (rng.randrange(1, 8), rng.randrange(1, 20))
        a, b, y = (build.activation(name, shape, _zero(rng)) for name in "aby")
        params = {"left_shift": rng.choice((20, 20, rng.randrange(23)))}
        for which in ("_a", "_b"):
            params[f"multiplier{which}"] = rng.choice((2**30, 0, 2**31 - 1, rng.randrange(2**31)))
            params[f"shift{which}"] = rng.choice((0, -1, rng.randrange(-31, 1)))
        params["multiplier"], params["shift"] = (
            rng.choice((2**30, 2**31 - 1, rng.randrange(2**31))),
            rng.choice((-19, -18, rng.randrange(-31, 31))),
        )
        build.node(op, "layer", (a, b), y, **params, **_activation(rng))
        return build.image("one layer", (a, b), (y,))

    return layer


def _pool(op: Op) -> Callable[[random.Random], bytes]:
    def layer(rng: random.Random) -> bytes:
        rows, columns = _pooled_axis(rng), _pooled_axis(rng)
        build = Builder(rng)
        channels, zero = rng.choice((1, 5, 16, 33, 64)), _zero(rng)
        x = build.activation("x", (2, rows[0], columns[0], channels), zero)
        y = build.activation("y", (2, rows[1], columns[1], channels), zero)
        params = {
            f"{name}_{axis}": values[2 + i]
            for i, name in enumerate(("filter", "stride"))
            for axis, values in (("h", rows), ("w", columns))
        }
        pads = {"pad_top": rows[5], "pad_left": columns[5]}
        build.node(op, "layer", (x,), y, **params, **pads, **_activation(rng))
        return build.image("one layer", (x,), (y,))

    return layer


def _pooled_axis(rng: random.Random) -> tuple[int, int, int, int, int, int]:
    """As `_axis`, without dilation; now and then one window over more than 256 taps."""
    if rng.random() < 0.2:
        return 21, 1, 21, 1, 1, 0
    while True:
        axis = _axis(rng)
        if axis[4] == 1:
            return axis


LAYERS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONV_2D": _conv_2d,
    "CONV_2D of 3 x 3": _conv_3x3,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEPTHWISE_CONV_2D of 3 x 3": _depthwise_3x3,
    "ADD": _sum(Op.ADD),
    "SUB": _sum(Op.SUB),
    "AVERAGE_POOL_2D": _pool(Op.AVERAGE_POOL_2D),
    "MAX_POOL_2D": _pool(Op.MAX_POOL_2D),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("kernels", OTHERS)
def test_a_layer_gives_the_portable_bytes(
    kernels: str, layer: Callable[[random.Random], bytes]
) -> None:
    @held
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        rng = random.Random(seed)
        image = layer(rng)
        program, portable = Program(image, kernels=kernels), Program(image, kernels="portable")
        for _ in range(2):
            sample = rng.randbytes(program.input_bytes)
            assert program.run(sample) == portable.run(sample), f"seed {seed}"

    check()
