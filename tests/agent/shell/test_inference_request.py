"""Real units to quantized bytes and back, as TFLite's QUANTIZE does it."""

import contextlib
import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_agent.shell.inference_request import (
    LIMITS,
    dequantize,
    input_bytes,
    integers,
    parse_request,
    quantize,
    split_outputs,
)
from wherry_protocol.errors import ContractError, DecodeError
from wherry_protocol.manifest import DType, Tensor


def tensor(dtype=DType.INT8, shape=(4,), scale=0.25, zero_point=0, name="x"):
    return Tensor(name=name, dtype=dtype, shape=shape, scale=scale, zero_point=zero_point)


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from([0.25, 0.5, 2.0, 0.0078125]),
    st.integers(-128, 127),
    st.sampled_from(list(DType)),
)
def test_quantizing_rounds_half_away_from_zero_and_saturates(value, scale, zero_point, dtype):
    one = tensor(dtype, (1,), scale, zero_point)
    exact = Fraction(value) / Fraction(scale)
    rounded = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    low, high = LIMITS[dtype]
    assert integers(quantize([value], one), one) == [min(max(rounded + zero_point, low), high)]


@given(st.lists(st.integers(-128, 127), min_size=4, max_size=4), st.integers(-128, 127))
def test_what_comes_out_can_go_in_again(values, zero_point):
    one = tensor(zero_point=zero_point)
    data = bytes(v & 0xFF for v in values)
    assert quantize(dequantize(data, one), one) == data


def test_wider_types_are_little_endian():
    wide = tensor(DType.INT16, (2,), 1.0)
    assert quantize([1.0, -2.0], wide).hex() == "0100feff"
    assert integers(bytes.fromhex("0100feff"), wide) == [1, -2]
    assert quantize([1.0], tensor(DType.INT32, (1,), 1.0)).hex() == "01000000"


def test_several_inputs_are_named_and_joined_in_the_contracts_order():
    inputs = (tensor(shape=(2,), name="a"), tensor(shape=(1,), name="b"))
    request = parse_request(json.dumps({"input_q": {"b": [3], "a": [1, 2]}}).encode())
    assert input_bytes(request, inputs) == bytes([1, 2, 3])
    flat = parse_request(b'{"input_q": [1, 2, 3]}')
    with pytest.raises(ContractError, match="the model has 2 inputs, name them: a, b"):
        input_bytes(flat, inputs)


def test_several_outputs_are_cut_by_shape_and_type():
    outputs = (tensor(shape=(1, 3), name="a"), tensor(DType.INT16, (2,), name="b"))
    assert split_outputs(bytes(range(7)), outputs) == [bytes([0, 1, 2]), bytes([3, 4, 5, 6])]


def test_a_tensor_without_a_scale_takes_quantized_input_only():
    with pytest.raises(ContractError, match="send input_q instead"):
        quantize([1.0], tensor(shape=(1,), scale=0.0))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3), max_leaves=20))  # fmt: skip
def test_any_json_either_fits_or_is_refused_by_name(values):
    body = json.dumps({"input": values}).encode()
    one = (tensor(shape=(1, 2, 2)),)
    with contextlib.suppress(DecodeError, ContractError):
        assert len(input_bytes(parse_request(body), one)) == 4
