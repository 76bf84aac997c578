"""The application: routes, the one door of authorization, limits, errors."""

from fastapi import APIRouter, Depends, FastAPI
from wherry_protocol.errors import Code

from wherry_controller.http.auth import authorize
from wherry_controller.http.bodies import BodyLimit
from wherry_controller.http.desk import Desk
from wherry_controller.http.failures import answer_failures
from wherry_controller.http.routes import (
    alerts,
    audit,
    baselines,
    bundles,
    classes,
    custom_metrics,
    deliveries,
    devices,
    evidence,
    groups,
    operators,
    papers,
    registry,
    reports,
    retention,
    rollouts,
    service,
    telemetry,
    verifications,
)

PREFIX = "/api/v1"
MODULES = (
    operators,
    papers,
    classes,
    devices,
    groups,
    bundles,
    registry,
    retention,
    rollouts,
    evidence,
    telemetry,
    verifications,
    alerts,
    deliveries,
    custom_metrics,
    baselines,
    reports,
    audit,
    service,
)


def build_app(desk: Desk) -> FastAPI:
    """The API over one organization's desk. Its OpenAPI document is at /api/v1/openapi.json."""
    app = FastAPI(
        title="Wherry",
        version="1",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        description='Errors are `{"code", "error"}`; codes: '
        + ", ".join(code.name for code in Code),
    )
    app.state.desk = desk
    api = APIRouter(prefix=PREFIX, dependencies=[Depends(authorize)])
    for module in MODULES:
        api.include_router(module.router)
    app.include_router(api)
    answer_failures(app)
    app.add_middleware(BodyLimit, settings=desk.settings.http)
    return app
