"""A rollout's papers: checklist, ticks, notes, and the report at its end."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from wherry_controller.core.assurance.checklist import check_tick
from wherry_controller.fleet import Organization
from wherry_controller.http import views_of_papers
from wherry_controller.http.auth import Caller, authorize, desk_of
from wherry_controller.http.desk import Desk
from wherry_controller.http.shapes import NewNote, NewTick
from wherry_controller.store import rollouts as kept

router = APIRouter(tags=["rollouts"])
At = Annotated[Desk, Depends(desk_of)]
By = Annotated[Caller, Depends(authorize)]


@router.get("/rollouts/{rollout_id}/checklist", operation_id="rollouts.checklist")
def checklist(rollout_id: str, desk: At) -> list[dict[str, Any]]:
    """What is done, what is not, and what needs a person."""
    return views_of_papers.checklist(desk.reader, rollout_id)


@router.post("/rollouts/{rollout_id}/ticks", operation_id="rollouts.tick")
def tick(rollout_id: str, body: NewTick, desk: At, by: By) -> list[dict[str, Any]]:
    """Answer an item that needs a person."""
    check_tick(body.item, body.note)

    def keep(org: Organization, now_s: float) -> None:
        kept.get(org.db, rollout_id)
        org.record(now_s, by.name, "rollout.tick", rollout_id, body.note, item=body.item)

    desk.do(keep)
    return views_of_papers.checklist(desk.reader, rollout_id)


@router.post("/rollouts/{rollout_id}/notes", operation_id="rollouts.note")
def note(rollout_id: str, body: NewNote, desk: At, by: By) -> dict[str, Any]:
    """Write something down beside the rollout."""

    def keep(org: Organization, now_s: float) -> None:
        kept.get(org.db, rollout_id)
        org.record(now_s, by.name, "rollout.note", rollout_id, body.text)

    desk.do(keep)
    return {"rollout": rollout_id, "who": by.name, "text": body.text}


@router.get("/rollouts/{rollout_id}/report", operation_id="rollouts.report")
def report(rollout_id: str, desk: At) -> dict[str, Any]:
    """The whole story: stages, devices, checks, overrides, incidents, notes, who did what."""
    return views_of_papers.report(desk.reader, rollout_id, desk.clock())
