"""The whole way of one bundle, in the glass: assigned, fetched, tested, swapped, confirmed."""

from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.harbour import afloat


def test_a_bundle_is_fetched_tested_swapped_and_confirmed():
    harbour = afloat()
    bundle = harbour.director.made("1.0.0")
    harbour.assign(bundle)
    assert harbour.model.phase is Phase.TRIAL
    assert harbour.serving == bundle.digest
    harbour.serve_well(bundle)
    model = harbour.model
    assert (model.phase, model.outcome, model.code) == (Phase.IDLE, Outcome.CONFIRMED, Code.OK)
    assert model.active is not None
    assert model.active.version == "1.0.0"
