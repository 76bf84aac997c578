"""A real agent over a real broker: a shadow beside what serves, a switch, a window, an owner."""

import contextlib
import json
import time
from hashlib import sha256

import pytest
from wherry_agent.telemetry.shadow import DIGEST_CHARACTERS
from wherry_native.engine import Program
from wherry_native.loop import in_sample
from wherry_protocol import sketch
from wherry_protocol.manifest import Comparator
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow, TelemetryConfig
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.senml import Record

from tests.agent.bundles import INPUT_BYTES, layer_image
from tests.system.agents import Fleet, agent_command, fleet, wait_until
from tests.system.test_agent_voyage import feed, outcome_of

INPUTS = [[n, -n] * (INPUT_BYTES // 2) for n in range(1, 100, 3)]
TOLERANCE_LSB = 70  # about half of them are within it, nearly all agree on the largest
SAMPLE_BP = 4_000


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


@pytest.fixture
def aboard(sea: Fleet):
    """An agent that serves 1.0.0, confirmed, and a 1.1.0 on the broker."""
    agent = sea.enrol().start()
    by_tolerance = {"comparator": Comparator.TOLERANCE, "tolerance_lsb": TOLERANCE_LSB}
    old = sea.director.made("1.0.0", seed=1)
    new = sea.director.made("1.1.0", seed=2, contract_changes=by_tolerance)
    for bundle in (old, new):
        sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [old])
    feed(agent, lambda: outcome_of(sea, agent, old) is Outcome.CONFIRMED)
    return sea, agent, old, new


def of_shadow(sea: Fleet, base: str) -> list[Record]:
    """Every record that was told under this base name."""
    packs = [one.pack for one in sea.ashore.heard["telemetry"] if one.pack]
    return [record for pack in packs if pack[0].base_name == base for record in pack]


def shadow_records(sea: Fleet, base: str) -> dict[str, float]:
    """The sum of each count."""
    sums: dict[str, float] = {}
    for record in of_shadow(sea, base):
        if record.name and record.value is not None:
            sums[record.name] = sums.get(record.name, 0.0) + record.value
    return sums


def slots_of(agent) -> dict[str, str]:
    return {one["version"]: one["slot"] for one in agent.get("/status")["loaded"]}


def test_a_shadow_runs_on_the_devices_own_inputs_and_is_told_and_switched_in(aboard):
    sea, agent, old, new = aboard
    often = TelemetryConfig(performance_s=1, resources_s=1)
    told = {"telemetry": often}
    base = "acme/gw1/self/digits/1.1.0/shadow/"
    sea.ashore.assign(
        agent.device, [new], mode=Mode.SHADOW, shadow_sample_bp=SAMPLE_BP, desired_changes=told
    )
    wait_until(lambda: slots_of(agent).get("1.1.0") == "shadow", "a shadow on a part")
    fed = _check_sample(sea, agent, base)
    in_part = shadow_records(sea, base)["shadow.compared"]
    sea.ashore.assign(agent.device, [new], mode=Mode.SHADOW, desired_changes=told)

    def compared() -> bool:
        nonlocal fed
        for values in INPUTS:
            with contextlib.suppress(OSError):
                answer = agent.get("/inference", {"input_q": values})
                assert answer["version"] == "1.0.0"  # it never answers
                fed += 1
        return shadow_records(sea, base).get("shadow.compared", 0) >= in_part + len(INPUTS)

    wait_until(compared, lambda: f"comparisons are told; {agent.log[-1500:]}")
    sums = shadow_records(sea, base)
    assert sums["shadow.compared"] + sums["shadow.skipped.deadline"] <= fed
    assert sums["inferences"] == sums["shadow.compared"]
    assert 0 < sums["shadow.agreed"] < sums["shadow.compared"]
    timed = [r for r in of_shadow(sea, base) if r.name == "latency.sketch"]
    assert sum(sketch.from_bytes(r.data).count for r in timed) == sums["shadow.compared"]
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


def _check_sample(sea: Fleet, agent, base: str) -> int:
    """Each input's number says whether the shadow runs on it, and the manifest what agrees; how
    many inputs that took."""
    [first] = [
        one["inferences"] for one in agent.get("/status")["loaded"] if one["slot"] == "active"
    ]
    fed = [values for _ in range(2) for values in INPUTS]
    for values in fed:
        agent.get("/inference", {"input_q": values})

    def counted() -> float:
        sums = shadow_records(sea, base)
        names = [n for n in sums if n == "shadow.compared" or n.startswith("shadow.skipped.")]
        return sum(sums[name] for name in names)

    wait_until(lambda: counted() == len(fed), lambda: f"{counted()} of {len(fed)} are told")
    wanted = [values for n, values in enumerate(fed) if in_sample(first + n, SAMPLE_BP)]
    sums = shadow_records(sea, base)
    late = sums["shadow.skipped.deadline"]
    assert sums["shadow.skipped.sampling"] == len(fed) - len(wanted) > 0
    assert sums["shadow.compared"] + late == len(wanted)
    near, largest = _agreeing(wanted)
    assert near < largest
    assert near - late <= sums["shadow.agreed"] == sums["shadow.agreed.tolerance"] <= near
    assert largest - late <= sums["shadow.agreed.argmax"] <= largest
    return len(fed)


def _agreeing(inputs: list[list[int]]) -> tuple[int, int]:
    """On how many the two are within the tolerance, and have the same largest output."""
    programs = Program(layer_image(1)), Program(layer_image(2))
    near = largest = 0
    for values in inputs:
        data = bytes(v % 256 for v in values)
        a, b = (memoryview(program.run(data)).cast("b").tolist() for program in programs)
        near += all(abs(x - y) <= TOLERANCE_LSB for x, y in zip(a, b, strict=True))
        largest += a.index(max(a)) == b.index(max(b))
    return near, largest


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
