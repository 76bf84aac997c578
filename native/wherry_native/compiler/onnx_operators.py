"""Which function imports which ONNX operator.

Each takes the call and returns the node's result as a value (several in their order); what
cannot be said in the engine's operators raises UnsupportedError with one sentence.
"""

from collections.abc import Callable
from typing import Final

from wherry_native.compiler import (
    onnx_dense,
    onnx_elementwise,
    onnx_images,
    onnx_moves,
    onnx_quantized,
)
from wherry_native.compiler.onnx_call import Call
from wherry_native.compiler.onnx_values import Value

OPERATORS: Final[dict[str, Callable[[Call], Value | tuple[Value, ...]]]] = {
    "Abs": onnx_elementwise.lookup("ABS"),
    "Add": onnx_elementwise.add,
    "ArgMax": onnx_moves.arg_max,
    "AveragePool": onnx_images.average_pool,
    "BatchNormalization": onnx_elementwise.batch_normalization,
    "Cast": onnx_moves.cast,
    "Clip": onnx_elementwise.clip,
    "Concat": onnx_moves.concat,
    "Conv": onnx_images.conv,
    "ConvTranspose": onnx_images.conv_transpose,
    "DepthToSpace": onnx_moves.depth_to_space,
    "DequantizeLinear": onnx_quantized.dequantize_linear,
    "Div": onnx_elementwise.divide,
    "Dropout": onnx_moves.identity,
    "Exp": onnx_elementwise.lookup("EXP"),
    "Flatten": onnx_moves.flatten,
    "Gather": onnx_moves.gather,
    "Gemm": onnx_dense.gemm,
    "GlobalAveragePool": onnx_moves.global_average_pool,
    "GlobalMaxPool": onnx_images.global_max_pool,
    "HardSwish": onnx_elementwise.lookup("HARD_SWISH"),
    "Identity": onnx_moves.identity,
    "LeakyRelu": onnx_elementwise.lookup("LEAKY_RELU"),
    "LinearClassifier": onnx_dense.linear_classifier,
    "LinearRegressor": onnx_dense.linear_regressor,
    "Log": onnx_elementwise.lookup("LOG"),
    "MatMul": onnx_dense.matmul,
    "MaxPool": onnx_images.max_pool,
    "Mul": onnx_elementwise.multiply,
    "Neg": onnx_elementwise.negate,
    "Normalizer": onnx_dense.normalizer,
    "PRelu": onnx_elementwise.prelu,
    "Pad": onnx_moves.pad,
    "QuantizeLinear": onnx_quantized.quantize_linear,
    "ReduceMean": onnx_moves.reduce_mean,
    "Reciprocal": onnx_elementwise.lookup("RECIPROCAL"),
    "ReduceSum": onnx_moves.reduce_sum,
    "Relu": onnx_elementwise.relu,
    "Reshape": onnx_moves.reshape,
    "Resize": onnx_images.resize,
    "Scaler": onnx_dense.scaler,
    "Shape": onnx_moves.shape_of,
    "Sigmoid": onnx_elementwise.sigmoid,
    "Slice": onnx_moves.slice_of,
    "Softmax": onnx_moves.softmax,
    "Softplus": onnx_elementwise.lookup("SOFTPLUS"),
    "SpaceToDepth": onnx_moves.space_to_depth,
    "Split": onnx_moves.split,
    "Sqrt": onnx_elementwise.lookup("SQRT"),
    "Squeeze": onnx_moves.squeeze,
    "Sub": onnx_elementwise.subtract,
    "Tanh": onnx_elementwise.tanh,
    "Transpose": onnx_moves.transpose,
    "Unsqueeze": onnx_moves.unsqueeze,
    "Upsample": onnx_images.resize,
}
