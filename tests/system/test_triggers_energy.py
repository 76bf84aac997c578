"""Energy, measured: a tree of the kernel's hwmon format whose power the test raises.

One device's power is raised until it is taken back; the other's stays as it was, and so does its
model. By the agent's own trial, and by the controller's gate.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wherry_protocol.errors import Code

from tests.controller.live import wait_for
from tests.system.fleet import METERED, TRIAL, Boat, Flotilla, flotilla

BASE_UW = 2_000_000
RAISED_UW_MAX = BASE_UW << 12
FACTOR = 4  # the limits' distance from what was measured
SOURCE = "measured:hwmon"
REQUESTS_MIN = 100


class PowerTree:
    """/sys/class/hwmon with one INA226 (Documentation/hwmon/ina2xx.rst): power1_input in uW."""

    def __init__(self, root: Path) -> None:
        self.root = root
        chip = root / "hwmon0"
        chip.mkdir(parents=True)
        (chip / "name").write_text("ina226\n")
        (chip / "in1_label").write_text("board\n")
        self.file = chip / "power1_input"
        self.set(BASE_UW)

    def set(self, power_uw: int) -> None:
        """Replaced as a whole, since a reader of sysfs never sees half a number either."""
        self.power_uw = power_uw
        written = self.root / "next"
        written.write_text(f"{power_uw}\n")
        written.replace(self.file)

    def raise_until(self, fleet: Flotilla, rollout_id: str, step_s: float = 0.4) -> None:
        """Double the power every `step_s`, until the rollout does not run any more."""
        began = time.monotonic()

        def look() -> bool:
            steps = int((time.monotonic() - began) / step_s)
            wanted = min(RAISED_UW_MAX, BASE_UW << min(steps, 12))
            is_over = fleet.rollout(rollout_id)["state"] != "running"
            if wanted != self.power_uw and not is_over:
                self.set(wanted)
            return is_over

        try:
            wait_for(look, "it is taken back", 60.0)
        except AssertionError:
            shown = fleet.rollout(rollout_id)
            raise AssertionError(f"at {self.power_uw} uW: {shown['waiting_for']}") from None

    @property
    def config(self) -> str:
        return f'[energy]\nsource = "hwmon"\nhwmon_root = "{self.root}"\nsample_s = 0.05\n'


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PowerTree]:
    folder = tmp_path_factory.mktemp("sys")
    return {name: PowerTree(folder / name) for name in ("rising", "level")}


@pytest.fixture(scope="module")
def fleet(
    mosquitto: str, tmp_path_factory: pytest.TempPathFactory, trees: dict[str, PowerTree]
) -> Iterator[Flotilla]:
    boats = {name: Boat(hardware=METERED, config=tree.config) for name, tree in trees.items()}
    with flotilla(mosquitto, tmp_path_factory.mktemp("energy"), boats) as one:
        yield one


@pytest.fixture
def base(fleet: Flotilla, trees: dict[str, PowerTree]) -> str:
    """A version that both serve at the base power, with its measured figures at the controller."""
    for tree in trees.values():
        tree.set(BASE_UW)
    version = fleet.push()
    fleet.install(version)
    for name in trees:  # enough for a gate to compare with
        fleet.measured(version, name, lambda row: row["energy_count"] >= 2 * REQUESTS_MIN)
    return version


def energy_uj(fleet: Flotilla, version: str, name: str) -> float:
    return float(fleet.measured(version, name)["energy_uj"])


def test_a_device_whose_measured_energy_rises_reverts_by_itself_and_a_level_one_stays(
    fleet: Flotilla, trees: dict[str, PowerTree], base: str
) -> None:
    version = fleet.push()
    limit_uj = FACTOR * max(energy_uj(fleet, base, name) for name in trees)
    limits = {**TRIAL, "trial_s_min": 8.0, "error_samples_min": 50, "energy_uj_max": limit_uj}
    plan = {"trial": limits, "gate": {"energy_ratio": 1000.0}}
    rising, level = (fleet.deploy(version, name, plan) for name in ("rising", "level"))
    fleet.wait_model("rising", phase="trial", code="OK")
    trees["rising"].raise_until(fleet, rising)
    member = fleet.members(rising)["rising"]
    assert member["code"] == Code.ENERGY, member["reason"]
    assert trees["rising"].power_uw > BASE_UW
    fleet.ends(rising, "reverted")
    assert fleet.serving("rising") == base
    fleet.ends(level, "succeeded")
    assert fleet.serving("level") == version
    row = fleet.measured(version, "level", lambda row: row["energy_source"] == SOURCE)
    assert row["energy_uj"] < limit_uj


def test_the_gate_takes_back_a_version_whose_measured_energy_rises_and_lets_a_level_one_stay(
    fleet: Flotilla, trees: dict[str, PowerTree], base: str
) -> None:
    version = fleet.push()
    gate = {"energy_ratio": float(FACTOR), "requests_min": REQUESTS_MIN, "interval_s": 1.0,
            "error_rate_max": 1.0, "require": ["energy"]}  # fmt: skip
    plan = {"trial": TRIAL, "gate": gate, "stages": [{"share": "100%", "soak_s": 8.0}]}
    rising, level = (fleet.deploy(version, name, plan) for name in ("rising", "level"))
    fleet.wait_model("rising", outcome="confirmed")
    trees["rising"].raise_until(fleet, rising)
    ended = fleet.ends(rising, "reverted")
    [check] = [c for c in ended["checks"] if c["check"] == "energy"]
    assert (check["verdict"], check["consequence"]) == ("fail", "revert")
    assert check["figures"]["source"] == "measured or calibrated"
    assert fleet.serving("rising") == base
    [check] = [c for c in fleet.ends(level, "succeeded")["checks"] if c["check"] == "energy"]
    assert (check["verdict"], fleet.serving("level")) == ("pass", version)
