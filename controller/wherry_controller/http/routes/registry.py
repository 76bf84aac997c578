"""Stages, pins and the history of versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.registry.stages import Stage
from wherry_controller.fleet import Organization, promoting
from wherry_controller.http import version_views, views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import PromotionApproval, PromotionRequest, WithReason
from wherry_controller.store import registry
from wherry_controller.store.registry import BundleRow

router = APIRouter(tags=["registry"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
VERSION = "/bundles/{model}/{version}"


@router.get("/stages", operation_id="versions.stages")
def stages(desk: At, model: str | None = None) -> list[dict[str, Any]]:
    """Each version with its stage, the promotion that waits for it, and on how many units it is."""
    return version_views.stages(desk.reader, model)


@router.get("/history/{model}", operation_id="versions.history")
def history(
    model: str, desk: At, device: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    """All that happened to a model's versions; with `device`, which of them it served and when."""
    return version_views.history(desk.reader, model, device, min(max(limit, 1), 10_000))


@router.post(f"{VERSION}/promotion", operation_id="versions.promote", status_code=201)
def promote(model: str, version: str, body: PromotionRequest, desk: At, by: By) -> dict[str, Any]:
    """Ask for the next stage; it waits for the approval of somebody else."""

    def run(org: Organization, now_s: float) -> Any:
        row = registry.version(org.db, model, version)
        return promoting.ask(org, row, Stage(body.to), by.name, by.role, body.justification, now_s,
                             skips_staging=body.skip_staging)  # fmt: skip

    return dict(views.plain(desk.do(run)))


@router.post(f"{VERSION}/promotion/approve", operation_id="versions.approve")
def approve(model: str, version: str, body: PromotionApproval, desk: At, by: By) -> dict[str, Any]:
    """Let the promotion through: by another operator than the one who asked."""

    def run(org: Organization, now_s: float) -> BundleRow:
        row = registry.version(org.db, model, version)
        return promoting.approve(
            org, row, by.name, body.reason, now_s, overrides_gates=body.override_gates
        )

    return views.bundle(desk.do(run))


@router.post(f"{VERSION}/promotion/reject", operation_id="versions.reject")
def reject(model: str, version: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Turn the promotion down, with a reason."""
    return _with_reason(promoting.reject, model, version, body, desk, by)


@router.post(f"{VERSION}/archive", operation_id="versions.archive")
def archive(model: str, version: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Take a version that nobody needs out of use."""
    return _with_reason(promoting.archive, model, version, body, desk, by)


@router.post(f"{VERSION}/pin", operation_id="versions.pin")
def pin(model: str, version: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Keep a version whatever retention says."""
    return _with_reason(promoting.pin, model, version, body, desk, by)


@router.post(f"{VERSION}/unpin", operation_id="versions.unpin")
def unpin(model: str, version: str, body: WithReason, desk: At, by: By) -> dict[str, Any]:
    """Let retention have it again."""
    return _with_reason(promoting.unpin, model, version, body, desk, by)


def _with_reason(
    order: Any, model: str, version: str, body: WithReason, desk: Desk, by: Caller
) -> dict[str, Any]:
    def run(org: Organization, now_s: float) -> BundleRow:
        row = registry.version(org.db, model, version)
        done: BundleRow = order(org, row, by.name, body.reason, now_s)
        return done

    return views.bundle(desk.do(run))
