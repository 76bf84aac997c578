"""Sequential tests: the same numbers from a second derivation, and the promise that they keep."""

import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.core.statistics import TwoSample, Wealth, bounded_evidence, excess_evidence
from wherry_controller.core.statistics.beta import log_tail
from wherry_controller.core.statistics.bounded import RATIOS, alternative
from wherry_controller.core.statistics.sequential import LOG_MAX, A, B
from wherry_controller.core.statistics.two_sample import WAITING_MAX, slopes

RATES = st.floats(0.001, 0.99)


def integrated(failures: int, results: int, tolerated: float) -> float:
    """The evidence by adding up likelihood ratios over 200,000 chances, nothing in closed form."""
    edges = np.geomspace(tolerated, 1.0, 200_001)
    p = np.sqrt(edges[1:] * edges[:-1])
    weights = p ** (A - 1) * (1 - p) ** (B - 1) * np.diff(edges)
    logs = failures * np.log(p / tolerated)
    logs += (results - failures) * np.log((1 - p) / (1 - tolerated))
    return float((weights * np.exp(logs)).sum() / weights.sum())


@pytest.mark.parametrize("tolerated", [0.001, 0.02, 0.3])
@pytest.mark.parametrize(
    ("failures", "results"), [(0, 1), (0, 400), (1, 1), (3, 9), (7, 70), (30, 750), (100, 5_000)]
)
def test_evidence_is_what_numeric_integration_gives(
    failures: int, results: int, tolerated: float
) -> None:
    found = excess_evidence(failures, results, tolerated)
    assert found == pytest.approx(integrated(failures, results, tolerated), rel=1e-3, abs=1e-300)


@given(st.integers(0, 40), st.integers(0, 400), st.floats(0.001, 0.9))
def test_one_more_result_never_raises_the_expected_evidence_of_a_healthy_model(
    failures: int, good: int, tolerated: float
) -> None:
    """The step of the proof: at the limit the mean stays, below the limit it falls."""
    now = excess_evidence(failures, failures + good, tolerated)
    bad = excess_evidence(failures + 1, failures + good + 1, tolerated)
    fine = excess_evidence(failures, failures + good + 1, tolerated)
    assert tolerated * bad + (1 - tolerated) * fine == pytest.approx(now, rel=1e-6)
    assert fine <= bad


def test_evidence_begins_at_one_and_stays_a_number_however_much_is_seen() -> None:
    assert excess_evidence(0, 0, 0.02) == pytest.approx(1.0)
    assert excess_evidence(10**6, 10**6, 0.001) == pytest.approx(np.exp(LOG_MAX))
    assert 0.0 < excess_evidence(0, 10**6, 0.02) < 1e-4
    with pytest.raises(ValueError, match="3 failures of 2"):
        excess_evidence(3, 2, 0.02)


@pytest.mark.parametrize(("x", "a", "b"), [(0.02, 0.5, 4.0), (0.5, 3.0, 3.0), (0.9, 30.0, 2.0)])
def test_the_tail_of_the_beta_distribution_is_its_integral(x: float, a: float, b: float) -> None:
    edges = np.linspace(0.0, 1.0, 2_000_001)
    p = (edges[1:] + edges[:-1]) / 2
    density = p ** (a - 1) * (1 - p) ** (b - 1)
    assert np.exp(log_tail(x, a, b)) == pytest.approx(
        density[p > x].sum() / density.sum(), rel=2e-3
    )


# --- one figure per device


@given(RATES, st.sampled_from(RATIOS))
def test_a_bettor_never_loses_more_than_there_is_and_gains_nothing_at_the_limit(
    limit: float, ratio: float
) -> None:
    chance = alternative(limit, ratio)
    gain = (chance - limit) / (limit * (1 - limit))
    assert 1 + gain * (0.0 - limit) > 0.0
    mean = limit * (1 + gain * (1 - limit)) + (1 - limit) * (1 - gain * limit)
    assert mean == pytest.approx(1.0)


def test_a_device_that_always_fails_is_one_figure_and_no_proof_against_the_model() -> None:
    assert bounded_evidence([1.0] + [0.0] * 50, 0.01) < 100.0
    assert bounded_evidence([1.0, 1.0, 1.0], 0.01) > 100.0
    assert bounded_evidence([0.01] * 10_000, 0.01) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="must be in"):
        Wealth().add(1.5, 0.01)


# --- two samples


@given(RATES, RATES, st.integers(1, 8), st.sampled_from([0.0, 0.02]))
def test_a_block_of_devices_is_worth_at_most_one_in_the_mean_wherever_the_null_holds(
    new: float, control: float, controls: int, margin: float
) -> None:
    """Every suspicion, over all outcomes of a block, for means in the null."""
    new = min(new, control + margin)
    for new_null, new_slope, control_null, control_slope in slopes(controls, margin):
        f = 1 + new_slope * (new - new_null)
        g = 1 + control_slope * (control - control_null)
        assert f * g**controls <= 1 + 1e-9
        assert min(1 - new_slope * new_null, 1 + control_slope * (1 - control_null)) >= 0.0


def test_two_groups_that_fail_alike_give_no_evidence_and_a_worse_one_does() -> None:
    alike, worse = TwoSample(), TwoSample()
    for place in range(60):
        for pair, figure in ((alike, place % 5 == 0), (worse, place % 5 != 0)):
            pair.add_control(float(place % 5 == 0))
            pair.add_new(float(figure))
            pair.match()
    assert alike.blocks == worse.blocks == 60
    assert alike.evidence < 1.0 < 100.0 < worse.evidence


def test_controls_wait_for_new_devices_and_the_oldest_make_room() -> None:
    pair = TwoSample()
    for place in range(200):
        pair.add_control(place / 200)
    assert len(pair.control_waiting) == WAITING_MAX
    for _ in range(3):
        pair.add_new(0.0)
    pair.match()
    assert (pair.blocks, len(pair.control_waiting)) == (3, WAITING_MAX - 3 * 8)


# --- the promises, simulated


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import gates as found  # type: ignore[import-not-found, unused-ignore]

    return found


def test_a_healthy_rollout_is_stopped_no_more_often_than_is_said_and_a_bad_one_soon(
    gates: ModuleType,
) -> None:
    figures = gates.figures(300, 1_000)
    assert [figure.name for figure in figures if figure.holds is False] == []
    assert sum(figure.holds is True for figure in figures) == 6


def test_the_second_derivation_stops_at_the_same_result(gates: ModuleType) -> None:
    for results, failures in itertools.islice(enumerate(gates.boundary(60), 1), 9, 60, 10):
        if failures <= results:
            assert integrated(int(failures), results, 0.02) >= 100.0
        assert integrated(int(failures) - 1, results, 0.02) < 100.0
