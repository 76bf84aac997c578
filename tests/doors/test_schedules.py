"""When devices begin to serve: dates, windows of the week, and who has to wait for them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from wherry_protocol.messages.desired import SwapWindow

from tests.doors.quay import Quay

HOUR_S = 3600.0
TRIAL = {"good_inferences_min": 1, "trial_s_min": 0.0, "trial_s_max": 5.0}
LEAD = {"model": "digits", "version": "1.1.0", "target": "all"}


def two(quay: Quay) -> float:
    """Two devices on 1.0.0, 1.1.0 in the registry; the time."""
    quay.enroll("a", "b", protocol=(1, 2))
    quay.install("1.0.0")
    quay.push("1.1.0")
    return quay.at_sea(lambda world: world.now_s)


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def on_new(quay: Quay) -> int:
    return list(quay.versions().values()).count("1.1.0")


def window_on(quay: Quay, name: str) -> SwapWindow | None:
    desired = quay.devices[name].desired
    assert desired is not None
    return desired.assignments[0].window


def test_nobody_serves_it_before_its_time_and_the_device_is_told_that_time(quay: Quay) -> None:
    now_s = two(quay)
    made = quay.cli(
        "deploy", "digits:1.1.0", "--target", "all", "--no-wait",
        "--not-before", iso(now_s + HOUR_S), "--not-after", iso(now_s + 3 * HOUR_S),
    )  # fmt: skip
    quay.go(5)
    assert "its window, which opens in" in quay.rollout(made)["waiting_for"][0]
    quay.jump(HOUR_S / 2)
    assert on_new(quay) == 0
    quay.jump(HOUR_S / 2 + 10)
    assert on_new(quay) == 2
    window = window_on(quay, "a")
    assert window is not None
    assert window.not_before_s == int(now_s + HOUR_S)
    assert window.not_after_s == int(now_s + 3 * HOUR_S)


def test_after_its_time_a_rollout_pauses_and_offers_nothing_more(quay: Quay) -> None:
    now_s = two(quay)
    plan = {"parallel_max": 1, "not_after": iso(now_s + 60.0), "trial": TRIAL}
    for device in quay.devices.values():
        device.is_deaf = True
    made = quay.rest("POST", "/rollouts", LEAD | {"plan": plan})
    quay.be_quiet(120.0)
    for device in quay.devices.values():
        device.is_deaf = False
    quay.go(5)
    ended = quay.rollout(made)
    assert (ended["state"], ended["reason"]) == (
        "paused", "the time in which devices may swap is over",
    )  # fmt: skip
    assert ended["members"]["pending"] == 1
    again = quay.rest("POST", f"/rollouts/{made['id']}/resume", {"reason": "go on"})
    assert again["state"] == "paused"


def test_a_window_of_the_week_is_held_by_the_controller_and_carried_to_devices(
    quay: Quay, tmp_path: Path
) -> None:
    now_s = two(quay)
    opens = datetime.fromtimestamp(now_s + 5 * HOUR_S, UTC)
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[opens.weekday()]
    file = tmp_path / "night.toml"
    ends = f"{(opens.hour + 2) % 24:02}:00"
    file.write_text(
        f'[window]\ndays = ["{day}"]\nstart = "{opens:%H}:00"\nend = "{ends}"\n'
        "defer_until = 2096-12-24T00:00:00Z\n[trial]\ngood_inferences_min = 1\ntrial_s_min = 0.0\n"
        "trial_s_max = 5.0\n"
    )
    made = quay.cli("deploy", "digits:1.1.0", "--target", "all", "--file", file, "--no-wait")
    quay.jump(3 * HOUR_S)
    assert on_new(quay) == 0
    quay.jump(2 * HOUR_S)
    quay.go(3)
    assert (on_new(quay), quay.rollout(made)["state"]) == (2, "succeeded")
    window = window_on(quay, "b")
    assert window is not None
    assert (window.days, window.start_minute) == (1 << opens.weekday(), opens.hour * 60)
    assert window.defer_until_s == int(datetime(2096, 12, 24, tzinfo=UTC).timestamp())


def test_blue_green_stages_at_any_time_and_switches_in_the_window(quay: Quay) -> None:
    now_s = two(quay)
    plan: dict[str, Any] = {
        "strategy": "blue-green", "trial": TRIAL, "not_before": iso(now_s + HOUR_S),
        "parameters": {"switch": "automatic"}, "gate": {"require": ["errors"]},
    }  # fmt: skip
    quay.rest("POST", "/rollouts", LEAD | {"plan": plan})
    quay.go(5)
    assert all(device.candidate for device in quay.devices.values())
    assert on_new(quay) == 0
    quay.jump(HOUR_S)
    quay.go(2)
    assert on_new(quay) == 2


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"not_before": "soon"}, "2026-12-01T02:00:00Z"),
        ({"not_before": 20, "not_after": 10}, "later than not_before"),
        ({"window": {"days": ["someday"]}}, "mon, tue"),
        ({"window": {"start": "25:00"}}, "like 22:00"),
        ({"window": {"start": "03:00", "end": "03:00"}}, "last for some time"),
        ({"window": {"zone": "Oslo"}}, "like +01:00"),
        ({"window": {"hours": 3}}, "unknown hours"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_by_name(
    quay: Quay, plan: dict[str, Any], words: str
) -> None:
    quay.enroll("a")
    quay.push("1.1.0")
    assert words in quay.refused("POST", "/rollouts", LEAD | {"plan": plan})
