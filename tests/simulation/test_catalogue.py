"""Whatever the simulator says it does to a fleet really happens in the fixed set of seeds."""

import re

from tests.simulation.broker import Memory
from tests.simulation.faults import FAULTS
from tests.simulation.models import BAD
from tests.simulation.operator import OPERATIONS, ROTATIONS
from tests.simulation.shrink import described
from tests.simulation.voyage import sail

DEVICES = 5
# As few as show every kind of trouble; a kind that a change has made rare gets a seed of its own.
SEEDS = {
    300: "everything", 301: "everything", 304: "everything", 305: "everything", 306: "everything",
    601: "bad_weather", 603: "shaky_controller", 604: "indecision",
    616: "restored_in_a_rotation", 620: "blue_and_green", 622: "experiments", 624: "emergencies",
    617: "wrong_clock", 625: "crews", 629: "stolen_director",
}  # fmt: skip

# What a trace says when it has happened.
TROUBLE = {
    **{name: rf" fault +{name}$" for name in FAULTS},
    **{name: rf" operator +{name}$" for name in OPERATIONS},
    **{f"a {one.name} model": rf" pushes .*\({one.name}\)$" for one in BAD},
    **{f"a broker with {one.value}": rf" starts with {one.value}$" for one in Memory},
    **{f"a root with {kind}": rf" signs a root with {kind}$" for kind in ROTATIONS},
    "a torn write": r" d\d+ +disk: .* is torn after",
    "an unsynced write that is forgotten": r" d\d+ +disk: .* was not synced",
    "a full disk": r" d\d+ +disk: .*: No space left on device",
    "a disk that fails": r" d\d+ +disk: .*: Input/output error",
    "a device that loses power": r" d\d+ +power is lost",
    "a device that is killed": r" d\d+ +is killed",
    "a controller that is killed": r" controller +is killed",
    "a store that cannot write": r" controller +store: database or disk is full",
    "a packet that is lost and sent again": r" (up|down) .* late$",
    "a packet that comes twice": r" (up|down) .* again( late)?$",
    "a clock that jumps ahead": r" sets the controller's clock by \d",
    "a clock that jumps back": r" sets the controller's clock by -\d{2,3} s",
    "a clock in 1970": r" sets the controller's clock by -18\d{8} s",
    "a rollout that meets another": r" refused: .* belong to the open rollout",
    "a restore in the middle of a rotation": r" restores the newest backup",
}


def test_every_kind_of_trouble_happens_in_the_fixed_set_and_every_invariant_holds() -> None:
    missing = {what: re.compile(line) for what, line in TROUBLE.items()}
    for seed, scenario in SEEDS.items():
        result = sail(seed, DEVICES, scenario=scenario, is_traced=True)
        assert result.failure is None, described(result, DEVICES)
        for line in result.trace.lines:
            for what in [what for what, pattern in missing.items() if pattern.search(line)]:
                del missing[what]
    assert sorted(missing) == []
