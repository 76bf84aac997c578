"""The rollout guard: compares the new version with those that do not run it.

Rules:
1. A check without the figures it needs is INCONCLUSIVE; a missing figure never passes.
2. A fixed limit of the preset that is breached fails, and no test overrules it. A sequential test
   may stop earlier; its false-abort chance holds for each check, however often it is looked at.
3. Checks come in the order of the decision tree, and all of them are kept: errors, crashes,
   latency, energy, memory, updates.
4. What is not a number (or negative) was refused before it came here.
"""

from collections.abc import Iterable, Mapping, Sequence

from wherry_controller.core.gates.checks import Check
from wherry_controller.core.gates.comparing import (
    NONE,
    Comparison,
    comparison,
    tail_comparison,
)
from wherry_controller.core.gates.cost_checks import (
    bar_of,
    check_energy,
    check_latency,
    check_memory,
)
from wherry_controller.core.gates.error_checks import (
    Updates,
    check_crash,
    check_errors,
    check_increase,
    check_updates,
)
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.panel import Panel
from wherry_controller.core.gates.pools import Arm, Pool, Pools


def evaluate(
    pools: Pools,
    panel: Panel,
    limits: GateLimits,
    classes: Mapping[str, float | None],
    memory: Mapping[str, Sequence[float | None]],
    updates: Updates,
    since: int,
) -> tuple[Check, ...]:
    """All checks; `panel` learns what the classes' devices are held against from now on.

    classes: class of each swapped member -> its energy budget in uJ (None: it has none).
    memory: class -> used share of the budget of each swapped member (None: not reported yet).
    since: the first bucket that counts.
    """
    pooled = Pool()
    for name in pools.classes(Arm.NEW):
        pooled.merge(pools.newest(Arm.NEW, name, limits.requests_min, since)[0])
    found: list[Check] = []
    compared = {name: comparison(pools, limits, name, since) for name in sorted(classes)}
    for name, one in compared.items():
        panel.hold_against(name, bar_of(limits, one))
        tail = tail_comparison(pools, limits, name, since)
        found.append(check_latency(limits, name, one, tail, panel))
        if classes[name] is not None:
            found.append(check_energy(limits, name, one, panel))
        found.append(check_memory(limits, name, memory.get(name, ())))
    return (
        check_errors(limits, pooled, panel),
        check_increase(limits, *together(compared.values()), panel),
        check_crash(limits, pooled),
        *found,
        check_updates(limits, updates),
    )


def together(compared: Iterable[Comparison]) -> tuple[Pool, Pool, str]:
    """(new, other, basis) of all classes as one; a class without a comparison is left out."""
    new, other, bases = Pool(), Pool(), []
    for one in compared:
        if one.basis != NONE:
            new.merge(one.new)
            other.merge(one.other)
            bases.append(one.basis)
    return new, other, bases[0] if len(set(bases)) == 1 else "mixed" if bases else NONE
