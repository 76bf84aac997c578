"""Power is cut before durable operation 1, 2, 3, … of every way a bundle can go; then boot again.

Safety: what serves after the cut is a bundle that was verified, and where a confirmed one was
aboard, one serves. Liveness: once the cuts stop, the assignment ends as it would have.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from wherry_protocol.bundle import Bundle
from wherry_protocol.messages.reported import Outcome

from tests.agent.director import TRIAL, Director
from tests.agent.harbour import Harbour
from tests.agent.sim_disk import PowerCutError

OLD, NEW = 0, 1


@dataclass(frozen=True)
class Voyage:
    """What is done under the cuts, and how it must end."""

    has_old: bool
    act: Callable[[Harbour, Bundle], object]
    outcome: Outcome
    ends_with: int | None  # OLD, NEW, or None: nothing may serve


def _install(harbour: Harbour, bundle: Bundle) -> None:
    harbour.install(bundle)


def _revert(harbour: Harbour, bundle: Bundle) -> None:
    harbour.assign(bundle)
    harbour.serve_well(bundle, 10, error_count=10)


def _reject(harbour: Harbour, bundle: Bundle) -> None:
    harbour.loops.latency_us_p95 = 10_000_000
    harbour.assign(bundle)


VOYAGES = {
    "first install": Voyage(False, _install, Outcome.CONFIRMED, NEW),
    "update": Voyage(True, _install, Outcome.CONFIRMED, NEW),
    "revert": Voyage(True, _revert, Outcome.REVERTED, OLD),
    "reject": Voyage(True, _reject, Outcome.REJECTED, OLD),
}


def _ready(voyage: Voyage) -> tuple[Harbour, Bundle, Bundle]:
    harbour = Harbour(Director(seed=4)).boot().connect()
    old = harbour.director.made("1.0.0", seed=1, ballast_rows=600)
    new = harbour.director.made("1.1.0", seed=2, ballast_rows=600)
    if voyage.has_old:
        harbour.install(old)
    return harbour, old, new


def _operations(voyage: Voyage) -> int:
    """How many durable operations the voyage takes without cuts."""
    harbour, _, new = _ready(voyage)
    before = harbour.disk.operation_count
    voyage.act(harbour, new)
    return harbour.disk.operation_count - before


def _run_until_cut(harbour: Harbour, voyage: Voyage, new: Bundle, after: int) -> None:
    harbour.disk.cut_at = harbour.disk.operation_count + after

    def act() -> None:
        voyage.act(harbour, new)
        harbour.tick(1.1)

    with pytest.raises(PowerCutError):
        act()


@pytest.mark.parametrize("name", VOYAGES)
@pytest.mark.parametrize("luck", [1, 2])
def test_a_verified_bundle_serves_after_power_was_cut_at_any_operation(name, luck):
    voyage = VOYAGES[name]
    operations = _operations(voyage)
    assert operations > 8
    for after in range(operations):
        harbour, old, new = _ready(voyage)
        harbour.disk.source = random.Random(1000 * luck + after)
        _run_until_cut(harbour, voyage, new, after)
        harbour.disk = harbour.disk.after_power_cut()
        harbour.boot()
        place = f"{name}, cut after {after} of {operations} (luck {luck})"
        assert harbour.serving in (old.digest, new.digest, None), place
        if voyage.has_old:
            assert harbour.serving is not None, place
        _ends_as_it_should(harbour, voyage, (old, new), place)


def _ends_as_it_should(
    harbour: Harbour, voyage: Voyage, bundles: tuple[Bundle, Bundle], place: str
) -> None:
    """The director goes on where it was; the device converges."""
    _, new = bundles
    if voyage.act is _reject:
        harbour.loops.latency_us_p95 = 10_000_000
    harbour.connect()
    for _ in range(4):
        if voyage.act is _revert:
            harbour.serve_well(new, 10, error_count=10)
        elif voyage.act is _install:
            harbour.serve_well(new)
        harbour.tick(40)
    if not harbour.reported.models or harbour.model.outcome is not voyage.outcome:
        voyage.act(harbour, new)  # the wish itself was not yet heard when power went
        harbour.tick(40)
    assert harbour.model.outcome is voyage.outcome, place
    assert voyage.ends_with is not None
    assert harbour.serving == bundles[voyage.ends_with].digest, place


@pytest.mark.parametrize("luck", range(4))
def test_power_cuts_at_every_start_of_a_trial_end_with_the_old_bundle(luck):
    harbour, old, new = _ready(VOYAGES["update"])
    harbour.assign(new, trial=TRIAL)
    for start in range(1, 4):
        harbour.disk.source = random.Random(luck * 10 + start)
        harbour.disk = harbour.disk.after_power_cut()
        harbour.boot()
        assert harbour.serving == (new.digest if start < 3 else old.digest)
    harbour.connect()
    assert harbour.model.outcome is Outcome.REVERTED


def test_a_cut_while_the_boot_itself_writes_changes_nothing():
    harbour, _, new = _ready(VOYAGES["update"])
    harbour.install(new)
    disk = harbour.disk.after_power_cut()
    for after in range(12):
        harbour.disk = copy.deepcopy(disk)
        harbour.disk.source = random.Random(after)
        harbour.disk.cut_at = after
        try:
            harbour.boot()
        except PowerCutError:
            harbour.disk = harbour.disk.after_power_cut()
            harbour.boot()
        assert harbour.serving == new.digest
