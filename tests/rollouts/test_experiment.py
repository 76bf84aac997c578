"""A/B experiments: who is in which arm, what counts, and what is advised."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.gates.experiment import (
    Advice,
    Experiment,
    Variant,
    advise,
    experiment_report,
    restored,
)
from wherry_controller.core.gates.limits import PRESETS
from wherry_controller.core.gates.pools import Figures
from wherry_controller.core.rollouts.events import Metric
from wherry_controller.core.subset import count_of, ordered
from wherry_native import sketch as packed
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.sketch import sketch_of

from tests.rollouts.voyage import OLD, Voyage, names

LIMITS = PRESETS["balanced"]
DAY_S = LIMITS.experiment_s
ARMS = (Variant.TREATMENT, Variant.CONTROL)


def window(latency_us: float, errors: int = 0, energy_uj: float | None = None) -> Figures:
    latencies = packed.read(sketch_of([int(latency_us * 1_000)] * 100).to_bytes())
    return Figures(100, errors, latencies, energy_uj, "measured:hwmon")


def played(devices: int, lift: float = 1.0, errors: float = 0.0, seed: int = 3) -> Experiment:
    """Both arms for a day; the treatment's latency is `lift` times the other's."""
    made, dice = Experiment(), np.random.default_rng(seed)
    for variant in ARMS:
        is_treated = variant is Variant.TREATMENT
        for number in range(devices):
            latency_us = dice.normal(1_000.0, 50.0) * (lift if is_treated else 1.0)
            failed = int(dice.binomial(100, errors if is_treated else 0.01))
            for at_s in (0.0, DAY_S / 2, DAY_S):
                seen = window(latency_us, failed)
                made.report(variant, f"{variant.value}-{number}/self", seen, at_s, LIMITS)
    return made


@given(st.sets(st.text("abc-", min_size=1), min_size=1, max_size=40), st.integers(1, 10_000),
       st.integers(1, 10_000), st.randoms())  # fmt: skip
def test_a_larger_share_contains_the_smaller_one_in_whatever_order_units_come(
    units: set[str], one_bp: int, other_bp: int, dice: object
) -> None:
    low, high = sorted((one_bp, other_bp))
    shuffled = sorted(units, key=lambda _: dice.random())  # type: ignore[attr-defined]
    ranks = ordered(b"r-1", shuffled)
    assert ranks == ordered(b"r-1", sorted(units))
    treated, more = (set(ranks[: count_of(bp, len(ranks))]) for bp in (low, high))
    assert treated <= more


def test_another_process_puts_every_device_into_the_same_arm() -> None:
    program = (
        "from wherry_controller.core.subset import ordered\n"
        "print(ordered(b'r-1', [f'dev-{n}/self' for n in range(40)])[:10])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    here = ordered(b"r-1", [f"dev-{n}/self" for n in range(40)])[:10]
    assert said == {f"{here}\n"}
    other = ordered(b"r-2", [f"dev-{n}/self" for n in range(40)])[:10]
    assert other != here, "each experiment has its own salt"


@pytest.mark.parametrize(
    ("devices", "lift", "errors", "advice", "why"),
    [
        (99, 0.5, 0.01, Advice.CONTINUE, "at least 100 each"),
        (100, 0.9, 0.01, Advice.ROLLOUT, "significantly better: latency_us"),
        (100, 1.2, 0.01, Advice.ROLLBACK, "latency_us is significantly higher"),
        (400, 1.03, 0.01, Advice.CONTINUE, "no significant difference that decides"),
        (100, 1.0, 0.01, Advice.CONTINUE, "no significant difference that decides"),
        (100, 1.0, 0.04, Advice.ROLLBACK, "success is significantly lower"),
        (100, 0.5, 0.06, Advice.ROLLBACK, "below 0.95"),
    ],
)
def test_the_advice_follows_the_rule(
    devices: int, lift: float, errors: float, advice: Advice, why: str
) -> None:
    found, text = advise(played(devices, lift, errors), LIMITS)
    assert (found, why in text) == (advice, True), text


def test_a_device_counts_once_after_its_day_and_not_before() -> None:
    made = Experiment()
    for hour in range(60):
        made.report(Variant.TREATMENT, "a/self", window(100.0), hour * 3_600.0, LIMITS)
        count = experiment_report(made, LIMITS)["arms"]["treatment"]
        assert bool(count) is (hour >= 24)
    assert count["success"]["devices"] == 1


def test_a_device_that_is_widened_in_leaves_the_control_group_uncounted() -> None:
    made = Experiment()
    made.report(Variant.CONTROL, "a/self", window(100.0), 0.0, LIMITS)
    made.report(Variant.TREATMENT, "a/self", window(100.0), 3_600.0, LIMITS)
    assert experiment_report(made, LIMITS)["watching"] == {"treatment": 1, "control": 0}


def test_an_experiment_is_the_same_after_it_was_kept() -> None:
    made = played(20, 0.9, 0.02)
    made.result(Variant.CONTROL, "late/self", "success", 1.0, 5.0)
    kept: dict[str, str] = {}
    kept |= {name: text for name, text in made.changes().items() if text is not None}
    again = restored(kept)
    assert (again.arms, again.watched, again.began_s) == (made.arms, made.watched, made.began_s)
    assert made.changes() == {}
    assert restored(made.all_parts()).arms == made.arms


def test_a_result_of_a_device_that_does_not_serve_what_its_arm_serves_is_not_counted() -> None:
    voyage = Voyage(names(4), strategy="ab", parameters={"split": 0.5}, max_failed=2).start()
    treated, gone = voyage.in_phase("offered")
    control = next(unit for unit in voyage.units if unit not in (treated, gone))

    def counted() -> set[str]:
        for unit in (treated, gone, control):
            voyage.tell(Metric("success", 1.0, (unit,)))
        return {unit for _, unit in voyage.rollout.panel.experiment.watched}

    assert counted() == {control}, "not one of them serves the treatment yet"
    voyage.confirm()
    voyage.report(gone, Outcome.REVERTED, running=OLD)
    assert counted() == {treated, control}
