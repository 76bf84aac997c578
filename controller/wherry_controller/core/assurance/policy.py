"""What an environment demands before a rollout may start there.

    [environments.production]
    drill = "warn"            # any precondition: block, warn or off
    drill_days_max = 14.0

Rules:
1. A unit's label `env` says where it stands. A unit without the label demands nothing.
2. What a section leaves out comes from the defaults of that name. A name that nobody has heard of
   gets those of production: a misspelt label must not open a door.
3. A rollout over several environments meets the strictest demand of each.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from wherry_protocol.errors import Code, WherryError

PRODUCTION: Final = "production"
STAGING: Final = "staging"
SIMULATION: Final = "simulation"
RELAXED: Final = ("", SIMULATION, "development", "dev", "test", "testing")
DAYS_MAX: Final = 3_650.0


class Demand(Enum):
    """What a precondition that does not hold does to the start."""

    BLOCK = "block"
    WARN = "warn"
    OFF = "off"


STRICTNESS: Final = (Demand.OFF, Demand.WARN, Demand.BLOCK)


@dataclass(frozen=True, slots=True)
class Policy:
    """Demands by precondition; what is not named is off."""

    demands: Mapping[str, Demand] = field(default_factory=dict)
    drill_days_max: float = 30.0

    def of(self, item: str) -> Demand:
        return self.demands.get(item, Demand.OFF)


BY_NAME: Final[Mapping[str, Mapping[str, Demand]]] = {
    PRODUCTION: {
        "rollback_target": Demand.BLOCK,
        "gradual": Demand.BLOCK,
        "success_criteria": Demand.BLOCK,
        "approval": Demand.BLOCK,
        "on_call": Demand.BLOCK,
        "monitoring": Demand.BLOCK,
        "drill": Demand.BLOCK,
        "hardware_tested": Demand.BLOCK,
        "simulation": Demand.BLOCK,
        "staging": Demand.BLOCK,
        "alerts_tested": Demand.WARN,
        "promotion": Demand.WARN,
        "evaluation": Demand.WARN,
        "shadow_passed": Demand.WARN,
        "announced": Demand.WARN,
        "power_budget": Demand.WARN,
        "host_tests": Demand.WARN,
    },
    STAGING: {
        "rollback_target": Demand.BLOCK,
        "success_criteria": Demand.WARN,
        "monitoring": Demand.WARN,
    },
}


def default_policy(environment: str) -> Policy:
    """What holds where no section says anything else (rule 2)."""
    if environment in RELAXED:
        return Policy()
    return Policy(BY_NAME.get(environment, BY_NAME[PRODUCTION]))


def parse_policies(table: Any, items: Iterable[str], where: str) -> dict[str, Policy]:
    """The policies of a file's `[environments]`. Raises WherryError(INVALID | UNKNOWN_FIELD)."""
    if not isinstance(table, dict):
        raise WherryError(f"{where} must be a table of tables", Code.INVALID)
    known = tuple(items)
    return {
        str(name): _policy(section, str(name), known, f"{where[:-1]}.{name}]")
        for name, section in table.items()
    }


def _policy(section: Any, name: str, items: tuple[str, ...], where: str) -> Policy:
    if not isinstance(section, dict):
        raise WherryError(f"{where} must be a table", Code.INVALID)
    base = default_policy(name)
    demands, days = dict(base.demands), base.drill_days_max
    for key, value in section.items():
        if key == "drill_days_max":
            days = _days(value, where)
        elif key in items:
            demands[key] = _demand(key, value, where)
        else:
            close = difflib.get_close_matches(key, items, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(items)}"
            raise WherryError(f"{where}: unknown key {key!r}, {hint}", Code.UNKNOWN_FIELD)
    return Policy(demands, days)


def _demand(key: str, value: Any, where: str) -> Demand:
    words = [demand.value for demand in Demand]
    if value not in words:
        raise WherryError(
            f"{where} {key}: {value!r}, must be one of {', '.join(words)}", Code.INVALID
        )
    return Demand(value)


def _days(value: Any, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= DAYS_MAX:
        raise WherryError(
            f"{where} drill_days_max: {value!r}, must be a number of days in 0..{DAYS_MAX:g}",
            Code.INVALID,
        )
    return float(value)


def policy_for(environments: Iterable[str], set_by_file: Mapping[str, Policy]) -> Policy:
    """The strictest of the environments that a rollout touches (rule 3)."""
    policies = [set_by_file.get(name) or default_policy(name) for name in environments]
    demands: dict[str, Demand] = {}
    for policy in policies:
        for item, demand in policy.demands.items():
            demands[item] = max(demands.get(item, Demand.OFF), demand, key=STRICTNESS.index)
    return Policy(demands, min((p.drill_days_max for p in policies), default=30.0))


def policies_to_toml(policies: Mapping[str, Policy]) -> list[str]:
    """The lines that `parse_policies` reads back as the same policies."""
    lines = []
    for name, policy in policies.items():
        lines.append(f"\n[environments.{name}]")
        lines += [f'{item} = "{demand.value}"' for item, demand in policy.demands.items()]
        lines.append(f"drill_days_max = {policy.drill_days_max}")
    return lines
