"""Groups: names for selectors and lists.

Rules:
1. A static group is the units that its selector took when it was made; a dynamic one is asked
   each time. A group's selector names no other group.
2. What a dynamic group runs is what the newest succeeded rollout to `group:NAME`, and to nothing
   else, brought it to serve; `joining` gives that to who joins.
"""

from sqlite_utils import Database
from wherry_protocol.errors import Code, StateError, WherryError
from wherry_protocol.names import LABEL

from wherry_controller.core.selector import Facts, parse_selector, select
from wherry_controller.fleet import targets
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import groups
from wherry_controller.store.groups import GroupRow


def create(
    org: Organization, name: str, target: str, is_dynamic: bool, who: str, now_s: float
) -> GroupRow:
    """Name a part of the fleet. Raises WherryError(INVALID), StateError where the name is taken."""
    if not LABEL.fullmatch(name):
        raise WherryError(f"group {name!r} is no name: letters, digits, - and _", Code.INVALID)
    if groups.find(org.db, name) is not None:
        raise StateError(f"group {name} exists already; delete it first")
    selector = parse_selector(target)
    if is_dynamic and selector.share_bp is not None:
        raise WherryError("a dynamic group has no percentage: it would change", Code.INVALID)
    row = GroupRow(name, target, int(is_dynamic), now_s, who)
    groups.put(org.db, row)
    found = select(selector, targets.facts(org.db), now_s, name.encode())
    for facts in found:
        groups.add_unit(org.db, name, facts.name)
    org.record(now_s, who, "group.create", name, target=target, is_dynamic=is_dynamic,
               units=len(found))  # fmt: skip
    return row


def delete(org: Organization, name: str, who: str, reason: str, now_s: float) -> None:
    """Forget the name; what its units run stays. Raises NotFoundError."""
    groups.get(org.db, name)
    groups.delete(org.db, name)
    org.record(now_s, who, "group.delete", name, reason)


def members(db: Database, row: GroupRow, now_s: float) -> list[Facts]:
    """Its units now."""
    return targets.chosen(db, f"group:{row.name}", now_s)
