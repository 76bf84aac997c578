"""`wherry registry retention show|set|run`: which versions are kept."""

from typing import Annotated, Any

import typer
from wherry_protocol.errors import WherryError

from wherry_controller.cli.client import ask
from wherry_controller.cli.output import JsonOption, ReasonOption, show, show_rows
from wherry_controller.cli.registry_stages import ModelOption

app = typer.Typer(help="Keep the newest versions, and every one that somebody needs.")


@app.command("show")
def policy(json: JsonOption = False) -> None:
    """Show how many versions of each model are kept, how good and how old.

    wherry registry retention show
    """
    found = ask("GET", "/retention")["policy"]
    show(found, _policy_text(found))


def _policy_text(found: dict[str, Any]) -> str:
    when = "every hour and after each rollout" if found["is_scheduled"] else "when somebody runs it"
    return (
        f"the newest {found['versions_max']} versions of each model, accuracy at least "
        f"{found['accuracy_min']:g}, up to {found['age_days_max']:g} days old; applied {when}; "
        "what serves, is a way back, is in an open rollout or is pinned is never deleted"
    )


@app.command("set")
def change(
    reason: ReasonOption,
    versions_max: Annotated[int, typer.Option(help="So many of each model.", min=1)] = 5,
    accuracy_min: Annotated[
        float, typer.Option(help="0 to 1; one that is not on record is below it.")
    ] = 0.7,
    age_days_max: Annotated[float, typer.Option(help="Since it was pushed.")] = 30.0,
    schedule: Annotated[bool, typer.Option(help="Every hour, or on demand only.")] = True,
    keep_deployed: Annotated[bool, typer.Option(help="Always so; it cannot be off.")] = True,
    json: JsonOption = False,
) -> None:
    """Set what is kept; what breaks one limit and is needed by nobody goes.

    wherry registry retention set --versions-max 5 --accuracy-min 0.7 --age-days-max 30
    --reason "house rule"
    """
    if not keep_deployed:
        raise WherryError(
            "--no-keep-deployed: versions that serve, or that a device would go back to, are never "
            "deleted; leave the option out"
        )
    body = {"versions_max": versions_max, "accuracy_min": accuracy_min,
            "age_days_max": age_days_max, "is_scheduled": schedule, "reason": reason}  # fmt: skip
    found = ask("PUT", "/retention", body=body)
    show(found, _policy_text(found))


@app.command()
def run(
    reason: Annotated[str, typer.Option(help="Why; it is audited. A dry run needs none.")] = "",
    model: ModelOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go and why; do nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete what may go now, or show with --dry-run what would.

    wherry registry retention run --dry-run
    """
    if dry_run:
        found = ask("GET", "/retention", query={"model": model} if model else None)
    else:
        found = ask("POST", "/retention/run", body={"model": model, "reason": reason})
    rows = found["versions"]
    verb = "would go" if dry_run else "deleted"
    shown = rows if json else [
        row | {"fate": "kept" if row["is_kept"] else verb, "why": "; ".join(row["reasons"])}
        for row in rows
    ]  # fmt: skip
    show_rows(shown, ("model", "version", "stage", "accuracy", "fate", "why"), "no versions")


def add_to(group: typer.Typer) -> None:
    """As `retention` among the group's commands."""
    group.add_typer(app, name="retention")
