"""The unit `self` with a real loop: who runs as a shadow, and what a switch keeps of it."""

import time
from dataclasses import replace
from hashlib import sha256

import pytest
from wherry_agent.config import parse_config
from wherry_agent.core.effects import (
    Divert,
    Isolate,
    LoadCandidate,
    MakePermanent,
    Release,
    Shadow,
    Swap,
)
from wherry_agent.core.inputs import Sampled, Shadowed, StepFailed
from wherry_agent.core.record import Slot
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.loop_host import LoopHost
from wherry_agent.shell.sampler import Sampler
from wherry_agent.telemetry import sampling
from wherry_agent.telemetry.energy import Basis, EnergyFigure, Integral, Unavailable
from wherry_agent.telemetry.sampling import Look
from wherry_agent.telemetry.shadow import KNOWN_US_MAX, Heat, Limits, expected, hold, spending
from wherry_native.engine import Program
from wherry_native.loop import Hold
from wherry_protocol.codec import decode
from wherry_protocol.manifest import Manifest, StatePolicy
from wherry_protocol.messages.desired import TelemetryConfig

from tests.agent.bundles import layer_image, make_bundle
from tests.agent.director import hardware_class
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
        skipped = (stats.skipped_sampling, stats.skipped_energy, stats.skipped_deadline)
        return stats.compared + sum(skipped)

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


@pytest.mark.parametrize(
    ("version", "policy", "after"),
    [
        ("1.0.1", StatePolicy.KEEP, 2),
        ("1.0.1", StatePolicy.RESET, 0),
        ("1.1.0", StatePolicy.KEEP, 0),  # another MINOR begins anew
        ("0.9.9", StatePolicy.KEEP, 0),  # so does the way back
    ],
)
def test_a_later_patch_goes_on_from_the_state_of_what_served_where_it_is_kept(
    aboard, version, policy, after
):
    counter = Program(programs.counter())
    expected = [counter.run(ONES) for _ in range(4)]
    aboard.load("1.0.0", programs.counter())
    aboard.load(version, programs.counter(), state_policy=policy)
    aboard.swap("1.0.0")
    assert [aboard.infer(ONES) for _ in range(2)] == expected[:2]
    aboard.swap(version)
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


ENDS = {
    "another shadow": lambda a: a.shadow("1.2.0"),
    "the same one on a smaller sample": lambda a: a.shadow("1.1.0", 10),
    "none": lambda a: a.do(Shadow("self", "digits", None)),
    "none, then released": lambda a: (
        a.do(Shadow("self", "digits", None)),
        a.do(Release("self", "digits", a.made["1.1.0"])),
    ),
    "released": lambda a: a.do(Release("self", "digits", a.made["1.1.0"])),
    "switched in": lambda a: a.swap("1.1.0"),
    "isolated": lambda a: a.host.isolate(Isolate("self", True)),
    "another stands in": lambda a: a.do(
        Divert("self", "digits", a.made["1.0.0"], True, a.made["1.2.0"])
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_what_a_shadow_counted_up_to_its_end_is_told_in_its_slot_once(aboard, end):
    closed = []
    aboard.host.closing = closed.append
    for version, seed in (("1.0.0", 1), ("1.1.0", 2), ("1.2.0", 3)):
        aboard.load(version, layer_image(seed))
    aboard.swap("1.0.0")
    aboard.shadow("1.1.0")
    for n in range(3):
        aboard.infer(bytes([n] * 16))
    end(aboard)
    [last] = [one for one in closed if one.slot == "shadow"]
    assert (last.version, last.counters.inferences, last.shadow.compared) == ("1.1.0", 3, 3)
    state = sampling.begin("acme/gw/self/", TelemetryConfig(), 0, Integral())
    for one in closed:
        state = sampling.closing(state, one)
    basis = Basis(None, None, None)
    _, packs = sampling.performance(state, 60_000_000, aboard.host.looks(), Integral(), basis)
    told = {
        pack[0].base_name.split("/")[-2]: record.value
        for pack in packs
        for record in pack
        if "/1.1.0/" in pack[0].base_name and record.name == "inferences" and record.value
    }
    assert told == {"shadow": 3}


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


CYCLES = {"active": 1_000, "shadow": 50_000}  # of an inference: 0.5 and 25 µJ by the class's model


def counted_in_cycles(host: LoopHost, monkeypatch) -> None:
    """The processor's counter goes as it pleases on a busy machine; here it goes by the slot."""
    looks = host.looks

    def steady() -> list[Look]:
        return [
            replace(one, counters=replace(one.counters, cycles=n * CYCLES[one.slot]))
            for one in looks()
            for n in (one.counters.inferences,)
        ]

    monkeypatch.setattr(host, "looks", steady)


def test_a_shadow_that_costs_too_much_is_held_in_every_interval_that_follows(
    aboard, tmp_path, monkeypatch
):
    counted_in_cycles(aboard.host, monkeypatch)
    sent: list[Sampled] = []
    config = parse_config(f'state_dir = "{tmp_path}"\n[energy]\nsource = "model"\n', tmp_path)
    sampler = Sampler(config, "acme", "gw", aboard.host, 0, sent.append)
    sampler.configure(TelemetryConfig(performance_s=1, resources_s=3600))
    sampler.hardware = lambda: hardware_class(energy_uj_max=20.0)  # between either
    aboard.load("1.0.0", layer_image(1))
    aboard.load("1.1.0", layer_image(2))
    aboard.swap("1.0.0")
    aboard.shadow("1.1.0")

    def interval(number: int) -> tuple[int, int]:
        """(compared, skipped) so far, when another second is over."""
        for _ in range(5):
            aboard.infer(bytes(16))
        sampler.tick(number * 1_000_000)
        stats = aboard.loop.shadow_stats()
        return stats.compared, stats.skipped_energy

    assert interval(1) == (5, 0)
    assert [interval(n) for n in (2, 3, 4)] == [(5, 5), (5, 10), (5, 15)]
    sampler.tick(3_700 * 1_000_000)  # an hour later nobody knows: one interval finds out
    assert interval(3_701) == (10, 15)
    assert interval(3_702) == (10, 20)
    sampler.hardware = lambda: hardware_class(energy_uj_max=30.0)
    assert interval(3_703) == (10, 25)
    assert interval(3_704) == (15, 25)


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


FAST = EnergyFigure(100.0, 50.0, 0.1, "measured:hwmon")
SLOW = EnergyFigure(100.0, 5.0, 0.1, "measured:hwmon")
DEAR = EnergyFigure(400.0, 200.0, 0.1, "measured:hwmon")


def test_what_a_held_shadow_would_use_goes_with_the_rate_of_its_inputs():
    known = spending(None, False, "7", FAST, DEAR, 0)
    assert known is not None
    assert expected(known, FAST) == (FAST, DEAR)
    active, shadow = expected(known, SLOW)  # a tenth of the inputs
    assert (active, shadow.per_inference_uj, shadow.mean_mw) == (SLOW, 400.0, pytest.approx(20.0))
    assert expected(known, Unavailable("none")) == (Unavailable("none"),)


@pytest.mark.parametrize(
    ("was_held", "key", "shadow", "now_us", "is_known"),
    [
        (True, "7", Unavailable("held"), 60_000_000, True),
        (True, "7", SLOW, 60_000_000, True),  # one that had begun before it was held
        (True, "8", Unavailable("held"), 60_000_000, False),  # another bundle
        (True, "7", Unavailable("held"), KNOWN_US_MAX, False),
        (False, "7", Unavailable("no inference"), 60_000_000, True),
    ],
)
def test_what_is_known_of_a_shadow_holds_while_it_is_held(was_held, key, shadow, now_us, is_known):
    before = spending(None, False, "7", FAST, DEAR, 0)
    assert spending(before, was_held, key, FAST, shadow, now_us) == (before if is_known else None)
