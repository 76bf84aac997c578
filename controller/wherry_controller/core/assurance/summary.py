"""The report of a rollout as Markdown, from the JSON that the API gives."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

UNITS_MAX: Final = 50
ROWS_MAX: Final = 200
NAMED: Final = (("failed", "Failed"), ("silent", "Silent"), ("not_back", "Not back"),
                ("late", "Late"))  # fmt: skip


def summary_markdown(report: Mapping[str, Any]) -> str:
    """What happened, who did it, what held: one page."""
    rollout = report["rollout"]
    lines = [
        f"# Rollout {rollout['rollout']}: {rollout['state']}",
        "",
        f"{rollout['model']} {rollout['version']} ({rollout['digest'][:12]}),"
        f" {rollout['strategy']}, preset {rollout['preset']}, for"
        f" {rollout['environment'] or 'no environment'}",
        f"Reason: {rollout['reason'] or '-'}",
        f"Made by {rollout['created_by']}, approved by {rollout['approved_by'] or '-'}, on call"
        f" {rollout['on_call'] or '-'}",
        f"From {_time(rollout['created_s'])} to {_time(rollout['updated_s'])}"
        f" ({report['duration_s']:.0f} s), stage {rollout['stage']} of {rollout['stages']}",
        "",
        "## Devices",
        "",
        ", ".join(f"{count} {phase}" for phase, count in rollout["members"].items() if count),
    ]
    for key, title in NAMED:
        lines += [f"- {title}: {unit}: {why}" for unit, why in _some(rollout[key])]
    lines += _section("Checks before the start", report["checks"]["checks"], _precondition)
    lines += _section("Gate", rollout["checks"], _check)
    lines += _section("Overrides", report["overrides"], lambda text: f"- {text}")
    lines += _section("Checklist", report["checklist"], _line)
    lines += _section("Incidents", report["incidents"], _incident)
    lines += _section("Notes", report["notes"], _note)
    lines += _section("Verifications", report["verifications"], _verification)
    lines += _section("Who was told", report["told"], _told)
    lines += _section("Who did what", report["history"][:ROWS_MAX], _row)
    return "\n".join(lines)


def _some(named: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(named.items())[:UNITS_MAX]


def _section(title: str, rows: Any, line: Any) -> list[str]:
    return ["", f"## {title}", "", *([line(row) for row in rows] or ["none"])]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _precondition(row: Mapping[str, Any]) -> str:
    forced = ", forced" if row["is_forced"] else ""
    return f"- {row['item']} {row['verdict']}{forced}: {row['text']}"


def _check(row: Mapping[str, Any]) -> str:
    figures = ", ".join(f"{name} {value:g}" for name, value in row["figures"].items()
                        if isinstance(value, int | float))  # fmt: skip
    return f"- {row['check']} {row['class']} {row['verdict']}: {row['text']} ({figures or '-'})"


def _line(row: Mapping[str, Any]) -> str:
    mark = {True: "x", False: "!", None: " "}[row["is_done"]]
    return f"- [{mark}] {row['when']}: {row['text']}: {row['found']}"


def _incident(row: Mapping[str, Any]) -> str:
    return f"- {_time(row['at_s'])} {row['severity']}: {row['text']}"


def _note(row: Mapping[str, Any]) -> str:
    return f"- {_time(row['at_s'])} {row['who']}: {row['text']}"


def _verification(row: Mapping[str, Any]) -> str:
    return f"- {row['id']}: {row['suite']} {row['outcome']} ({row['target']})"


def _told(row: Mapping[str, Any]) -> str:
    return f"- {row['route']}: {row['kind']} {row['state']}"


def _row(row: Mapping[str, Any]) -> str:
    why = f": {row['reason']}" if row["reason"] else ""
    return f"- {_time(row['at_s'])} {row['who']} {row['action']}{why}"
