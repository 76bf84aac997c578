"""Play crash sweeps, and say what they found.

usage: python -m tests.crash_sweep [--subject NAME] [--scenario NAME] [--seconds N] [--stride N]
                                   [--jobs N]
       python -m tests.crash_sweep --subject NAME --scenario NAME --cut 17:lost [--second 3:kept]

Exit code 1 on any failure. The last line is one JSON object with the totals.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.crash_sweep.subjects import SECONDS, SUBJECTS
from tests.crash_sweep.sweep import Cut, Share, Tally, cut_from, judged, play, sweep

SHOWN_MAX = 10  # failures of one scenario
PLAYS_PER_TASK = 60  # cut points: enough to keep two processes busy to the end


@dataclass(frozen=True)
class Task:
    """A part of one scenario's sweep, for one process."""

    subject: str
    scenario: str
    share: Share


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash_sweep")
    parser.add_argument("--subject", choices=[*SUBJECTS, ""], default="")
    parser.add_argument("--scenario", default="")
    parser.add_argument("--seconds", type=int, help="second cuts per cut point (by subject)")
    parser.add_argument("--stride", type=int, default=1, help="only every n-th cut point")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--cut", type=cut_from, help="play this one: AT:WAY")
    parser.add_argument("--second", type=cut_from, help="and then this one")
    asked = parser.parse_args()
    if not planned(asked):  # a sweep of nothing has no failures either
        parser.error(f"{asked.subject or 'nothing'} has no scenario {asked.scenario!r}")
    return asked


def planned(asked: argparse.Namespace) -> list[tuple[str, str]]:
    return [
        (name, scenario)
        for name, subject in SUBJECTS.items()
        for scenario in subject.scenarios
        if asked.subject in ("", name) and asked.scenario in ("", scenario)
    ]


def tasks(asked: argparse.Namespace, subject: str, scenario: str) -> list[Task]:
    points = play(SUBJECTS[subject], scenario).counts[0] * len(SUBJECTS[subject].ways)
    seconds = SECONDS[subject] if asked.seconds is None else asked.seconds
    parts = max(1, points // asked.stride // PLAYS_PER_TASK)
    shares = [Share(n * asked.stride, parts * asked.stride, seconds) for n in range(parts)]
    return [Task(subject, scenario, share) for share in shares]


def do(task: Task) -> Tally:
    return sweep(SUBJECTS[task.subject], task.scenario, task.share)


def swept(asked: argparse.Namespace) -> Iterator[tuple[str, str, Tally]]:
    """Scenario by scenario, in their order."""
    work = {pair: tasks(asked, *pair) for pair in planned(asked)}
    if asked.jobs == 1:
        for pair, parts in work.items():
            yield (*pair, _sum(map(do, parts)))
        return
    with ProcessPoolExecutor(asked.jobs) as pool:
        running = {pair: [pool.submit(do, one) for one in parts] for pair, parts in work.items()}
        for pair, futures in running.items():
            yield (*pair, _sum(future.result() for future in futures))


def _sum(tallies: Iterator[Tally]) -> Tally:
    total = Tally()
    for one in tallies:
        total.add(one)
    return total


def again(subject: str, scenario: str, cuts: tuple[Cut, ...]) -> str:
    """The command that plays this one."""
    options = [f"--{name} {cut}" for name, cut in zip(("cut", "second"), cuts, strict=False)]
    return (f"python -m tests.crash_sweep --subject {subject} --scenario {scenario} "
            + " ".join(options))  # fmt: skip


def play_one(asked: argparse.Namespace) -> int:
    """One play, by its cuts."""
    subject = SUBJECTS[asked.subject]
    cuts = [cut for cut in (asked.cut, asked.second) if cut is not None]
    played = judged(subject, asked.scenario, cuts, play(subject, asked.scenario).end)
    print(played.failure or "it ends as without a cut")
    print(json.dumps({"operations": played.counts, "failures": int(played.failure is not None)}))
    return 1 if played.failure else 0


def main() -> int:
    asked = arguments()
    if asked.cut is not None:
        return play_one(asked)
    began, total = time.perf_counter(), Tally()
    print(f"{'subject':<12}{'scenario':<36}{'cut points':>11}{'double cuts':>13}{'failures':>10}")
    for subject, scenario, tally in swept(asked):
        total.add(tally)
        print(f"{subject:<12}{scenario:<36}{tally.cut_points:>11}{tally.double_cuts:>13}"
              f"{len(tally.failed):>10}", flush=True)  # fmt: skip
        for cuts, why in tally.failed[:SHOWN_MAX]:
            print(f"  FAILED {again(subject, scenario, cuts)}\n    {why}", flush=True)
    print(json.dumps({
        "scenarios": len(planned(asked)), "cut_points": total.cut_points,
        "double_cuts": total.double_cuts, "failures": len(total.failed),
        "wall_s": round(time.perf_counter() - began, 1),
    }))  # fmt: skip
    return 1 if total.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
