"""Fuzzing the loader and whatever it lets through: the fuzzer's build, its corpus, a run."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from wherry_native.compiler import compile_model
from wherry_native.program import DType

from tests.engine import programs, programs_16, programs_abi2
from tests.engine.build import CORE, executable, headers_of
from tests.engine.operator_cases import DRAWS, cases

PACKAGES = "clang libclang-rt-14-dev"
IMAGE_BYTES_MAX = 8192
MODELS_PER_OPERATOR = 4
FLAGS = (
    "-std=c11", "-O1", "-g1", "-ffp-contract=off", "-fno-sanitize-recover=all",
    "-fsanitize=fuzzer,address,undefined",
)  # fmt: skip
STATISTICS = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.M)
INTERRUPTED = "libFuzzer: run interrupted"
IMAGES = re.compile(r"^images: (\d+) refused, (\d+) ran, (\d+) too long$", re.M)


@dataclass(frozen=True)
class Outcome:
    """What a run did. `finding` is the end of the fuzzer's report, empty where it found nothing."""

    executions: int
    refused: int
    ran: int
    too_long: int
    finding: str


def is_possible() -> bool:
    return shutil.which("clang") is not None


def build(root: Path, *, with_tables: bool) -> Path:
    """The fuzzer; `with_tables` adds kernels for particular processors: long to build."""
    csrc = root / "native" / "csrc"
    folders = (*CORE, "kernels/*") if with_tables else CORE
    portable_only = [] if with_tables else ["-DWH_PORTABLE_ONLY"]
    sources = sorted(path for folder in folders for path in csrc.glob(f"{folder}/*.c"))
    sources += [csrc / "host" / "kernels.c", root / "tests/engine/fuzz_program.c"]
    command = ["clang", *FLAGS, *portable_only, f"-I{csrc / 'include'}", f"-I{csrc}"]
    return executable(root, "fuzz-program", command, sources, headers_of(csrc))


def write_corpus(folder: Path) -> int:
    """Valid programs: small ones by hand, small models of every operator. How many they are."""
    images = [programs.fully_connected(), programs.identity(), programs.counter()]
    images.extend((programs.every_operator(), programs_16.every_operator_16()))
    images.extend(programs_abi2.every_operator_abi2(dtype) for dtype in (DType.INT8, DType.INT16))
    model = folder / "model.tflite"
    for case in (case for operator in DRAWS for case in cases(operator, MODELS_PER_OPERATOR)):
        model.write_bytes(case.model)
        images.append(compile_model(model).image)
    model.unlink()
    small = [image for image in images if len(image) <= IMAGE_BYTES_MAX]
    for number, image in enumerate(small):
        (folder / f"program-{number:03}").write_bytes(image)
    return len(small)


def culprits(corpus: Path) -> list[Path]:
    """The inputs of what `run` found."""
    kinds = ("crash", "timeout", "oom", "leak")
    return [path for kind in kinds for path in corpus.parent.glob(f"{kind}-*")]


def run(fuzzer: Path, corpus: Path, executions: int, seed: int, timeout_s: float) -> Outcome:
    """`executions` of the fuzzer in one process; `corpus` gets what it finds worth keeping.

    Stops at the first finding, whose input lies beside the corpus (`culprits`).
    """
    done = subprocess.run(
        [fuzzer, corpus, f"-runs={executions}", f"-seed={seed}", f"-max_len={IMAGE_BYTES_MAX}",
         "-print_final_stats=1", "-timeout=20", f"-artifact_prefix={corpus.parent}/",
         f"-max_total_time={int(timeout_s)}"],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    counted, images = STATISTICS.search(done.stderr), IMAGES.search(done.stderr)
    refused, ran, too_long = map(int, images.groups()) if images else (0, 0, 0)
    is_clean = done.returncode == 0 or INTERRUPTED in done.stderr
    finding = "" if is_clean else done.stderr[-4000:]
    return Outcome(int(counted[1]) if counted else 0, refused, ran, too_long, finding)
