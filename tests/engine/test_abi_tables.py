"""C and Python name the same operators, types and parameters, with the same numbers."""

import re
from pathlib import Path

from wherry_native._engine import ffi, lib
from wherry_native.engine import EngineError
from wherry_native.program import PARAMETERS, DType, Kind, Op, Rounding


def _enum(header: str, name: str) -> dict[str, int]:
    """The members of a typedef'd enum."""
    body = re.search(r"typedef enum \{([^}]*)\} " + name, header)
    assert body is not None, name
    code = re.sub(r"/\*.*?\*/", "", body.group(1), flags=re.S)
    return {member: int(value) for member, value in re.findall(r"WH_(\w+) = (-?\d+)", code)}


def _header(root: Path, name: str) -> str:
    return (root / "native/csrc/include/wherry" / name).read_text()


def test_operators_have_the_same_numbers_and_names(root: Path) -> None:
    assert _enum(_header(root, "program.h"), "wh_op") == {op.name: op.value for op in Op}
    for op in Op:
        assert ffi.string(lib.wh_op_name(op)).decode() == op.name
    assert ffi.string(lib.wh_op_name(len(Op) + 1)) == b"UNKNOWN"


def test_types_kinds_and_roundings_have_the_same_numbers(root: Path) -> None:
    header = _header(root, "program.h")
    assert _enum(header, "wh_dtype") == {d.name: d.value for d in DType}
    assert _enum(header, "wh_tensor_kind") == {k.name: k.value for k in Kind}
    roundings = {f"ROUNDING_{r.name}": r.value for r in Rounding}
    assert _enum(header, "wh_rounding") == roundings


def test_every_operator_has_a_row_in_the_specification(root: Path) -> None:
    specification = (root / "docs/SPEC-program.md").read_text()
    rows = [
        line for line in specification.split("## Operators\n")[1].splitlines() if line[:1] == "|"
    ]
    for op in Op:
        row = next(line for line in rows if re.search(rf"\b{op.name}\b", line))
        codes = [int(code) for code in row.split("|")[2].split(",")]
        assert op.value in codes


def test_parameter_counts_are_those_that_the_loader_checks(root: Path) -> None:
    rules = (root / "native/csrc/core/check_node.c").read_text()
    found = re.findall(r"\[WH_(\w+)\] = \{\w+, \d+, \w+, (\d+), \d, [^}]+\}", rules)
    assert {name: int(count) for name, count in found} == {
        op.name: len(names) for op, names in PARAMETERS.items()
    }


def test_every_status_has_a_name(root: Path) -> None:
    for name, code in _enum(_header(root, "engine.h"), "wh_status").items():
        assert EngineError(code).name == f"WH_{name}"
    assert EngineError(-9999).name == "WH_ERR_UNKNOWN"
