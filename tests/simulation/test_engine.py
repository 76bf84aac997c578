"""The engine's twin shadows as the loop does: a sample, compared, told, and never heard."""

from types import SimpleNamespace
from typing import Any

import pytest
from wherry_agent.core.effects import Shadow, Swap
from wherry_agent.core.inputs import Shadowed, StepFailed
from wherry_protocol.errors import Code

from tests.simulation.engine import RATE_PER_S, EngineTwin, Instance
from tests.simulation.models import GOOD, MODEL, Behaviour

OLD, NEW = b"o" * 32, b"n" * 32
SECOND_US = 1_000_000


def twin(behaviour: Behaviour) -> tuple[EngineTwin, list[Any], list[int]]:
    """One that serves OLD and has NEW loaded; what it tells; its clock."""
    told: list[Any] = []
    now = [0]
    store: Any = SimpleNamespace()
    engine = EngineTwin(store, lambda _digest: GOOD, told.append, lambda: now[0])
    manifest: Any = SimpleNamespace(version="1.0.0")
    engine.loaded = {OLD: Instance(manifest, GOOD), NEW: Instance(manifest, behaviour)}
    engine.serving[MODEL] = None
    engine.execute(Swap("self", MODEL, OLD))
    return engine, told, now


def test_a_shadow_counts_its_sample_and_agrees_as_it_behaves() -> None:
    engine, told, now = twin(Behaviour(agreement=0.9, latency_us=900, error_rate=0.1))
    engine.execute(Shadow("self", MODEL, NEW, 2_500))
    sums = {"compared": 0, "agreed": 0, "skipped_sampling": 0}
    for _ in range(7):
        now[0] += 11 * SECOND_US
        found = engine.shadowed(MODEL)
        assert found is not None
        digest, done, counts = found
        assert (digest, done.latency.count) == (NEW, counts.primary_latency.count)
        for name in sums:
            sums[name] += getattr(counts, name)
    inputs = 77 * RATE_PER_S
    assert sums["compared"] == inputs // 4
    assert sums["compared"] + sums["skipped_sampling"] == inputs
    assert sums["agreed"] == int(inputs // 4 * 0.9)
    assert told == [Shadowed("self", MODEL, NEW)]


def test_a_shadow_that_crashes_is_told_and_what_serves_goes_on() -> None:
    engine, told, now = twin(Behaviour(crash_after_s=4.0))
    engine.execute(Shadow("self", MODEL, NEW, 10_000))
    now[0] += 10 * SECOND_US
    assert engine.shadowed(MODEL) is None
    (failed,) = [one for one in told if isinstance(one, StepFailed)]
    assert (failed.manifest_digest, failed.code) == (NEW, Code.ENGINE_CRASH)
    assert engine.counted(OLD).inferences == 10 * RATE_PER_S
    assert engine.counted(OLD).errors == 0


@pytest.mark.parametrize("end", [Shadow("self", MODEL, None), Swap("self", MODEL, NEW)], ids=str)
def test_a_shadow_ends_when_it_is_told_so_or_serves(end: Any) -> None:
    engine, _, _ = twin(GOOD)
    engine.execute(Shadow("self", MODEL, NEW, 10_000))
    engine.execute(end)
    assert engine.shadowed(MODEL) is None


def test_what_serves_already_is_no_shadow() -> None:
    engine, _, _ = twin(GOOD)
    engine.execute(Shadow("self", MODEL, OLD, 10_000))
    assert engine.shadowed(MODEL) is None
