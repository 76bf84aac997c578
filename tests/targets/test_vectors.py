"""One set of vectors, one CRC per program, equal everywhere: portable C here and on aarch64,
Cortex-M7 and Cortex-M55, and the engine that is installed here with the kernels of its choice."""

import re
from pathlib import Path

import pytest

from tests.engine.operator_cases import DRAWS
from tests.targets.conftest import REAL_SAMPLES, Builder, VectorsFile
from tests.targets.machines import BIG_ENDIAN, ELSEWHERE, HERE, WITHOUT_DOT_PRODUCT, Machine, run

MACHINES = [
    *(pytest.param(machine, id=machine.name) for machine in HERE),
    *(pytest.param(machine, id=machine.name, marks=pytest.mark.targets) for machine in ELSEWHERE),
]


def results(text: str, kernels: str) -> dict[str, str]:
    """CRC or status by program; that the last line says `end` shows that none is missing."""
    first, *lines, last = text.splitlines()
    assert (first, last) == (f"kernels {kernels}", "end")
    return dict(line.rsplit(" ", 1) for line in lines)


def test_the_vectors_hold_real_models_a_bundle_states_and_every_operator(
    vectors_file: VectorsFile,
) -> None:
    assert set(REAL_SAMPLES) < set(vectors_file.results)
    assert {"digits-bundle", "counter", "every-operator", "spoilt"} < set(vectors_file.results)
    assert {name.rsplit("-", 1)[0] for name in vectors_file.results} > set(DRAWS)
    # Programs that all gave the same few bytes would compare nothing.
    assert len(set(vectors_file.results.values())) > len(vectors_file.results) * 0.9


@pytest.mark.parametrize("machine", MACHINES)
def test_a_target_gives_the_same_bytes(
    machine: Machine, executable: Builder, vectors_file: VectorsFile
) -> None:
    done = run(machine, executable(machine))
    assert results(done.stdout, machine.kernels) == vectors_file.results, done.stderr
    assert done.returncode == 0


@pytest.mark.targets
def test_kernels_that_the_processor_lacks_are_not_chosen_even_when_asked_for(
    executable: Builder,
) -> None:
    done = run(WITHOUT_DOT_PRODUCT, executable(WITHOUT_DOT_PRODUCT))
    assert done.stdout == "kernels unknown here\n"


@pytest.mark.targets
def test_a_big_endian_machine_refuses_every_program_by_name(
    executable: Builder, vectors_file: VectorsFile
) -> None:
    done = run(BIG_ENDIAN, executable(BIG_ENDIAN))
    assert results(done.stdout, "portable") == dict.fromkeys(
        vectors_file.results, "WH_ERR_BYTE_ORDER"
    )
    assert done.returncode == 0


def test_the_documented_crcs_are_those_of_the_golden_outputs(
    root: Path, vectors_file: VectorsFile
) -> None:
    page = (root / "docs" / "engine.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| \d+ \| `([0-9a-f]{8})` \|$", page, re.M))
    assert rows == {name: vectors_file.results[name] for name in REAL_SAMPLES}
