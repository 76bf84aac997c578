"""A liquid network on a real agent: what becomes of its recurrent state at each swap."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from wherry_native.engine import Program
from wherry_protocol.bundle import Bundle
from wherry_protocol.manifest import StatePolicy
from wherry_protocol.messages.reported import Outcome

from tests.compiler.test_liquid import measure
from tests.system.agents import AgentProcess, Fleet, fleet, wait_until
from tests.system.test_agent_voyage import outcome_of

HOURS = [(-1) ** n * 331 * (n % 37) for n in range(1000)]  # of int16, as the program takes them


@pytest.fixture
def sea(mosquitto, tmp_path) -> Iterator[Fleet]:
    with fleet(mosquitto, tmp_path) as one:
        yield one


@dataclass
class Weather:
    """An agent with examples/liquid's network, and the same program beside it, step for step."""

    sea: Fleet
    agent: AgentProcess
    image: bytes
    hour: int = 0
    version: str = ""
    begun: list[str] = field(default_factory=list)  # versions that began with a fresh state

    def __post_init__(self) -> None:
        self.mirror = Program(self.image)

    def assign(self, version: str, policy: StatePolicy, **contract: int) -> Bundle:
        made = self.sea.director.made(
            version, model="weather", image=self.image, state_policy=policy,
            contract_changes=contract,
        )  # fmt: skip
        self.sea.ashore.publish(made)
        self.sea.ashore.assign(self.agent.device, [made])
        return made

    def step(self) -> None:
        """The next hour goes to both; a version that answers differently must have begun anew."""
        hour = HOURS[self.hour % len(HOURS)]
        data = hour.to_bytes(2, "little", signed=True)
        answer = self.agent.get("/inference", {"input_q": [hour]})
        output = answer["output_q"][0].to_bytes(2, "little", signed=True)
        if self.mirror.run(data) != output:
            assert answer["version"] != self.version, "no version loses its state while it serves"
            self.mirror.reset()
            assert self.mirror.run(data) == output
            self.begun.append(answer["version"])
        self.version, self.hour = answer["version"], self.hour + 1

    def step_until(self, holds: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            with contextlib.suppress(OSError):
                self.step()
            return holds()

        wait_until(look, lambda: f"{what}; {self.agent.log[-1500:]}")

    def install(self, version: str, policy: StatePolicy) -> None:
        """It is swapped in between two of many inferences, and confirmed by more."""
        made = self.assign(version, policy)

        def is_confirmed() -> bool:
            return outcome_of(self.sea, self.agent, made) is Outcome.CONFIRMED

        self.step_until(is_confirmed, f"{version} is confirmed")

    def try_in_vain(self, version: str) -> None:
        """None of its answers is within its range: it goes back."""
        before = self.version
        self.assign(version, StatePolicy.KEEP, valid_min=32_767, valid_max=32_767)
        self.step_until(lambda: self.version == version, f"{version} serves")
        self.step_until(lambda: self.version == before, f"{before} serves again")


def test_the_state_of_a_liquid_network_goes_on_over_a_patch_and_begins_anew_over_anything_else(
    sea: Fleet,
):
    agent = sea.enrol().start()
    weather = Weather(sea, agent, measure().compiled("cfc-pure").image)
    weather.install("1.0.0", StatePolicy.KEEP)
    weather.install("1.0.1", StatePolicy.KEEP)
    assert weather.version == "1.0.1"
    assert weather.begun == []
    weather.install("1.0.2", StatePolicy.RESET)
    assert weather.begun == ["1.0.2"]
    weather.install("1.1.0", StatePolicy.KEEP)
    assert weather.begun == ["1.0.2", "1.1.0"], "another MINOR"
    weather.try_in_vain("1.1.1")
    assert weather.begun == ["1.0.2", "1.1.0", "1.1.0"], "the way back, and only that"
