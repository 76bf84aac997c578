"""The fleet's report: one table of JSON values, and the same as Markdown. Pure."""

from datetime import UTC, datetime
from typing import Any


def as_markdown(report: dict[str, Any]) -> str:
    """What people read; every number is in the JSON too."""
    at = datetime.fromtimestamp(report["at_s"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"# Fleet of {report['organization']}, {at}", ""]
    lines += ["| health | units |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in sorted(report["units"].items())]
    lines += ["", f"## Figures of the last {report['recent_s'] // 60} minutes", ""]
    lines += ["| model | version | units | inferences | error rate | mean latency | energy |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [_model(row) for row in report["models"]] or ["| - | - | - | - | - | - | - |"]
    lines += ["", "## Rollouts", ""]
    lines += [f"- {row['id']}: {row['state']}" for row in report["rollouts"]] or ["none is open"]
    lines += ["", "## Alerts", ""]
    counts = ", ".join(f"{count} {state}" for state, count in sorted(report["alerts"].items()))
    lines += [counts, ""]
    lines += [f"- {row['severity']}, {row['state']}, {row['count']} times: {_plain(row['text'])}"
              for row in report["standing"]] or ["nothing stands"]  # fmt: skip
    lines += ["", f"Messages that were given up: {report['dead_messages']}."]
    return "\n".join(lines) + "\n"


def _model(row: dict[str, Any]) -> str:
    latency = "-" if row["latency_us_mean"] is None else f"{row['latency_us_mean']:.0f} us"
    energy = "-" if row["energy_uj"] is None else f"{row['energy_uj']:.1f} uJ"
    rate = "-" if row["error_rate"] is None else f"{row['error_rate']:.2%}"
    return (
        f"| {row['model']} | {row['version']} | {row['units']} | {row['inferences']} | {rate} "
        f"| {latency} | {energy} |"
    )


def _plain(text: str) -> str:
    """A device's words stay on one line and draw no table or link."""
    return "".join(c if c.isprintable() and c not in "|[]<>`" else " " for c in text)
