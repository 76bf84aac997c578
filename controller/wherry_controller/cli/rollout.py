"""`wherry rollout …`, `wherry deploy`, `wherry rollback`: models onto fleets and back."""

from typing import Annotated, Any

import typer
from wherry_protocol.errors import FailedError, StateError

from wherry_controller.cli import rollout_evidence, rollout_outlook, rollout_papers
from wherry_controller.cli.client import ask
from wherry_controller.cli.output import (
    JsonOption,
    ReasonOption,
    TargetOption,
    show,
    show_rows,
    time_text,
)
from wherry_controller.cli.references import split_reference
from wherry_controller.cli.rollout_plan import (
    AcknowledgeOption,
    AfterOption,
    AttemptOption,
    BatchOption,
    ChunkWindowOption,
    EmergencyOption,
    FileOption,
    ForceOption,
    NotAfterOption,
    NotBeforeOption,
    NotesOption,
    OnCallOption,
    ParameterOption,
    PresetOption,
    StrategyOption,
    SubsetOption,
    plan_of,
)
from wherry_controller.cli.rollout_view import check_lines, release_lines, rollout_text, state_text
from wherry_controller.cli.rollout_watch import watched

app = typer.Typer(help="Create, watch and steer rollouts.")
app.command()(rollout_outlook.plan)
Reference = Annotated[str, typer.Argument(help="NAME:VERSION.")]
RolloutArgument = Annotated[str, typer.Argument(help="The rollout's id.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show which devices each stage would add; do nothing.")
]
WaitOption = Annotated[bool, typer.Option(help="Wait until it ends or pauses.")]


def deploy(
    reference: Reference,
    target: TargetOption,
    subset: SubsetOption = None,
    strategy: StrategyOption = None,
    parameter: ParameterOption = None,
    preset: PresetOption = None,
    file: FileOption = None,
    attempt: AttemptOption = None,
    batch_size: BatchOption = None,
    chunk_window: ChunkWindowOption = None,
    on_call: OnCallOption = None,
    notes: NotesOption = None,
    after: AfterOption = None,
    not_before: NotBeforeOption = None,
    not_after: NotAfterOption = None,
    emergency: EmergencyOption = False,
    force: ForceOption = None,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    acknowledge_notes: AcknowledgeOption = False,
    wait: WaitOption = True,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Bring a version to devices; with --subset, again with a larger one, to more of them.

    wherry deploy pump-anomaly:1.0.0 --target label:site=oslo --subset 25%
    """
    model, version = split_reference(reference)
    open_one = _widenable(model, version) if subset is not None and not dry_run else None
    if open_one is not None:
        made = ask("POST", f"/rollouts/{open_one}/widen", body={"subset": subset, "reason": reason})
    else:
        given = _given(strategy, preset, subset, attempt, batch_size, on_call, notes, after)
        given |= {"not_before": not_before, "not_after": not_after, "chunk_window": chunk_window}
        plan = plan_of(file, given, parameter)
        body: dict[str, Any] = {"model": model, "version": version, "target": target, "plan": plan}
        body |= {"emergency": emergency, "force": force or []}
        if dry_run:
            _preview(body)
            return
        more = {"reason": reason, "acknowledge_notes": acknowledge_notes}
        made = ask("POST", "/rollouts", body=body | more)
    _follow(made, wait)


def _given(
    strategy: str | None, preset: str | None, subset: str | None, attempt: int | None,
    batch_size: int | None, on_call: str | None, notes: str | None, after: str | None,
) -> dict[str, Any]:  # fmt: skip
    """What options say of a rollout file's keys."""
    return {
        "strategy": strategy,
        "preset": preset,
        "subset": subset,
        "attempt": attempt,
        "parallel_max": batch_size,
        "on_call": on_call,
        "notes": notes,
        "after": after,
    }


def _preview(body: dict[str, Any]) -> None:
    found = ask("POST", "/rollouts/preview", body=body)
    lines = [
        f"stage {number}: {len(units)} more{': ' if units else ''}{', '.join(units)}"
        for number, units in enumerate(found["stages"], start=1)
    ]
    lines += rollout_outlook.must_pass_lines(found["must_pass"])
    lines += release_lines(found["release"])
    lines += check_lines(found["checks"])
    show(found, "\n".join(["nothing is done; this is what would be:", *lines]))


def _widenable(model: str, version: str) -> str | None:
    """The open rollout of this version, if there is one."""
    digest = ask("GET", f"/bundles/{model}/{version}")["digest"]
    for row in ask("GET", "/rollouts"):
        if row["is_open"] and row["model"] == model and row["bundle_digest"] == digest:
            return str(row["id"])
    return None


def _follow(made: dict[str, Any], wait: bool) -> None:
    """Show it, after it ended or paused where `wait` says so. Raises FailedError."""
    if wait and made["state"] not in ("draft", "approved"):
        watched(made["id"])
        made = ask("GET", f"/rollouts/{made['id']}")
    show(made, rollout_text(made))
    if wait and made["state"] in ("reverting", "reverted", "aborted"):
        raise FailedError(f"rollout {made['id']} is {made['state']}: {made['reason']}")
    if wait and made["state"] == "paused" and (made["failed"] or made["silent"]):
        raise FailedError(f"rollout {made['id']} is paused: {made['reason']}")


@app.command()
def create(
    reference: Reference,
    target: TargetOption,
    file: FileOption = None,
    strategy: StrategyOption = None,
    parameter: ParameterOption = None,
    preset: PresetOption = None,
    subset: SubsetOption = None,
    attempt: AttemptOption = None,
    batch_size: BatchOption = None,
    chunk_window: ChunkWindowOption = None,
    on_call: OnCallOption = None,
    notes: NotesOption = None,
    after: AfterOption = None,
    not_before: NotBeforeOption = None,
    not_after: NotAfterOption = None,
    emergency: EmergencyOption = False,
    force: ForceOption = None,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    draft: Annotated[bool, typer.Option(help="Leave it for an approver to start.")] = False,
    acknowledge_notes: AcknowledgeOption = False,
    wait: WaitOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Make a rollout and start it.

    wherry rollout create pump-anomaly:1.1.0 --target all --strategy linear
    """
    model, version = split_reference(reference)
    given = _given(strategy, preset, subset, attempt, batch_size, on_call, notes, after)
    given |= {"not_before": not_before, "not_after": not_after, "chunk_window": chunk_window}
    plan = plan_of(file, given, parameter)
    body: dict[str, Any] = {"model": model, "version": version, "target": target, "plan": plan}
    body |= {"emergency": emergency, "force": force or []}
    if dry_run:
        _preview(body)
        return
    more = {"reason": reason, "start": not draft, "acknowledge_notes": acknowledge_notes}
    made = ask("POST", "/rollouts", body=body | more)
    _follow(made, wait)


@app.command("list")
def everything(json: JsonOption = False) -> None:
    """List rollouts, newest first.

    wherry rollout list
    """
    rows = ask("GET", "/rollouts")
    shown = rows if json else [row | _times(row) | {"state": state_text(row)} for row in rows]
    show_rows(shown, ("id", "state", "is_open", "created", "updated"), "no rollouts")


def _times(row: dict[str, Any]) -> dict[str, str]:
    return {"created": time_text(row["created_s"]), "updated": time_text(row["updated_s"])}


@app.command("show")
def one(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show a rollout: stage, devices, checks with their figures, what it waits for.

    wherry rollout show pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}")
    show(found, rollout_text(found))


@app.command()
def watch(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Watch a rollout until it pauses or nothing goes on; exit status 18 if it did not succeed.

    wherry rollout watch pump-anomaly-1.1.0-2
    """
    _follow(ask("GET", f"/rollouts/{rollout}"), True)


@app.command()
def checks(rollout: RolloutArgument, json: JsonOption = False) -> None:
    """Show what must hold before it may start; exit status 14 if something does not.

    wherry rollout checks pump-anomaly-1.1.0-2
    """
    found = ask("GET", f"/rollouts/{rollout}/checks")
    lines = check_lines(found["checks"]) or ["nothing is asked of it: no unit has a label env"]
    show(found, "\n".join(lines))
    if not found["may_start"]:
        raise StateError(f"rollout {rollout} may not start: {', '.join(found['blocked_by'])}")


def _steer(rollout: str, verb: str, reason: str) -> None:
    found = ask("POST", f"/rollouts/{rollout}/{verb}", body={"reason": reason})
    show(found, rollout_text(found))


@app.command()
def approve(
    rollout: RolloutArgument,
    reason: ReasonOption,
    force: ForceOption = None,
    json: JsonOption = False,
) -> None:
    """Approve a draft and start it.

    wherry rollout approve pump-anomaly-1.1.0-2 --reason "tested in the lab"
    """
    body = {"reason": reason, "force": force or []}
    found = ask("POST", f"/rollouts/{rollout}/approve", body=body)
    show(found, rollout_text(found))


@app.command()
def pause(rollout: RolloutArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Touch nobody else until it is resumed.

    wherry rollout pause pump-anomaly-1.1.0-2 --reason "storm"
    """
    _steer(rollout, "pause", reason)


@app.command()
def resume(rollout: RolloutArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Go on.

    wherry rollout resume pump-anomaly-1.1.0-2 --reason "storm is over"
    """
    _steer(rollout, "resume", reason)


@app.command()
def advance(rollout: RolloutArgument, reason: ReasonOption, json: JsonOption = False) -> None:
    """Open the next stage without waiting for soak and gate; audited.

    wherry rollout advance pump-anomaly-1.1.0-2 --reason "urgent fix"
    """
    _steer(rollout, "advance", reason)


@app.command()
def abort(
    rollout: RolloutArgument,
    reason: ReasonOption,
    revert: Annotated[bool, typer.Option(help="Also send every swapped device back.")] = False,
    json: JsonOption = False,
) -> None:
    """Stop the spread; what has swapped stays, unless --revert.

    wherry rollout abort pump-anomaly-1.1.0-2 --reason "wrong weights" --revert
    """
    _steer(rollout, "revert" if revert else "abort", reason)


@app.command()
def switch(
    rollout: RolloutArgument,
    from_slot: Annotated[str, typer.Option("--from", help="The slot that serves: blue or green.")],
    to_slot: Annotated[str, typer.Option("--to", help="The slot that is to serve.")],
    reason: Annotated[str, typer.Option(help="Why; switching back needs one.")] = "",
    json: JsonOption = False,
) -> None:
    """Let the staged version serve everywhere, or switch back; refused if --from is stale.

    wherry rollout switch pump-anomaly-1.1.0-2 --from blue --to green
    """
    body = {"from_slot": from_slot, "to_slot": to_slot, "reason": reason}
    found = ask("POST", f"/rollouts/{rollout}/switch", body=body)
    show(found, rollout_text(found))


@app.command()
def decommission(
    rollout: RolloutArgument,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    purge: Annotated[bool, typer.Option("--purge", help="Delete the bytes too.")] = False,
    json: JsonOption = False,
) -> None:
    """Unload what served before a switch, once its bake has ended; the bytes stay.

    wherry rollout decommission pump-anomaly-1.1.0-2
    """
    body = {"reason": reason, "is_purged": purge}
    found = ask("POST", f"/rollouts/{rollout}/decommission", body=body)
    show(found, rollout_text(found))


def rollback(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    target: TargetOption,
    reason: ReasonOption,
    to_previous: Annotated[bool, typer.Option(help="Each unit's previous version.")] = False,
    to_version: Annotated[str | None, typer.Option(help="This version.")] = None,
    file: FileOption = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Audited by itself, and everybody is told.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Send devices back to an older version; of a rollout file, its trial counts.

    wherry rollback pump-anomaly --target all --to-previous --reason "false alarms"
    """
    if to_previous == (to_version is not None):
        raise typer.BadParameter("give either --to-previous or --to-version")
    body: dict[str, Any] = {"model": model, "target": target, "to_version": to_version}
    body |= {"reason": reason, "emergency": emergency}
    done = ask("POST", "/rollback", body=body | {"plan": plan_of(file, {})})
    lines = [f"{unit}: back to {version}" for unit, version in done["sent"].items()]
    lines += [f"{unit}: stays, {why}" for unit, why in done["passed"].items()]
    show(done, "\n".join(lines))


for _command in (
    rollout_evidence.explain,
    rollout_evidence.shadow,
    rollout_evidence.experiment,
    rollout_papers.checklist,
    rollout_papers.tick,
    rollout_papers.note,
    rollout_papers.report,
):
    app.command()(_command)
