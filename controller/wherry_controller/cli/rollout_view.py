"""A rollout as text: what an operator leaves open on a screen. Pure."""

from collections.abc import Iterable
from typing import Any

from wherry_controller.cli.output import time_text
from wherry_controller.core.spans import span_text

BAR_WIDTH = 24
SHOWN_MAX = 10
THERE = ("confirmed", "ready")
UNDER_WAY = ("offered", "fetching", "staged", "trial", "held")
FAILED = ("rejected", "reverted", "silent", "skipped")


def headline(view: dict[str, Any]) -> str:
    """One line: who, where, how far on the way there or back."""
    members = view["members"]
    total = sum(members.values())
    start = (
        f"{view['id']}: {state_text(view)} ({view['lifecycle']}), "
        f"stage {view['stage']} of {view['stages']}, "
    )
    back = _on_the_way_back(view)
    if back:
        counts = ", ".join(f"{n} {name}" for name, n in back.items() if n and name != "back")
        there = f"{back['back']} of {sum(back.values())} devices are back"
        return start + there + (f" ({counts})" if counts else "")
    counts = ", ".join(f"{n} {name}" for name, n in members.items() if n)
    there = f"{members.get('confirmed', 0)} of {total} confirmed ({counts or 'nobody'})"
    asked = f"; {view['returns']['sent']} on the way back" if view["is_winding_down"] else ""
    return f"{start}{there}{asked}"


def state_text(row: dict[str, Any]) -> str:
    """Its state, and whether it still takes something back after its end."""
    return f"{row['state']}{', winding down' if row['is_winding_down'] else ''}"


def _on_the_way_back(view: dict[str, Any]) -> dict[str, int]:
    """Who was sent back and how far they are; empty where nobody is."""
    if view["state"] not in ("reverting", "reverted"):
        return {}
    found = {name: view["returns"].get(name, 0) for name in ("back", "sent", "queued", "lost")}
    return found if sum(found.values()) else {}


def rollout_text(view: dict[str, Any]) -> str:
    """State, ladder, progress, checks with their evidence, who failed, why it waits, time left."""
    lines = [headline(view), f"  {_bar(view)} {_share(view)}"]
    if view["reason"]:
        lines.append(f"  why: {view['reason']}")
    lines.append(f"  {view['strategy']}, preset {view['preset']}, {_people(view)}")
    lines += release_lines(view.get("release"))
    if view["notes"]:
        lines.append(f"  notes: {view['notes']}")
    lines += [f"  instead of the preset's: {text}" for text in view["overrides"]]
    if len(view["ladder"]) > 1:
        lines.append(f"  stages: {'  '.join(_rung(rung, view) for rung in view['ladder'])}")
    lines += [f"  {check['verdict']:<13}{_check(check)}" for check in view["checks"]]
    for title, key in (("failed", "failed"), ("silent", "silent"), ("not back", "not_back"),
                       ("skipped", "skipped")):  # fmt: skip
        lines += _named(title, view[key])
    lines += [f"  waits for {what}" for what in _waits(view)]
    if view["earliest_end_s"] is not None:
        lines.append(
            f"  ends in {span_text(view['earliest_end_s'] - view['seen_s'])} at the earliest, "
            f"{time_text(view['earliest_end_s'])} UTC"
        )
    return "\n".join(lines)


def _waits(view: dict[str, Any]) -> list[str]:
    """What it waits for; a check whose figures stand above is only named."""
    checks = {f"{check['check']}: {check['text']}": check["check"] for check in view["checks"]}
    named = [checks[what] for what in view["waiting_for"] if what in checks]
    others = [what for what in view["waiting_for"] if what not in checks]
    return others + ([f"the gate's {', '.join(sorted(set(named)))}"] if named else [])


def _people(view: dict[str, Any]) -> str:
    """Where it goes, who made and approved it, whom to call."""
    said = [f"for {view['environment']}"] if view["environment"] else []
    said.append(f"by {view['created_by']}")
    said += [f"approved by {view['approved_by']}"] if view["approved_by"] else []
    said += [f"on call {view['on_call']}"] if view["on_call"] else []
    return ", ".join(said)


def _rung(rung: dict[str, Any], view: dict[str, Any]) -> str:
    """A stage: what is done, what is open, and when the next ones open at the earliest."""
    action = "" if rung["action"] == "swap" else f"{rung['action']} "
    name = f"{action}{rung['share'] * 100:g} % ({rung['units']})"
    is_timed = rung["opens_s"] is not None and rung["opens_s"] > view["seen_s"]
    if rung["state"] == "ahead" and is_timed:
        return f"{name} in {span_text(rung['opens_s'] - view['seen_s'])}"
    return {"done": f"{name} done", "open": f"[{name}]", "ahead": name}[rung["state"]]


def release_lines(release: dict[str, Any] | None) -> list[str]:
    """The version's notes, what it means for those who serve another, who cannot run it."""
    if release is None:
        return []
    lines = []
    if release["from"]:
        by = release.get("acknowledged_by")
        is_step = release["bump"] != "none"
        step = f"a {release['bump'].upper()} step" if is_step else "no step up"
        lines.append(
            f"  {step} from {', '.join(release['from'])}"
            + (f", notes acknowledged by {by}" if by else "")
        )
    lines += [f"  release notes: {line}" for line in release["notes"].splitlines()]
    return lines + _named("cannot run it", release["unfit"])


def _check(check: dict[str, Any]) -> str:
    """Its name, and its class unless the text has it already."""
    shown = f" ({check['class']})" if check["class"] and check["class"] not in check["text"] else ""
    return f"{check['check']}{shown}: {check['text']}"


def _bar(view: dict[str, Any]) -> str:
    """There (or back) #, under way >, failed or left out x, everybody else a dot."""
    back = _on_the_way_back(view)
    counts: dict[str, int] = back or view["members"]
    total = max(1, sum(counts.values()))

    def of(names: Iterable[str]) -> int:
        return sum(counts.get(name, 0) for name in names) * BAR_WIDTH

    good = of(("back",) if back else THERE) // total
    bad = -(-of(("lost",) if back else FAILED) // total)
    moving = -(-of(("sent", "queued") if back else UNDER_WAY) // total)
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


def check_lines(checks: list[dict[str, Any]]) -> list[str]:
    """Preconditions, one line each: how it stands, what it does, what was found."""
    return [f"{_standing(check):<15} {check['item']}: {check['text']}" for check in checks]


def _standing(check: dict[str, Any]) -> str:
    if check["verdict"] == "passed":
        return "passed"
    if check["is_forced"]:
        return "forced"
    return f"{check['verdict']}" + ("" if check["demand"] == "block" else " (warn)")
