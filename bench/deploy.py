"""Direct deployment: from the command to everybody confirmed, with real agents and a real broker.

usage: bench/deploy.py [--devices N] [--rounds N] [--folder DIR]
From `wherry deploy …` started to everybody confirmed, the command's own start included. Each agent
replays 100 inputs a second. The trial is one second, so that is the least it can take. Rounds
after the first replace a serving model; the slowest of all rounds counts, and its split is shown.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.controller.live import Live, wait_for  # noqa: E402
from tests.system.agents import AgentProcess  # noqa: E402
from tests.system.shore import enrolled, live_with_class, push  # noqa: E402

TRIAL_S = 1.0
LIMIT_S = 10.0
PLAN = f"""
strategy = "direct"
[trial]
good_inferences_min = 20
trial_s_min = {TRIAL_S}
trial_s_max = 60.0
"""
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


@dataclass(frozen=True)
class Round:
    """Seconds: from the command to everybody confirmed, and its two parts."""

    whole_s: float
    until_offered_s: float  # the command starts, asks the controller, the rollout is made
    until_confirmed_s: float  # from there until the last device has proved the version


def deploy(live: Live, version: str) -> Round:
    """One direct deployment by the command."""
    plan = live.folder / "direct.toml"
    plan.write_text(PLAN)
    command = [
        str(Path(sys.executable).with_name("wherry")), "--data", str(live.folder), "deploy",
        f"digits:{version}", "--target", "all", "--file", str(plan), "--json",
    ]  # fmt: skip
    began_s = time.time()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench/deploy.py: `wherry deploy` ended with {done.returncode}: "
                         f"{done.stderr or done.stdout}")  # fmt: skip
    shown = live.get(f"/rollouts/{json.loads(done.stdout)['id']}")
    if shown["state"] != "succeeded":
        raise SystemExit(f"{shown['id']} is {shown['state']}: {shown['reason']} {shown['failed']}")
    made_s, ended_s = shown["created_s"], shown["updated_s"]
    return Round(ended_s - began_s, made_s - began_s, ended_s - made_s)


def measure(folder: Path, mosquitto: str, devices: int, rounds: int) -> list[Round]:
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
    slowest = max(times, key=lambda one: one.whole_s)
    name = f"direct deployment to {asked.devices} devices"
    figures = [
        Figure(f"{name}, slowest of {len(times)}", slowest.whole_s, "s", LIMIT_S),
        Figure("of that, command to rollout", slowest.until_offered_s, "s"),
        Figure("of that, rollout to all confirmed", slowest.until_confirmed_s, "s"),
        Figure(f"{name}, fastest", min(one.whole_s for one in times), "s"),
        Figure("trial", TRIAL_S, "s"),
    ]
    return report(figures, rounds_s=[one.whole_s for one in times])


if __name__ == "__main__":
    raise SystemExit(main())
