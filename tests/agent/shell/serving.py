"""A real inference loop with a tiny real program, behind the doors that the HTTP API opens."""

import threading

from wherry_agent.shell.inference_door import Doors, Inference, Serving
from wherry_native.engine import EngineError, Program
from wherry_native.loop import Instance, Loop
from wherry_native.program import Op
from wherry_protocol.errors import Code, LimitError, StateError
from wherry_protocol.manifest import Contract, DType, Tensor

from tests.engine.programs import Builder

IDENTITY = {"multiplier": 1 << 30, "shift": 1, "act_min": -128, "act_max": 127}


def identity_image(count: int = 4, multiplier: int = 1 << 30) -> bytes:
    """A program that gives back its `count` int8 values, times multiplier / 2^30."""
    builder = Builder()
    source = builder.activation("x", (1, count))
    output = builder.activation("y", (1, count))
    params = {**IDENTITY, "multiplier": multiplier}
    builder.node(Op.QUANTIZE, "scale", (source,), output, **params)
    return builder.image("identity", (source,), (output,))


def contract(count: int = 4, scale: float = 0.5, zero_point: int = 3, **more) -> Contract:
    def tensor(name: str) -> Tensor:
        return Tensor(
            name=name, dtype=DType.INT8, shape=(1, count), scale=scale, zero_point=zero_point
        )

    return Contract(inputs=(tensor("x"),), outputs=(tensor("y"),), **more)


class Device:
    """Serves versions of one model; `swap` is the real one."""

    def __init__(self, model: str = "echo", queue_capacity: int = 64) -> None:
        self.model = model
        self.loop = Loop(queue_capacity)
        self.loop.start()
        self.by_tag: dict[int, Serving] = {}
        self.now: Serving | None = None
        self.is_isolated = False
        self.sick: str | None = None
        self.lock = threading.Lock()

    def swap(self, version: str, image: bytes, terms: Contract, **limits) -> Instance:
        tag = len(self.by_tag) + 1
        serving = Serving(self.model, version, tag.to_bytes(32, "big"), "active", terms)
        instance = Instance(Program(image), tag=tag, **limits)
        with self.lock:
            self.by_tag[tag] = serving
            self.loop.swap(instance)
            self.now = serving
        return instance

    def infer(self, model: str, data: bytes, timeout_s: float) -> Inference:
        assert model == self.model
        try:
            output = self.loop.infer(data, timeout_s)
        except EngineError as error:
            if error.name == "WH_ERR_TIMEOUT":
                raise TimeoutError from error
            raise LimitError(f"the queue of {model} is full", Code.OVERLOADED) from error
        return Inference(
            output.status,
            output.status_name,
            output.output,
            output.latency_ns,
            self.by_tag.get(output.tag),
            output.is_deadline_missed,
            output.is_out_of_range,
        )

    def defer(self, for_s: float) -> dict[str, float]:
        if self.sick:
            raise StateError(self.sick)
        return {"for_s": for_s}

    def doors(self) -> Doors:
        return Doors(
            models=lambda: (self.model,),
            serving=lambda _model: self.now,
            infer=self.infer,
            is_isolated=lambda: self.is_isolated,
            status=lambda: {"models": {self.model: {"version": self.now and self.now.version}}},
            unhealthy=lambda: self.sick,
            defer=self.defer,
        )
