"""From an inference request to an answer that names who made it; the HTTP door's inside.

The agent gives this module its `Doors`: a few functions, and no more of itself than that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from wherry_protocol.errors import WherryError
from wherry_protocol.manifest import Contract

from wherry_agent.shell.inference_request import (
    InferenceRequest,
    dequantize,
    input_bytes,
    integers,
    split_outputs,
)
from wherry_agent.telemetry.sampling import PREVIOUS

SWAPS_PER_REQUEST_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Serving:
    """The bundle that serves one model now."""

    model: str
    version: str
    manifest_digest: bytes
    slot: str
    contract: Contract


@dataclass(frozen=True, slots=True)
class Inference:
    """One answer of the inference loop; `status` is 0 or the engine's, named by `status_name`.

    `serving` is the bundle that made it, which a swap may have changed since the request came.
    """

    status: int
    status_name: str
    output: bytes
    latency_ns: int
    serving: Serving | None
    is_deadline_missed: bool = False
    is_out_of_range: bool = False


@dataclass(frozen=True, slots=True)
class Doors:
    """What the HTTP door asks of the agent; every function may be called from any thread.

    `infer` (model, input, timeout_s) raises TimeoutError where no answer came in time and
    WherryError(OVERLOADED) where the queue is full. `unhealthy` gives the reason, or None.
    """

    models: Callable[[], tuple[str, ...]]
    serving: Callable[[str], Serving | None]
    infer: Callable[[str, bytes, float], Inference]
    is_isolated: Callable[[], bool]
    status: Callable[[], Mapping[str, Any]]
    unhealthy: Callable[[], str | None]
    defer: Callable[[float], Mapping[str, Any]]  # for so many seconds; raises WherryError
    is_silenced: Callable[[str], bool] = lambda _model: False  # by its breaker


class Refusal(Exception):  # noqa: N818  (the word of rule 3 in http_api)
    """A request that is answered with an error; `str()` is the sentence."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer_inference(doors: Doors, model: str, request: InferenceRequest, timeout_s: float) -> Any:
    """Quantizes for whoever serves, and again if a swap to another contract came between.

    Raises WherryError where the input does not fit, Refusal for everything else.
    """
    for _ in range(SWAPS_PER_REQUEST_MAX):
        serving = doors.serving(model)
        if doors.is_isolated():
            return _safe_answer(serving, f"this device is isolated and {model}")
        if doors.is_silenced(model):
            return _safe_answer(serving, f"the breaker of {model} is open and it")
        if serving is None:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"no version of {model} serves yet")
        data = input_bytes(request, serving.contract.inputs)
        made = _ask(doors, model, data, timeout_s)
        if made.serving is not None and made.serving.contract.inputs == serving.contract.inputs:
            return _answer_of(made, made.serving)
    raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{model} was swapped, try again")


def _ask(doors: Doors, model: str, data: bytes, timeout_s: float) -> Inference:
    try:
        return doors.infer(model, data, timeout_s)
    except TimeoutError as error:
        text = f"{model} did not answer within {timeout_s:.1f} s"
        raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, text) from error
    except WherryError as error:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error


def _answer_of(made: Inference, serving: Serving) -> dict[str, Any]:
    if made.status != 0:
        text = f"{serving.model} {serving.version} failed: {made.status_name}"
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, text)
    answer = _outputs(made.output, serving)
    answer["latency_us"] = made.latency_ns / 1000
    if serving.slot == PREVIOUS:
        answer["is_fallback"] = True
    if made.is_deadline_missed:
        answer["is_deadline_missed"] = True
    if made.is_out_of_range:
        answer["is_out_of_range"] = True
    return answer


def _safe_answer(serving: Serving | None, who: str) -> dict[str, Any]:
    if serving is None or serving.contract.safe_output is None:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{who} declares no safe output")
    return {**_outputs(serving.contract.safe_output, serving), "is_safe_output": True}


def _outputs(data: bytes, serving: Serving) -> dict[str, Any]:
    """One output as lists under `output` and `output_q`; several as objects by tensor name."""
    tensors = serving.contract.outputs
    pairs = list(zip(tensors, split_outputs(data, tensors), strict=True))
    real: Any = {tensor.name: dequantize(part, tensor) for tensor, part in pairs}
    quantized: Any = {tensor.name: integers(part, tensor) for tensor, part in pairs}
    if len(tensors) == 1:
        real, quantized = real[tensors[0].name], quantized[tensors[0].name]
    return {
        "output": real,
        "output_q": quantized,
        "model": serving.model,
        "version": serving.version,
        "digest": serving.manifest_digest.hex(),
        "slot": serving.slot,
    }


def chosen_model(model: str | None, models: tuple[str, ...]) -> str:
    """The model that a request means. Raises Refusal."""
    if model is None:
        if len(models) == 1:
            return models[0]
        if not models:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no model serves yet")
        raise Refusal(HTTPStatus.BAD_REQUEST, f"several models serve, name one: {_list(models)}")
    if model not in models:
        raise Refusal(HTTPStatus.NOT_FOUND, f"no model {model} here, there is {_list(models)}")
    return model


def _list(models: tuple[str, ...]) -> str:
    return ", ".join(models[:8]) or "none"
