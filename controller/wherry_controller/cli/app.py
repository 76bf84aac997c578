"""The whole command: groups gathered, every mistake turned into one sentence and a status."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from wherry_protocol.errors import Code, WherryError, error_of

from wherry_controller.cli import (
    alerts,
    baseline,
    device,
    group,
    hardware_class,
    house,
    metric,
    model,
    notify,
    observe,
    operator,
    registry,
    registry_retention,
    registry_stages,
    report,
    rollout,
    rollout_evidence,
    rollout_papers,
    verify,
)
from wherry_controller.cli.client import DATA_DIR, Access, use
from wherry_controller.cli.output import forget_json, show_error

app = typer.Typer(
    name="wherry",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(house.init)
app.command()(house.serve)
app.add_typer(operator.app, name="operator")
app.add_typer(hardware_class.app, name="class")
app.add_typer(model.app, name="model")
registry_stages.add_to(registry.app)
registry_retention.add_to(registry.app)
app.add_typer(registry.app, name="registry")
app.add_typer(device.app, name="device")
app.command()(rollout.deploy)
app.add_typer(group.app, name="group")
app.add_typer(rollout.app, name="rollout")
rollout.app.command()(rollout_evidence.explain)
rollout.app.command()(rollout_evidence.shadow)
rollout.app.command()(rollout_evidence.experiment)
rollout.app.command()(rollout_papers.checklist)
rollout.app.command()(rollout_papers.tick)
rollout.app.command()(rollout_papers.note)
rollout.app.command()(rollout_papers.report)
app.command()(rollout.rollback)
app.command()(verify.verify)
app.command()(verify.drill)
app.add_typer(verify.verifications, name="verification")
app.command()(house.stop)
app.command()(house.go)
app.add_typer(observe.telemetry, name="telemetry")
app.add_typer(alerts.app, name="alerts")
app.add_typer(notify.app, name="notify")
app.add_typer(metric.app, name="metric")
app.add_typer(baseline.app, name="baseline")
app.add_typer(report.app, name="report")
app.command()(baseline.compare)
app.command()(baseline.analyze)
app.add_typer(observe.audit, name="audit")
app.command()(observe.status)
app.command()(observe.doctor)
app.command()(house.backup)
app.command()(house.restore)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"wherry {version('wherry')}")
        raise typer.Exit


@app.callback()
def wherry(
    server: Annotated[
        str | None, typer.Option(envvar="WHERRY_SERVER", help="The controller's URL.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="WHERRY_TOKEN", help="Your token.")] = None,
    data: Annotated[
        Path,
        typer.Option(envvar="WHERRY_DATA", help="The data directory, on the controller's machine."),
    ] = DATA_DIR,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Carries signed models to fleets of edge devices and keeps them healthy there."""
    use(Access(server, token, data))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit status of docs/CLI.md."""
    forget_json()
    command = typer.main.get_command(app)
    try:
        command.main(list(arguments), prog_name="wherry")
    except SystemExit as ended:  # typer's own: help, a mistake in the words, or the end
        return ended.code if isinstance(ended.code, int) else 0
    except WherryError as error:
        show_error(error)
        return error.exit_status
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        failure = error_of(Code.STORAGE, f"{place}{error.strerror or error}")
        show_error(failure)
        return failure.exit_status
    return 0
