"""Small float ONNX models, built as the exporters of PyTorch, Keras and scikit-learn build them.

Weights come from a seeded generator. Shapes of outputs are inferred by onnx itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class ModelWriter:
    """Collects nodes and constants of one model."""

    def __init__(self, seed: int = 1, opset: int = 17) -> None:
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def weights(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(self.random.normal(0, scale, shape).astype(np.float32))

    def positive(self, *shape: int) -> str:
        return self.constant(self.random.uniform(0.5, 2.0, shape).astype(np.float32))

    def constant(self, data: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def parts(self, op_type: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node of several outputs."""
        name = f"{op_type.lower()}{len(self.nodes)}"
        outputs = [f"{name}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=name, **attributes))
        return outputs

    def model(
        self, inputs: dict[str, Sequence[int | str]], outputs: Sequence[str]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", self.opset),
                helper.make_opsetid("ai.onnx.ml", 3),
            ],
            ir_version=9,
        )
        return onnx.shape_inference.infer_shapes(model)


def pytorch_network() -> onnx.ModelProto:
    """Conv, BatchNormalization, ReLU, pool, a residual block, Flatten, Gemm, Softmax."""
    w = ModelWriter()
    x = w.node("Conv", "image", w.weights(8, 3, 3, 3), pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    x = w.node("BatchNormalization", x, w.positive(8), w.weights(8), w.weights(8), w.positive(8))
    x = w.node("Relu", x)
    x = w.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = w.node("Conv", x, w.weights(8, 8, 3, 3, scale=0.2), w.weights(8), pads=[1, 1, 1, 1])
    x = w.node("Relu", w.node("Add", x, y))
    x = w.node("Flatten", x)
    x = w.node("Gemm", x, w.weights(5, 8 * 4 * 3, scale=0.1), w.weights(5), transB=1)
    x = w.node("Softmax", x, axis=1)
    return w.model({"image": ["batch", 3, 8, 6]}, [x])


def mobile_network() -> onnx.ModelProto:
    """Depthwise separable convolutions, Clip to 6, GlobalAveragePool, view by Shape and Gather."""
    w = ModelWriter(seed=2)
    x = w.node("Conv", "image", w.weights(6, 2, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    x = w.node("Clip", x, w.constant(np.float32(0)), w.constant(np.float32(6)))
    x = w.node("Conv", x, w.weights(12, 1, 3, 3), w.weights(12), group=6, pads=[1, 1, 1, 1])
    x = w.node("Clip", x, w.constant(np.float32(0)), w.constant(np.float32(6)))
    x = w.node("Conv", x, w.weights(8, 6, 1, 1), group=2)
    x = w.node("GlobalAveragePool", x)
    batch = w.node("Gather", w.node("Shape", x), w.constant(np.int64(0)), axis=0)
    axes = w.constant(np.array([0], np.int64))
    row = w.constant(np.array([-1], np.int64))
    shape = w.node("Concat", w.node("Unsqueeze", batch, axes), row, axis=0)
    x = w.node("Reshape", x, shape)
    x = w.node("Add", w.node("MatMul", x, w.weights(8, 4)), w.weights(4))
    return w.model({"image": [1, 2, 9, 7]}, [w.node("Sigmoid", x)])


def keras_network() -> onnx.ModelProto:
    """As tf2onnx writes it: the image is N, H, W, C, with transposes around the convolutions."""
    w = ModelWriter(seed=3)
    x = w.node("Transpose", "image", perm=[0, 3, 1, 2])
    x = w.node("Conv", x, w.weights(4, 2, 3, 3), w.weights(4), auto_pad="SAME_UPPER")
    x = w.node("Relu", x)
    x = w.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    x = w.node("Transpose", x, perm=[0, 2, 3, 1])
    x = w.node("Reshape", x, w.constant(np.array([-1, 3 * 3 * 4], np.int64)))
    x = w.node("Add", w.node("MatMul", x, w.weights(36, 3)), w.weights(3))
    return w.model({"image": ["unk__1", 5, 6, 2]}, [w.node("Tanh", x)])


def line_network() -> onnx.ModelProto:
    """A time series: one-dimensional convolutions, input normalization, ReduceMean over time."""
    w = ModelWriter(seed=4)
    x = w.node("Sub", "signal", w.weights(1, 3, 1))
    x = w.node("Div", x, w.positive(1, 3, 1))
    x = w.node("Conv", x, w.weights(6, 3, 5), w.weights(6), pads=[4, 0], dilations=[1])
    x = w.node("Relu", x)
    x = w.node("MaxPool", x, kernel_shape=[3], strides=[2], ceil_mode=1)
    x = w.node("Conv", x, w.weights(6, 6, 3), dilations=[2], pads=[2, 2])
    x = w.node("ReduceMean", x, axes=[2], keepdims=0)
    return w.model({"signal": [1, 3, 20]}, [w.node("Gemm", x, w.weights(6, 2), w.weights(2))])


def joined_network() -> onnx.ModelProto:
    """Two branches that meet in Concat, padding, a squeeze-and-excite product, two outputs."""
    w = ModelWriter(seed=5)
    pads = w.constant(np.array([0, 0, 1, 0, 0, 0, 1, 2], np.int64))
    x = w.node("Pad", "image", pads)
    a = w.node("Conv", x, w.weights(4, 2, 3, 3), w.weights(4))
    b = w.node("Sigmoid", w.node("Conv", x, w.weights(3, 2, 3, 3), w.weights(3)))
    joined = w.node("Concat", a, b, axis=1)
    gate = w.node("GlobalAveragePool", joined)
    gate = w.node("Sigmoid", w.node("Conv", gate, w.weights(7, 7, 1, 1)))
    x = w.node("Mul", joined, gate)
    x = w.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    head = w.node("Gemm", w.node("Flatten", w.node("GlobalMaxPool", x)), w.weights(7, 3))
    return w.model({"image": [1, 2, 6, 5]}, [head, b])


def perceptron() -> onnx.ModelProto:
    """As skl2onnx writes an MLPClassifier: Cast, MatMul and Add, and a label that is no float."""
    w = ModelWriter(seed=6)
    x = w.node("Cast", "X", to=TensorProto.FLOAT)
    x = w.node("Relu", w.node("Add", w.node("MatMul", x, w.weights(10, 8)), w.weights(1, 8)))
    x = w.node("Add", w.node("MatMul", x, w.weights(8, 3)), w.weights(1, 3))
    x = w.node("Softmax", x)
    label = w.node("ArgMax", x, axis=1, keepdims=0)
    model = w.model({"X": [None, 10]}, [x])
    model.graph.output.append(helper.make_tensor_value_info(label, TensorProto.INT64, [None]))
    return model


def regressor() -> onnx.ModelProto:
    """As skl2onnx writes a pipeline of StandardScaler and LinearRegression."""
    w = ModelWriter(seed=10)
    offset, scale = w.random.normal(0, 1, 5), w.random.uniform(0.5, 2, 5)
    x = w.node("Scaler", "X", domain="ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist())
    x = w.node(
        "LinearRegressor", x, domain="ai.onnx.ml", targets=2, intercepts=[0.5, -1.0],
        coefficients=w.random.normal(0, 1, 10).tolist(),
    )  # fmt: skip
    return w.model({"X": [None, 5]}, [x])


def logistic_regression() -> onnx.ModelProto:
    """As skl2onnx writes a LogisticRegression of three classes: the label is left out."""
    w = ModelWriter(seed=13)
    x = "X"
    label = "label"
    scores = "scores"
    w.nodes.append(
        helper.make_node(
            "LinearClassifier", [x], [label, scores], name="linear", domain="ai.onnx.ml",
            coefficients=w.random.normal(0, 1, 12).tolist(), intercepts=[0.1, 0.0, -0.1],
            classlabels_ints=[0, 1, 2], post_transform="SOFTMAX",
        )
    )  # fmt: skip
    probabilities = w.node("Normalizer", scores, domain="ai.onnx.ml", norm="L1")
    model = w.model({"X": [None, 4]}, [probabilities])
    model.graph.output.append(helper.make_tensor_value_info(label, TensorProto.INT64, [None]))
    return model


def positional_network() -> onnx.ModelProto:
    """Constants of the operand's full shape, rows through one weight matrix, HardTanh by Clip."""
    w = ModelWriter(seed=12)
    x = w.node("Add", "x", w.weights(1, 4, 6))
    x = w.node("Mul", x, w.weights(4, 6))
    x = w.node("MatMul", x, w.weights(6, 5))
    x = w.node("Clip", x, w.constant(np.float32(-1)), w.constant(np.float32(1)))
    x = w.node("Sub", w.constant(np.float32(1)), w.node("Tanh", x))
    return w.model({"x": [1, 4, 6]}, [w.node("Softmax", x, axis=-1)])


def two_inputs() -> onnx.ModelProto:
    """An image and a vector that meet in one layer, as sensor fusion does."""
    w = ModelWriter(seed=14)
    a = w.node("Relu", w.node("Conv", "image", w.weights(3, 1, 3, 3), w.weights(3)))
    a = w.node("Flatten", w.node("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]))
    b = w.node("Relu", w.node("Gemm", "state", w.weights(4, 5), w.weights(5)))
    x = w.node("Concat", a, b, axis=1)
    x = w.node("Gemm", x, w.weights(3 * 2 * 3 + 5, 3), w.weights(3))
    return w.model({"image": ["n", 1, 6, 8], "state": ["n", 4]}, [x])


def pooled_network() -> onnx.ModelProto:
    """Padding that counts in an average, a last window that reaches beyond it, both SAME kinds."""
    w = ModelWriter(seed=21)
    x = w.node("Conv", "image", w.weights(3, 1, 2, 2), auto_pad="SAME_LOWER")
    y = w.node(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1,
    )  # fmt: skip
    z = w.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return w.model({"image": [1, 1, 8, 8]}, [y, z])


POOLED = {"pooled": pooled_network}
"""Padding of pools that TFLite cannot say."""

NETWORKS = {
    "pytorch": pytorch_network,
    "mobile": mobile_network,
    "keras": keras_network,
    "line": line_network,
    "joined": joined_network,
    "perceptron": perceptron,
    "regressor": regressor,
    "logistic": logistic_regression,
    "positional": positional_network,
    "two inputs": two_inputs,
}
