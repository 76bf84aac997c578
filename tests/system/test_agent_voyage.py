"""Real agents, a real broker: a bundle comes aboard, serves, and goes when it is bad."""

import pytest
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import INPUT_BYTES
from tests.system.agents import Fleet, fleet


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


def test_an_agent_is_updated_over_a_real_broker_and_serves(sea: Fleet):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0", ballast_rows=6000)
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle])
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase.name == "TRIAL", "trial")
    for _ in range(6):
        answer = agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        assert answer["version"] == "1.0.0"
        assert answer["digest"] == bundle.digest.hex()
    model = sea.ashore.wait_for_model(
        agent.device, lambda m: m.outcome is Outcome.CONFIRMED, "confirmation"
    )
    assert model.active is not None
    assert model.active.manifest_digest == bundle.digest
    assert agent.get("/status")["units"]["self"]["models"]["digits"]["outcome"] == "confirmed"
    assert agent.stop() == 0
