"""Packed sketches in C do what `wherry_protocol.sketch` does in Python, and refuse what it does."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_native import sketch as packed
from wherry_native.engine import EngineError
from wherry_protocol import sketch
from wherry_protocol.errors import DecodeError

from tests.engine.build import compile_c

DURATIONS = st.lists(
    st.one_of(st.integers(0, 2**20), st.integers(0, 2**34), st.just(2**32 - 1)), max_size=60
)


@given(DURATIONS)
def test_totals_and_quantiles_are_those_of_the_python_sketch(durations: list[int]) -> None:
    plain = sketch.sketch_of(durations)
    found = packed.read(plain.to_bytes())
    assert (found.count, found.sum_ns, found.max_ns) == (plain.count, plain.sum_ns, plain.max_ns)
    assert found.mean_ns == plain.mean_ns
    for q in (0.001, 0.07, 0.5, 0.95, 0.99, 1.0):
        assert found.quantile_ns(q) == plain.quantile_ns(q)


@given(DURATIONS, DURATIONS)
def test_merging_gives_the_bytes_that_the_python_sketch_gives(
    first: list[int], second: list[int]
) -> None:
    a, b = sketch.sketch_of(first), sketch.sketch_of(second)
    assert packed.merge(a.to_bytes(), b.to_bytes()) == sketch.merge([a, b]).to_bytes()


@given(DURATIONS, st.data())
def test_bytes_are_refused_exactly_where_the_python_sketch_refuses_them(
    durations: list[int], data: st.DataObject
) -> None:
    whole = bytearray(sketch.sketch_of(durations).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole)))
        byte = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
        match data.draw(st.sampled_from(("set", "insert", "cut"))):
            case "set" if place < len(whole):
                whole[place] = byte
            case "insert":
                whole.insert(place, byte)
            case _:
                del whole[place:]
    _same(bytes(whole))


@given(st.binary(max_size=40))
def test_garbage_is_refused_exactly_where_the_python_sketch_refuses_it(garbage: bytes) -> None:
    _same(garbage)
    _same(b"\x01" + garbage)


def _same(data: bytes) -> None:
    try:
        plain = sketch.from_bytes(data)
    except DecodeError:
        with pytest.raises(EngineError):
            packed.read(data)
        with pytest.raises(EngineError):
            packed.merge(packed.EMPTY.data, data)
    else:
        found = packed.read(data)
        assert (found.count, found.sum_ns, found.max_ns) == (
            plain.count, plain.sum_ns, plain.max_ns,
        )  # fmt: skip
        assert packed.merge(packed.EMPTY.data, data) == plain.to_bytes()


def test_a_sum_beyond_64_bits_is_refused() -> None:
    huge = sketch.Sketch(2**63, 2**63, 9, {4: 2**63}).to_bytes()
    assert packed.read(huge).count == 2**63
    with pytest.raises(EngineError, match="WH_ERR_ARGUMENT"):
        packed.merge(huge, huge)


@pytest.mark.parametrize("q", [0.0, -1.0, 1.01])
def test_a_quantile_outside_its_range_is_a_mistake(q: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        packed.EMPTY.quantile_ns(q)
    assert packed.EMPTY.quantile_ns(0.5) is None


def test_no_input_reads_or_writes_out_of_bounds(root: Path, tmp_path: Path) -> None:
    """Every byte of two sketches changed and every length cut, under ASan and UBSan."""
    program = compile_c(
        root, tmp_path / "sketch_fuzz", Path(__file__).with_name("sketch_fuzz.c"),
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all", with_host=True,
    )  # fmt: skip
    full = sketch.sketch_of([*range(1, 200), *(1 << n for n in range(33))]).to_bytes()
    few = sketch.sketch_of([900, 1000, 70_000]).to_bytes()
    for name, data in (("full", full), ("few", few)):
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [program, tmp_path / "full", tmp_path / "few"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000
