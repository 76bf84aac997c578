"""The model compiler: TFLite int8 and float ONNX files become program images.

Needs the extra `compiler` (numpy, tflite, flatbuffers, onnx); never imported on a device.
"""

from wherry_native.compiler.api import CompiledModel, Quantizing, compile_model
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.float_model import FloatModel, read_float_model
from wherry_native.compiler.parts import Parts, from_parts, to_parts
from wherry_native.compiler.ranges import Method
from wherry_native.compiler.report import Advice, Agreement, LayerError, Report

__all__ = [
    "Advice",
    "Agreement",
    "CompileError",
    "CompiledModel",
    "FloatModel",
    "LayerError",
    "Method",
    "Parts",
    "Quantizing",
    "Report",
    "compile_model",
    "from_parts",
    "read_float_model",
    "to_parts",
]
