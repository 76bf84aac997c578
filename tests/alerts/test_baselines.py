"""Energy in a baseline: from which kind of source it is, and how far that can be wrong."""

from dataclasses import replace

import pytest
from wherry_controller.core.baselines import compare, summarize
from wherry_controller.core.windows import Window

METER, MODEL = "measured:hwmon", "modelled:calibrated"


def window(number: int, source: str, uncertainty: float | None = None) -> Window:
    return Window("gw0", "self", "digits", b"x" * 32, "active", 60 * number, "1.0.0",
                  inferences=100, energy_count=100, energy_sum_uj=5_000.0 + number,
                  energy_source=source, energy_uncertainty=uncertainty)  # fmt: skip


def energy_verdict(now: list[str], then: list[str]) -> tuple[str, str]:
    def summary(sources: list[str]):  # type: ignore[no-untyped-def]
        return summarize([window(n, sources[n % len(sources)]) for n in range(20)], 60)

    [found] = [v for v in compare(summary(now), summary(then)) if v.metric == "energy_uj"]
    return found.verdict, found.text


@pytest.mark.parametrize(
    ("now", "then", "kinds"),
    [
        ([METER], [METER, MODEL], "measured and modelled"),
        ([METER, MODEL], [METER, MODEL], "measured and modelled"),
        ([METER], [MODEL], "measured and modelled"),
        ([METER], [METER, ""], "measured and unknown"),
    ],
)
def test_energy_from_mixed_sources_is_not_compared(
    now: list[str], then: list[str], kinds: str
) -> None:
    verdict, text = energy_verdict(now, then)
    assert (verdict, text) == ("inconclusive", f"from different sources: {kinds}")


def test_energy_from_one_kind_of_source_is_compared() -> None:
    assert energy_verdict([METER], [METER, "measured:rapl"])[0] == "same"


@pytest.mark.parametrize(
    ("known", "uncertainty"), [((0.05, 0.2), 0.2), ((0.05, None), None), ((None,), None)]
)
def test_an_uncertainty_that_a_device_does_not_know_is_unknown(
    known: tuple[float | None, ...], uncertainty: float | None
) -> None:
    windows = [window(n, MODEL, value) for n, value in enumerate(known)]
    idle = replace(windows[0], energy_count=0, energy_source="", energy_uncertainty=None)
    assert summarize([*windows, idle], 60).energy_uncertainty == uncertainty
    assert summarize([idle], 60).energy_uncertainty is None
