"""The vectors: programs, the inputs that every target runs, and the CRC-32 of what must come out.

Three real models with the outputs that TFLite Micro gave them, a packaged bundle with its golden
vectors, small models of every operator, programs with states, and one that every engine refuses.
`write` makes the file that vectors.S puts into a target's memory; run_vectors.c has its layout.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wherry_native.compiler import compile_model
from wherry_native.engine import Program
from wherry_protocol.bundle import program_image, read_bundle
from wherry_protocol.manifest import Role

from tests.cli.door import wherry
from tests.engine import programs, programs_16, programs_abi2
from tests.engine.operator_cases import DRAWS, cases

REAL_MODELS = ("anomaly_detection", "keyword_spotting", "image_classification")
ALIGNMENT = 16
STATE_SAMPLES = 8


@dataclass(frozen=True)
class Vectors:
    """A program, its samples (all inputs one after another), and what comes of it: the CRC-32 of
    all outputs in hexadecimal digits, or the name of the status with which it is refused."""

    name: str
    image: bytes
    samples: tuple[bytes, ...]
    result: str


def real(folder: Path, name: str, count: int) -> Vectors:
    """The last `count` golden vectors of a model; the very last ones are real samples."""
    with np.load(folder / f"{name}.vectors.npz") as golden:
        inputs, outputs = golden["inputs"][-count:], golden["outputs"][-count:]
    image = compile_model(folder / f"{name}.tflite").image
    samples = tuple(sample.tobytes() for sample in inputs)
    return Vectors(name, image, samples, f"{zlib.crc32(outputs.tobytes()):08x}")


def packaged(digits: Path, folder: Path) -> Vectors:
    """A bundle as `wherry model package` makes it: its program and its golden vectors."""
    path = folder / "digits-1.0.0.wherry"
    made = wherry(
        "model", "package", "--input", digits / "digits-1.0.0.onnx", "--name", "digits",
        "--version", "1.0.0", "--calibration", digits / "calibration.npz", "--output", path,
    )  # fmt: skip
    assert made.status == 0, made
    bundle = read_bundle(path.read_bytes())
    inputs, outputs = bundle.pieces(Role.GOLDEN_INPUTS), bundle.pieces(Role.GOLDEN_OUTPUTS)
    size = len(inputs) // bundle.manifest.golden_count
    samples = tuple(inputs[at : at + size] for at in range(0, len(inputs), size))
    return Vectors("digits-bundle", program_image(bundle), samples, f"{zlib.crc32(outputs):08x}")


def of_operators(folder: Path, count: int) -> Iterator[Vectors]:
    """`count` small models of each operator; `folder` is for the compiler's files."""
    for operator in DRAWS:
        for case in cases(operator, count):
            path = folder / f"{case.name}.tflite"
            path.write_bytes(case.model)
            samples = tuple(b"".join(array.tobytes() for array in arrays) for arrays in case.inputs)
            yield _here(case.name, compile_model(path).image, samples)


def by_hand() -> Iterator[Vectors]:
    source = random.Random(5)
    for image in (
        programs.counter(),
        programs.every_operator(),
        programs_16.every_operator_16(),
        programs_abi2.every_operator_abi2(),
    ):
        program = Program(image)
        size = sum(tensor.size_bytes for tensor in program.inputs)
        samples = tuple(source.randbytes(size) for _ in range(STATE_SAMPLES))
        yield _here(program.name.replace(" ", "-"), image, samples)


def refused() -> Vectors:
    image = programs.counter().replace(b"WHRYPROG", b"WHRYPROF")
    return Vectors("spoilt", image, (bytes(4),), "WH_ERR_MAGIC")


def _here(name: str, image: bytes, samples: tuple[bytes, ...]) -> Vectors:
    """What the engine that is installed here makes of them, with the kernels it has chosen."""
    program = Program(image)
    crc = 0
    for sample in samples:
        crc = zlib.crc32(program.run(sample), crc)
    return Vectors(name, image, samples, f"{crc:08x}")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def write(path: Path, vectors: list[Vectors]) -> None:
    """The records that run_vectors.c walks, and the empty one that ends them."""
    with path.open("wb") as file:
        for v in vectors:
            name, samples = v.name.encode() + b"\0", b"".join(v.samples)
            sizes = (len(name), len(v.image), len(v.samples[0]), len(v.samples))
            file.write(struct.pack("<4I", *sizes))
            file.writelines(_padded(part) for part in (name, v.image, samples))
        file.write(bytes(ALIGNMENT))
