"""A rollout as JSON, in parts, so that keeping an event costs what the event changed.

Parts: `plan` and `members` (each unit and its class, in their order), which never change, `head`,
`member/<unit>` of those to whom something has happened, `pool/<arm>/<class>/<bucket>`,
`evidence`, `tally/<arm>/<unit>`; each is one JSON text. Fields that have their default are left
out. Format 2 had no `members`, but `member/<unit>` of everybody; it is read too.
`restore(parts)` is the same rollout: a controller that restarts in mid-rollout decides as if it
had not.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Final

from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.desired import TrialLimits

from wherry_controller.core.gates.checks import Check, Consequence, Verdict
from wherry_controller.core.gates.custom import CustomRule
from wherry_controller.core.gates.limits import GateLimits
from wherry_controller.core.gates.panel import restored
from wherry_controller.core.gates.pools import Key, Pool, Pools
from wherry_controller.core.link_clock import LinkClock
from wherry_controller.core.plans.pace import Ramp, Retries
from wherry_controller.core.plans.plan import Plan
from wherry_controller.core.plans.schedule import Schedule
from wherry_controller.core.plans.stages import Action, Stage
from wherry_controller.core.rollouts.members import Member, MemberPhase, Return
from wherry_controller.core.rollouts.state import (
    ClassTerms,
    Progress,
    Rollout,
    State,
)

FORMAT: Final = 3
READABLE: Final = (2, FORMAT)
PLAN: Final = "plan"
MEMBERS: Final = "members"
HEAD: Final = "head"
PLAN_FIELDS: Final = (
    "rollout_id",
    "model",
    "version",
    "digest",
    "salt",
    "created_by",
    "created_s",
    "plan",
    "terms",
)
AS_IT_IS: Final = frozenset((str, int, float, bool, type(None)))
HEAD_FIELDS: Final = ("state", "state_reason", "progress", "link", "checks", "told")


def changes(rollout: Rollout) -> dict[str, str | None]:
    """The parts that changed since the last call, to be kept; None: the part is gone.

    What was kept first is `all_parts`.
    """
    found: dict[str, str | None] = {HEAD: _fields(rollout, HEAD_FIELDS)}
    for unit in sorted(rollout.changed):
        found[f"member/{unit}"] = _text(_sparse(rollout.members[unit]))
    for key in sorted(rollout.pools.changed):
        pool = rollout.pools.pools.get(key)
        found[_pool_name(key)] = None if pool is None else _text(_sparse(pool))
    found |= rollout.panel.changes()
    rollout.changed.clear()
    rollout.pools.changed.clear()
    return found


def all_parts(rollout: Rollout) -> dict[str, str]:
    """Every part; O(members), for the first time and for backups."""
    order = [[unit, rollout.members[unit].hardware_class] for unit in rollout.order]
    members = {
        f"member/{unit}": _text(_sparse(member))
        for unit, member in rollout.members.items()
        if WHAT_HAPPENED(member) != NOTHING
    }
    pools = {_pool_name(key): _text(_sparse(pool)) for key, pool in rollout.pools.pools.items()}
    plan, head = _fields(rollout, PLAN_FIELDS), _fields(rollout, HEAD_FIELDS)
    return {
        PLAN: plan,
        HEAD: head,
        MEMBERS: _text(order),
        **members,
        **pools,
        **rollout.panel.all_parts(),
    }


def to_json(rollout: Rollout) -> str:
    """The whole rollout as one JSON text."""
    return _text(all_parts(rollout))


def from_json(text: str) -> Rollout:
    """The rollout of `to_json`. Raises DecodeError."""
    try:
        return restore(json.loads(text))
    except json.JSONDecodeError as error:
        raise DecodeError(f"kept rollout: {error}") from error


def restore(parts: Mapping[str, str]) -> Rollout:
    """The rollout of its parts. Raises DecodeError where they are not ours or are newer."""
    try:
        kept = {**json.loads(parts[PLAN]), **json.loads(parts[HEAD])}
        if kept["format"] not in READABLE:
            raise DecodeError(
                f"kept rollout: format {kept['format']}, this controller reads up to {FORMAT}",
                Code.UNSUPPORTED_FORMAT,
            )
        return Rollout(
            members=_members(parts),
            pools=_pools(parts),
            panel=restored(parts),
            **{
                name: DECODERS.get(name, _same)(kept[name]) for name in (*PLAN_FIELDS, *HEAD_FIELDS)
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"kept rollout: {error!r}") from error


def _fields(rollout: Rollout, names: tuple[str, ...]) -> str:
    values = {name: _plain(getattr(rollout, name)) for name in names}
    return _text({"format": FORMAT, **values})


_text: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _plain(value: Any) -> Any:
    """JSON values of our own data: bytes as hex, enums by value, sets sorted."""
    kind = type(value)
    if kind in AS_IT_IS:  # nearly everything, and it comes with every event
        return value
    if kind is tuple or kind is list:
        return [item if type(item) in AS_IT_IS else _plain(item) for item in value]
    if kind is bytes:
        return value.hex()
    if kind is set or kind is frozenset:
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return _plain_items((name, getattr(value, name)) for name, _ in _fields_of(kind))
    if isinstance(value, Mapping):
        return _plain_items((str(key), item) for key, item in value.items())
    return value


def _plain_items(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: item if type(item) in AS_IT_IS else _plain(item) for name, item in items}


def _sparse(value: Any) -> dict[str, Any]:
    """The fields that differ from a freshly made one."""
    values = ((name, default, getattr(value, name)) for name, default in _fields_of(type(value)))
    return {
        name: _plain(item)
        for name, default, item in values
        if item != default and item not in ({}, set())
    }


_FIELDS: Final[dict[type[Any], tuple[tuple[str, Any], ...]]] = {}


def _fields_of(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """(name, default) of each field of a dataclass."""
    found = _FIELDS.get(cls)
    if found is None:
        found = _FIELDS[cls] = tuple((field.name, field.default) for field in fields(cls))
    return found


def _same(value: Any) -> Any:
    return value


def _octets(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)


Decoders = Mapping[str, Callable[[Any], Any]]

MEMBER_FIELDS: Final[Decoders] = {
    "phase": MemberPhase,
    "way_back": Return,
    "offered": Action,
    "before": _octets,
    "assignment_id": _octets,
    "return_assignment_id": _octets,
    "first": lambda values: tuple(map(bytes.fromhex, values)),
}
_SINCE_DRAFTED: Final = [one for one in fields(Member) if one.default is not MISSING]
WHAT_HAPPENED: Final = attrgetter(*(one.name for one in _SINCE_DRAFTED))
NOTHING: Final = tuple(one.default for one in _SINCE_DRAFTED)
POOL_FIELDS: Final[Decoders] = {
    "latencies": bytes.fromhex,
    "units": set,
}


def _made(cls: type[Any], values: Mapping[str, Any], decoders: Decoders) -> Any:
    return cls(**{name: decoders.get(name, _same)(value) for name, value in values.items()})


def _members(parts: Mapping[str, str]) -> dict[str, Member]:
    order = json.loads(parts.get(MEMBERS, "[]"))
    found = {unit: Member(index, unit, of_class) for index, (unit, of_class) in enumerate(order)}
    for name, text in parts.items():
        if name.startswith("member/"):
            member = _made(Member, json.loads(text), MEMBER_FIELDS)
            found[member.unit] = member
    return found


def _pool_name(key: Key) -> str:
    arm, hardware_class, index = key
    return f"pool/{arm}/{hardware_class}/{index}"


def _pools(parts: Mapping[str, str]) -> Pools:
    pools = Pools()
    for name, text in parts.items():
        if name.startswith("pool/"):
            _, arm, hardware_class, index = name.split("/")
            pools.pools[arm, hardware_class, int(index)] = _made(
                Pool, json.loads(text), POOL_FIELDS
            )
    for key in sorted(pools.pools):
        pools.indexes.setdefault(key[:2], []).append(key[2])
    return pools


def _plan(values: dict[str, Any]) -> Plan:
    gate = dict(values["gate"])
    gate["require"] = tuple(gate["require"])
    gate["custom"] = tuple(CustomRule(**rule) for rule in gate["custom"])
    return Plan(
        **{
            **values,
            "stages": tuple(_stage(stage) for stage in values["stages"]),
            "gate": GateLimits(**gate),
            "trial": TrialLimits(**values["trial"]),
            "overrides": tuple(values["overrides"]),
            "schedule": Schedule(**values.get("schedule", {})),
            "must_pass": tuple(values.get("must_pass", ())),
            "ramp": Ramp(**values.get("ramp", {})),
            "retries": Retries(**values.get("retries", {})),
        }
    )


def _stage(values: dict[str, Any]) -> Stage:
    return Stage(**{**values, "action": Action(values.get("action", Action.SWAP.value))})


def _terms(values: dict[str, Any]) -> dict[str, ClassTerms]:
    return {
        name: ClassTerms(TrialLimits(**terms["trial"]), terms["energy_uj"])
        for name, terms in values.items()
    }


def _checks(rows: list[dict[str, Any]]) -> tuple[Check, ...]:
    decoders: Decoders = {"verdict": Verdict, "consequence": Consequence}
    return tuple(_made(Check, row, decoders) for row in rows)


DECODERS: Final[Decoders] = {
    "digest": bytes.fromhex,
    "salt": bytes.fromhex,
    "plan": _plan,
    "terms": _terms,
    "state": State,
    "progress": lambda values: Progress(**{"touched_index": values["offer_index"], **values}),
    "link": lambda values: LinkClock(**values),
    "checks": _checks,
    "told": set,
}
