"""A microcontroller as a unit: the real firmware on a pty, driven as the agent's core drives it."""

from dataclasses import replace
from pathlib import Path

import pytest
from wherry_agent.core.effects import Ask, Configure, Isolate, LoadCandidate, Release
from wherry_agent.core.inputs import (
    Answered,
    Loaded,
    Noticed,
    Sampled,
    SelfTested,
    StepFailed,
)
from wherry_agent.shell.sources import Samples
from wherry_native.engine import Program
from wherry_protocol.codec import decode, encode
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, TelemetryConfig
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    LogsReply,
    LogsRequest,
    StatusReply,
    Verb,
    VerifyReply,
    VerifyRequest,
)

from tests.agent.gateway.board import (
    KEYS,
    MODEL,
    STRANGER,
    Board,
    Unit,
    mcu_model,
)
from tests.firmware.conftest import build

ROOT = Path(__file__).parents[3]
SAMPLES = Samples("samples", False, bytes(range(64)), 20_000)


@pytest.fixture(scope="module")
def firmware():
    return build(ROOT, "all")


@pytest.fixture
def board(firmware, tmp_path):
    made = Board(firmware, tmp_path)
    made.power_on()
    yield made
    made.power_off()


@pytest.fixture
def start(board):
    """Starts units on the board; each is ended with the test."""
    started = []

    def start_unit(samples=None, **config) -> Unit:
        unit = Unit(board, samples, **config)
        started.append(unit)
        return unit

    yield start_unit
    for unit in started:
        unit.host.stop()


def install(unit, model):
    """The whole way, as the core goes it when everything is well."""
    unit.load(model)
    unit.next(Loaded)
    unit.test(model)
    tested = unit.next(SelfTested)
    assert (tested.passed, tested.count) == (8, 8)
    unit.swap(model)
    unit.watch(model)
    unit.figures_until(lambda found: not found.is_engine_dead)
    unit.confirm(model)
    unit.status_until(lambda status: running(status, model) and status["running"]["is_confirmed"])


def running(status, model):
    now = status.get("running")
    return bool(now) and now["version"] == model.manifest.version


def test_a_model_is_uploaded_tested_bit_for_bit_tried_and_confirmed(start):
    unit = start(SAMPLES)
    first = mcu_model("1.0.0")
    unit.load(first)
    loaded = unit.next(Loaded)
    assert loaded.inputs[0].shape == (1, 16)
    assert loaded.memory_bytes > len(first.image)
    unit.test(first)
    tested = unit.next(SelfTested)
    assert (tested.passed, tested.count) == (8, 8)
    unit.swap(first)
    unit.watch(first)
    figures = unit.figures_until(lambda found: found.good_count >= 5)
    assert figures.error_count == 0
    assert figures.latency_us_mean > 0
    assert figures.energy_uj_mean is None  # a data-sheet model judges nothing
    assert not unit.host.status()["running"]["is_confirmed"]
    unit.confirm(first)
    unit.status_until(lambda status: status["running"]["is_confirmed"])


def test_a_revert_is_a_reset_and_the_old_model_runs_again(start):
    unit = start()
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    install(unit, first)
    unit.load(second)
    unit.next(Loaded)
    unit.test(second)
    assert unit.next(SelfTested).passed == 8
    unit.swap(second)
    unit.watch(second)
    unit.status_until(lambda status: running(status, second))
    unit.swap(first)
    unit.status_until(lambda status: running(status, first) and status["running"]["is_confirmed"])


def test_a_rollback_after_confirmation_tries_and_confirms_the_older_image(start):
    unit = start()
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    install(unit, first)
    install(unit, second)
    install(unit, first)


@pytest.mark.parametrize(
    ("signers", "code"),
    [((), Code.THRESHOLD), (KEYS[:1], Code.THRESHOLD), ((KEYS[0], STRANGER), Code.THRESHOLD)],
)
def test_an_image_that_too_few_signed_never_runs(start, signers, code):
    unit = start()
    first = mcu_model("1.0.0")
    install(unit, first)
    bad = mcu_model("1.1.0", seed=2, signers=signers)
    unit.load(bad)
    if signers:
        unit.next(Loaded)
        unit.test(bad)
    failed = unit.next(StepFailed)
    assert failed.code is code
    assert failed.manifest_digest == bad.digest
    unit.status_until(lambda status: running(status, first))


def test_a_crash_on_trial_is_a_dead_engine_and_the_microcontroller_goes_back_by_itself(
    start, board
):
    unit = start()
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    install(unit, first)
    unit.load(second)
    unit.next(Loaded)
    unit.test(second)
    unit.next(SelfTested)
    unit.swap(second)
    unit.watch(second)
    unit.figures_until(lambda found: not found.is_engine_dead)
    board.power_off()
    board.power_on()
    figures = unit.figures_until(lambda found: found.is_engine_dead)
    assert figures.manifest_digest == second.digest
    unit.status_until(lambda status: running(status, first))


def test_a_lost_link_is_one_event_and_its_return_another(start, board):
    unit = start()
    first = mcu_model("1.0.0")
    install(unit, first)
    board.power_off()
    lost = unit.next(Noticed)
    assert (lost.kind, lost.code) == (Kind.UNIT, Code.DEVICE_LINK)
    assert str(board.link) in unit.host.status()["link"]
    board.power_on()
    back = unit.next(Noticed)
    assert (back.kind, back.code) == (Kind.UNIT, Code.OK)
    assert unit.host.status()["link"] == "up"
    unit.status_until(lambda status: running(status, first))


def test_an_effect_waits_for_the_link(start, board):
    unit = start()
    board.power_off()
    first = mcu_model("1.0.0")
    unit.load(first)
    unit.next(Noticed)
    board.power_on()
    unit.next(Loaded)


def test_after_a_start_of_the_gateway_the_running_model_is_known_without_an_upload(start):
    first = mcu_model("1.0.0")
    before = start()
    install(before, first)
    before.host.stop()
    unit = start()
    unit.load_again(first)
    unit.next(Loaded)
    unit.swap(first)
    unit.status_until(lambda status: status.get("serving") == "digits 1.0.0")


def test_a_confirmation_that_was_cut_off_is_made_up_for(start):
    first = mcu_model("1.0.0")
    before = start()
    before.load(first)
    before.next(Loaded)
    before.test(first)
    before.next(SelfTested)
    before.host.stop()
    unit = start()
    unit.load_again(first)
    unit.swap(first)
    unit.status_until(lambda s: running(s, first) and s["running"]["is_confirmed"])


def test_a_microcontroller_that_lost_a_confirmed_model_is_brought_back(start, board):
    unit = start()
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    install(unit, first)
    unit.load(second)
    unit.next(Loaded)
    unit.test(second)
    unit.next(SelfTested)
    unit.swap(second)  # no trial is watched and nothing confirmed yet
    board.power_off()
    board.power_on()
    unit.status_until(lambda s: running(s, second) and s["running"]["is_confirmed"])


def test_a_warm_candidate_is_tested_and_the_old_model_serves_on(start):
    unit = start()
    first, second = mcu_model("1.0.0"), mcu_model("1.1.0", seed=2)
    install(unit, first)
    unit.load(second, Mode.WARM)
    unit.next(Loaded)
    unit.test(second)
    assert unit.next(SelfTested).passed == 8
    unit.status_until(lambda s: running(s, first) and s["running"]["is_confirmed"])


def test_a_bundle_without_an_image_header_or_of_a_second_model_is_refused(start):
    unit = start()
    plain = mcu_model("1.0.0")
    unit.keep(plain)
    bare = tuple(blob for blob in plain.manifest.blobs if blob.name != "header.bin")
    manifest = replace(plain.manifest, blobs=bare)
    unit.host.execute(LoadCandidate("mcu1", MODEL, plain.slot, manifest, plain.assignment()))
    failed = unit.next(StepFailed)
    assert "no image header" in failed.text
    install(unit, plain)
    unit.host.execute(
        LoadCandidate("mcu1", "other", plain.slot, plain.manifest, plain.assignment())
    )
    assert unit.next(StepFailed).code is Code.POLICY


def test_telemetry_of_the_unit_has_its_own_name_and_modelled_energy(start):
    unit = start(SAMPLES)
    install(unit, mcu_model("1.0.0"))
    unit.host.configure(Configure("mcu1", TelemetryConfig(performance_s=1, resources_s=1)))
    while True:
        records = {r.name: r for r in unit.next(Sampled).pack}
        if records.get("inferences") and records["inferences"].value > 0:
            break
    assert records["digest"].base_name == "acme/gw1/mcu1/digits/1.0.0/active/"
    assert records["energy.source"].string == "modelled:datasheet"
    assert records["energy.per_inference"].value > 0
    assert records["latency.count"].value == records["inferences"].value
    while True:
        records = {r.name: r for r in unit.next(Sampled).pack}
        if "memory.arena" in records:
            break
    assert records["memory.budget"].value == 1 << 20
    assert records["temperature.unavailable"].string == "the microcontroller does not tell"


def ask(unit, verb, message=None):
    body = encode(message) if message is not None else b""
    unit.host.ask(Ask("mcu1", bytes(16), int(verb), body))
    return unit.next(Answered)


def test_questions_are_answered_by_the_microcontroller(start):
    unit = start()
    first = mcu_model("1.0.0")
    install(unit, first)
    data = bytes(range(16))
    reply = ask(unit, Verb.INFER, InferRequest(model=MODEL, input=data))
    inferred = decode(InferReply, reply.body)
    assert inferred.output == Program(first.image).run(data)
    assert inferred.manifest_digest == first.digest
    verified = decode(VerifyReply, ask(unit, Verb.VERIFY, VerifyRequest(model=MODEL)).body)
    assert (verified.is_intact, verified.golden_passed) == (True, 8)
    status = decode(StatusReply, ask(unit, Verb.STATUS).body)
    assert status.fields["version"] == "1.0.0"
    assert decode(LogsReply, ask(unit, Verb.LOGS, LogsRequest(count=5)).body).lines == ()
    assert ask(unit, Verb.RESET_BREAKER).code is Code.INVALID
    assert ask(unit, Verb.INFER, InferRequest(model="other", input=data)).code is Code.NOT_FOUND
    refused = ask(unit, Verb.INFER, InferRequest(model=MODEL, input=bytes(99)))
    assert refused.code is Code.DEVICE_LINK
    assert "INPUT_TOO_LONG" in refused.text


def test_an_isolated_unit_feeds_no_samples(start):
    unit = start(SAMPLES)
    install(unit, mcu_model("1.0.0"))
    unit.host.isolate(Isolate("mcu1", True))
    unit.status_until(lambda s: s["is_isolated"])
    at = unit.host.status()["running"]["uptime_s"]
    unit.status_until(lambda s: s["running"]["uptime_s"] >= at + 1)
    counted = unit.host.status()["running"]["inferences"]
    unit.status_until(lambda s: s["running"]["uptime_s"] >= at + 2)
    assert unit.host.status()["running"]["inferences"] == counted
    unit.host.isolate(Isolate("mcu1", False))
    unit.status_until(lambda s: s["running"]["inferences"] > counted)


def test_samples_that_do_not_fit_are_told_once_and_keep_nothing_else_from_happening(start):
    unit = start(Samples("wrong.bin", False, bytes(7), 1_000))
    first = mcu_model("1.0.0")
    install(unit, first)
    noticed = unit.next(Noticed)
    assert "wrong.bin has 7 bytes" in noticed.text
    at = unit.host.status()["running"]["uptime_s"]
    unit.status_until(lambda s: s["running"]["uptime_s"] >= at + 1)
    assert all(not isinstance(given, Noticed) for given in drained(unit))


def drained(unit):
    while not unit.told.empty():
        yield unit.told.get()


def test_a_released_bundle_cannot_be_swapped_in(start):
    unit = start()
    first = mcu_model("1.0.0")
    install(unit, first)
    unit.host.execute(Release("mcu1", MODEL, first.digest))
    unit.swap(first)
    assert unit.next(StepFailed).code is Code.NOT_FOUND
