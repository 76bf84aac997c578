"""The registry: bundles are pushed as files, listed by model, pulled back byte for byte."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from wherry_protocol.bundle import write_bundle

from wherry_controller.fleet import bundles, fitting, gating
from wherry_controller.http import views
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.store import registry

router = APIRouter(tags=["bundles"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]
BODY = {"requestBody": {"required": True, "content": {"application/vnd.wherry.bundle": {
    "schema": {"type": "string", "format": "binary"}}}}}  # fmt: skip


@router.get("/bundles", operation_id="bundles.list")
def everything(desk: At, model: str | None = None) -> list[dict[str, Any]]:
    """All bundles, or those of a model; versions are ordered as numbers."""
    return [views.bundle(row) for row in registry.bundles(desk.reader, model)]


@router.get("/bundles/{model}/{version}", operation_id="bundles.show")
def show(model: str, version: str, desk: At) -> dict[str, Any]:
    """One bundle with its manifest, and its state as pipelines name it."""
    row = registry.version(desk.reader, model, version)
    return views.bundle_in_full(row) | {"lifecycle": views.lifecycle_of(desk.reader, row.digest)}


@router.get("/bundles/{model}/{version}/compatibility", operation_id="bundles.compatibility")
def compatibility(model: str, version: str, desk: At, target: str = "all") -> list[dict[str, Any]]:
    """Each unit of the target with what it has, and every reason why it cannot run the version."""
    row = registry.version(desk.reader, model, version)
    return [views.fit(fit) for fit in fitting.matrix(desk.reader, row, target, desk.clock())]


@router.get("/bundles/{model}/{version}/gates", operation_id="bundles.gates")
def gates(model: str, version: str, desk: At) -> dict[str, Any]:
    """Each release gate with its figure, limit and verdict."""
    row = registry.version(desk.reader, model, version)
    found = gating.gates(desk.reader, desk.settings.registry, row, desk.clock())
    return {
        "model": row.model,
        "version": row.version,
        "is_passed": all(gate.is_passed for gate in found),
        "gates": [views.plain(gate) for gate in found],
    }


@router.post("/bundles", operation_id="bundles.push", status_code=201, openapi_extra=BODY)
async def push(request: Request, desk: At, by: By) -> dict[str, Any]:
    """Keep a bundle. It must hold the release threshold; a version never changes."""
    data = await request.body()

    def run() -> dict[str, Any]:
        return views.bundle(desk.do(lambda org, now_s: bundles.push(org, data, by.name, now_s)))

    return await run_in_threadpool(run)


@router.get("/bundles/{model}/{version}/file", operation_id="bundles.pull")
def pull(model: str, version: str, desk: At) -> Response:
    """The bundle's file, as it was pushed, with all signatures since."""
    row = registry.version(desk.reader, model, version)
    content = write_bundle(desk.do(lambda org, _: bundles.pull(org, row.digest)))
    return Response(content, media_type="application/vnd.wherry.bundle")
