"""The owner sees in GET /status which kernels run, and why none do."""

import pytest
from wherry_agent.shell.status import describe
from wherry_native.engine import ABI_VERSION, kernel_names


def test_status_names_the_kernels_that_run(harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHERRY_ENGINE_KERNELS", raising=False)
    engine = describe(harbour.live.agent, harbour.now_us, True)["engine"]
    assert engine == {"abi": ABI_VERSION, "kernels": kernel_names()[0]}


def test_status_says_why_no_kernels_run(harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_ENGINE_KERNELS", "abacus")
    kernels = describe(harbour.live.agent, harbour.now_us, True)["engine"]["kernels"]
    assert kernels.startswith("WHERRY_ENGINE_KERNELS names kernels 'abacus', this processor has")
