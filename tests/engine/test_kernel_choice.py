"""Which kernels run: the fastest that the processor has, or those that are named."""

import pytest
from wherry_native.engine import EngineError, Program, chosen_kernels, kernel_names

from tests.engine import programs


def test_portable_kernels_are_always_there_and_come_last() -> None:
    assert kernel_names()[-1] == "portable"


def test_the_first_kernels_run_unless_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHERRY_ENGINE_KERNELS", raising=False)
    assert Program(programs.fully_connected()).kernels == kernel_names()[0]


@pytest.mark.parametrize("name", kernel_names())
def test_a_program_runs_by_the_kernels_that_are_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_ENGINE_KERNELS", name)
    by_variable = Program(programs.fully_connected())
    by_argument = Program(programs.fully_connected(), kernels=name)
    assert (by_variable.kernels, by_argument.kernels, chosen_kernels()) == (name, name, name)
    assert by_variable.run(b"1234") == by_argument.run(b"1234")


def test_kernels_that_this_processor_lacks_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHERRY_ENGINE_KERNELS", "abacus")
    with pytest.raises(EngineError, match=r"WHERRY_ENGINE_KERNELS names kernels 'abacus'") as e:
        Program(programs.fully_connected())
    assert e.value.name == "WH_ERR_KERNELS"
    assert ", ".join(kernel_names()) in str(e.value)
    with pytest.raises(EngineError, match="abacus"):
        chosen_kernels()
    with pytest.raises(EngineError, match=r"the call names kernels 'oars'"):
        Program(programs.fully_connected(), kernels="oars")
