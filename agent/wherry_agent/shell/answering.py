"""Answers to rpc questions about the unit `self`; the core has checked who asks."""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wherry_protocol.codec import Message, decode, encode
from wherry_protocol.errors import Code, NotFoundError, WherryError
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    LogsReply,
    LogsRequest,
    StatusReply,
    Verb,
    VerifyReply,
    VerifyRequest,
)

from wherry_agent.core.effects import Ask
from wherry_agent.core.inputs import Answered
from wherry_agent.shell.loop_host import LoopHost

LOG = logging.getLogger(__name__)
INFER_S_MAX: Final = 5.0
LINES_KEPT: Final = 200
LINE_MAX: Final = 512
FIELDS_MAX: Final = 256
SAFE_OUTPUT: Final = "safe output"  # in the place of a slot: no inference was made


class LogRing(logging.Handler):
    """The newest lines of the log, for LOGS."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:LINE_MAX])


@dataclass(slots=True)
class Answering:
    """`status` is what GET /status shows."""

    host: LoopHost
    status: Callable[[], Mapping[str, Any]]
    ring: LogRing
    tell: Callable[[Answered], None]

    def answer(self, question: Ask) -> None:
        """Ask the unit; every way ends in one answer."""
        try:
            reply = ANSWERS[Verb(question.verb)](self, question.body)
            answered = Answered(question.unit, question.request_id, Code.OK, "", encode(reply))
        except WherryError as error:
            answered = Answered(question.unit, question.request_id, error.code, str(error))
        except Exception as error:  # whoever asked gets an answer
            LOG.exception("a question of verb %d failed", question.verb)
            answered = Answered(question.unit, question.request_id, Code.FAILED, repr(error))
        self.tell(answered)

    def _status(self, body: bytes) -> Message:  # noqa: ARG002  (each verb takes a body)
        pairs = list(flatten(self.status()))[:FIELDS_MAX]
        return StatusReply(fields={key[:64]: value[:256] for key, value in pairs})

    def _infer(self, body: bytes) -> Message:
        request = decode(InferRequest, body)
        if self.host.is_silenced(request.model):
            return self._safe_output(request.model)
        try:
            made = self.host.infer(request.model, request.input, INFER_S_MAX)
        except TimeoutError as error:
            raise WherryError(str(error), Code.OVERLOADED) from error
        if made.status != 0 or made.serving is None:
            raise WherryError(f"{request.model}: {made.status_name}", Code.FAILED)
        return InferReply(
            output=made.output,
            manifest_digest=made.serving.manifest_digest,
            version=made.serving.version,
            slot=made.serving.slot,
            latency_us=made.latency_ns // 1000,
        )

    def _safe_output(self, model: str) -> Message:
        """What answers while the breaker is open and no other bundle does."""
        serving = self.host.serving(model)
        if serving is None or serving.contract.safe_output is None:
            text = f"the breaker of {model} is open and it declares no safe output"
            raise WherryError(text, Code.BREAKER_OPEN)
        return InferReply(
            output=serving.contract.safe_output,
            manifest_digest=serving.manifest_digest,
            version=serving.version,
            slot=SAFE_OUTPUT,
            latency_us=0,
        )

    def _verify(self, body: bytes) -> Message:
        request = decode(VerifyRequest, body)
        bundle = self.host.loaded(request.model, request.manifest_digest)
        if bundle is None:
            what = "serves" if request.manifest_digest is None else "of that digest is loaded"
            raise NotFoundError(f"no version of {request.model} {what} here")
        is_intact = self.host.is_intact(bundle)
        passed, count, p95_us = self.host.run_golden(bundle) if is_intact else (0, 0, 0)
        return VerifyReply(
            is_intact=is_intact,
            golden_passed=passed,
            golden_count=count,
            manifest_digest=bundle.slot.manifest_digest,
            latency_us_p95=p95_us,
        )

    def _logs(self, body: bytes) -> Message:
        request = decode(LogsRequest, body)
        lines = list(self.ring.lines)[-request.count :] if request.count else []
        return LogsReply(lines=tuple(lines))


ANSWERS: Final[Mapping[Verb, Callable[[Answering, bytes], Message]]] = {
    Verb.STATUS: Answering._status,
    Verb.INFER: Answering._infer,
    Verb.VERIFY: Answering._verify,
    Verb.LOGS: Answering._logs,
}


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text) pairs."""
    if isinstance(value, Mapping):
        items: list[tuple[str, Any]] = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return [(prefix, "" if value is None else str(value))]
    pairs = []
    for key, item in items:
        pairs += flatten(item, f"{prefix}.{key}" if prefix else key)
    return pairs
