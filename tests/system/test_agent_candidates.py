"""A real agent over a real broker: a shadow beside what serves, a switch, a window, an owner."""

import contextlib
import json
import time
from hashlib import sha256

import pytest
from wherry_agent.telemetry.shadow import DIGEST_CHARACTERS
from wherry_native.engine import Program
from wherry_protocol import sketch
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow, TelemetryConfig
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import INPUT_BYTES, layer_image
from tests.system.agents import Fleet, agent_command, fleet, wait_until
from tests.system.test_agent_voyage import feed, outcome_of

INPUTS = [[n, -n] * (INPUT_BYTES // 2) for n in range(1, 100, 3)]


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


@pytest.fixture
def aboard(sea: Fleet):
    """An agent that serves 1.0.0, confirmed, and a 1.1.0 on the broker."""
    agent = sea.enrol().start()
    old, new = sea.director.made("1.0.0", seed=1), sea.director.made("1.1.0", seed=2)
    for bundle in (old, new):
        sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [old])
    feed(agent, lambda: outcome_of(sea, agent, old) is Outcome.CONFIRMED)
    return sea, agent, old, new


def shadow_records(sea: Fleet, base: str) -> dict[str, float]:
    """The sum of each count that was told under this base name."""
    sums: dict[str, float] = {}
    for one in sea.ashore.heard["telemetry"]:
        if one.pack and one.pack[0].base_name == base:
            for record in one.pack:
                if record.name and record.value is not None:
                    sums[record.name] = sums.get(record.name, 0.0) + record.value
    return sums


def slots_of(agent) -> dict[str, str]:
    return {one["version"]: one["slot"] for one in agent.get("/status")["loaded"]}


def test_a_shadow_runs_on_the_devices_own_inputs_and_is_told_and_switched_in(aboard):
    sea, agent, old, new = aboard
    often = TelemetryConfig(performance_s=1, resources_s=1)
    told = {"telemetry": often}
    sea.ashore.assign(agent.device, [new], mode=Mode.SHADOW, desired_changes=told)
    sea.ashore.wait_for_model(agent.device, lambda m: m.candidate_mode is Mode.SHADOW, "a shadow")
    base, fed = "acme/gw1/self/digits/1.1.0/shadow/", 0

    def compared() -> bool:
        nonlocal fed
        for values in INPUTS:
            with contextlib.suppress(OSError):
                answer = agent.get("/inference", {"input_q": values})
                assert answer["version"] == "1.0.0"  # it never answers
                fed += 1
        return shadow_records(sea, base).get("shadow.compared", 0) >= len(INPUTS)

    wait_until(compared, lambda: f"comparisons are told; {agent.log[-1500:]}")
    sums = shadow_records(sea, base)
    assert sums["shadow.compared"] + sums["shadow.skipped.deadline"] <= fed
    assert sums["inferences"] == sums["shadow.compared"]
    assert 0 < sums["shadow.agreed"] <= sums["shadow.compared"]
    records = [r for t in sea.ashore.heard["telemetry"] for r in t.pack]
    latencies = [sketch.from_bytes(r.data) for r in records if r.name == "shadow.primary_latency"]
    assert sum(one.count for one in latencies) == sums["shadow.compared"]
    assert any(r.name.startswith("energy.source") for r in records if r.name) or any(
        r.name == "energy.per_inference.unavailable" for r in records
    )
    _check_disagreements(records)
    status = json.loads(_command(agent, "status"))["units"]["self"]["models"]["digits"]
    assert status["candidate"]["mode"] == "shadow"
    assert slots_of(agent) == {"1.0.0": "active", "1.1.0": "shadow"}
    sea.ashore.assign(agent.device, [new], mode=Mode.WARM)
    sea.ashore.wait_for_model(agent.device, lambda m: m.candidate_mode is Mode.WARM, "warm")
    assert slots_of(agent) == {"1.0.0": "active", "1.1.0": "candidate"}
    sea.ashore.assign(agent.device, [new])
    feed(agent, lambda: outcome_of(sea, agent, new) is Outcome.CONFIRMED)
    assert slots_of(agent) == {"1.0.0": "previous", "1.1.0": "active"}
    assert agent.get("/inference", {"input_q": INPUTS[0]})["version"] == "1.1.0"
    release = SlotRelease(model="digits", manifest_digest=old.digest)
    sea.ashore.assign(agent.device, [new], desired_changes={"releases": (release,)})
    sea.ashore.wait_for_model(
        agent.device, lambda m: m.previous and not m.is_previous_loaded, "decommission"
    )
    assert [one["version"] for one in agent.get("/status")["loaded"]] == ["1.1.0"]


def _check_disagreements(records) -> None:
    """Each names an input of ours by its hash, and what each of the two made of it."""
    programs = Program(layer_image(1)), Program(layer_image(2))
    ours = {}
    for values in INPUTS:
        data = bytes(v % 256 for v in values)
        parts = (data, *(program.run(data) for program in programs))
        ours[_hash(data)] = [_hash(part) for part in parts]
    told = [r.string.split() for r in records if r.name == "shadow.disagreement"]
    assert told
    for _, *digests in told:
        assert digests == ours[digests[0]]


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()[:DIGEST_CHARACTERS]


def _code(agent) -> str:
    return str(agent.get("/status")["units"]["self"]["models"]["digits"]["code"])


def _command(agent, *arguments: str) -> str:
    done = agent_command(*arguments, "--config", str(agent.folder / "agent.toml"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_owner_at_the_device_puts_a_swap_off_and_lets_it_come(aboard):
    sea, agent, _, new = aboard
    until_s = int(time.time()) + 3600
    assert json.loads(_command(agent, "defer", "--for", "2h"))["deferred_s"] > until_s
    window = SwapWindow(defer_until_s=until_s)
    sea.ashore.assign(agent.device, [new], window=window)
    model = sea.ashore.wait_for_model(
        agent.device, lambda m: m.code.name == "DEFERRED", "it waits for its owner"
    )
    assert (model.phase.name, model.outcome) == ("STAGED", Outcome.NONE)
    waiting = json.loads(_command(agent, "defer", "--for", "2h"))["waiting"]
    assert waiting == {"self/digits": until_s}  # no longer than the controller allows
    agent.kill()
    agent.start()
    wait_until(lambda: _code(agent) == "DEFERRED", "it still waits")
    _command(agent, "defer", "--for", "0")
    feed(agent, lambda: outcome_of(sea, agent, new) is Outcome.CONFIRMED)


def test_a_deferral_that_makes_no_sense_is_one_sentence(tmp_path):
    done = agent_command("defer", "--for", "soon", "--config", str(tmp_path / "agent.toml"))
    assert done.returncode == 2
    assert "no time like 90m" in done.stderr
