"""A measurement that breaks its limit fails its program; one without a limit cannot."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bench(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(root / "bench"))
    import _report

    yield _report
    sys.modules.pop("_report")


@pytest.mark.parametrize(
    ("value", "limit", "is_minimum", "code"),
    [
        (1.0, 1.0, False, 0),
        (1.001, 1.0, False, 1),
        (200, 200, True, 0),
        (199, 200, True, 1),
        (9, None, False, 0),
    ],
)
def test_limit_decides_the_exit_code(
    bench: ModuleType,
    capsys: pytest.CaptureFixture[str],
    value: float,
    limit: float | None,
    is_minimum: bool,
    code: int,
) -> None:
    figure = bench.Figure("x", value, "ms", limit=limit, is_minimum=is_minimum)
    assert bench.report([figure], note="n") == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["machine"]
    assert printed["note"] == "n"
    holds = None if limit is None else code == 0
    row = {"name": "x", "value": value, "unit": "ms", "limit": limit, "holds": holds}
    assert printed["figures"] == [row]


def test_measuring_nothing_fails(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.report([]) == 1
    assert json.loads(capsys.readouterr().out)["figures"] == []
