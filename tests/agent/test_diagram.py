"""The diagrams in the documents say what the tables do."""

from collections import defaultdict
from dataclasses import replace

import pytest
from wherry_agent.core import update
from wherry_agent.core.acceptance import Fit
from wherry_agent.core.breaker import State
from wherry_agent.core.diagram import LEADS, breaker_diagram, update_diagram
from wherry_agent.core.inputs import Ran, StepFailed
from wherry_agent.core.model import UNDER_WAY, Failing, MemoryNeeded, Surroundings
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow
from wherry_protocol.messages.reported import Phase

from tests.agent.director import NOW_S, TRIAL, hardware_class
from tests.agent.harbour import Harbour, afloat
from tests.agent.test_storms import Storm

SEEDS = range(6)
GROWING = (("1.0.0", 51), ("1.1.0", 52))


@pytest.fixture
def seen(monkeypatch) -> dict:
    """rule -> the phases that it led to, over everything that the test lets happen."""
    found: dict = defaultdict(set)
    real = update.step

    def step(state, given, around):
        after, effects = real(state, given, around)
        if not update._is_about_something_else(state, given):
            found[update.TRANSITIONS[state.phase, type(given)]].add(after.phase)
        return after, effects

    monkeypatch.setattr(update, "step", step)
    return found


def voyages(harbour: Harbour) -> None:
    """What storms hardly meet: warm candidates, small classes, trials that time ends."""
    made = harbour.director.made
    harbour.assign(made("1.1.0", seed=2), mode=Mode.WARM)
    harbour.assign(made("1.2.0", seed=3), mode=Mode.SHADOW)
    big = made("1.3.0", seed=4, ballast_rows=3000)
    harbour.publish(big)
    tight = hardware_class(storage_budget_bytes=300_000)
    harbour.wish([harbour.director.assignment(big)], hardware_class=tight)
    harbour.wish([], hardware_class=hardware_class())
    honest = made("1.3.1", seed=4).manifest.contract
    outputs = tuple(replace(tensor, zero_point=-9) for tensor in honest.outputs)
    harbour.assign(made("1.3.1", seed=4, contract=replace(honest, outputs=outputs)))
    slow = made("1.3.2", seed=5, ballast_rows=3000)
    harbour.publish(slow, without=tuple(harbour.director.chunks(slow))[1:])
    harbour.wish([harbour.director.assignment(slow)])
    harbour.assign(made("1.3.3", seed=6), mode=Mode.SHADOW)  # while another is on its way


def ends(harbour: Harbour) -> None:
    made = harbour.director.made
    again = made("1.4.0", seed=5)
    harbour.assign(again, attempt=1)
    harbour.assign(again, attempt=2)  # the same bundle on trial, other limits
    harbour.assign(made("1.5.0", seed=6), attempt=3)  # another one
    harbour.assign(made("1.5.1", seed=6), mode=Mode.SHADOW)
    for attempt, is_golden_asked in ((4, True), (5, False)):
        one = made(f"1.6.{attempt}", seed=7 + attempt)
        short = replace(TRIAL, trial_s_max=5.0, may_confirm_by_golden=is_golden_asked)
        harbour.assign(one, attempt=attempt, trial=short)
        harbour.loops.watched.clear()  # time alone ends it
        harbour.tick(6)
        harbour.tick(1)
    last = made("1.7.0", seed=20)
    harbour.assign(last, attempt=9)
    broken = StepFailed("self", "digits", last.digest, Code.FAILED, "it fell over")
    harbour.live.post(broken)
    harbour.settle()
    slow = made("1.7.1", seed=23, ballast_rows=3000)
    harbour.publish(slow, without=tuple(harbour.director.chunks(slow))[1:])
    harbour.wish([harbour.director.assignment(slow)])
    harbour.live.post(replace(broken, manifest_digest=slow.digest))  # on its way
    harbour.settle()
    for bundle in (made("1.8.0", seed=21), made("1.8.1", seed=22)):
        harbour.install(bundle, attempt=10)
    harbour.live.post(replace(broken, manifest_digest=bundle.digest, is_unloadable=True))
    harbour.settle()


def windows(harbour: Harbour) -> None:
    """Ready candidates that are switched in, and swaps that wait."""
    made = harbour.director.made
    old, new = made("1.0.0", seed=31), made("1.1.0", seed=32)
    for bundle in (old, new):
        harbour.install(bundle)
    later = SwapWindow(not_before_s=NOW_S + 3600)
    slow = made("1.2.0", seed=33, ballast_rows=3000)
    harbour.publish(slow, without=tuple(harbour.director.chunks(slow))[1:])
    for attempt, window in ((1, None), (2, later)):
        harbour.wish([harbour.director.assignment(slow, attempt=attempt)])
        back = harbour.director.assignment(old, attempt=attempt, window=window)
        harbour.wish([back])  # while another is on its way: a switch to what is loaded
        harbour.serve_well(old)
        old, new = new, old
    release = SlotRelease(model="digits", manifest_digest=old.digest)
    harbour.wish([harbour.director.assignment(new, attempt=3)], releases=(release,))
    harbour.serve_well(new)
    newer = made("1.3.0", seed=34)
    harbour.assign(newer, mode=Mode.WARM)
    harbour.wish([harbour.director.assignment(newer, window=later)])
    harbour.wish([harbour.director.assignment(newer, window=SwapWindow(not_after_s=1))])
    missed = made("1.4.0", seed=35)
    short = SwapWindow(not_before_s=NOW_S + 60, not_after_s=NOW_S + 120)
    harbour.assign(missed, window=short)
    harbour.tick(600)
    harbour.assign(made("1.5.0", seed=36), window=later)
    harbour.tick(2)
    harbour.tick(3600)
    harbour.wish([harbour.director.assignment(slow, attempt=9)])
    for _ in range(3):  # nothing comes
        harbour.tick(60)


def goes_on_failing(harbour: Harbour) -> None:
    """A bundle that was confirmed fails for two minutes."""
    bundles = [harbour.director.made(version, seed=seed) for version, seed in GROWING]
    for bundle in bundles:
        harbour.install(bundle)
    for _ in range(5):
        harbour.live.post(Ran("self", "digits", bundles[-1].digest, (True, False) * 20))
        harbour.tick(30)


def goes_on_failing_meanwhile(harbour: Harbour) -> None:
    """While another bundle, or the way back itself, is on its way, in every phase."""
    bundles = [harbour.director.made(version, seed=seed) for version, seed in GROWING]
    for bundle in bundles:
        harbour.install(bundle)
    old, new = bundles
    failing, fit = Failing(new.digest, "it fails"), Fit(hardware_class(), 1, 1)
    agent = harbour.live.agent
    around = Surroundings(
        "self", agent.trust, fit, harbour.now_us, new.manifest, previous=old.manifest
    )
    for wanted in (harbour.director.made("1.2.0", seed=53), old):
        wish = harbour.director.assignment(wanted)
        state = replace(agent.units["self"].models["digits"], assignment=wish)
        for phase in UNDER_WAY:
            after, _ = update.step(replace(state, phase=phase), failing, around)
            assert after.record.active.manifest_digest == old.digest


def crowded(harbour: Harbour) -> None:
    """The way back gives way in every phase, and nothing else moves."""
    bundles = [harbour.director.made(version, seed=seed) for version, seed in GROWING]
    for bundle in bundles:
        harbour.install(bundle)
    agent = harbour.live.agent
    state, fit = agent.units["self"].models["digits"], Fit(hardware_class(), 1, 1)
    around = Surroundings("self", agent.trust, fit, harbour.now_us, bundles[-1].manifest)
    needed = MemoryNeeded(bundles[0].digest)
    for phase in (Phase.IDLE, *UNDER_WAY):
        after, _ = update.step(replace(state, phase=phase), needed, around)
        assert after.record.is_previous_released
        assert update.step(after, needed, around) == (after, ())


def behind_a_gateway(harbour: Harbour) -> None:
    """As if it were a microcontroller: tested in its window only."""
    made = harbour.director.made
    harbour.assign(made("1.0.0", seed=41), window=SwapWindow(not_before_s=NOW_S + 60))
    harbour.tick(60)
    bundle = made("1.1.0", seed=42)
    harbour.assign(bundle, window=SwapWindow(not_before_s=NOW_S + 3600))
    harbour.wish([harbour.director.assignment(bundle)])


def test_an_update_goes_nowhere_but_along_the_arrows(seen, monkeypatch):
    for seed in SEEDS:
        storm = Storm(seed)
        for _ in range(60):
            storm.step()
    for sail in (voyages, ends, windows, goes_on_failing, goes_on_failing_meanwhile, crowded):
        sail(afloat())
    monkeypatch.setattr(Surroundings, "has_two_slots", True)
    behind_a_gateway(afloat())
    astray = {
        rule.__name__: targets - set(LEADS[rule])
        for rule, targets in seen.items()
        if rule is not update.ignore and not targets <= set(LEADS[rule])
    }
    assert astray == {}
    never = {
        rule.__name__: set(targets) - seen[rule]
        for rule, targets in LEADS.items()
        if not set(targets) <= seen[rule]
    }
    assert never == {}


def test_every_rule_of_the_table_has_its_arrows_and_every_phase_is_shown():
    assert set(LEADS) == set(update.RULES.values())
    text = update_diagram()
    assert all(phase.name.lower() in text for phase in Phase)
    assert "trial --> idle: confirmed, reverted" in text
    assert all(state.name.lower() in breaker_diagram() for state in State)
