"""What every builder of a TFLite operator is given: the operator with its tensors by name."""

from dataclasses import dataclass
from typing import Any

import tflite  # type: ignore[import-untyped]

from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.ir import Tensor


@dataclass(frozen=True, slots=True)
class Call:
    """One operator of the file, with its tensors by name; an absent operand is ''."""

    operator: Any
    name: str
    inputs: tuple[str, ...]
    output: str
    tensors: dict[str, Tensor]  # builders may add constants
    others: tuple[str, ...] = ()  # the outputs behind the first

    def options(self, kind: Any) -> Any:
        """The operator's option table. Raises CompileError when it is absent or of another kind."""
        table = self.operator.BuiltinOptions()
        wanted = getattr(tflite.BuiltinOptions, kind.__name__)
        if table is None or self.operator.BuiltinOptionsType() != wanted:
            raise CompileError(f"node {self.name!r} has no table {kind.__name__}")
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return options

    def tensor(self, index: int) -> Tensor:
        if index >= len(self.inputs) or not self.inputs[index]:
            raise CompileError(f"node {self.name!r} has no operand {index}")
        return self.tensors[self.inputs[index]]

    def integers(self, index: int) -> list[int]:
        """The values of a constant integer operand (axes, paddings)."""
        tensor = self.tensor(index)
        if tensor.data is None:
            raise CompileError(
                f"node {self.name!r}: operand {tensor.name!r} must be a constant in the file"
            )
        return [int(value) for value in tensor.data.reshape(-1)]
