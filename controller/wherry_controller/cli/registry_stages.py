"""`wherry registry promote|approve|reject|archive|stages|pin|unpin|history`: a version's life."""

from typing import Annotated, Any

import typer

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, show, show_rows, time_text
from wherry_controller.cli.references import split_reference

Reference = Annotated[str, typer.Argument(help="NAME:VERSION.")]
ModelOption = Annotated[str | None, typer.Option(help="Only this model.")]


def _order(reference: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    name, version = split_reference(reference)
    return dict(ask("POST", f"/bundles/{name}/{version}/{what}", body=body))


def stages(model: ModelOption = None, json: JsonOption = False) -> None:
    """Show where each version stands: development, staging, production or archived.

    wherry registry stages
    """
    rows = ask("GET", "/stages", query={"model": model} if model else None)
    shown = rows if json else [row | {"waits_for": _waits(row["promotion"])} for row in rows]
    show_rows(shown, ("model", "version", "stage", "waits_for", "serving_units", "accuracy",
                      "pinned_by"), "no bundles")  # fmt: skip


def _waits(promotion: dict[str, Any] | None) -> str:
    if promotion is None:
        return ""
    return f"{promotion['to_stage']}, asked by {promotion['requested_by']}"


def promote(
    reference: Reference,
    to: Annotated[str, typer.Option(help="staging, production; development for an archived one.")],
    justification: Annotated[str, typer.Option(help="Why; it is audited.")],
    skip_staging: Annotated[
        bool, typer.Option("--skip-staging", help="From development to production: admins only.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Ask for a version's next stage; another operator approves or rejects it.

    wherry registry promote pump-anomaly:1.0.0 --to staging --justification "passed in the lab"
    """
    body = {"to": to, "justification": justification, "skip_staging": skip_staging}
    asked = _order(reference, "promotion", body)
    show(asked, f"{reference}: {asked['from_stage']} to {asked['to_stage']} waits for the approval "
         f"of somebody else than {asked['requested_by']}")  # fmt: skip


def approve(
    reference: Reference,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    override_gates: Annotated[
        bool, typer.Option("--override-gates", help="Although release gates fail; with a reason.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Let a promotion through that somebody else asked for; into production the gates must pass.

    wherry registry approve pump-anomaly:1.0.0
    """
    body = {"reason": reason, "override_gates": override_gates}
    done = _order(reference, "promotion/approve", body)
    show(done, f"{reference} is in {done['stage']}")


def reject(reference: Reference, reason: ReasonOption, json: JsonOption = False) -> None:
    """Turn a promotion down.

    wherry registry reject pump-anomaly:1.0.0 --reason "not enough samples"
    """
    done = _order(reference, "promotion/reject", {"reason": reason})
    show(done, f"{reference} stays in {done['stage']}")


def archive(reference: Reference, reason: ReasonOption, json: JsonOption = False) -> None:
    """Take a version out of use: it is kept, and not rolled out any more.

    wherry registry archive pump-anomaly:1.0.0 --reason "superseded"
    """
    done = _order(reference, "archive", {"reason": reason})
    show(done, f"{reference} is {done['stage']}")


def pin(reference: Reference, reason: ReasonOption, json: JsonOption = False) -> None:
    """Keep a version whatever retention says.

    wherry registry pin pump-anomaly:1.0.0 --reason "reference for audits"
    """
    done = _order(reference, "pin", {"reason": reason})
    show(done, f"{reference} is pinned by {done['pinned_by']}")


def unpin(reference: Reference, reason: ReasonOption, json: JsonOption = False) -> None:
    """Let retention have a version again.

    wherry registry unpin pump-anomaly:1.0.0 --reason "audit is over"
    """
    show(_order(reference, "unpin", {"reason": reason}), f"{reference} is not pinned any more")


def history(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    device: Annotated[
        str | None, typer.Option(help="Which versions this device served, and when.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show all that happened to each version: stages, rollouts, who, when, on how many units now.

    wherry registry history pump-anomaly
    """
    rows = ask("GET", f"/history/{model}", query={"device": device} if device else None)
    if device is not None:
        columns = ("at", "connection", "unit", "version", "owner", "rollout")
        shown = rows if json else [row | {"at": time_text(row["at_s"])} for row in rows]
        show_rows(shown, columns, f"{device} served no {model}")
        return
    lines = []
    for row in rows:
        gone = "" if row["is_kept"] else ", not kept any more"
        lines.append(f"{model}:{row['version']}  {row['stage']}{gone}, on {row['serving_units']} "
                     f"units now, deployed {time_text(row['deployed_s'])}")  # fmt: skip
        lines += [f"  {_event_text(event)}" for event in row["events"]]
    show(rows, "\n".join(lines) or f"nothing is known of {model}")


def _event_text(event: dict[str, Any]) -> str:
    text = f"{time_text(event['at_s'])}  {event['action']} by {event['who']}"
    if event["from_stage"] and event["from_stage"] != event["to_stage"]:
        text += f", {event['from_stage']} -> {event['to_stage']}"
    if event["rollout"]:
        text += f", {event['rollout']} on {event['units']} units"
    return text + (f": {event['reason']}" if event["reason"] else "")


def add_to(app: typer.Typer) -> None:
    """These commands, in the order of a version's life."""
    for command in (stages, promote, approve, reject, archive, pin, unpin, history):
        app.command()(command)
