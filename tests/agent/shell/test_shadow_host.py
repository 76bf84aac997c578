"""The unit `self` with a real loop: who runs as a shadow, and what a switch keeps of it."""

import time
from hashlib import sha256

import pytest
from wherry_agent.core.effects import (
    Divert,
    Isolate,
    LoadCandidate,
    MakePermanent,
    Release,
    Shadow,
    Swap,
)
from wherry_agent.core.inputs import Shadowed, StepFailed
from wherry_agent.core.record import Slot
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.loop_host import LoopHost
from wherry_agent.telemetry.energy import EnergyFigure, Unavailable
from wherry_agent.telemetry.shadow import Heat, Limits, hold
from wherry_native.engine import Program
from wherry_native.loop import Hold
from wherry_protocol.codec import decode
from wherry_protocol.manifest import Manifest, StatePolicy

from tests.agent.bundles import layer_image, make_bundle
from tests.agent.sim_disk import SimDisk
from tests.engine import programs

WAIT_S = 10.0
ONES = bytes([1] * 4)


class Aboard:
    """A host, what it tells, and bundles by their version."""

    def __init__(self):
        self.store = BlobStore(SimDisk())
        self.told = []
        self.host = LoopHost("self", self.store, self.told.append, 8)
        self.made = {}

    def load(self, version, image, **changes):
        bundle = make_bundle(version, image=image, **changes)
        manifest = decode(Manifest, bundle.manifest_bytes)
        for digest, data in bundle.blobs.items():
            self.store.keep_blob(digest, data)
        self.store.assemble(manifest)
        digest = sha256(bundle.manifest_bytes).digest()
        slot = Slot(manifest_digest=digest, version=version)
        self.do(LoadCandidate("self", "digits", slot, manifest, None))
        self.made[version] = digest
        return digest

    def do(self, effect):
        self.host.execute(effect)
        assert not [one for one in self.told if isinstance(one, StepFailed)]

    def swap(self, version):
        self.do(Swap("self", "digits", self.made[version]))

    def shadow(self, version, sample_bp=10_000):
        self.do(Shadow("self", "digits", self.made[version], sample_bp))

    def infer(self, data):
        """An answer, when the shadow has done with its input."""
        before = self.seen()
        answer = self.host.infer("digits", data, WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while self.loop.shadow is not None and self.seen() == before:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return answer.output

    def seen(self):
        stats = self.loop.shadow_stats()
        return stats.compared + stats.skipped_sampling + stats.skipped_deadline

    @property
    def loop(self):
        return self.host._models["digits"].loop

    def slots(self):
        return {look.version: look.slot for look in self.host.looks()}


@pytest.fixture
def aboard():
    made = Aboard()
    yield made
    made.host.stop()


@pytest.mark.parametrize(
    ("policy", "after"), [(StatePolicy.WARM_UP, 3), (StatePolicy.RESET, 0), (StatePolicy.KEEP, 0)]
)
def test_recurrent_state_carries_over_from_the_shadow_only_where_it_is_warmed_up(
    aboard, policy, after
):
    counter = Program(programs.counter())
    expected = [counter.run(ONES) for _ in range(8)]
    aboard.load("1.0.0", programs.counter())
    aboard.load("1.1.0", programs.counter(), state_policy=policy)
    aboard.swap("1.0.0")
    first = [aboard.infer(ONES) for _ in range(2)]
    aboard.shadow("1.1.0")
    assert first + [aboard.infer(ONES) for _ in range(3)] == expected[:5]
    aboard.swap("1.1.0")
    assert aboard.infer(ONES) == expected[after]


def test_the_way_back_begins_with_fresh_state(aboard):
    expected = Program(programs.counter()).run(ONES)
    for version in ("1.0.0", "1.1.0"):
        aboard.load(version, programs.counter(), author=version)
    for version in ("1.0.0", "1.1.0", "1.0.0"):
        aboard.swap(version)
        assert aboard.infer(ONES) == expected
        aboard.infer(ONES)


def test_a_shadow_is_told_once_that_it_runs_and_is_looked_at_in_its_slot(aboard):
    aboard.load("1.0.0", layer_image(1))
    aboard.load("1.1.0", layer_image(2))
    aboard.swap("1.0.0")
    aboard.shadow("1.1.0")
    for n in range(3):
        aboard.infer(bytes([n] * 16))
        aboard.host.look_at_shadows()
    assert [one for one in aboard.told if isinstance(one, Shadowed)] == [
        Shadowed("self", "digits", aboard.made["1.1.0"])
    ]
    assert aboard.slots() == {"1.0.0": "active", "1.1.0": "shadow"}
    (look,) = [one for one in aboard.host.looks() if one.slot == "shadow"]
    assert look.shadow is not None
    assert (look.shadow.compared, look.counters.inferences) == (3, 3)


def test_a_shadow_does_not_run_while_another_stands_in_or_the_unit_is_isolated(aboard):
    for version, seed in (("1.0.0", 1), ("1.1.0", 2), ("1.2.0", 3)):
        aboard.load(version, layer_image(seed))
    aboard.swap("1.1.0")
    aboard.shadow("1.2.0")
    active, back = aboard.made["1.1.0"], aboard.made["1.0.0"]
    aboard.do(Divert("self", "digits", active, True, back))
    assert aboard.loop.shadow is None
    aboard.do(Divert("self", "digits", active, False, None))
    assert aboard.loop.shadow is not None
    for is_isolated in (True, False):
        aboard.host.isolate(Isolate("self", is_isolated))
        assert (aboard.loop.shadow is None) is is_isolated


def test_a_released_shadow_is_gone_and_the_kept_way_back_is_not(aboard):
    for version, seed in (("1.0.0", 1), ("1.1.0", 2), ("1.2.0", 3), ("1.3.0", 4)):
        aboard.load(version, layer_image(seed))
    aboard.swap("1.1.0")
    aboard.do(MakePermanent("self", "digits", aboard.made["1.1.0"], aboard.made["1.0.0"]))
    assert aboard.slots() == {"1.0.0": "previous", "1.1.0": "active"}
    aboard.load("1.2.0", layer_image(3))
    aboard.shadow("1.2.0")
    aboard.do(Release("self", "digits", aboard.made["1.2.0"]))
    assert aboard.loop.shadow is None
    assert aboard.slots() == {"1.0.0": "previous", "1.1.0": "active"}


def test_a_shadow_that_was_asked_for_after_its_own_switch_does_not_run(aboard):
    aboard.load("1.0.0", layer_image(1))
    aboard.swap("1.0.0")
    aboard.shadow("1.0.0")
    assert aboard.loop.shadow is None


# --- when it must not run

COSTS = [
    EnergyFigure(300.0, 40.0, 0.02, "measured:hwmon"),
    EnergyFigure(250.0, 30.0, 0.02, "measured:hwmon"),
]


@pytest.mark.parametrize(
    ("now_c", "max_c", "costs", "limits", "held"),
    [
        (70.0, 80.0, COSTS, Limits(), Hold.NONE),
        (80.1, 80.0, [], Limits(), Hold.TEMPERATURE),
        (Unavailable("none"), 80.0, [], Limits(), Hold.NONE),
        (None, 80.0, [], Limits(), Hold.NONE),
        (70.0, None, COSTS, Limits(energy_uj=600.0, power_mw=80.0), Hold.NONE),
        (70.0, None, COSTS, Limits(energy_uj=500.0), Hold.ENERGY),  # both together
        (70.0, None, COSTS, Limits(power_mw=60.0), Hold.ENERGY),
        (70.0, None, [Unavailable("none")], Limits(energy_uj=1.0), Hold.NONE),
        (90.0, 80.0, COSTS, Limits(power_mw=60.0), Hold.TEMPERATURE),
    ],
)
def test_heat_and_energy_hold_a_shadow(now_c, max_c, costs, limits, held):
    assert hold(Heat(now_c, max_c), costs, limits) is held
