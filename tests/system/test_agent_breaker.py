"""The breaker over a real broker and a real loop: a confirmed bundle turns bad on some inputs."""

import random
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from wherry_native.engine import Program
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.rpc import InferReply, InferRequest, ResetBreakerRequest, Verb

from tests.agent.bundles import INPUT_BYTES, layer_image
from tests.agent.director import TRIAL
from tests.system.agents import AgentProcess, Fleet, fleet, wait_until

SAFE = bytes([9, 9, 9, 9])


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


def integers(data: bytes) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in data]


def fork(low: int, high: int) -> tuple[bytes, bytes]:
    """An input on which both versions keep the range, and one on which only 1.0.0 (seed 1) does."""
    programs = [Program(layer_image(seed)) for seed in (1, 2)]
    source = random.Random(11)
    found: dict[tuple[bool, ...], bytes] = {}
    while not {(True, True), (True, False)} <= set(found):
        data = source.randbytes(INPUT_BYTES)
        outputs = [integers(program.run(data)) for program in programs]
        found[tuple(all(low <= q <= high for q in output) for output in outputs)] = data
    return found[True, True], found[True, False]


LOW, HIGH = -120, 120
FINE, NASTY = fork(LOW, HIGH)


def infer(agent: AgentProcess, data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = agent.get("/inference", {"input_q": integers(data)})
    return answer


def installed(
    sea: Fleet,
    agent: AgentProcess,
    version: str,
    seed: int,
    trial: TrialLimits = TRIAL,
    **contract: Any,
) -> bytes:
    """A bundle whose output must stay within LOW..HIGH, confirmed by fine inputs."""
    terms = {"valid_min": LOW, "valid_max": HIGH, **contract}
    bundle = sea.director.made(version, seed=seed, contract_changes=terms)
    sea.ashore.publish(bundle)
    sea.ashore.assign(agent.device, [bundle], trial=trial)

    def is_confirmed() -> bool:
        reported = sea.ashore.reported.get(("gw1", "self"))
        for model in reported.models if reported else ():
            is_it = model.active is not None and model.active.manifest_digest == bundle.digest
            if is_it and model.outcome is Outcome.CONFIRMED:
                return True
            if is_it:
                infer(agent, FINE)
        return False

    wait_until(is_confirmed, lambda: f"{version} is confirmed; {agent.log[-1000:]}")
    return bundle.digest


def breaker(agent: AgentProcess) -> dict[str, Any]:
    status: dict[str, Any] = agent.get("/status")
    found: dict[str, Any] = status["units"]["self"]["models"]["digits"]["breaker"]
    return found


def until_state(agent: AgentProcess, state: str, meanwhile: Callable[[], Any]) -> None:
    def look() -> bool:
        meanwhile()
        return bool(breaker(agent)["state"] == state)

    wait_until(look, lambda: f"the breaker is {state}; {agent.log[-1500:]}")


def asked(sea: Fleet, agent: AgentProcess, verb: Verb, body: bytes) -> Any:
    before = len(sea.ashore.heard["reply"])
    topic = sea.director.topics.rpc("gw1", "self")
    sea.ashore.say(topic, sea.director.request(agent.device, verb, body))
    sea.ashore.wait_for(lambda: len(sea.ashore.heard["reply"]) > before, "an answer")
    return sea.ashore.heard["reply"][-1]


def test_the_previous_version_answers_until_two_good_inferences_close_the_breaker(sea: Fleet):
    agent = sea.enrol(config="[breaker]\nopen_s = 2\n").start()
    old = installed(sea, agent, "1.0.0", 1)
    new = installed(sea, agent, "1.1.0", 2)
    for _ in range(4):
        assert infer(agent, NASTY)["is_out_of_range"] is True
    assert infer(agent, FINE)["version"] == "1.1.0"
    for _ in range(5):
        infer(agent, NASTY)
    until_state(agent, "open", lambda: None)
    answer = wait_until(
        lambda: found if (found := infer(agent, NASTY))["slot"] == "previous" else None,
        "the previous version answers",
    )
    assert (answer["version"], answer["digest"], answer["is_fallback"]) == (
        "1.0.0",
        old.hex(),
        True,
    )
    assert "is_out_of_range" not in answer
    (event,) = wait_until(
        lambda: [e for e in sea.ashore.heard["event"] if e.kind is Kind.BREAKER],
        "the event is ashore",
    )
    assert (event.code, event.model, event.manifest_digest) == (Code.BREAKER_OPEN, "digits", new)
    reported = sea.ashore.wait_for_model(
        agent.device, lambda m: m.code is Code.BREAKER_OPEN, "the open breaker in reported"
    )
    assert (reported.outcome, "1.0.0 answers instead" in reported.reason) == (
        Outcome.CONFIRMED, True,
    )  # fmt: skip
    until_state(agent, "closed", lambda: infer(agent, FINE))
    answer = infer(agent, FINE)
    assert (answer["version"], answer["slot"]) == ("1.1.0", "active")
    assert "is_fallback" not in answer
    assert breaker(agent)["opened_count"] == 1
    loaded = agent.get("/status")["loaded"]
    assert {one["version"] for one in loaded} == {"1.0.0", "1.1.0"}  # the way back stays ready


def test_the_owner_says_how_long_a_confirmed_version_may_go_on_failing(sea: Fleet):
    config = "[breaker]\nenabled = false\n[way_back]\nerror_rate_max = 0.2\n"
    config += "samples_min = 3\nwindow_s = 1\nwindows_min = 2\n"
    agent = sea.enrol(config=config).start()
    old = installed(sea, agent, "1.0.0", 1)
    installed(sea, agent, "1.1.0", 2)
    wait_until(lambda: infer(agent, NASTY)["version"] == "1.0.0", "the former version serves")
    reported = sea.ashore.wait_for_model(
        agent.device, lambda m: m.outcome is Outcome.REVERTED, "the way back in reported"
    )
    assert reported.active is not None
    assert reported.active.manifest_digest == old
    assert reported.reason == "more than 20% of its inferences failed for 2 s"


def test_the_safe_output_answers_where_no_version_may_and_the_director_closes(sea: Fleet):
    agent = sea.enrol(config="[breaker]\nopen_s = 600\n").start()
    installed(sea, agent, "1.0.0", 2, safe_output=SAFE)
    until_state(agent, "open", lambda: infer(agent, NASTY))
    answer = wait_until(
        lambda: found if "is_safe_output" in (found := infer(agent, FINE)) else None,
        "the safe output answers",
    )
    assert answer["output_q"] == integers(SAFE)
    reply = asked(sea, agent, Verb.INFER, encode(InferRequest(model="digits", input=FINE)))
    made = decode(InferReply, reply.body)
    assert (made.output, made.slot) == (SAFE, "safe output")
    reply = asked(sea, agent, Verb.RESET_BREAKER, encode(ResetBreakerRequest(model="digits")))
    assert (reply.code, reply.text) == (
        Code.OK, "the breaker of digits was open, now it is closed",
    )  # fmt: skip
    answer = wait_until(
        lambda: found if "is_safe_output" not in (found := infer(agent, FINE)) else None,
        "the model answers again",
    )
    assert answer["slot"] == "active"


def test_a_replayed_source_opens_the_breaker_too_and_says_that_nobody_answers(sea, tmp_path):
    samples = tmp_path / "nasty.bin"
    samples.write_bytes(NASTY)
    source = f'[[source]]\nmodel = "digits"\npath = "{samples}"\nperiod_ms = 20\n'
    agent = sea.enrol(config=source).start()
    installed(sea, agent, "1.0.0", 2, trial=replace(TRIAL, error_rate_max=1.0))
    until_state(agent, "open", lambda: None)
    with pytest.raises(urllib.error.HTTPError) as refused:
        infer(agent, FINE)
    assert refused.value.code == 503
    assert b"the breaker of digits is open" in refused.value.read()
