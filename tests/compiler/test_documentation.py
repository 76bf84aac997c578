"""docs/compiler.md names exactly the operators that are read."""

import re
from pathlib import Path

import tflite
from wherry_native.compiler.onnx_operators import OPERATORS
from wherry_native.compiler.tflite_operators import BUILDERS

TEXT = (Path(__file__).parents[2] / "docs" / "compiler.md").read_text()


def _paragraph(start: str) -> set[str]:
    line = next(line for line in TEXT.splitlines() if line.startswith(start))
    listed = re.split(r"; fused|Nodes whose", line.removeprefix(start))[0]
    return set(re.findall(r"\b[A-Z][A-Za-z0-9_]*\b", re.sub(r"\([^)]*\)", "", listed)))


def test_every_tflite_operator_is_documented() -> None:
    codes = vars(tflite.BuiltinOperator)
    wanted = {name for name, code in codes.items() if isinstance(code, int) and code in BUILDERS}
    assert _paragraph("TFLite operators: ") == wanted


def test_every_onnx_operator_is_documented() -> None:
    assert _paragraph("ONNX operators: ") == {*OPERATORS, "ZipMap"}
