"""From a failing seed to what a person can read: as few disturbances as still fail.

First the shortest prefix, then without each one that is not needed. Randomness is drawn per part
and per disturbance, so leaving one out changes nothing but its consequences.
"""

from tests.simulation.scenarios import Plan
from tests.simulation.voyage import Result, sail


def shrink(result: Result, device_count: int) -> Result:
    """A failing result with the shortest plan found, traced whole."""
    plan = _shortest_prefix(result, device_count)
    for one in list(plan[1:]):
        less = [other for other in plan if other is not one]
        if _fails(result, device_count, less):
            plan = less
    return sail(result.seed, device_count, scenario=result.scenario, plan=plan, is_traced=True)


def _shortest_prefix(result: Result, device_count: int) -> Plan:
    for length in range(1, len(result.plan)):
        if _fails(result, device_count, result.plan[:length]):
            return result.plan[:length]
    return result.plan


def _fails(result: Result, device_count: int, plan: Plan) -> bool:
    again = sail(result.seed, device_count, scenario=result.scenario, plan=plan)
    return again.failure is not None


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
