"""Intervals and comparisons of two groups, against published figures and against their promise."""

import numpy as np
import pytest
from wherry_controller.core.statistics import (
    Moments,
    agreement_interval,
    compare_means,
    compare_rates,
)
from wherry_controller.core.statistics.intervals import _student_p, anytime_radius, wilson


def moments(*figures: float) -> Moments:
    made = Moments()
    for figure in figures:
        made.add(figure)
    return made


def test_welchs_t_is_that_of_a_published_example() -> None:
    """Third example of Wikipedia's "Welch's t-test": t = -2.22..., 27.9 degrees, p = 0.036."""
    first = moments(
        19.8, 20.4, 19.6, 17.8, 18.5, 18.9, 18.3, 18.9, 19.5, 22.0
    )  # fmt: skip
    second = moments(
        28.2, 26.6, 20.1, 23.3, 25.2, 22.1, 17.7, 27.6, 20.6, 13.7,
        23.2, 17.5, 20.6, 18.0, 23.9, 21.6, 24.3, 20.4, 24.0, 13.2,
    )  # fmt: skip
    found = compare_means(first, second, 0.05)
    assert found.classical == "welch"
    assert found.statistic == pytest.approx(-2.225, abs=0.01)
    assert found.p_value == pytest.approx(0.036, abs=0.003)


@pytest.mark.parametrize(
    ("t", "freedom", "p"), [(2.228, 10, 0.05), (12.706, 1, 0.05), (1.96, 1e6, 0.05), (0.0, 5, 1.0)]
)
def test_students_p_is_that_of_the_tables(t: float, freedom: float, p: float) -> None:
    assert _student_p(t, freedom) == pytest.approx(p, abs=2e-4)


def test_z_of_two_proportions_is_the_textbooks() -> None:
    """100 of 200 against 80 of 200: pooled 0.45, z = 2.01, p = 0.044."""
    found = compare_rates(moments(*[1, 0] * 100), moments(*[1] * 80, *[0] * 120), 0.05)
    assert (found.statistic, found.p_value) == (pytest.approx(2.010, abs=1e-3),
                                                pytest.approx(0.0444, abs=1e-3))  # fmt: skip
    assert found.share == pytest.approx(0.25)
    assert not found.is_significant, "who peeks needs more than 1.96"


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe 1998, table I: 81 of 263 and 15 of 148."""
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(15, 148) == (pytest.approx(0.0624, abs=1e-4), pytest.approx(0.1605, abs=1e-4))


def test_agreement_that_differs_between_devices_is_less_certain() -> None:
    alike = agreement_interval([(970, 1000)] * 10)
    apart = agreement_interval([(1000, 1000)] * 9 + [(700, 1000)])
    assert alike is not None
    assert apart is not None
    assert alike == (pytest.approx(0.9665, abs=1e-3), pytest.approx(0.9732, abs=1e-3))
    assert apart[0] < 0.92 < alike[0]
    assert agreement_interval([(0, 0)]) is None


def test_who_peeks_after_every_device_is_misled_no_more_often_than_is_said() -> None:
    """1,000 pairs of equal groups, skewed figures, looked at from 100 devices on to 1,000."""
    dice, trials = np.random.default_rng(5), 1_000
    first, second = (dice.exponential(1.0, (trials, 1_000)) for _ in range(2))
    count = np.arange(1, 1_001)
    means = [np.cumsum(side, axis=1) / count for side in (first, second)]
    spreads = [
        np.cumsum(side**2, axis=1) / count - mean**2
        for side, mean in zip((first, second), means, strict=True)
    ]
    radius = np.array(
        [anytime_radius(Moments(n, 0.0, n - 1), Moments(n, 0.0, n - 1), 0.05) for n in count[99:]]
    )
    scale = np.sqrt((spreads[0] + spreads[1]) / 2)[:, 99:]  # the radius was that of variance 1
    is_misled = (np.abs(means[0] - means[1])[:, 99:] > radius * scale).any(axis=1)
    classical = (np.abs(means[0] - means[1])[:, 99:] > 1.96 * scale * np.sqrt(2 / count[99:])).any(
        axis=1
    )
    assert is_misled.mean() <= 0.05 < 0.2 < classical.mean()


def test_moments_are_those_of_the_figures_however_far_from_zero() -> None:
    found = moments(1e9 + 1, 1e9 + 2, 1e9 + 3)
    assert (found.mean, found.variance) == (pytest.approx(1e9 + 2), pytest.approx(1.0))
    assert Moments().variance == 0.0
