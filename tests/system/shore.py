"""Real agents that enroll with a real controller over its API."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from wherry_protocol.bundle import write_bundle

from tests.agent.bundles import make_bundle, sign_bundle
from tests.controller.live import Live, make_live
from tests.system.agents import AgentProcess, agent_command

HARDWARE = "linux-test"
CLASS = {
    "name": HARDWARE, "architecture": "x86_64", "ram_bytes": 1 << 30, "flash_bytes": 1 << 30,
    "memory_budget_bytes": 256 << 20, "storage_budget_bytes": 256 << 20,
    "energy_model": {"nj_per_cycle": 2.0, "uncertainty": 0.5},
}  # fmt: skip


def live_with_class(folder: Path, mosquitto: str, **options: Any) -> Live:
    """A controller that knows the class of the tests' bundles; options are `make_live`'s."""
    made = make_live(folder, mosquitto, **options)
    answer = made.http.put(f"/classes/{HARDWARE}", json=CLASS)
    assert answer.status_code == 200, answer.text
    return made


def enrolled(
    live: Live, folder: Path, name: str, config: str = "", hardware: str = HARDWARE
) -> AgentProcess:
    """A device that went through `wherry-agent enroll` and the API; `config` joins agent.toml."""
    folder.mkdir()
    state, request, answer = folder / "state", folder / "request", folder / "answer"
    asked = ["--connection", name, "--class", hardware]
    made = agent_command("enroll", "--dir", str(state), *asked, "--request", str(request))
    assert made.returncode == 0, made.stderr
    sealed = live.post("/devices", {"request": b64encode(request.read_bytes()).decode()}, 201)
    answer.write_bytes(b64decode(sealed["answer"]))
    kept = agent_command("enroll", "--dir", str(state), "--answer", str(answer))
    assert kept.returncode == 0, kept.stderr
    (folder / "agent.toml").write_text(f'state_dir = "{state}"\n[http]\nport = 0\n{config}')
    return AgentProcess(folder, None)  # type: ignore[arg-type]


def push(live: Live, version: str, seed: int, **options: Any) -> None:
    live.push(write_bundle(sign_bundle(make_bundle(version, seed=seed, **options), live.release)))
