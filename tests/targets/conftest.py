"""The vectors' file, and an executable per build, both made once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.targets import vectors
from tests.targets.machines import Build, Machine, build_vectors, missing_package

REAL_SAMPLES = {"anomaly_detection": 64, "keyword_spotting": 16, "image_classification": 4}
MODELS_PER_OPERATOR = 3

Builder = Callable[[Machine], Path]


@dataclass(frozen=True)
class VectorsFile:
    """`results`: CRC or status that must come of each program, by its name."""

    path: Path
    results: dict[str, str]


@pytest.fixture(scope="package")
def vectors_file(
    mlperf_tiny: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> VectorsFile:
    folder = tmp_path_factory.mktemp("vectors")
    made = [vectors.real(mlperf_tiny, name, count) for name, count in REAL_SAMPLES.items()]
    made.append(vectors.packaged(digits, folder))
    made.extend(vectors.by_hand())
    made.extend(vectors.of_operators(folder, MODELS_PER_OPERATOR))
    made.append(vectors.refused())
    path = folder / "vectors"
    vectors.write(path, made)
    return VectorsFile(path, {v.name: v.result for v in made})


@pytest.fixture(scope="package")
def executable(
    root: Path, vectors_file: VectorsFile, tmp_path_factory: pytest.TempPathFactory
) -> Builder:
    """What a machine runs, built when it is first asked for; skips where a package is missing."""
    folder = tmp_path_factory.mktemp("targets")
    made: dict[Build, Path] = {}

    def build(machine: Machine) -> Path:
        package = missing_package(machine)
        if package is not None:
            pytest.skip(f"{machine.name}: `apt install {package}` as root (make setup-targets)")
        if machine.build not in made:
            output = folder / machine.build.name.replace(" ", "_")
            made[machine.build] = build_vectors(root, machine.build, vectors_file.path, output)
        return made[machine.build]

    return build
