"""What the agent's tests in the glass share."""

import pytest
from wherry_protocol.messages.reported import Outcome

from tests.agent.harbour import Harbour, afloat


@pytest.fixture
def harbour() -> Harbour:
    """A device on which 1.0.0 was confirmed."""
    ready = afloat()
    ready.install(ready.director.made("1.0.0", seed=1))
    assert ready.model.outcome is Outcome.CONFIRMED
    return ready
