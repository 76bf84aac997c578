"""Direct deployment: from the command to everybody confirmed, with real agents and a real broker.

usage: bench/deploy.py [--devices N] [--rounds N] [--folder DIR]
Each agent replays 100 inputs a second. The trial is one second, so that is the least it can take.
Rounds after the first replace a serving model; the slowest of all rounds counts.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.controller.live import Live, wait_for  # noqa: E402
from tests.system.agents import AgentProcess  # noqa: E402
from tests.system.shore import enrolled, live_with_class, push  # noqa: E402

TRIAL_S = 1.0
LIMIT_S = 10.0
INPUT_BYTES = 16
SOURCE = """
[[source]]
model = "digits"
path = "samples.bin"
period_ms = 10
"""


def start(live: Live, folder: Path, count: int) -> list[AgentProcess]:
    """Agents that are online and known to the controller."""
    agents = []
    for number in range(count):
        place = folder / f"gw{number}"
        agents.append(enrolled(live, place, f"gw{number}", SOURCE))
        (place / "samples.bin").write_bytes(bytes(range(INPUT_BYTES)) * 8)
        agents[-1].start()
    healthy = ["ok"] * count
    wait_for(lambda: [u["health"] for u in live.get("/devices")] == healthy, "all are seen", 60.0)
    return agents


def deploy(live: Live, version: str) -> float:
    """Seconds from the command until every device has proved the version."""
    trial = {"good_inferences_min": 20, "trial_s_min": TRIAL_S, "trial_s_max": 60.0}
    body = {"model": "digits", "version": version, "target": "all",
            "plan": {"strategy": "direct", "trial": trial}}  # fmt: skip
    began = time.monotonic()
    rollout = live.post("/rollouts", body, 201)["id"]
    shown = wait_for(lambda: ended(live, rollout), f"{rollout} ends", 120.0)
    took_s = time.monotonic() - began
    if shown["state"] != "succeeded":
        raise SystemExit(f"{rollout} is {shown['state']}: {shown['reason']} {shown['failed']}")
    return took_s


def ended(live: Live, rollout: str) -> dict[str, object] | None:
    shown: dict[str, object] = live.get(f"/rollouts/{rollout}")
    return None if shown["is_open"] else shown


def measure(folder: Path, mosquitto: str, devices: int, rounds: int) -> list[float]:
    live = live_with_class(folder / "acme", mosquitto)
    agents: list[AgentProcess] = []
    try:
        agents = start(live, folder, devices)
        times = []
        for number in range(rounds):
            push(live, f"1.{number}.0", number + 1, ballast_rows=8192)
            times.append(deploy(live, f"1.{number}.0"))
        return times
    finally:
        for agent in agents:
            agent.kill()
        live.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        raise SystemExit("bench/deploy.py: no mosquitto on PATH; install it")
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        times = measure(Path(name), mosquitto, asked.devices, asked.rounds)
    figures = [
        Figure(f"direct deployment to {asked.devices} devices, slowest", max(times), "s", LIMIT_S),
        Figure("direct deployment, fastest", min(times), "s"),
        Figure("trial", TRIAL_S, "s"),
    ]
    return report(figures, rounds_s=times)


if __name__ == "__main__":
    raise SystemExit(main())
