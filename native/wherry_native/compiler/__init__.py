"""The model compiler: TFLite int8 and float ONNX files become program images.

Needs the extra `compiler` (numpy, tflite, flatbuffers, onnx); never imported on a device.
"""

from wherry_native.compiler.api import CompiledModel, compile_model
from wherry_native.compiler.errors import CompileError
from wherry_native.compiler.parts import Parts, from_parts, to_parts
from wherry_native.compiler.report import Agreement, LayerError, Report

__all__ = [
    "Agreement",
    "CompileError",
    "CompiledModel",
    "LayerError",
    "Parts",
    "Report",
    "compile_model",
    "from_parts",
    "to_parts",
]
