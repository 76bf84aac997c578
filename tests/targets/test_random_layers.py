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
LAYERS_WITH_WEIGHTS = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}
WITHOUT = {"ADD", "SUB", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
OWN = {  # operators for which a table has kernels of its own
    "avx2": LAYERS_WITH_WEIGHTS | WITHOUT,
    "avx512vnni": LAYERS_WITH_WEIGHTS | WITHOUT,
    "neon": LAYERS_WITH_WEIGHTS,
    "neondot": LAYERS_WITH_WEIGHTS,
}
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
    for name, operator, *numbers in rows:
        layers, taken, outputs, inside = map(int, numbers)
        if operator in OWN[name]:
            assert taken > layers * 0.6  # not all: groups, a depth multiplier, broadcast operands
            assert inside > outputs * 0.2  # outputs at their bounds would compare little
            assert layers > LAYERS * 0.05
    tables = {row[0] for row in rows}
    assert {tuple(row[:2]) for row in rows} == {
        (name, operator) for name in tables for operator in LAYERS_WITH_WEIGHTS | WITHOUT
    }
    return tables


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
