"""A rollout as text: what an operator leaves open on a screen. Pure."""

from typing import Any

from wherry_controller.cli.output import time_text

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
        f"{view['id']}: {view['state']} ({view['lifecycle']}), "
        f"stage {view['stage']} of {view['stages']}, "
        f"{members.get('confirmed', 0)} of {total} confirmed ({counts or 'nobody'})"
    )


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
    lines += [f"  waits for {what}" for what in view["waiting_for"]]
    if view["earliest_end_s"] is not None:
        lines.append(
            f"  ends in {span_text(view['earliest_end_s'] - view['seen_s'])} at the earliest, "
            f"{time_text(view['earliest_end_s'])} UTC"
        )
    return "\n".join(lines)


def _people(view: dict[str, Any]) -> str:
    """Where it goes, who made and approved it, whom to call."""
    said = [f"for {view['environment']}"] if view["environment"] else []
    said.append(f"by {view['created_by']}")
    said += [f"approved by {view['approved_by']}"] if view["approved_by"] else []
    said += [f"on call {view['on_call']}"] if view["on_call"] else []
    return ", ".join(said)


def _rung(rung: dict[str, Any], view: dict[str, Any]) -> str:
    """A stage: what is done, what is open, and when the next ones open at the earliest."""
    name = f"{rung['share'] * 100:g} % ({rung['units']})"
    if rung["state"] == "ahead" and rung["opens_s"] is not None:
        return f"{name} in {span_text(rung['opens_s'] - view['seen_s'])}"
    return {"done": f"{name} done", "open": f"[{name}]", "ahead": name}[rung["state"]]


def span_text(seconds: float) -> str:
    """How long, in its two largest units.

    >>> span_text(93_784), span_text(59.4)
    ('1 d 2 h', '59 s')
    """
    left = max(0, round(seconds))
    found: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or found:
            found.append(f"{count} {name}")
    return " ".join(found[:2]).removesuffix(" 0 s") or "0 s"


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
    """Its name, its class unless the text has it already, and how much evidence there is."""
    shown = f" ({check['class']})" if check["class"] and check["class"] not in check["text"] else ""
    return f"{check['check']}{shown}: {check['text']}{_evidence(check.get('figures', {}))}"


def _evidence(figures: dict[str, Any]) -> str:
    """Of a sequential test: how far it is from stopping the rollout."""
    evidence, needed = figures.get("evidence"), figures.get("evidence_max")
    if evidence is None or needed is None or evidence >= needed:
        return ""
    return f" [evidence of harm {evidence:.2g} of {needed:g}]"


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


def check_lines(checks: list[dict[str, Any]]) -> list[str]:
    """Preconditions, one line each: how it stands, what it does, what was found."""
    return [f"{_standing(check):<15} {check['item']}: {check['text']}" for check in checks]


def _standing(check: dict[str, Any]) -> str:
    if check["verdict"] == "passed":
        return "passed"
    if check["is_forced"]:
        return "forced"
    return f"{check['verdict']}" + ("" if check["demand"] == "block" else " (warn)")
