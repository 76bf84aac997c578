"""Optimized kernels against the portable ones on random layers: byte for byte, on each processor
that has them. random_layers.c says what is drawn; a failure prints the seed that draws it again."""

from pathlib import Path

import pytest

from tests.targets.machines import (
    HERE_WITH_TABLES,
    Machine,
    aarch64,
    build_random_layers,
    missing_package,
    run,
)

LAYERS = 3000
TABLES = {
    "cortex-a53": {"neon"},
    "cortex-a76": {"neon", "neondot"},
    "max": {"neon", "neondot"},
}


@pytest.fixture(scope="module")
def random_layers(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = aarch64("max", "neondot")
    package = missing_package(machine)
    if package is not None:
        pytest.skip(f"aarch64: `apt install {package}` as root (make setup-targets)")
    folder = tmp_path_factory.mktemp("layers")
    return build_random_layers(root, machine.build, folder / "random_layers")


def judged(text: str) -> set[str]:
    """The tables that were compared, each on enough layers and outputs to say something."""
    rows = [line.split() for line in text.splitlines()]
    for _, taken, outputs, inside in rows:
        assert int(taken) > LAYERS * 0.7  # not all: groups, depthwise with a multiplier
        assert int(inside) > int(outputs) * 0.2  # outputs at their bounds would compare little
    return {row[0] for row in rows}


@pytest.mark.targets
@pytest.mark.parametrize("cpu", TABLES)
def test_kernels_of_a_processor_equal_the_portable_ones(random_layers: Path, cpu: str) -> None:
    done = run(aarch64(cpu, "all of them"), random_layers, "0", str(LAYERS))
    assert done.returncode == 0, done.stdout
    assert judged(done.stdout) == TABLES[cpu]


@pytest.mark.targets
def test_kernels_of_this_processor_equal_the_portable_ones(root: Path, tmp_path: Path) -> None:
    program = build_random_layers(root, HERE_WITH_TABLES, tmp_path / "random_layers")
    done = run(Machine("here", HERE_WITH_TABLES), program, "0", str(LAYERS))
    assert done.returncode == 0, done.stdout
    if not judged(done.stdout):
        pytest.skip("this processor has only the portable kernels")
