"""Soak: many real agents, rollouts and faults without a pause, and nothing may grow.

    python -m tests.system.chaos.soak --minutes 30 --agents 60

One rollout after the other goes to everybody while faults come from the seed. Half of the devices
and, after the warm-up, the controller are spared kill -9 (not the rest), since what a process
takes can only be compared over one life. At the end the faults stop, everything must be well, and
the last third of the time after the warm-up is compared with its first third. Prints a table and,
last, one JSON object; the exit status is 1 where a limit does not hold.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench._report import Figure, machine, report
from tests.conftest import find_mosquitto
from tests.system.chaos import gauge, weather
from tests.system.chaos.gauge import Gauges
from tests.system.chaos.ledger import opened
from tests.system.chaos.waters import GATE, Waters, assert_fleet_is_well, pause, waters
from tests.system.fleet import TRIAL

SAMPLE_S = 10.0
ROLLOUT_S_MAX = 600.0
WARM_SHARE = 1 / 3
GROWTH_MAX = 0.05
LONG_S = 180.0  # after the warm-up: a shorter run may see no report on a disk
REPORTS_KEEP, EVENTS_KEEP = 3000, 2000
PRUNE_S = 300.0  # the writer's own
SERVICE = "controller"
PERIOD_MS, PERFORMANCE_S = 500, 15
PLAN = {
    "stages": [{"share": "10%", "soak_s": 2.0}, {"share": "100%", "is_gated": False}],
    "settled_share": 1.0,
}


@dataclass
class Soak:
    """One run over `sea`; `steady` are the devices that are never killed."""

    sea: Waters
    source: Random
    until_s: float
    warm_s: float
    steady: list[str] = field(default_factory=list)
    gauges: Gauges = field(default_factory=Gauges)
    ended: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None
    trouble: str = ""  # what was not well at the end
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until the time is over; then calm, and everything must be well."""
        sampling = threading.Thread(target=self._sample, name="gauges")
        sampling.start()
        try:
            while time.monotonic() < self.until_s:
                self._one_rollout()
        finally:
            self._over.set()
            sampling.join()
        try:
            assert_fleet_is_well(self.sea)
        except AssertionError as error:
            self.trouble = str(error)

    def _one_rollout(self) -> None:
        version = self.sea.push(seed=self.source.randrange(1, 5))
        rollout_id = self.sea.canary(version, **PLAN)
        began_s = time.monotonic()
        while (shown := self.sea.fleet.rollout(rollout_id))["is_open"]:
            if time.monotonic() - began_s > ROLLOUT_S_MAX:
                self.stuck.append(f"{rollout_id}: {shown['state']}, {shown['members']}")
                self.sea.proxy.calm()
                self.sea.live.post(f"/rollouts/{rollout_id}/abort", {"reason": "stuck"})
                return
            self._strike()
            pause(self.source.uniform(1.0, 6.0))
        self.ended[shown["state"]] += 1
        self.say(f"{version} {shown['state']}; {self._resident()}")

    def _resident(self) -> str:
        """For people who watch."""
        found = [
            statistics.mean(self.gauges.last(names, "rss_bytes") or [0.0]) / 2**20
            for names in (self.steady, [SERVICE])
        ]
        return "resident MiB: agents {:.1f}, controller {:.1f}".format(*found)

    def _strike(self) -> None:
        squalls: list[weather.Squall] = [
            *weather.SQUALLS, self._kill_some, self._hang_some, self._broker_dies,
            weather.service_hangs,
        ]  # fmt: skip
        if time.monotonic() < self.warm_s:
            squalls.append(weather.service_dies)
        squall = self.source.choice(squalls)
        self.struck[squall.__name__.strip("_")] += 1
        squall(self.sea, self.source)

    def _kill_some(self, sea: Waters, source: Random) -> None:
        mortal = [name for name in sea.agents if name not in self.steady]
        for name in source.sample(mortal, min(3, len(mortal))):
            sea.agents[name].kill()
            pause(source.uniform(0.0, 0.3))
            sea.agents[name].start()

    def _hang_some(self, sea: Waters, source: Random) -> None:
        names = source.sample(sorted(sea.agents), min(5, len(sea.agents)))
        for name in names:
            sea.agents[name].halt()
        pause(source.uniform(1.0, 3.0))
        for name in names:
            sea.agents[name].go_on()

    def _broker_dies(self, sea: Waters, source: Random) -> None:
        weather.broker_dies(sea, source, is_forgetting=source.random() < 0.3)

    # --- measuring

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S if self.until_s - self.warm_s > 60 else 1.0):
            at_s = time.monotonic()
            service = self.sea.live.service
            if service is not None:
                self._read(SERVICE, service.pid, self.sea.live.folder, at_s)
            for name, agent in list(self.sea.agents.items()):
                process = agent.process
                if process is not None:
                    self._read(name, process.pid, agent.state_dir / "data", at_s)

    def _read(self, name: str, pid: int, folder: Path, at_s: float) -> None:
        try:
            self.gauges.add(name, gauge.read(pid, folder, at_s))
        except (OSError, KeyError):  # it was killed just now
            return


def figures(soak: Soak, database: Path) -> list[Figure]:
    """What was measured, with its limits."""
    found = []
    for who, names in (("agent", soak.steady), ("controller", [SERVICE])):
        memory = soak.gauges.growth(names, "rss_bytes", soak.warm_s)
        grown = {"resident memory, mean": (statistics.mean(memory), GROWTH_MAX),
                 "resident memory, worst": (max(memory), GROWTH_MAX)}  # fmt: skip
        for what in ("thread_count", "descriptor_count", "file_count"):
            grown[what] = (max(soak.gauges.growth(names, what, soak.warm_s)), 0.0)
        found += [
            Figure(f"{who}: growth of {what}", round(max(0.0, value), 4), "ratio", limit)
            for what, (value, limit) in grown.items()
        ]
        mib = statistics.mean(soak.gauges.last(names, "rss_bytes")) / 2**20
        found.append(Figure(f"{who}: resident at the end", round(mib, 1), "MiB"))
    return [*found, *_of_rollouts(soak), *_of_database(database)]


def _of_rollouts(soak: Soak) -> list[Figure]:
    wrong = sum(count for state, count in soak.ended.items() if state != "succeeded")
    return [
        Figure("rollouts that succeeded", soak.ended["succeeded"], "", 1, is_minimum=True),
        Figure("rollouts that ended otherwise", wrong, "", 0),
        Figure("rollouts that were stuck", len(soak.stuck), "", 0),
        Figure("fleets that were not well at the end", int(bool(soak.trouble)), "", 0),
        Figure("faults", sum(soak.struck.values()), ""),
        Figure(
            "accepted reports that were looked for",
            len(soak.sea.ledger.accepted),
            "",
            limit=1 if soak.until_s - soak.warm_s >= LONG_S else None,
            is_minimum=True,
        ),
    ]


def _of_database(path: Path) -> list[Figure]:
    """Rows within what is kept and what one pruning interval brings; bytes for comparison."""
    with closing(opened(path)) as db:
        newest_s = _one(db, "SELECT max(received_s) FROM reports")
        found = []
        for table, keep in (("reports", REPORTS_KEEP), ("events", EVENTS_KEEP)):
            count = _one(db, f"SELECT count(*) FROM {table}")
            since = f"SELECT count(*) FROM {table} WHERE received_s > {newest_s - PRUNE_S - 5}"
            found.append(Figure(f"database: {table}", count, "rows", keep + _one(db, since)))
        pages, size, free = (
            _one(db, f"PRAGMA {name}") for name in ("page_count", "page_size", "freelist_count")
        )
    wal = path.with_name(path.name + "-wal")
    return [
        *found,
        Figure("database: size", round(pages * size / 2**20, 2), "MiB"),
        Figure("database: free pages in it", round(free * size / 2**20, 2), "MiB"),
        Figure("database: write-ahead log", round(_size(wal) / 2**20, 2), "MiB"),
    ]


def _one(db: sqlite3.Connection, sql: str) -> float:
    return float(db.execute(sql).fetchone()[0] or 0)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def soaked(
    mosquitto: str, folder: Path, *, minutes: float, agents: int, seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Soak, list[Figure]]:  # fmt: skip
    """Run it; what was not well at the end is a figure, too."""
    names = [f"gw{n:02d}" for n in range(1, agents + 1)]
    fleet = {"reports_keep": REPORTS_KEEP, "events_keep": EVENTS_KEEP, "time_interval_s": 30}
    with waters(
        mosquitto, folder, names, seed=seed, fleet=fleet, patience_s=300.0,
        period_ms=PERIOD_MS, performance_s=PERFORMANCE_S, hold_s=5.0,
    ) as sea:  # fmt: skip
        sea.ends(sea.fleet.deploy(sea.push(seed=2), "all", {"trial": TRIAL, "gate": GATE}))
        say(f"{agents} agents serve; {minutes:g} minutes begin")  # and have a way back
        now_s = time.monotonic()
        span_s = minutes * 60
        soak = Soak(
            sea, Random(seed), now_s + span_s, now_s + span_s * WARM_SHARE, names[::2], say=say
        )  # fmt: skip
        soak.run()
        return soak, figures(soak, sea.database)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--agents", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="wherry-soak-") as folder:
        soak, found = soaked(
            find_mosquitto(), Path(folder), minutes=asked.minutes, agents=asked.agents,
            seed=asked.seed, say=say,
        )  # fmt: skip
    for one in found:
        verdict = {None: "", True: "holds", False: "DOES NOT HOLD"}[one.holds]
        limit = "" if one.limit is None else f"limit {one.limit:g}"
        print(f"{one.name:44} {one.value:>12,} {one.unit:6} {limit:14} {verdict}")
    if soak.trouble:
        print(f"not well: {soak.trouble}")
    print(f"faults: {json.dumps(soak.struck)}; stuck: {soak.stuck}; on {machine()}")
    return report(found, minutes=asked.minutes, agents=asked.agents, seed=asked.seed)


if __name__ == "__main__":
    sys.exit(main())
