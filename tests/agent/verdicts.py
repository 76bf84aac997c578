"""What must hold after an attack: the old bundle serves, and the refusal was told with its code."""

from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.harbour import Harbour


def old_serves_on(harbour: Harbour) -> bool:
    active = harbour.model.active
    return (
        active is not None
        and active.version == "1.0.0"
        and (harbour.serving == active.manifest_digest)
    )


def assert_rejected(harbour: Harbour, code: Code) -> None:
    model = harbour.model
    assert (model.phase, model.outcome, model.code) == (Phase.IDLE, Outcome.REJECTED, code)
    assert old_serves_on(harbour)
    assert code in {event.code for event in harbour.events()}


def assert_refused(harbour: Harbour, code: Code) -> None:
    harbour.tick(1.1)
    assert harbour.reported.refusal_code is code
    assert code in {event.code for event in harbour.events()}
    assert old_serves_on(harbour)
