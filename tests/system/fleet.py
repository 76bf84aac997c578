"""A fleet for the system tests: real mosquitto, real `wherry serve`, real agents with real feeds.

Every device replays a file of samples by itself, so that trials and gates have figures without
any thread of the test. The models are small programs with real weights; what a device's samples
do to their outputs is computed beforehand, not assumed.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry_native.engine import Program
from wherry_protocol.bundle import write_bundle
from wherry_protocol.manifest import Budget

from tests.agent.bundles import INPUT_BYTES, layer_image, make_bundle, sign_bundle
from tests.controller.live import Live, wait_for
from tests.system.agents import AgentProcess
from tests.system.shore import CLASS, HARDWARE, enrolled, live_with_class

MODEL = "digits"
METERED = "linux-metered"  # its bundles have an energy budget, so that gates look at energy
PERIOD_MS = 5
LIMIT_S = 60.0
TRIAL = {"good_inferences_min": 50, "trial_s_min": 1.0, "trial_s_max": 60.0, "error_rate_max": 1.0}
DIRECT = {"trial": TRIAL, "gate": {"error_rate_max": 1.0}}
BUDGET = Budget(latency_us_p95=1_000_000, memory_bytes=32 << 20)
BUDGETS = {
    HARDWARE: BUDGET,
    METERED: Budget(latency_us_p95=1_000_000, memory_bytes=32 << 20, energy_uj=1e9),
}


@dataclass(frozen=True)
class Boat:
    """One device: its class, what it is fed, and more of its agent.toml."""

    hardware: str = HARDWARE
    samples: bytes = bytes(range(INPUT_BYTES))
    config: str = ""


@dataclass(frozen=True)
class Feeds:
    """Samples for the first model's weights and a bound of its outputs: `good` stays at or below
    `valid_max`, `bad` goes above it."""

    valid_max: int
    good: tuple[bytes, ...]
    bad: tuple[bytes, ...]

    def mixed(self, bad_count: int, of: int) -> bytes:
        """A replay file in which `bad_count` of `of` samples, evenly spread, are bad."""
        good, bad = itertools.cycle(self.good), itertools.cycle(self.bad)
        chosen = [
            next(bad) if (n + 1) * bad_count // of > n * bad_count // of else next(good)
            for n in range(of)
        ]
        return b"".join(chosen)


def sorted_feeds(seed: int = 1, count: int = 200) -> Feeds:
    """What the program with these weights really answers, split at the median."""
    program, source = Program(layer_image(seed)), random.Random(7)
    samples = [source.randbytes(INPUT_BYTES) for _ in range(count)]
    highest = {s: max(b - 256 if b > 127 else b for b in program.run(s)) for s in samples}
    valid_max = sorted(highest.values())[count // 2]
    good = tuple(s for s in samples if highest[s] <= valid_max)
    bad = tuple(s for s in samples if highest[s] > valid_max)
    if not good or not bad:
        raise ValueError(f"weights of seed {seed} do not tell samples apart")
    return Feeds(valid_max, good, bad)


@dataclass
class Flotilla:
    """Everything that runs; versions are counted up, so that no test depends on another."""

    live: Live
    agents: dict[str, AgentProcess] = field(default_factory=dict)
    minors: Iterator[int] = field(default_factory=lambda: itertools.count(0))

    # --- bundles and rollouts

    def push(self, seed: int = 1, **options: Any) -> str:
        """The next version of the model, signed and in the registry."""
        version = f"1.{next(self.minors)}.0"
        bundle = make_bundle(version, model=MODEL, seed=seed, budgets=BUDGETS, **options)
        self.live.push(write_bundle(sign_bundle(bundle, self.live.release)))
        return version

    def deploy(self, version: str, target: str, plan: Mapping[str, Any] = DIRECT) -> str:
        """A rollout's id."""
        body = {"model": MODEL, "version": version, "target": target, "plan": dict(plan)}
        return str(self.live.post("/rollouts", body, 201)["id"])

    def rollout(self, rollout_id: str) -> dict[str, Any]:
        return dict(self.live.get(f"/rollouts/{rollout_id}"))

    def members(self, rollout_id: str) -> dict[str, dict[str, Any]]:
        """Device -> its row in the rollout."""
        rows = self.rollout(rollout_id)["units"]
        return {row["unit"].partition("/")[0]: row for row in rows}

    def ends(self, rollout_id: str, state: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """The rollout once it is over; fails where it ends, or stays, otherwise."""
        seen: dict[str, Any] = {}

        def is_over() -> bool:
            seen.update(self.rollout(rollout_id))
            return not seen["is_open"]

        try:
            wait_for(is_over, "it is over", limit_s)
        except AssertionError:
            why = f"{seen['state']} ({seen['reason']}), waits for {seen['waiting_for']}"
            raise AssertionError(f"rollout not {state} within {limit_s} s: {why}") from None
        assert seen["state"] == state, f"{seen['state']}, not {state}: {seen['reason']}"
        return seen

    def install(self, version: str, target: str = "all") -> None:
        self.ends(self.deploy(version, target), "succeeded")

    # --- devices

    def model(self, name: str) -> dict[str, Any]:
        """What the device itself says of the model; empty while it is away or has none."""
        agent = self.agents[name]
        with contextlib.suppress(OSError, KeyError):
            return dict(agent.get("/status")["units"]["self"]["models"][MODEL])
        return {}

    def serving(self, name: str) -> str:
        """The version that serves there."""
        return str(self.model(name)["active"]["version"])

    def wait_model(self, name: str, **wanted: str) -> dict[str, Any]:
        """The device's model, once it has these values (phase, outcome, code)."""

        def has() -> dict[str, Any] | None:
            found = self.model(name)
            return found if wanted.items() <= found.items() else None

        return dict(wait_for(has, f"{name} shows {wanted}; it shows {self.model(name)}", LIMIT_S))

    def measured(
        self,
        version: str,
        name: str,
        is_enough: Callable[[dict[str, Any]], bool] = lambda row: row["inferences"] >= 200,
    ) -> dict[str, Any]:
        """The controller's newest window of that version there that is enough."""

        def rows() -> list[dict[str, Any]]:
            return [
                row
                for row in self.live.get("/performance")
                if (row["connection"], row["version"]) == (name, version) and is_enough(row)
            ]

        found = wait_for(rows, f"figures of {version} on {name}", LIMIT_S)
        return dict(max(found, key=lambda row: row["window_s"]))

    # --- the whole

    def add(self, folder: Path, boats: Mapping[str, Boat]) -> None:
        """Enrol and start devices, and wait until the controller has heard them."""
        with ThreadPoolExecutor(4) as pool:
            made = pool.map(lambda item: launched(self.live, folder, *item), boats.items())
            self.agents.update(zip(boats, made, strict=True))
        wait_for(lambda: self.are_heard(set(boats)), "every device is heard", LIMIT_S)
        for name in boats:
            answer = self.live.http.patch(f"/devices/{name}/self", json={"performance_s": 1})
            assert answer.status_code == 200, answer.text

    def are_heard(self, names: set[str]) -> bool:
        """The controller has heard every one of them."""
        units = self.live.get("/devices")
        return names <= {unit["connection"] for unit in units if unit["health"] == "ok"}


def launched(live: Live, folder: Path, name: str, boat: Boat) -> AgentProcess:
    """Enrolled, fed and started."""
    source = (
        f'[[source]]\nmodel = "{MODEL}"\npath = "samples.bin"\nperiod_ms = {PERIOD_MS}\n'
        "[link]\nreconnect_s_min = 0.2\nreconnect_s_max = 2.0\n"
    )
    agent = enrolled(live, folder / name, name, boat.config + source, boat.hardware)
    (folder / name / "samples.bin").write_bytes(boat.samples)
    return agent.start()


@contextmanager
def flotilla(mosquitto: str, folder: Path, boats: Mapping[str, Boat]) -> Iterator[Flotilla]:
    """Broker, controller and devices that serve a first version; all ended whatever happens."""
    live = live_with_class(folder / "acme", mosquitto)
    fleet = Flotilla(live)
    try:
        answer = live.http.put(f"/classes/{METERED}", json={**CLASS, "name": METERED})
        assert answer.status_code == 200, answer.text
        fleet.add(folder, boats)
        fleet.install(fleet.push())
        yield fleet
    finally:
        for agent in fleet.agents.values():
            agent.kill()
        live.close()
