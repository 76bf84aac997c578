"""The soak itself, short: rollouts and faults on a few agents; threads, descriptors and files do
not grow. `make soak` is the long one, and looks at memory too."""

from pathlib import Path

import pytest

from tests.system.chaos.soak import soaked

pytestmark = pytest.mark.chaos


def test_a_short_soak_leaves_nothing_behind(mosquitto: str, tmp_path: Path):
    soak, figures = soaked(mosquitto, tmp_path, minutes=0.6, agents=4, seed=3)
    wrong = [one for one in figures if one.holds is False and "memory" not in one.name]
    assert not wrong, f"{wrong}; faults: {dict(soak.struck)}"
    assert soak.struck
