"""A real agent behind a real broker, seen by who consumes its answers and its telemetry."""

import json
import shutil
import threading
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import INPUT_BYTES
from tests.agent.harbour import afloat
from tests.system.agents import AgentProcess, Fleet, fleet, wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]
OFTEN = {"telemetry": TelemetryConfig(performance_s=1, resources_s=1)}
INPUT = {"input_q": [1] * INPUT_BYTES}
RESOURCES = {
    "memory.rss", "memory.arena", "memory.budget", "cpu", "storage.used", "storage.free",
    "spool.bytes", "spool.dropped",
}  # fmt: skip
PERFORMANCE = {
    "digest", "interval", "inferences", "errors", "refused", "errors.engine", "errors.deadline",
    "errors.range", "latency.count", "latency.sum", "latency.p50", "latency.p95", "latency.p99",
    "latency.sketch",
}  # fmt: skip


@pytest.fixture
def sea(mosquitto: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(mosquitto, tmp_path) as one:
        yield one


@dataclass(eq=False)
class Feed(threading.Thread):
    """One connection that asks without a pause; every answer and every gap is kept."""

    address: str
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    gap_s_max: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.is_over = threading.Event()

    def run(self) -> None:
        host, _, port = self.address.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=10)
        before = time.monotonic()
        while not self.is_over.is_set():
            connection.request("POST", "/inference", json.dumps(INPUT))
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status == 200:
                self.versions.append(answer["version"])
            else:
                self.failures.append(answer["error"])
            now = time.monotonic()
            self.gap_s_max, before = max(self.gap_s_max, now - before), now
        connection.close()


def install(sea: Fleet, agent: AgentProcess, *bundles: Bundle, **changes: Any) -> None:
    """Assigned, fed by hand, confirmed."""
    sea.ashore.assign(agent.device, list(bundles), desired_changes=OFTEN, **changes)
    wanted = {bundle.digest for bundle in bundles}

    def are_confirmed() -> bool:
        for bundle in bundles:
            answers(agent, bundle.manifest.model)
        reported = sea.ashore.reported.get((agent.device.name, "self"))
        return reported is not None and wanted == {
            one.active.manifest_digest
            for one in reported.models
            if one.active is not None and one.outcome is Outcome.CONFIRMED
        }

    wait_until(are_confirmed, lambda: f"all are confirmed; {agent.log[-1500:]}", 40)


def answers(agent: AgentProcess, model: str = "digits") -> Any:
    """The answer's version, or None."""
    try:
        return agent.get("/inference", {"model": model, **INPUT})["version"]
    except OSError:
        return None


def test_every_inference_is_answered_across_swaps_and_says_who_made_it(sea: Fleet) -> None:
    agent = sea.enrol().start()
    bundles = [sea.director.made(f"1.{n}.0", seed=n) for n in range(4)]
    for bundle in bundles:
        sea.ashore.publish(bundle)
    install(sea, agent, bundles[0])
    feed = Feed((agent.state_dir / "http-address").read_text().strip())
    feed.start()
    for bundle in bundles[1:]:
        install(sea, agent, bundle)
    feed.is_over.set()
    feed.join(10)
    assert feed.failures == []
    assert sorted(set(feed.versions)) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    assert feed.versions == sorted(feed.versions), "no answer of an old version after a new one"
    assert feed.gap_s_max < 1.0


def test_what_the_device_measures_arrives_by_its_documented_names(sea: Fleet) -> None:
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    install(sea, agent, bundle)

    def heard() -> dict[str, Any]:
        answers(agent)
        found: dict[str, Any] = {}
        for pack in sea.ashore.heard["telemetry"]:
            base = ""
            for record in pack.pack:
                base = record.base_name or base
                found[f"{base}{record.name}"] = record
        return found

    unit, model = "acme/gw1/self/", "acme/gw1/self/digits/1.0.0/active/"
    names = {unit + name for name in RESOURCES} | {model + name for name in PERFORMANCE}
    wait_until(lambda: names <= heard().keys(), lambda: f"{sorted(names - heard().keys())}", 20)
    records = heard()
    assert records[f"{unit}memory.rss"].value > 1e6
    assert 0 < records[f"{unit}memory.arena"].value < records[f"{unit}memory.budget"].value
    assert records[f"{unit}storage.used"].value > 0
    assert records[f"{model}digest"].string == bundle.digest.hex()
    has_energy = f"{model}energy.per_inference" in records
    assert has_energy or f"{model}energy.per_inference.unavailable" in records
    if has_energy:
        assert records[f"{model}energy.source"].string.startswith(("measured:", "modelled:"))
        assert records[f"{model}energy.uncertainty"].value > 0
    temperature = {f"{unit}temperature", f"{unit}temperature.unavailable"} & records.keys()
    assert len(temperature) == 1


def test_two_models_have_slots_versions_and_answers_of_their_own(sea: Fleet) -> None:
    agent = sea.enrol().start()
    digits, words = (
        sea.director.made(version, model=name, seed=seed)
        for name, version, seed in (("digits", "1.0.0", 1), ("words", "2.0.0", 2))
    )
    newer = sea.director.made("2.1.0", model="words", seed=3)
    for bundle in (digits, words, newer):
        sea.ashore.publish(bundle)
    install(sea, agent, digits, words)
    install(sea, agent, digits, newer)
    models = agent.get("/status")["units"]["self"]["models"]
    assert models["digits"]["active"]["version"] == "1.0.0"
    assert models["digits"]["previous"] is None
    assert models["words"]["active"]["version"] == "2.1.0"
    assert models["words"]["previous"]["version"] == "2.0.0"
    assert (answers(agent, "digits"), answers(agent, "words")) == ("1.0.0", "2.1.0")


def test_a_start_is_told_and_serves_what_was_confirmed(sea: Fleet) -> None:
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    install(sea, agent, bundle)
    assert agent.stop() == 0
    (agent.state_dir / "http-address").unlink(missing_ok=True)
    sea.ashore.heard["event"].clear()
    sea.ashore.reported.clear()
    agent.start()
    assert wait_until(lambda: answers(agent), "it serves") == "1.0.0"
    sea.ashore.wait_for(
        lambda: any(e.kind is Kind.STARTED for e in sea.ashore.heard["event"]), "a start event"
    )
    reported = sea.ashore.wait_for(lambda: sea.ashore.reported.get(("gw1", "self")), "a report")
    assert [m.active.version for m in reported.models if m.active] == ["1.0.0"]
    assert (reported.engine_abi_min, reported.hardware_class) == (1, "linux-test")


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_bundle_that_rotted_or_is_gone_never_serves_and_the_previous_one_does(
    sea: Fleet, is_gone: bool
) -> None:
    agent = sea.enrol().start()
    bundles = [sea.director.made(f"1.{n}.0", seed=n) for n in range(2)]
    for bundle in bundles:
        sea.ashore.publish(bundle)
        install(sea, agent, bundle)
    agent.kill()
    digest = bundles[1].manifest.program_digest.hex()
    found = [p for p in (agent.state_dir / "data").rglob("*") if p.is_file() and digest in p.name]
    assert found
    for path in found:
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink() if is_gone else path.write_bytes(content)
    sea.ashore.heard["event"].clear()
    agent.start()
    assert wait_until(lambda: answers(agent), "something serves") == "1.0.0"
    told = sea.ashore.wait_for(
        lambda: [e for e in sea.ashore.heard["event"] if e.code is not Code.OK], "the cause"
    )
    assert {e.model for e in told} == {"digits"}
    sea.ashore.wait_for_model(
        agent.device,
        lambda m: m.active is not None and m.active.version == "1.1.0",
        "it is fetched again",
    )


@pytest.mark.parametrize("window", [1, 3])
def test_a_device_asks_for_so_many_chunks_at_a_time(window: int) -> None:
    harbour = afloat()
    bundle = harbour.director.made("1.0.0", ballast_rows=40_000)
    assert len(harbour.director.chunks(bundle)) > 8
    harbour.publish(bundle)
    harbour.wish([harbour.director.assignment(bundle)], chunk_window=window)
    harbour.serve_well(bundle)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.broker.subscribed_count_max == window


def test_an_isolated_device_answers_nobody_until_it_is_released(sea: Fleet) -> None:
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    install(sea, agent, bundle)
    topic = sea.director.topics.desired("gw1", "self")
    for is_isolated in (True, False):
        desired = sea.director.desired(
            agent.device, [sea.director.assignment(bundle)], is_isolated=is_isolated
        )
        sea.ashore.say(topic, sea.director.sealed(desired), is_retained=True)
        wait_until(lambda: (answers(agent) is None) is is_isolated, f"isolated {is_isolated}")  # noqa: B023
    assert answers(agent) == "1.0.0"


def test_a_model_over_the_devices_memory_limit_is_refused_before_it_is_loaded(sea: Fleet) -> None:
    agent = sea.enrol(config="[limits]\nmemory_bytes_max = 1_048_576\n").start()
    small = sea.director.made("1.0.0")
    large = sea.director.made("1.1.0", seed=2, ballast_rows=50_000)
    for bundle in (small, large):
        sea.ashore.publish(bundle)
    install(sea, agent, small)
    sea.ashore.assign(agent.device, [large])
    model = sea.ashore.wait_for_model(
        agent.device, lambda m: m.outcome is Outcome.REJECTED, "rejection"
    )
    assert "1048576" in model.reason.replace("_", "").replace(" ", "") or "memory" in model.reason
    assert answers(agent) == "1.0.0"


def test_a_wrong_input_is_one_sentence_and_no_error_of_the_model(sea: Fleet) -> None:
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    install(sea, agent, bundle)
    for body in ({"input": [1, 2, 3]}, {"input": ["a"] * 16}, {"model": "ghost", **INPUT}, {}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            agent.get("/inference", body)
        assert refused.value.code in (400, 404)
        assert json.loads(refused.value.read())["error"]
    right = agent.get("/inference", {"input": [1.0] * INPUT_BYTES})
    assert right["version"] == "1.0.0"
    assert right["digest"] == bundle.digest.hex()
    assert right["slot"] == "active"


def test_a_lost_state_folder_is_named_and_nothing_starts(sea: Fleet) -> None:
    agent = sea.enrol().start()
    wait_until(lambda: sea.ashore.reported.get(("gw1", "self")), "it runs")
    agent.kill()
    shutil.rmtree(agent.state_dir)
    agent.start()
    assert agent.process is not None
    assert agent.process.wait(20) != 0
    assert "wherry-agent enroll" in agent.log
    agent.process = None
