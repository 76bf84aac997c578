"""What the agent costs a device: memory while it serves, processor and disk while it idles.

usage: bench/agent.py [--model MODEL] [--idle-s S] [--serve-s S] [--folder DIR]
A real mosquitto, a real agent process, enrolled and updated over it; the model is signed, fetched,
tested, confirmed, and loaded again at the next start. Figures are of that next start, since the
first one may still compile Python's byte code. Serving: the loop replays 10 inputs a second and
the HTTP door is asked one after the other. The broker is on loopback and needs no TLS, which the
agent then leaves out of memory (wherry_agent.shell.transport); what it takes with TLS loaded stands
beside it, without a limit. Idle: connected, the model loaded, nobody asks; the
report intervals are the defaults and every report is acknowledged.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from _report import Figure, report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from wherry_native.compiler import compile_model  # noqa: E402
from wherry_native.engine import Program  # noqa: E402
from wherry_protocol.messages.reported import Outcome  # noqa: E402

from tests.agent.bundles import make_bundle  # noqa: E402
from tests.system.agents import AgentProcess, Fleet, fleet, wait_until  # noqa: E402

KEYWORD = Path(os.environ.get("WHERRY_MLPERF_TINY", ROOT.parent / "shared" / "mlperf-tiny"))
MODEL = "keyword"
MB = 1e6
SECONDS_PER_DAY = 86_400
SETTLE_S = 20.0
REPLAY = """
[[source]]
model = "keyword"
path = "samples.bin"
period_ms = 100
"""


@dataclass(frozen=True)
class Spent:
    """What a process has used until now: processor seconds, bytes written to disk."""

    at_s: float
    cpu_s: float
    written_bytes: int


def spent(pid: int) -> Spent:
    """From /proc; the scheduler counts nanoseconds, of every thread."""
    cpu_ns = sum(
        int((task / "schedstat").read_text().split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    )
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Spent(time.monotonic(), cpu_ns / 1e9, int(io["write_bytes"]))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pid_of(agent: AgentProcess) -> int:
    if agent.process is None:
        raise RuntimeError("the agent is not running")
    return agent.process.pid


def install(sea: Fleet, agent: AgentProcess, image: bytes) -> None:
    """Deploys the model and ends the agent when it is confirmed."""
    bundle = sea.director.add(make_bundle("1.0.0", model=MODEL, image=image))
    agent.start()
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])
    data = [0] * Program(image).inputs[0].size_bytes
    wait_until(lambda: answers(agent, data), "the model answers")
    for _ in range(6):
        agent.get("/inference", {"input_q": data})
    sea.ashore.wait_for_model(
        agent.device, lambda m: m.outcome is Outcome.CONFIRMED, "confirmation", MODEL
    )
    agent.stop()


def answers(agent: AgentProcess, data: list[int]) -> bool:
    try:
        return bool(agent.get("/inference", {"input_q": data}))
    except HTTPError:
        return False


def is_serving(agent: AgentProcess) -> bool:
    return agent.get("/status")["units"]["self"]["models"][MODEL]["outcome"] == "confirmed"


def serve(agent: AgentProcess, input_size: int, seconds: float) -> tuple[int, int]:
    """(highest resident bytes, answers) while the door is asked without a pause."""
    highest = count = 0
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        answer = agent.get("/inference", {"input_q": [count % 100] * input_size})
        if answer["version"] != "1.0.0":
            raise RuntimeError(f"an answer of {answer['version']}")
        count += 1
        highest = max(highest, resident_bytes(pid_of(agent)))
    return highest, count


def idle(agent: AgentProcess, seconds: float) -> tuple[float, float]:
    """(share of one core, bytes written a day)."""
    time.sleep(SETTLE_S)
    before = spent(pid_of(agent))
    time.sleep(seconds)
    after = spent(pid_of(agent))
    took_s = after.at_s - before.at_s
    written = after.written_bytes - before.written_bytes
    return (after.cpu_s - before.cpu_s) / took_s, written / took_s * SECONDS_PER_DAY


@contextmanager
def compiled_python(folder: Path):
    """As on a device, where installing compiles the byte code: it is kept from run to run."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")
    yield


def measure(options: argparse.Namespace, folder: Path) -> int:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        print("bench/agent.py needs mosquitto on PATH (apt install mosquitto)", file=sys.stderr)
        return 1
    image = compile_model(options.model).image
    input_size = Program(image).inputs[0].size_bytes
    with compiled_python(folder), fleet(program, folder) as sea:
        busy = sea.enrol("busy", config=REPLAY)
        (busy.folder / "samples.bin").write_bytes(bytes(range(256)) * input_size)
        quiet = sea.enrol("quiet")
        for agent in (busy, quiet):
            install(sea, agent, image)
            agent.start()
            wait_until(lambda agent=agent: is_serving(agent), "the model serves again")
        resident, count = serve(busy, input_size, options.serve_s)
        busy.stop()
        (busy.state_dir / "transport").write_text("tls\n")  # its link then keeps TLS in memory
        busy.start()
        wait_until(lambda: is_serving(busy), "the model serves with TLS loaded")
        resident_tls, _ = serve(busy, input_size, options.serve_s / 2)
        busy.stop()
        cpu_ratio, written_a_day = idle(quiet, options.idle_s)
        resident_idle = resident_bytes(pid_of(quiet))
        quiet.stop()
    return report(
        [
            Figure("resident memory, serving", resident / MB, "MB", limit=40.0),
            Figure("resident memory, serving, TLS loaded", resident_tls / MB, "MB"),
            Figure("resident memory, idle", resident_idle / MB, "MB"),
            Figure("idle processor", cpu_ratio * 100, "% of a core", limit=0.3),
            Figure("idle writes", written_a_day / MB, "MB a day", limit=1.0),
        ],
        model=str(options.model.name),
        answers=count,
        idle_s=options.idle_s,
        serve_s=options.serve_s,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=KEYWORD / "keyword_spotting.tflite")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--serve-s", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench",
                        help="on a real disk: what the agent writes is counted there")  # fmt: skip
    options = parser.parse_args()
    if not options.model.exists():
        print(f"bench/agent.py: {options.model} is not here; give --model FILE", file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return measure(options, Path(folder))


if __name__ == "__main__":
    raise SystemExit(main())
