"""`wherry rollout explain | shadow | experiment`: what a gate knows, with its numbers."""

from typing import Annotated, Any

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, show

RolloutArgument = Annotated[str, typer.Argument(help="The rollout's id.")]


def explain(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show which rule fired, with its numbers, what it compared with, and what was overridden.

    wherry rollout explain pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}/explain")
    lines = [f"{found['id']}: {found['state']}{': ' if found['reason'] else ''}{found['reason']}"]
    lines += _checks("fired", found["fired"]) or ["  no rule has fired"]
    lines += _checks("blocks", found["blocking"])
    lines += [f"  {name} is compared with: {basis}" for name, basis in found["baselines"].items()]
    lines.append(f"  preset {found['preset']}")
    lines += [f"  instead of the preset's: {text}" for text in found["overrides"]]
    lines += [f"  waits for {what}" for what in found["waiting_for"]]
    show(found, "\n".join(lines))


def _checks(title: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        lines.append(f"  {title}: {row['check']} {row['class']}: {row['text']}")
        lines += [f"    {name} = {value}" for name, value in row["figures"].items()]
    return lines


def shadow(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show how a shadow did beside what serves: agreement, latency, skips, disagreements.

    wherry rollout shadow pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}/shadow")
    interval = found["agreement_interval"]
    agreement = "no agreement yet"
    if interval is not None:
        agreement = f"agreement {found['agreement']:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"
    lines = [
        f"{found['id']}: {found['verdict']}: {found['text']}",
        f"  {found['compared']} compared on {len(found['devices'])} devices, {agreement}",
    ]
    for name in ("p50", "p95", "p99"):
        pair = found["latency_us"][name], found["primary_latency_us"][name]
        lines.append(f"  {name}: shadow {_us(pair[0])}, primary {_us(pair[1])}")
    lines += [f"  skipped for {cause}: {n}" for cause, n in sorted(found["skipped"].items()) if n]
    lines += [f"  differs on {row['unit']}: {row['sample']}" for row in found["disagreements"][:10]]
    show(found, "\n".join(lines))


def _us(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} us"


def experiment(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show an A/B experiment: both arms, each metric's lift with its bounds, and the advice.

    wherry rollout experiment pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}/experiment")
    lines = [f"{found['id']}: {found['recommendation']}: {found['why']}"]
    for arm, metrics in found["arms"].items():
        shown = ", ".join(f"{n} {one['mean']:.6g}" for n, one in metrics.items()) or "nothing yet"
        count = max((one["devices"] for one in metrics.values()), default=0)
        watching = found["watching"][arm]
        lines.append(f"  {arm}: {count} devices count, {watching} are watched: {shown}")
    for name, lift in found["lifts"].items():
        lines.append(f"  {name}: {_lift(lift)}")
    show(found, "\n".join(lines))


def _lift(lift: dict[str, Any]) -> str:
    share = "" if lift["lift"] is None else f" ({lift['lift']:+.2%})"
    bounds = "" if lift["low"] is None else f", {lift['low']:+.6g} to {lift['high']:+.6g} any time"
    classical = lift["classical"]
    p = "" if classical["p"] is None else f"; {classical['test']}: p = {classical['p']:.4f}"
    word = "significant" if lift["is_significant"] else "not significant"
    return f"{lift['difference']:+.6g}{share}{bounds}, {word}{p}"
