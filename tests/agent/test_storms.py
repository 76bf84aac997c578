"""Storms: one seed, one voyage of random wishes, faults and power cuts; then calm, and the last
wish must come true. Safety is checked after every step."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from wherry_agent.core.inputs import StepFailed
from wherry_agent.shell import record_file
from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow
from wherry_protocol.messages.reported import Outcome

from tests.agent.bundles import make_bundle
from tests.agent.director import Director, key
from tests.agent.harbour import Harbour
from tests.agent.sim_disk import PowerCutError

STEPS = 60


@dataclass
class Storm:
    """One device in bad weather."""

    seed: int
    attempt: int = 0
    was_confirmed: bool = False
    revision: int = 0
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.harbour = Harbour(Director(seed=self.seed + 1)).boot().connect()
        director = self.harbour.director
        self.good = [director.made(f"1.{n}.0", seed=n, ballast_rows=1500) for n in range(3)]
        stranger = [key(director.random)]
        self.bad = [
            director.made("1.8.0", seed=8, golden_is_wrong=True),
            director.add(make_bundle("1.9.0", seed=9), stranger),
            director.made("1.7.0", seed=7, budgets={}),
        ]
        for bundle in self.good + self.bad:
            self.harbour.publish(bundle)

    # --- what happens

    def assign_good(self) -> None:
        self._assign(self.random.choice(self.good))

    def assign_bad(self) -> None:
        self._assign(self.random.choice(self.bad))

    def _assign(self, bundle: Bundle) -> None:
        self.attempt += 1
        self.harbour.wish([self.harbour.director.assignment(bundle, attempt=self.attempt)])

    def assign_beside(self) -> None:
        """Warm or shadow, switched in later by the same dice."""
        self.attempt += 1
        bundle = self.random.choice(self.good)
        mode = self.random.choice([Mode.WARM, Mode.SHADOW])
        director = self.harbour.director
        releases = tuple(
            SlotRelease(model="digits", manifest_digest=one.digest, is_purged=self.attempt % 2 == 0)
            for one in self.good
            if self.random.random() < 0.3
        )
        wish = director.assignment(bundle, mode=mode, attempt=self.attempt)
        self.harbour.wish([wish], releases=releases)

    def assign_for_a_window(self) -> None:
        self.attempt += 1
        opens_s = director_s = self.harbour.director.now_s
        opens_s += self.random.choice([0, 60, 7200])
        window = SwapWindow(not_before_s=opens_s, not_after_s=director_s + 86_400)
        bundle = self.random.choice(self.good)
        assignment = self.harbour.director.assignment(bundle, window=window, attempt=self.attempt)
        self.harbour.wish([assignment])

    def lose_candidate(self) -> None:
        """Whatever stands beside fails."""
        digest = self.random.choice(self.good).digest
        state = self.harbour.live.agent.units["self"].models.get("digits")
        if state is not None and digest != state.digest:
            failed = StepFailed("self", "digits", digest, Code.ENGINE_CRASH, "it fell over")
            self.harbour.live.post(failed)
            self.harbour.settle()

    def serve_well(self) -> None:
        for bundle in self.good:
            self.harbour.loops.doing[bundle.digest] = {"good_count": 50}
        self.harbour.tick(0.1)

    def serve_badly(self) -> None:
        for bundle in self.good:
            self.harbour.loops.doing[bundle.digest] = {"good_count": 5, "error_count": 20}
        self.harbour.tick(0.1)
        self.harbour.loops.doing.clear()

    def wait(self) -> None:
        self.harbour.tick(self.random.choice([0.5, 5, 40, 200]))

    def lose_link(self) -> None:
        self.harbour.cut()

    def find_link(self) -> None:
        self.harbour.connect()

    def forget_chunks(self) -> None:
        retained = self.harbour.broker.retained
        for topic in [t for t in retained if "/b/" in t and self.random.random() < 0.3]:
            del retained[topic]

    def publish_again(self) -> None:
        self.harbour.publish(self.random.choice(self.good))

    def talk_nonsense(self) -> None:
        for topic in list(self.harbour.broker.subscribed):
            self.harbour.broker.say(topic, self.random.randbytes(40))
        self.harbour.settle()

    def stop_or_go(self) -> None:
        stop = self.harbour.director.stop(self.random.random() < 0.4)
        topic = self.harbour.director.topics.stop
        self.harbour.broker.say(topic, stop, is_retained=True)
        self.harbour.settle()

    def fill_disk(self) -> None:
        self.harbour.disk.is_full = not self.harbour.disk.is_full

    def lose_power_soon(self) -> None:
        self.harbour.disk.cut_at = self.harbour.disk.operation_count + self.random.randrange(25)

    def lose_power_now(self) -> None:
        raise PowerCutError

    def step(self) -> None:
        act = self.random.choice(ACTS)
        self.trace.append(act.__name__)
        try:
            act(self)
        except PowerCutError:
            self._boot_again()
        self.check()

    def _boot_again(self) -> None:
        self.trace.append("power cut")
        self.harbour.disk.source = self.random
        was_full = self.harbour.disk.is_full
        self.harbour.disk = self.harbour.disk.after_power_cut()
        self.harbour.disk.is_full = was_full
        self.harbour.boot()
        if self.random.random() < 0.7:
            self.harbour.connect()

    # --- what must hold

    def check(self) -> None:
        place = f"seed {self.seed}: {' / '.join(self.trace)}"
        verified = {bundle.digest for bundle in self.good}
        assert self.harbour.serving in verified | {None}, place
        state = self.harbour.live.agent.units["self"].models.get("digits")
        if state is not None and state.record.outcome is Outcome.CONFIRMED:
            self.was_confirmed = True
        if self.was_confirmed:
            assert self.harbour.serving is not None, place
        on_disk = record_file.load(self.harbour.disk)
        if on_disk is not None and on_disk.units:
            assert on_disk.units[0].revision >= self.revision, place
            self.revision = on_disk.units[0].revision
        assert self.harbour.broker.subscribed_count_max <= 8, place
        assert self.harbour.disk.used_bytes < 3_000_000, place


ACTS: list[Callable[[Storm], None]] = [
    Storm.assign_good, Storm.assign_good, Storm.assign_good, Storm.assign_bad,
    Storm.serve_well, Storm.serve_well, Storm.serve_well, Storm.serve_badly,
    Storm.wait, Storm.wait, Storm.lose_link, Storm.find_link, Storm.find_link,
    Storm.forget_chunks, Storm.publish_again, Storm.talk_nonsense, Storm.stop_or_go,
    Storm.assign_beside, Storm.assign_beside, Storm.assign_for_a_window, Storm.lose_candidate,
    Storm.fill_disk, Storm.lose_power_soon, Storm.lose_power_soon, Storm.lose_power_now,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_no_storm_takes_the_last_good_bundle_and_calm_brings_the_wished_one(seed):
    storm = Storm(seed)
    for _ in range(STEPS):
        storm.step()
    storm.harbour.disk.cut_at = None
    storm.harbour.disk.is_full = False
    _calm(storm)


def _calm(storm: Storm) -> None:
    """Faults stop; the last wish is for the first good bundle."""
    harbour = storm.harbour
    place = f"seed {storm.seed}: {' / '.join(storm.trace)}"
    harbour.cut().connect()
    go_on = harbour.director.stop(False)
    harbour.broker.say(harbour.director.topics.stop, go_on, is_retained=True)
    harbour.settle()
    wished = storm.good[0]
    for bundle in storm.good:
        harbour.publish(bundle)
    storm._assign(wished)
    for _ in range(30):
        harbour.publish(wished)
        storm.serve_well()
        harbour.tick(900)
        storm.check()
    assert harbour.serving == wished.digest, place
    assert harbour.model.outcome is Outcome.CONFIRMED, place
