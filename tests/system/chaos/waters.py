"""A fleet on rough water: real broker, controller and agents, with the fault proxy between them.

Everybody dials the proxy, the controller too. `assert_fleet_is_well` is what every test of this
folder ends with: no rollout is stuck, every device serves a verified bundle and its controller
knows which, and every report that reached a disk is in the store exactly once.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry_agent.shell import identity_files
from wherry_protocol.messages.enrolment import UnitRequest
from wherry_protocol.names import SELF

from tests.agent.bundles import INPUT_BYTES
from tests.controller.live import Live, free_port, wait_for
from tests.system.agents import AgentProcess
from tests.system.chaos import ledger
from tests.system.chaos.ledger import Ledger
from tests.system.chaos.proxy import Proxy
from tests.system.fleet import MODEL, TRIAL, Flotilla
from tests.system.shore import HARDWARE, live_with_class

PATIENCE_S = 120.0
PERIOD_MS = 20
CONTROLLER = "wherry-acme-controller"
FLEET = {"chunk_republish_s": 2, "time_interval_s": 5}
# Nothing here judges how fast this machine is: it does other things meanwhile.
GATE = {"error_rate_max": 1.0, "latency_ratio": 1000.0, "latency_excess_us": 1e9,
        "requests_min": 20, "interval_s": 1.0, "control_units_min": 1,
        "require": ["errors"]}  # fmt: skip
CANARY = {
    "stages": [{"share": "25%", "soak_s": 1.0}, {"share": "100%", "is_gated": False}],
    "trial": {**TRIAL, "good_inferences_min": 20},
    "gate": GATE,
    "silent_after_s": 300.0,
}
AGENT_TOML = """\
state_dir = "{state}"
log_level = "info"
[http]
port = 0
[[source]]
model = "{model}"
path = "samples.bin"
period_ms = {period_ms}
[link]
keepalive_s = 5
reconnect_s_min = 0.2
reconnect_s_max = 2.0
[limits]
spool_hold_s = {hold_s}
events_per_minute_max = 600
{limits}
"""


@dataclass
class Waters:
    """Everything that runs; `patience_s` is how long a good end may take."""

    fleet: Flotilla
    proxy: Proxy
    ledger: Ledger = field(default_factory=Ledger)
    patience_s: float = PATIENCE_S

    @property
    def live(self) -> Live:
        return self.fleet.live

    @property
    def agents(self) -> dict[str, AgentProcess]:
        return self.fleet.agents

    @property
    def database(self) -> Path:
        return self.live.folder / "wherry.db"

    def add(
        self, folder: Path, names: list[str], *, performance_s: int = 1, **options: Any
    ) -> None:
        """Enrol and start devices one after the other, and wait until they are heard."""
        for name in names:
            agent = self.agents[name] = enrolled_here(self.live, folder / name, name, **options)
            self.ledger.watch(name, agent.state_dir)
            agent.start()
            agent.get("/healthz")
        wait_for(lambda: self.fleet.are_heard(set(names)), "every device is heard", self.patience_s)
        for name in names:
            body = {"performance_s": performance_s, "resources_s": performance_s}
            answer = self.live.http.patch(f"/devices/{name}/self", json=body)
            assert answer.status_code == 200, answer.text

    def push(self, seed: int = 1, **options: Any) -> str:
        return self.fleet.push(seed, **options)

    def canary(self, version: str, **changes: Any) -> str:
        return self.fleet.deploy(version, "all", {**CANARY, **changes})

    def ends(self, rollout_id: str, state: str = "succeeded") -> dict[str, Any]:
        return self.fleet.ends(rollout_id, state, self.patience_s)

    def serves(self, name: str) -> str | None:
        """The version that answers an inference at the device's own door."""
        try:
            asked = {"model": MODEL, "input_q": [1] * INPUT_BYTES}
            return str(self.agents[name].get("/inference", asked)["version"])
        except OSError:
            return None


def enrolled_here(
    live: Live,
    folder: Path,
    name: str,
    *,
    samples: bytes = bytes(range(INPUT_BYTES)),
    state: Path | None = None,
    hold_s: float = 0.5,
    limits: str = "",
    period_ms: int = PERIOD_MS,
    environment: Mapping[str, str] | None = None,
) -> AgentProcess:
    """A device with its files and its agent.toml, enrolled without starting a process for it."""
    folder.mkdir()
    state = state or folder / "state"
    units = (UnitRequest(unit=SELF, hardware_class=HARDWARE),)
    request = identity_files.make_request(state, name, units, {}, "0.1.0")
    sealed = live.post("/devices", {"request": b64encode(request).decode()}, 201)
    identity_files.keep_answer(state, b64decode(sealed["answer"]))
    (folder / "samples.bin").write_bytes(samples)
    (folder / "agent.toml").write_text(
        AGENT_TOML.format(
            state=state, model=MODEL, period_ms=period_ms, hold_s=hold_s, limits=limits
        )
    )
    agent = AgentProcess(folder, None)  # type: ignore[arg-type]
    agent.environment = dict(environment or {})
    agent.state = state
    return agent


@contextmanager
def waters(
    mosquitto: str,
    folder: Path,
    names: list[str],
    *,
    seed: int = 0,
    fleet: Mapping[str, float] | None = None,
    environment: Mapping[str, str] | None = None,
    environment_of_agents: Mapping[str, str] | None = None,
    patience_s: float = PATIENCE_S,
    **options: Any,
) -> Iterator[Waters]:
    """Broker, controller and devices that serve a first version; all ended whatever happens.

    `environment` is the service's; options are `enrolled_here`'s.
    """
    port = free_port()
    with Proxy(port, seed=seed) as proxy:
        live = live_with_class(
            folder / "acme",
            mosquitto,
            ports=(port, proxy.port),
            fleet={**FLEET, **(fleet or {})},
            environment=dict(environment or {}),
        )
        one = Waters(Flotilla(live), proxy, patience_s=patience_s)
        one.ledger.start()
        try:
            if names:
                one.add(folder, names, environment=environment_of_agents, **options)
                one.ends(one.fleet.deploy(one.push(), "all"))
            yield one
        finally:
            one.ledger.stop()
            for agent in one.agents.values():
                agent.go_on()
                agent.kill()
            live.close()


# --- what must hold at the end


def assert_fleet_is_well(
    one: Waters, version: str | None = None, dropped: Mapping[str, int] | None = None
) -> None:
    """After the faults: nothing is stuck, everybody serves, every accepted report is in the store
    once. `version`: what every device must serve; `dropped`: accepted reports that a device's
    spool policy may have dropped at most, by name."""
    one.proxy.calm()
    assert_no_rollout_is_stuck(one)
    for name in one.agents:
        assert_device_serves(one, name, version)
    assert_reports_arrived(one, dropped or {})
    assert one.live.get("/audit/verify")["is_intact"]
    assert_no_mistake_of_ours(one)


def assert_no_rollout_is_stuck(one: Waters) -> None:
    still = [row for row in one.live.get("/rollouts") if row["is_open"]]
    assert not still, f"open: {[(row['id'], row['state'], row['reason']) for row in still]}"


def assert_device_serves(one: Waters, name: str, version: str | None) -> None:
    """A bundle of the registry answers there, and the controller knows which."""
    known = {row["version"] for row in one.live.get("/bundles")}
    seen: dict[str, str | None] = {}

    def is_known() -> bool:
        [unit] = one.live.get(f"/devices/{name}")["units"]
        told = {row["model"]: row["active_version"] for row in unit["models"]}
        seen.update(serves=one.serves(name), controller=told.get(MODEL))
        wanted = known if version is None else {version}
        return seen["serves"] == seen["controller"] and seen["serves"] in wanted

    def what_is() -> str:
        return (
            f"{name} serves {version or 'something known'}: {seen} {one.agents[name].log[-2000:]}"
        )

    wait_for(is_known, what_is, one.patience_s)


def assert_reports_arrived(one: Waters, dropped: Mapping[str, int]) -> None:
    """Every report on a disk reaches the store, in the time that sending again may take."""
    for name, agent in one.agents.items():
        wait_for(
            lambda agent=agent: agent.get("/status")["reports"]["spool_bytes"] == 0,
            lambda name=name: f"{name} gets rid of its spool",
            one.patience_s,
        )
    one.ledger.look()
    accepted = dict(one.ledger.accepted)
    lost = ledger.missing(one.database, accepted)
    for name in one.agents:
        gone = [key[1:] for key in lost if key[0] == name]
        assert len(gone) <= dropped.get(name, 0), f"{name} lost accepted reports: {gone[:20]}"
    assert not list(ledger.doubles(one.database))


def assert_no_mistake_of_ours(one: Waters) -> None:
    """Faults are the world's; a traceback is ours."""
    for name, agent in one.agents.items():
        for word in ("Traceback", "the core failed", "a job failed"):
            assert word not in agent.log, f"{name}: {agent.log[-4000:]}"
    served = (one.live.folder / "serve.log").read_text()
    for word in ("traceback", "made a mistake", "mistake of ours"):
        assert word not in served, served[-4000:]
    reasons = one.live.get("/status")["dropped"]
    assert "internal" not in reasons, reasons


def pause(seconds: float) -> None:
    """Let a fault last; nothing is waited for."""
    time.sleep(seconds)
