"""ONNX QDQ files as ONNX Runtime's own quantizer writes them: the program gives what it gives.

ONNX Runtime computes each operator in float and rounds half to even; the engine rounds by rule D.
One operator therefore differs by at most one step of its output; an operator that is two in the
engine (its result, then a QUANTIZE to the file's scale) by one more. Through a network the steps
add up as far as its layers carry them.
"""

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from wherry_native.compiler import CompileError, compile_model
from wherry_native.engine import Program

from tests.compiler.onnx_models import NETWORKS, ModelWriter
from tests.compiler.onnx_operators import COMPUTES, MOVES

ORACLE = Path(__file__).parent / "onnxruntime_oracle.py"
SAMPLE_COUNT = 12
WAYS = ("u8-tensor", "u8-channel", "s8-tensor", "s8-channel")
WHOLE = ("joined", "keras", "mobile", "perceptron", "positional", "pytorch", "two inputs")
"""Networks of which ONNX Runtime quantizes every tensor that the engine must know."""
STEPS_MAX = {"one": 1, "two": 2, "network": 12}
MEAN_STEPS_MAX = 2.0


def one_operator(op: str) -> onnx.ModelProto:
    """A convolution's result, then one more operator."""
    w = ModelWriter(seed=8)
    image = {"image": [1, 4, 7, 5]}
    if op == "Gemm":
        return w.model(
            {"image": [1, 20]}, [w.node("Gemm", "image", w.weights(20, 6), w.weights(6))]
        )
    if op == "Conv":
        return w.model(image, [w.node("Conv", "image", w.weights(6, 4, 3, 3), w.weights(6))])
    if op == "Depthwise":
        return w.model(
            image, [w.node("Conv", "image", w.weights(4, 1, 3, 3), w.weights(4), group=4)]
        )
    if op in OTHERS:
        return OTHERS[op]()
    if op in ("Add", "Mul"):
        return w.model({"image": [1, 40], "other": [1, 40]}, [w.node(op, "image", "other")])
    if op == "Concat":
        return w.model({"image": [1, 30], "other": [1, 10]}, [w.node(op, "image", "other", axis=1)])
    attributes = {
        "MaxPool": {"kernel_shape": [2, 2]},
        "AveragePool": {"kernel_shape": [2, 2]},
        "Softmax": {"axis": 1},
    }.get(op, {})
    if op in ("Softmax", "Relu", "Sigmoid", "Tanh"):
        return w.model({"image": [1, 40]}, [w.node(op, "image", **attributes)])
    return w.model(image, [w.node(op, "image", **attributes)])


OTHERS = {
    "ConvTranspose": (MOVES | COMPUTES)["conv transpose with more behind"],
    "Transpose": MOVES["transposed image"],
    "Shuffle": COMPUTES["channel shuffle"],
    "Resize": MOVES["resize to twice the size"],
    "DepthToSpace": MOVES["depth to space"],
    "Gather": MOVES["gather of rows"],
    "Split": MOVES["split by outputs"],
}
ONE = ("Gemm", "Conv", "Depthwise", "Add", "Mul", "MaxPool", "Relu", *OTHERS)
TWO = ("Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "Tanh", "Softmax")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, oracle_python: Path) -> Path:
    """A folder with every model, quantized in every way, and ONNX Runtime's answers."""
    folder = tmp_path_factory.mktemp("qdq")
    random = np.random.default_rng(5)
    models = {name: NETWORKS[name]() for name in (*WHOLE, "line")}
    models |= {f"one {op}": one_operator(op) for op in ONE}
    models |= {f"two {op}": one_operator(op) for op in TWO}
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        shapes = {
            e.name: [d.dim_value for d in e.type.tensor_type.shape.dim] for e in model.graph.input
        }
        arrays = {
            key: random.normal(0, 1, (SAMPLE_COUNT, *shape[1:])).astype(np.float32)
            for key, shape in shapes.items()
        }
        np.savez(folder / f"{name}.npz", **arrays)
    done = subprocess.run(
        [str(oracle_python), str(ORACLE), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def answers(folder: Path, name: str, way: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The program's outputs, ONNX Runtime's and those of the float model, in steps of the output's
    scale, per element."""
    path = folder / f"{name}.{way}.onnx"
    model = compile_model(path, calibration=folder / f"{name}.npz")
    program = Program(model.image)
    output = program.outputs[0]
    size = int(np.prod(output.shape))
    found = np.stack([np.frombuffer(program.run(s), np.int8)[:size] for s in model.sample_inputs])
    real = [np.load(path.with_suffix(".npy")), np.load(folder / f"{name}.float.npy")]
    if len(output.shape) == 4 and output.shape[1:3] != (1, 1):
        height, width, channels = output.shape[1:]
        real = [y.reshape(-1, channels, height, width).transpose(0, 2, 3, 1) for y in real]
    steps = [y.reshape(SAMPLE_COUNT, -1) / output.scale + output.zero_point for y in real]
    return found, np.round(steps[0]), steps[1]


def steps_apart(folder: Path, name: str, way: str) -> np.ndarray:
    found, wanted, _ = answers(folder, name, way)
    return np.abs(found - wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", ONE)
def test_one_operator_is_at_most_one_step_from_onnxruntime(
    op: str, way: str, quantized: Path
) -> None:
    assert steps_apart(quantized, f"one {op}", way).max() <= STEPS_MAX["one"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("op", TWO)
def test_an_operator_with_a_rescaled_result_is_at_most_two_steps_away(
    op: str, way: str, quantized: Path
) -> None:
    assert steps_apart(quantized, f"two {op}", way).max() <= STEPS_MAX["two"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_a_network_stays_near_onnxruntime(name: str, way: str, quantized: Path) -> None:
    steps = steps_apart(quantized, name, way)
    assert steps.max() <= STEPS_MAX["network"]
    assert steps.mean() <= MEAN_STEPS_MAX


@pytest.mark.parametrize("way", WAYS)
def test_the_program_is_as_near_to_the_float_models_as_onnxruntime_is(
    way: str, quantized: Path
) -> None:
    """The geometric mean over the networks: the steps between the two are no loss on one side."""
    ratios = []
    for name in WHOLE:
        found, wanted, real = answers(quantized, name, way)
        ratios.append(np.square(found - real).mean() / np.square(wanted - real).mean())
    assert np.exp(np.mean(np.log(ratios))) < 1.4, ratios


def test_the_report_counts_a_relu_that_the_file_leaves_to_saturation(quantized: Path) -> None:
    """ONNX Runtime drops a Relu before a QuantizeLinear whose zero point is the least code."""
    model = compile_model(quantized / "keras.u8-channel.onnx", calibration=quantized / "keras.npz")
    assert model.report.layers[0].op == "CONV_2D"
    assert model.report.layers[0].relative_rms < 0.02


def test_a_tensor_that_the_file_leaves_in_float_is_named_and_calibrated(quantized: Path) -> None:
    """ONNX Runtime leaves a Sub at the input in float."""
    with pytest.raises(CompileError, match="'signal' has no QuantizeLinear behind it: give calibr"):
        compile_model(quantized / "line.u8-channel.onnx")
    assert steps_apart(quantized, "line", "u8-channel").max() <= STEPS_MAX["network"]
