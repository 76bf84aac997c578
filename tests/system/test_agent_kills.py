"""kill -9 at random points of updates over a real broker: a verified bundle serves afterwards."""

import os
import random
import time

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import INPUT_BYTES
from tests.agent.director import TRIAL
from tests.system.agents import AgentProcess, Fleet, fleet, wait_until

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("WHERRY_KILLS", "50"))
UPDATE_S = 0.6  # about as long as an update takes here, from desired to confirmed


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


def serving_digest(agent: AgentProcess) -> str | None:
    """Who answers an inference on the device's own door."""

    def ask() -> str | None:
        try:
            return str(agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["digest"])
        except OSError:
            return None

    return wait_until(ask, lambda: f"an inference is answered; {agent.log[-1500:]}")


def test_a_verified_bundle_serves_after_each_of_many_kills_in_mid_update(sea: Fleet):
    agent = sea.enrol().start()
    bundles = [sea.director.made(f"1.{n}.0", seed=n, ballast_rows=3000) for n in range(4)]
    for bundle in bundles:
        sea.ashore.publish(bundle)
    _install(sea, agent, bundles[0])
    known = {bundle.digest.hex() for bundle in bundles}
    source = random.Random(2024)
    for kill in range(KILLS):
        bundle = bundles[(kill + 1) % len(bundles)]
        trial = TRIAL.__class__(**{**_fields(TRIAL), "unconfirmed_starts_max": 2})
        sea.ashore.assign(agent.device, [bundle], attempt=kill, trial=trial)
        time.sleep(source.uniform(0.0, UPDATE_S))  # not to wait: the kill's random moment
        agent.kill()
        agent.start()
        assert serving_digest(agent) in known
    _install(sea, agent, bundles[0], attempt=KILLS)


def _fields(trial: object) -> dict[str, object]:
    return {name: getattr(trial, name) for name in trial.__dataclass_fields__}  # type: ignore[attr-defined]


def _install(sea: Fleet, agent: AgentProcess, bundle: Bundle, **changes: object) -> None:
    """Assigned, fed and confirmed."""
    sea.ashore.assign(agent.device, [bundle], **changes)
    digest = bundle.digest

    def is_confirmed() -> bool:
        try:
            agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        except OSError:
            return False
        reported = sea.ashore.reported.get((agent.device.name, "self"))
        return reported is not None and any(
            one.outcome is Outcome.CONFIRMED
            and one.active is not None
            and one.active.manifest_digest == digest
            for one in reported.models
        )

    wait_until(is_confirmed, lambda: f"the bundle is confirmed; {agent.log[-3000:]}", 60)
