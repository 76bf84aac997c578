"""Questions: signed rpc requests, each answered once.

Rules, in order:
1. Signed by the director, for this connection and unit; TIME answers our nonce and is the one
   verb that is taken without time.
2. Not expired, and its id was not seen before (ids are remembered until they expire). Where
   `REMEMBERED_MAX` are remembered, the next one is refused and not remembered: it did nothing.
3. A verb must be allowed by the policy of every bundle that serves on the unit.
4. An isolated unit answers no inference.
5. A breaker is reset here; every other verb is asked of the unit.
"""

from typing import Final

from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, LimitError, TrustError, WherryError
from wherry_protocol.messages.rpc import Reply, Request, ResetBreakerRequest, TimeAnswer, Verb
from wherry_protocol.names import SELF
from wherry_protocol.sealed import seal_mac
from wherry_protocol.trust import open_director

from wherry_agent.core import clock as clocks
from wherry_agent.core import guarding
from wherry_agent.core.effects import Ask, Publish
from wherry_agent.core.inputs import Answered
from wherry_agent.core.turn import Turn

REMEMBERED_MAX: Final = 1024
TEXT_MAX: Final = 512
AVAILABLE: Final = (Verb.STATUS, Verb.INFER, Verb.VERIFY, Verb.LOGS, Verb.RESET_BREAKER)


def asked(turn: Turn, unit_name: str, payload: bytes) -> bool:
    """Handle one request; True where it told the time."""
    try:
        request = open_director(turn.agent.trust, Request, payload)
        _check_target(turn, unit_name, request)
        if request.verb is Verb.TIME:
            _take_time(turn, request)
            return True
        _check_fresh(turn, request)
    except WherryError as error:
        turn.refuse(f"request: {error}", error.code, unit_name)
        return False
    _remember(turn, request)
    _answer(turn, unit_name, request)
    return False


def _check_target(turn: Turn, unit_name: str, request: Request) -> None:
    meant = (request.connection, request.unit)
    if meant != (turn.agent.identity.connection, unit_name):
        raise TrustError(f"meant for {'/'.join(meant)}", Code.WRONG_TARGET)


def _take_time(turn: Turn, request: Request) -> None:
    answer = decode(TimeAnswer, request.body)
    if answer.epoch != turn.agent.trust.root.epoch:
        raise TrustError(f"time answer of director epoch {answer.epoch}", Code.ROLLBACK)
    clock = clocks.answered(turn.agent.clock, answer, turn.now_us)
    turn.change(clock=clock)


def _check_fresh(turn: Turn, request: Request) -> None:
    now_s = turn.now_s
    if now_s is None:
        raise TrustError("the time is not known yet", Code.TIME_UNKNOWN)
    if now_s >= request.expires_s:
        raise TrustError(f"expired at {request.expires_s}, it is {now_s}", Code.EXPIRED)
    if request.id in turn.agent.answered:
        raise TrustError("its id was answered before", Code.REPLAY)
    if len(turn.agent.answered) >= REMEMBERED_MAX:
        kept = {key: expiry for key, expiry in turn.agent.answered.items() if expiry > now_s}
        turn.change(answered=kept)
        if len(kept) >= REMEMBERED_MAX:
            text = f"more than {REMEMBERED_MAX} requests are within their expiry"
            raise LimitError(text, Code.OVERLOADED)


def _remember(turn: Turn, request: Request) -> None:
    turn.change(answered={**turn.agent.answered, request.id: request.expires_s})


def _answer(turn: Turn, unit_name: str, request: Request) -> None:
    """Ask the unit, or answer at once why not."""
    code, text = _obstacle(turn, unit_name, request.verb)
    if code is Code.OK and request.verb is Verb.RESET_BREAKER and unit_name == SELF:
        answered(turn, _reset_breaker(turn, unit_name, request))
    elif code is Code.OK:
        turn.do(Ask(unit_name, request.id, int(request.verb), request.body))
    else:
        answered(turn, Answered(unit_name, request.id, code, text))


def _obstacle(turn: Turn, unit_name: str, verb: Verb) -> tuple[Code, str]:
    unit = turn.unit(unit_name)
    if verb not in AVAILABLE:
        return Code.INVALID, f"{verb.name} is not available on this agent"
    if verb is Verb.INFER and unit.memory.is_isolated:
        return Code.STOPPED, "the unit is isolated"
    for model in unit.models:
        manifest = unit.serving(model)
        if manifest is not None and verb not in manifest.policy.rpc_verbs:
            return Code.POLICY, f"the policy of {model} {manifest.version} forbids {verb.name}"
    return Code.OK, ""


def _reset_breaker(turn: Turn, unit_name: str, request: Request) -> Answered:
    """Breakers live in the core, which answers by itself; a microcontroller has none."""
    try:
        model = decode(ResetBreakerRequest, request.body).model
        text = guarding.reset(turn, unit_name, model)
    except WherryError as error:
        return Answered(unit_name, request.id, error.code, str(error))
    return Answered(unit_name, request.id, Code.OK, text)


def answered(turn: Turn, given: Answered) -> None:
    """Send a reply, MACed."""
    identity = turn.agent.identity
    reply = Reply(
        org=identity.org,
        connection=identity.connection,
        unit=given.unit,
        id=given.request_id,
        code=given.code,
        text=given.text[:TEXT_MAX],
        body=given.body,
    )
    topic = identity.topics.reply(identity.connection, given.unit)
    turn.do(Publish(topic, seal_mac(reply, identity.keys.mac_key)))
