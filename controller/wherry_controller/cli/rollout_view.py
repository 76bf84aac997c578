"""A rollout as text: what an operator leaves open on a screen. Pure."""

from typing import Any

BAR_WIDTH = 24
SHOWN_MAX = 10
UNDER_WAY = ("offered", "fetching", "staged", "trial")
FAILED = ("rejected", "reverted", "silent", "skipped")


def headline(view: dict[str, Any]) -> str:
    """One line: who, where, how far."""
    members = view["members"]
    total = sum(members.values())
    counts = ", ".join(f"{n} {name}" for name, n in members.items() if n)
    return (
        f"{view['id']}: {view['state']}, stage {view['stage']} of {view['stages']}, "
        f"{members.get('confirmed', 0)} of {total} confirmed ({counts or 'nobody'})"
    )


def rollout_text(view: dict[str, Any]) -> str:
    """State, progress, checks with their figures, who failed, what it waits for."""
    lines = [headline(view), f"  {_bar(view)} {_share(view)}"]
    if view["reason"]:
        lines.append(f"  why: {view['reason']}")
    lines.append(f"  {view['strategy']}, preset {view['preset']}, {_people(view)}")
    if view["notes"]:
        lines.append(f"  notes: {view['notes']}")
    lines += [f"  instead of the preset's: {text}" for text in view["overrides"]]
    lines += [f"  {check['verdict']:<13}{_check(check)}" for check in view["checks"]]
    for title, key in (("failed", "failed"), ("silent", "silent"), ("not back", "not_back")):
        lines += _named(title, view[key])
    skipped = {unit["unit"]: unit["reason"] for unit in view["units"] if unit["phase"] == "skipped"}
    lines += _named("skipped", skipped)
    lines += [f"  waits for {what}" for what in view["waiting_for"]]
    return "\n".join(lines)


def _people(view: dict[str, Any]) -> str:
    """Where it goes, who made and approved it, whom to call."""
    said = [f"for {view['environment']}"] if view["environment"] else []
    said.append(f"by {view['created_by']}")
    said += [f"approved by {view['approved_by']}"] if view["approved_by"] else []
    said += [f"on call {view['on_call']}"] if view["on_call"] else []
    return ", ".join(said)


def _check(check: dict[str, Any]) -> str:
    """Its name, and its class unless the text has it already."""
    shown = f" ({check['class']})" if check["class"] and check["class"] not in check["text"] else ""
    return f"{check['check']}{shown}: {check['text']}"


def _bar(view: dict[str, Any]) -> str:
    """Confirmed #, under way >, failed or left out x, everybody else a dot."""
    members = view["members"]
    total = max(1, sum(members.values()))
    good = members.get("confirmed", 0) * BAR_WIDTH // total
    bad = -(-sum(members.get(name, 0) for name in FAILED) * BAR_WIDTH // total)
    moving = -(-sum(members.get(name, 0) for name in UNDER_WAY) * BAR_WIDTH // total)
    moving = min(moving, BAR_WIDTH - good - bad)
    return f"[{'#' * good}{'>' * moving}{'x' * bad}{'.' * (BAR_WIDTH - good - bad - moving)}]"


def _share(view: dict[str, Any]) -> str:
    share = view["subset"] * 100
    return f"{view['opened']} opened" + ("" if share >= 100 else f", subset {share:g} %")


def _named(title: str, units: dict[str, str]) -> list[str]:
    lines = [f"  {title}: {unit}: {why}" for unit, why in list(units.items())[:SHOWN_MAX]]
    if len(units) > SHOWN_MAX:
        lines.append(f"  {title}: and {len(units) - SHOWN_MAX} more")
    return lines
