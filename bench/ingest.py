"""The controller under load: reports per second from a real mosquitto into SQLite.

usage: bench/ingest.py [--devices N] [--reports N] [--known N] [--seconds S] [--folder DIR]
Every report is authenticated, validated, its sketch merged, committed (synchronous=FULL) and
acknowledged to its device, by `wherry serve` pinned to one processor; the broker and the load run
on the others. Back-pressure: the load keeps a window of unacknowledged reports open. Latency is
measured from publish to the acknowledgement's arrival at the device, which follows the commit.
Beside it the floor: paho receiving the same messages and doing nothing with them, and SQLite
inserting them with nothing looked at. Then the same devices as light ones: the agent's real core,
all in one process, each reporting as often as makes 500 reports a second together.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from _ingest_fleet import Shore, make_known, make_shore  # noqa: E402
from _light_fleet import sail  # noqa: E402
from wherry_controller.store import open_reader  # noqa: E402

from tests.controller.live import SERVE, free_port, wait_for  # noqa: E402

LIMIT_PER_S = 5000.0
LIMIT_P99_MS = 250.0
LIMIT_RESTART_S = 5.0
RATE_SHARE_MIN = 0.95  # of the rate asked for: a load that falls behind measures a lighter one
LIGHT_PER_S = 500.0  # each of 5,000 devices every 10 s: six times as often as by default
WINDOW = 4000  # reports on their way at most
COUNTED = "SELECT coalesce(sum(reports), 0) FROM performance"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
RECEIVE_ONLY = Path(__file__).with_name("_ingest_floor.py")


def pinned(processors: set[int], command: list[str], **options: Any) -> "subprocess.Popen[str]":
    places = ",".join(map(str, sorted(processors)))
    return subprocess.Popen(["taskset", "-c", places, *command], text=True, **options)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def processor_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@dataclass(frozen=True)
class Run:
    """One load, to its end."""

    reports: int
    off: int  # how many fewer, or more, the store has counted
    elapsed_s: float
    processor_s: float  # of the controller
    p99_ms: float
    p50_ms: float

    @property
    def per_s(self) -> float:
        return self.reports / self.elapsed_s

    @property
    def per_processor_s(self) -> float:
        return self.reports / self.processor_s


@dataclass
class Bench:
    """Where everything runs."""

    shore: Shore
    ours: set[int]
    others: set[int]

    def start_broker(self, mosquitto: str) -> "subprocess.Popen[str]":
        config = str(self.shore.folder / "broker" / "mosquitto.conf")
        broker = pinned(self.others, [mosquitto, "-c", config], stderr=subprocess.DEVNULL)
        wait_for(lambda: accepts(self.shore.port), "the broker accepts connections")
        return broker

    def start_service(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", SERVE, str(self.shore.folder)]
        log = (self.shore.folder / "serve.log").open("a")
        service = pinned(self.ours, command, stdout=subprocess.PIPE, stderr=log)
        assert service.stdout is not None
        if not service.stdout.readline():
            raise SystemExit((self.shore.folder / "serve.log").read_text())
        return service

    def load(self, pid: int, reports: int, rate: float, window: int = WINDOW) -> dict[str, Any]:
        """Run one load against the process `pid`; what it measured, and that process' time."""
        path = self.shore.folder / "load.pickle"
        count = self.shore.plan(path, reports)
        script = Path(__file__).with_name("_ingest_load.py")
        command = [sys.executable, str(script), str(path), str(rate), str(window)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with pinned(self.others, command, **pipes) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("bench/ingest.py: the load did not get ready")
            before_s = processor_s(pid)
            process.stdin.write("go\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            found["processor_s"] = processor_s(pid) - before_s
            process.stdin.write("end\n")
        return found | {"reports": count}

    def run(self, pid: int, reports: int, rate: float = 0.0) -> Run:
        """One load, every report looked for in the store."""
        db = open_reader(self.shore.data.database)
        before: int = db.execute(COUNTED).fetchone()[0]
        found = self.load(pid, reports, rate)
        stored = db.execute(COUNTED).fetchone()[0] - before
        db.close()
        sorted_s = sorted(found["latencies_s"])
        if not sorted_s:
            raise SystemExit("bench/ingest.py: nothing was acknowledged; see serve.log")
        return Run(
            found["reports"],
            abs(found["reports"] - stored),
            found["elapsed_s"],
            found["processor_s"],
            sorted_s[int(0.99 * len(sorted_s))] * 1e3,
            sorted_s[len(sorted_s) // 2] * 1e3,
        )

    def light(self, per_s: float, duration_s: float) -> Run:
        """All devices as light ones, each with the agent's real core."""
        db = open_reader(self.shore.data.database)
        chance = random.Random(7)
        ours, theirs = multiprocessing.Pipe()
        fleet = multiprocessing.get_context("fork").Process(
            target=sail,
            args=(self.shore.devices, self.shore.port, self.others,
                  lambda device: self.shore.pack_of(device, chance), theirs),
        )  # fmt: skip
        fleet.start()
        try:
            if not ours.recv():
                raise SystemExit("bench/ingest.py: the light devices did not all get the time")
            before: int = db.execute(COUNTED).fetchone()[0]
            ours.send((per_s, duration_s))
            found = ours.recv()
            stored = db.execute(COUNTED).fetchone()[0] - before
            ours.send("end")
        finally:
            fleet.join(10.0)
            fleet.kill()
            db.close()
        sorted_s = sorted(found["latencies_s"])
        return Run(
            found["reports"],
            abs(found["reports"] - stored),
            found["elapsed_s"],
            0.0,
            sorted_s[int(0.99 * len(sorted_s))] * 1e3,
            sorted_s[len(sorted_s) // 2] * 1e3,
        )

    def receive_only(self, reports: int) -> float:
        """Reports per second of a paho client that acknowledges and does nothing else."""
        keys = self.shore.data.keys
        password = (keys / "broker-controller.password").read_text().strip()
        command = [sys.executable, str(RECEIVE_ONLY), str(self.shore.port), password, str(reports)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with pinned(self.ours, command, **pipes) as receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()
            self.load(receiver.pid, reports, 0.0, window=0)
            found: dict[str, float] = json.loads(receiver.stdout.readline())
        return found["reports"] / found["processor_s"]


def bare_insert(folder: Path, shore: Shore, reports: int, batch: int = 500) -> float:
    """Raw reports per second into SQLite, by transactions of `batch`."""
    path = folder / "bare.pickle"
    shore.plan(path, reports)
    devices = pickle.loads(path.read_bytes())["devices"]
    rows = [(d["username"], "self", 0.0, 0, p) for d in devices for p in d["payloads"]]
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE reports (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c REAL, d INT, e BLOB)"
    )
    began_s = time.perf_counter()
    for start in range(0, len(rows), batch):
        db.execute("BEGIN")
        sql = "INSERT INTO reports (a, b, c, d, e) VALUES (?, ?, ?, ?, ?)"
        db.executemany(sql, rows[start : start + batch])
        db.execute("COMMIT")
    elapsed_s = time.perf_counter() - began_s
    db.close()
    return len(rows) / elapsed_s


def restart(bench: Bench, known: int) -> float:
    """Seconds from the start of `wherry serve` to its readiness line, so many devices known."""
    make_known(bench.shore, known)
    began_s = time.monotonic()
    service = bench.start_service()
    elapsed_s = time.monotonic() - began_s
    service.terminate()
    service.wait()
    return elapsed_s


def measure(
    folder: Path, mosquitto: str, devices: int, reports: int, known: int, seconds: float
) -> list[Figure]:
    everybody = os.sched_getaffinity(0)
    ours = {min(everybody)}
    shore = make_shore(folder / "acme", free_port(), free_port(), devices)
    bench = Bench(shore, ours, everybody - ours or ours)
    broker = bench.start_broker(mosquitto)
    try:
        received = bench.receive_only(reports)
        service = bench.start_service()
        try:
            bench.run(service.pid, min(reports, 4000))  # everything is loaded
            full = bench.run(service.pid, reports)
            half = bench.run(service.pid, reports // 2, LIMIT_PER_S / 2)
            light = bench.light(LIGHT_PER_S, seconds)
        finally:
            service.terminate()
            service.wait()
        restarted_s = restart(bench, known)
    finally:
        broker.terminate()
        broker.wait()
    name = f"of {devices} devices"
    return [
        Figure(f"reports per second, one processor, {name}", full.per_s, "1/s", LIMIT_PER_S, True),
        Figure("reports per second of processor time", full.per_processor_s, "1/s"),
        Figure("publish to acknowledged, p50, window open", full.p50_ms, "ms"),
        Figure("publish to acknowledged, p99, window open", full.p99_ms, "ms"),
        Figure(f"p99 at {LIMIT_PER_S / 2:g} reports per second", half.p99_ms, "ms", LIMIT_P99_MS),
        Figure(f"p50 at {LIMIT_PER_S / 2:g} reports per second", half.p50_ms, "ms"),
        Figure("rate reached then", half.per_s, "1/s", RATE_SHARE_MIN * LIMIT_PER_S / 2, True),
        Figure("reports lost or counted twice", full.off + half.off + light.off, "reports", 0),
        Figure(
            f"{devices} light devices, real agent core: rate",
            light.per_s,
            "1/s",
            RATE_SHARE_MIN * LIGHT_PER_S,
            True,
        ),
        Figure(f"{devices} light devices: p99", light.p99_ms, "ms", LIMIT_P99_MS),
        Figure(f"{devices} light devices: p50", light.p50_ms, "ms"),
        Figure(f"restart with {known} devices known", restarted_s, "s", LIMIT_RESTART_S),
        Figure("floor: paho receives only, of processor time", received, "1/s"),
        Figure("floor: SQLite inserts only", bare_insert(folder, shore, reports), "1/s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=5000)
    parser.add_argument("--reports", type=int, default=40_000)
    parser.add_argument("--known", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="that light devices report for")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        raise SystemExit("bench/ingest.py: no mosquitto on PATH; install it")
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        figures = measure(
            Path(name), mosquitto, asked.devices, asked.reports, asked.known, asked.seconds
        )
    return report(figures, window=WINDOW, load_average=os.getloadavg())


if __name__ == "__main__":
    raise SystemExit(main())
