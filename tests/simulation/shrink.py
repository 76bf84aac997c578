"""From a failing seed to what a person can read: as few disturbances as still fail that way.

First the shortest prefix, then without each one that is not needed. Randomness is drawn per part
and per disturbance, so leaving one out changes nothing but its consequences.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tests.simulation.scenarios import Plan
from tests.simulation.voyage import Result, sail

WORDS = 4  # without names and numbers: enough to tell one invariant from another


@dataclass(frozen=True)
class _Shrinking:
    """One failing seed, and how it is played again."""

    result: Result
    device_count: int
    twins: Collection[str]

    def played(self, plan: Plan, *, is_traced: bool = False) -> Result:
        seed, scenario = self.result.seed, self.result.scenario
        return sail(seed, self.device_count, scenario=scenario, plan=plan, is_traced=is_traced,
                    twins=self.twins)  # fmt: skip

    def fails(self, plan: Plan) -> bool:
        """In the same way: another defect that a part of the plan shows is not this one."""
        return _way(self.played(plan).failure) == _way(self.result.failure)

    def shortest_prefix(self) -> Plan:
        plan = self.result.plan
        for length in range(1, len(plan)):
            if self.fails(plan[:length]):
                return plan[:length]
        return plan


def _way(failure: str | None) -> list[str] | None:
    """Its first words, whoever they tell of and how many."""
    if failure is None:
        return None
    return [word for word in failure.split() if word.strip(":,").isalpha()][:WORDS]


def shrink(result: Result, device_count: int, twins: Collection[str] = ()) -> Result:
    """A failing result with the shortest plan found, traced whole."""
    shrinking = _Shrinking(result, device_count, twins)
    plan = shrinking.shortest_prefix()
    for one in list(plan[1:]):
        less = [other for other in plan if other is not one]
        if shrinking.fails(less):
            plan = less
    return shrinking.played(plan, is_traced=True)


def described(result: Result, device_count: int, lines: int = 60) -> str:
    """What to print: the seed, the plan, the end of the trace, and how to play it again."""
    plan = [f"  {one.at_us / 1e6:10.3f} {one.name} ({one.seed})" for one in result.plan]
    tail = list(result.trace.lines)[-lines:]
    again = (
        f"python -m tests.simulation.run --first-seed {result.seed} --seeds 1 "
        f"--devices {device_count} --scenario {result.scenario} --trace"
    )
    return "\n".join(
        [f"seed {result.seed} ({result.scenario}): {result.failure}", "disturbances:", *plan,
         "trace:", *tail, f"again: {again}"]
    )  # fmt: skip
