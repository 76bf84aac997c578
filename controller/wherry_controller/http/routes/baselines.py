"""Baselines: recorded, brought as a file, applied, taken back; comparison and analysis."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from wherry_protocol.errors import Code, WherryError

from wherry_controller.core.baselines import as_table, file_of, from_file
from wherry_controller.core.baselines.document import from_text
from wherry_controller.fleet import Organization, analyzing, baselining
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import Shape, Target, WithReason
from wherry_controller.store import baselines as kept
from wherry_controller.store.baselines import BaselineRow

router = APIRouter(tags=["baselines"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
Duration = Annotated[float, Field(ge=60, le=30 * 86_400)]


class Recording(Shape):
    model: str
    target: Target
    duration_s: Duration = 3600.0


class BaselineFile(Shape):
    file: dict[str, Any] = Field(description="what baseline.json holds")


class Scope(WithReason):
    model: str
    major: int = Field(ge=0)
    hardware_class: str


class Comparison(Shape):
    target: Target
    name: str = ""
    file: dict[str, Any] | None = None
    duration_s: Duration = 3600.0


def _row(desk: Desk, row: BaselineRow) -> dict[str, Any]:
    held = kept.current(desk.reader, (row.model, row.major, row.hardware_class))
    shown = {key: value for key, value in asdict(row).items() if key not in ("document", "id")}
    table = as_table(from_text(row.document))
    table["latency_us"] = {k: v for k, v in table["latency_us"].items() if k != "sketch"}
    table.pop("spread")
    return table | shown | {"is_applied": held is not None and held.baseline == row.id}


@router.get("/baselines", operation_id="baselines.list")
def everything(desk: At, model: str | None = None) -> list[dict[str, Any]]:
    """Newest first."""
    return [_row(desk, row) for row in kept.everyone(desk.reader, model)]


@router.post("/baselines", operation_id="baselines.record", status_code=201)
def record(body: Recording, desk: At, by: By) -> dict[str, Any]:
    """Record what the store has of the last `duration_s`, one baseline per MAJOR and class."""
    found = baselining.measured(
        desk.reader, desk.settings.fleet.window_s, body.model, body.target, body.duration_s,
        desk.clock(),
    )  # fmt: skip

    def run(org: Organization, now_s: float) -> list[BaselineRow]:
        return [baselining.keep(org, one, by.name, now_s) for one in found]

    rows = desk.do(run)
    return file_of(found) | {"names": [row.name for row in rows]}


@router.post("/baselines/import", operation_id="baselines.import", status_code=201)
def bring(body: BaselineFile, desk: At, by: By) -> dict[str, Any]:
    """Keep the baselines of a file."""
    found = from_file(body.file)
    rows = desk.do(lambda org, now_s: [baselining.keep(org, one, by.name, now_s) for one in found])
    return {"names": [row.name for row in rows]}


@router.get("/baselines/changes", operation_id="baselines.changes")
def changes(desk: At) -> list[dict[str, Any]]:
    """Every application and revert, per model, MAJOR and class, oldest first."""
    names = {row.id: row.name for row in kept.everyone(desk.reader)}
    return [asdict(change) | {"baseline": names.get(change.baseline)}
            for change in kept.all_changes(desk.reader)]  # fmt: skip


@router.get("/baselines/{name}", operation_id="baselines.show")
def show(name: str, desk: At) -> dict[str, Any]:
    """One baseline as a file that can be kept and brought again."""
    return file_of([from_text(kept.by_name(desk.reader, name).document)])


@router.get("/baselines/{name}/preview", operation_id="baselines.preview")
def preview(name: str, desk: At) -> dict[str, Any]:
    """What applying it would change."""
    return baselining.preview(desk.reader, name)


@router.post("/baselines/{name}/apply", operation_id="baselines.apply")
def apply(name: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Hold the standing guard to it from now on."""
    return desk.do(lambda org, now_s: baselining.apply(org, name, by.name, body.reason, now_s))


@router.post("/baselines/revert", operation_id="baselines.revert")
def revert(body: Scope, desk: At, by: By) -> dict[str, Any]:
    """Take the last application for a model, MAJOR and class back."""
    scope = (body.model, body.major, body.hardware_class)
    return desk.do(lambda org, now_s: baselining.revert(org, scope, by.name, body.reason, now_s))


@router.post("/compare", operation_id="compare")
def compare(body: Comparison, desk: At) -> list[dict[str, Any]]:
    """What a target does now against a baseline, by name or as a file."""
    if bool(body.name) == (body.file is not None):
        raise WherryError("give either the name of a baseline or a file", Code.INVALID)
    references = from_file(body.file) if body.file is not None else analyzing.named(
        desk.reader, body.name)  # fmt: skip
    window_s = desk.settings.fleet.window_s
    return analyzing.compared(
        desk.reader, window_s, body.target, references, body.duration_s, desk.clock()
    )


@router.get("/analyze", operation_id="analyze")
def analyze(
    desk: At,
    target: str = "all",
    model: str | None = None,
    duration_s: Annotated[float, Query(ge=60, le=30 * 86_400)] = 3600.0,
) -> dict[str, Any]:
    """Which devices, classes, versions, slots or rollouts carry a regression of latency."""
    return analyzing.analyzed(desk.reader, target, model, duration_s, desk.clock())
