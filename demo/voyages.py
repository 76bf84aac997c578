"""The five voyages: what is done, and what must come of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo import attacker
from demo.harbour import MODEL, Harbour
from demo.processes import DemoError, wait_until

ROLLOUTS = Path(__file__).with_name("rollouts")
PUSH_AGAIN_S = 5.0
MOVING = ("offered", "fetching", "staged", "trial")


@dataclass
class Voyage:
    """What happened, for the table and the report."""

    name: str
    wanted: str
    happened: str = ""
    seconds: float = 0.0
    went_well: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)


def sail(harbour: Harbour, name: str, wanted: str, run: Callable[[Harbour, Voyage], str]) -> Voyage:
    """Run one voyage; whatever goes otherwise is told, and the next one sails anyway."""
    voyage = Voyage(name, wanted)
    began = time.monotonic()
    try:
        voyage.happened = run(harbour, voyage)
        voyage.went_well = True
    except DemoError as error:
        voyage.happened = str(error)
    voyage.seconds = time.monotonic() - began
    return voyage


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoError(otherwise)


def serving(harbour: Harbour, version: str, names: set[str] | None = None) -> None:
    """Everybody (or `names`) serves that version, as the devices report it."""
    found = harbour.versions()
    wrong = {n: v for n, v in found.items() if v != version and (names is None or n in names)}
    expect(not wrong, f"not on {version}: {wrong}")


def to_all(harbour: Harbour, voyage: Voyage) -> str:
    """1.0.0 everywhere, directly."""
    made = harbour.wherry(
        "deploy", f"{MODEL}:1.0.0", "--target", "all", "--file", ROLLOUTS / "direct.toml"
    )
    voyage.evidence = {"rollout": made["id"], "members": made["members"]}
    expect(made["state"] == "succeeded", f"the rollout is {made['state']}: {made['reason']}")
    serving(harbour, "1.0.0")
    return f"{made['members']['confirmed']} units confirmed"


def by_canary(harbour: Harbour, voyage: Voyage) -> str:
    """1.1.0 by canary; one agent is killed in mid-update and recovers."""
    made = harbour.wherry(
        "rollout", "create", f"{MODEL}:1.1.0", "--target", "all",
        "--file", ROLLOUTS / "canary.toml",
    )  # fmt: skip
    victim = Victim(harbour, made["id"])
    victim.start()
    ended = harbour.wherry("rollout", "watch", made["id"])
    victim.join()
    voyage.evidence = {"rollout": made["id"], "killed": victim.killed, "phase": victim.phase}
    expect(ended["state"] == "succeeded", f"the rollout is {ended['state']}: {ended['reason']}")
    expect(victim.killed != "", "no agent was caught in mid-update")
    serving(harbour, "1.1.0")
    return f"all confirmed; {victim.killed} was killed while {victim.phase} and came back"


class Victim(threading.Thread):
    """Kills the first agent that it sees in mid-update, and starts it again."""

    def __init__(self, harbour: Harbour, rollout: str) -> None:
        super().__init__(daemon=True)
        self.harbour, self.rollout = harbour, rollout
        self.killed = self.phase = ""

    def run(self) -> None:
        while not self.killed:
            view = self.harbour.api("GET", f"/rollouts/{self.rollout}")
            for member in view["units"]:
                if member["phase"] in MOVING and member["unit"].startswith("boat-"):
                    self.phase = member["phase"]
                    self._strike(member["unit"].partition("/")[0])
                    break
            if not view["is_open"]:
                return
            time.sleep(0.02)

    def _strike(self, name: str) -> None:
        self.harbour.processes.kill(name)
        self.harbour.start_agent(name)
        self.killed = name


def rolled_and_taken_back(harbour: Harbour, voyage: Voyage) -> str:
    """1.1.1 rolls 25 % → 100 %; an operator does not like it and rolls back."""
    made = harbour.wherry(
        "deploy", f"{MODEL}:1.1.1", "--target", "all", "--file", ROLLOUTS / "rolling.toml"
    )
    voyage.evidence = {"rollout": made["id"], "members": made["members"]}
    expect(made["state"] == "succeeded", f"the rollout is {made['state']}: {made['reason']}")
    serving(harbour, "1.1.1")
    reason = "field engineers report doubtful sevens"
    sent = harbour.wherry(
        "rollback", MODEL, "--target", "all", "--to-previous", "--reason", reason,
        "--file", ROLLOUTS / "direct.toml",
    )  # fmt: skip
    voyage.evidence |= {"sent": sent["sent"], "passed": sent["passed"]}
    wait_until(
        "everybody is back on 1.1.0 and has confirmed it",
        lambda: harbour.settled("1.1.0"),
        60,
    )
    return f"{len(sent['sent'])} units back on 1.1.0 by {reason!r}"


def too_slow(harbour: Harbour, voyage: Voyage) -> str:
    """1.2.0 keeps inside every budget, yet is slower than the gate allows."""
    made = harbour.wherry(
        "rollout", "create", f"{MODEL}:1.2.0", "--target", "all",
        "--file", ROLLOUTS / "canary.toml",
    )  # fmt: skip
    harbour.wherry("rollout", "watch", made["id"], expect=18)
    wait_until(
        "the way back ends",
        lambda: not harbour.api("GET", f"/rollouts/{made['id']}")["is_open"],
        60,
    )
    ended = harbour.api("GET", f"/rollouts/{made['id']}")
    touched = [m["unit"] for m in ended["units"] if m["phase"] not in ("pending", "skipped")]
    voyage.evidence = {"rollout": made["id"], "touched": touched, "checks": ended["checks"]}
    expect(ended["state"] == "reverted", f"the rollout is {ended['state']}: {ended['reason']}")
    expect(ended["stage"] == 1, f"it was caught in stage {ended['stage']}, not in the first")
    expect(len(touched) == 1, f"touched {touched}")
    serving(harbour, "1.1.0")
    return f"reverted in stage 1 after {touched[0]}: {ended['reason']}"


def tampered(harbour: Harbour, voyage: Voyage) -> str:
    """A bundle with one changed weight: the commands refuse it, and so does every device."""
    bundle = attacker.tampered_bundle(harbour.folder / f"{MODEL}-1.1.0.wherry")
    root = harbour.data / "roots" / "1.cose"
    refusals = {
        "wherry model verify": harbour.wherry(
            "model", "verify", bundle, "--root", root, "--org", "harbour", expect=11
        ),
        "wherry registry push": harbour.wherry("registry", "push", bundle, expect=11),
    }
    before = harbour.versions()
    last = max((event["id"] for event in told(harbour, 0)), default=0)
    pushed_s = [0.0]

    def everybody_refuses() -> bool:
        # The controller may give a device its own assignment again before it has looked at the
        # forged one; the thief is as persistent.
        if time.monotonic() - pushed_s[0] > PUSH_AGAIN_S:
            attacker.push_past_the_controller(harbour, bundle)
            pushed_s[0] = time.monotonic()
        return before.keys() <= refusing(harbour, last).keys()

    wait_until("every unit refuses the forgery", everybody_refuses, 60)
    reasons = refusing(harbour, last)
    voyage.evidence = {"commands": refusals, "devices": reasons}
    expect(harbour.versions() == before, "somebody runs something else")
    return f"both commands and {len(reasons)} units: {next(iter(reasons.values()))}"


def told(harbour: Harbour, after_id: int) -> list[dict[str, Any]]:
    """Events of devices after that one."""
    found: list[dict[str, Any]] = harbour.api("GET", f"/events?after_id={after_id}&limit=1000")
    return found


def refusing(harbour: Harbour, after_id: int) -> dict[str, str]:
    """Units that told of a rejected assignment since then, with what they said."""
    return {
        f"{event['connection']}/{event['unit']}": f"{event['code'].lower()}: {event['text']}"
        for event in told(harbour, after_id)
        if event["event"] == "rejected" and event["model"] == MODEL
    }


VOYAGES = (
    ("1.0.0 to all", "every unit serves 1.0.0", to_all),
    ("1.1.0 by canary", "succeeds, though one agent is killed on the way", by_canary),
    ("1.1.1 rolling, taken back", "an operator rolls it back to 1.1.0", rolled_and_taken_back),
    ("1.2.0 by canary", "caught by stage 1 and reverted, nobody else touched", too_slow),
    ("a tampered bundle", "refused by every device and by the commands", tampered),
)
