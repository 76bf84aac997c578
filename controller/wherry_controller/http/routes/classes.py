"""Hardware classes."""

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from wherry_protocol.codec import encode
from wherry_protocol.errors import Code, WherryError
from wherry_protocol.hardware import EnergyModel, HardwareClass

from wherry_controller.fleet.profiles import put_class
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import ClassShape
from wherry_controller.store import classes

router = APIRouter(tags=["classes"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


def shown(profile: HardwareClass) -> dict[str, Any]:
    return dataclasses.asdict(profile)


@router.get("/classes", operation_id="classes.list")
def everyone(desk: At) -> list[dict[str, Any]]:
    """All hardware classes."""
    return [shown(profile) for profile in classes.everyone(desk.reader)]


@router.get("/classes/{name}", operation_id="classes.show")
def show(name: str, desk: At) -> dict[str, Any]:
    """One hardware class."""
    return shown(classes.get(desk.reader, name))


@router.put("/classes/{name}", operation_id="classes.put")
def put(name: str, body: ClassShape, desk: At, by: By) -> dict[str, Any]:
    """Add or change a class; units of it get it with their next desired document."""
    if name != body.name:
        raise WherryError(f"the path says {name!r}, the body {body.name!r}", Code.INVALID)
    profile = class_of(body)
    desk.do(lambda org, now_s: put_class(org, profile, by.name, now_s))
    return shown(profile)


def class_of(body: ClassShape) -> HardwareClass:
    """Raises WherryError(INVALID) where a value breaks its bounds."""
    values = body.model_dump(exclude={"energy_model"})
    energy = body.energy_model
    model = None if energy is None else EnergyModel(**energy.model_dump())
    profile = HardwareClass(**values, energy_model=model)
    try:
        encode(profile)
    except ValueError as error:
        raise WherryError(str(error), Code.INVALID) from error
    return profile
