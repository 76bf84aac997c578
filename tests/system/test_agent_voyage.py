"""Real agents, a real broker: a bundle comes aboard, serves, and goes when it is bad."""

import contextlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import INPUT_BYTES
from tests.system.agents import (
    AgentProcess,
    Fleet,
    agent_command,
    environment,
    fleet,
    wait_until,
)


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


def test_telemetry_of_two_models_arrives_acknowledged_and_in_order(sea: Fleet):
    agent = sea.enrol().start()
    bundles = [
        sea.director.made("1.0.0", model=name, seed=seed)
        for name, seed in (("digits", 1), ("words", 2))
    ]
    for bundle in bundles:
        sea.ashore.publish(bundle)
    often = TelemetryConfig(performance_s=1, resources_s=1)
    sea.ashore.assign(agent.device, bundles, desired_changes={"telemetry": often})

    def counted() -> set[str]:
        for model in ("digits", "words"):
            with contextlib.suppress(OSError):
                agent.get("/inference", {"model": model, "input_q": [1] * INPUT_BYTES})
        return {
            pack.pack[0].base_name or ""
            for pack in sea.ashore.heard["telemetry"]
            for record in pack.pack
            if record.name == "inferences" and (record.value or 0) > 0
        }

    both = {f"acme/gw1/self/{model}/1.0.0/active/" for model in ("digits", "words")}
    wait_until(lambda: both <= counted(), "both models' packs have come")
    sequences = sorted(
        one.origin.sequence for leaf in ("telemetry", "event") for one in sea.ashore.heard[leaf]
    )
    assert sequences[0] == 1
    assert len(set(sequences)) >= len(both)
    names = {r.name for pack in sea.ashore.heard["telemetry"] for r in pack.pack}
    assert {"memory.rss", "cpu", "latency.sketch", "energy.per_inference"} <= names
    wait_until(lambda: agent.get("/status")["reports"]["held"] == 0, "everything is acknowledged")


def test_a_bundle_that_misses_its_deadline_is_reverted_and_one_that_does_not_stays(sea: Fleet):
    agent = sea.enrol().start()
    old = sea.director.made("1.0.0", seed=1)
    slow = sea.director.made("1.1.0", seed=2, ballast_rows=40_000)
    for bundle in (old, slow):
        sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [old], deadline_us=1_000_000)
    feed(agent, lambda: outcome_of(sea, agent, old) is Outcome.CONFIRMED)
    sea.ashore.assign(agent.device, [slow], deadline_us=1)
    feed(agent, lambda: outcome_of(sea, agent, old) is Outcome.REVERTED)
    (model,) = sea.ashore.reported["gw1", "self"].models
    assert model.code is Code.ERROR_RATE
    assert agent.get("/inference", {"input_q": [1] * INPUT_BYTES})["version"] == "1.0.0"


def outcome_of(sea: Fleet, agent: AgentProcess, serving: Bundle) -> Outcome | None:
    """The outcome in `reported`, while `serving` is what serves."""
    reported = sea.ashore.reported.get((agent.device.name, "self"))
    for one in reported.models if reported else ():
        if one.active is not None and one.active.manifest_digest == serving.digest:
            return one.outcome
    return None


def feed(agent: AgentProcess, until: Callable[[], bool]) -> None:
    """Inferences through the door, until something holds."""

    def look() -> bool:
        with contextlib.suppress(OSError):
            agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        return until()

    wait_until(look, lambda: f"what the feed was for; {agent.log[-1500:]}")


def test_reports_made_while_the_controller_is_silent_arrive_after_a_restart(sea: Fleet):
    sea.ashore.acknowledges = False
    agent = sea.enrol(config="[limits]\nspool_hold_s = 0.5\n").start()
    wait_until(lambda: sea.ashore.heard["event"], "the first event")
    first = sea.ashore.heard["event"][0].origin
    wait_until(lambda: list((agent.state_dir / "data" / "spool").iterdir()), "it is spooled")
    agent.kill()
    sea.ashore.heard["event"].clear()
    agent.start()
    wait_until(
        lambda: any(e.origin.boot_id == first.boot_id for e in sea.ashore.heard["event"]),
        "the event of the earlier boot comes again",
    )
    sea.ashore.acknowledges = True
    wait_until(
        lambda: not list((agent.state_dir / "data" / "spool").iterdir()),
        "the spool is released by the director's ack",
        60,
    )


def test_an_agent_survives_its_broker_and_says_who_it_is_again(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        agent = one.enrol().start()
        one.ashore.wait_for(lambda: one.ashore.reported.get(("gw1", "self")), "a report")
        numbers = [p.connection_number for p in one.ashore.heard["presence"]]
        agent.kill()
        one.ashore.wait_for(
            lambda: any(not p.is_online for p in one.ashore.heard["presence"]), "the will"
        )
        agent.start()
        one.ashore.wait_for(
            lambda: (
                one.ashore.heard["presence"][-1].is_online
                and one.ashore.heard["presence"][-1].connection_number > max(numbers)
            ),
            "a higher connection number",
        )
        assert agent.stop() == 0
        one.ashore.wait_for(lambda: not one.ashore.heard["presence"][-1].is_online, "farewell")


@pytest.mark.parametrize(
    ("text", "word"),
    [("state_dir = 3", "state_dir"), ("[http]\nport = 70000", "http.port"), ("nonsense", "TOML")],
)
def test_a_mistake_in_the_config_is_one_sentence_and_exit_code_2(tmp_path, text, word):
    path = tmp_path / "agent.toml"
    path.write_text(text if "state_dir" in text else f'state_dir = "x"\n{text}\n')
    ended = agent_command("run", "--config", str(path))
    assert ended.returncode == 2
    assert word in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_device_that_was_not_enrolled_says_what_to_do(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text('state_dir = "state"\n')
    (tmp_path / "state").mkdir()
    ended = agent_command("run", "--config", str(path))
    assert ended.returncode != 0
    assert "wherry-agent enroll" in ended.stderr


def test_the_service_path_imports_none_of_the_large_packages():
    code = (
        "import sys, wherry_agent.shell.station, wherry_agent.main;"
        "print([m for m in ('numpy','typer','pydantic','rich') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert ended.stdout.strip() == "[]", ended.stderr
