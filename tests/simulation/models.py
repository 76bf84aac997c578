"""Models of a simulation: real signed bundles with real pieces, and how each behaves when it runs.

What the engine's twin does with a bundle is here and nowhere else.
"""

from dataclasses import dataclass
from functools import cache

from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.codec import decode
from wherry_protocol.keys import SigningKey
from wherry_protocol.manifest import Budget, Manifest

from tests.agent.bundles import HARDWARE, layer_image, make_bundle, sign_bundle

MODEL = "digits"
LATENCY_US = 400
BUDGET = Budget(latency_us_p95=4 * LATENCY_US, memory_bytes=32 << 20)
ROWS = (0, 600, 5_000, 25_000)  # of a wide layer: from one chunk to more than a window holds


@dataclass(frozen=True)
class Behaviour:
    """How a bundle does on a device. Rates are shares of inferences, times in seconds."""

    name: str = "good"
    latency_us: int = LATENCY_US
    error_rate: float = 0.0
    memory_bytes: int = 100_000
    crash_after_s: float | None = None
    is_lying: bool = False  # its golden vectors do not come out
    is_loadable: bool = True
    agreement: float = 1.0  # as a shadow: inputs on which it says what the active one says
    bad_share: float = 1.0  # of the devices; on the others it is good


GOOD = Behaviour()
BAD = (
    Behaviour("failing", error_rate=0.5),
    Behaviour("creeping", error_rate=0.04),  # passes trials, fails gates
    Behaviour("slow", latency_us=20 * LATENCY_US),
    Behaviour("crashing", crash_after_s=4.0),
    Behaviour("lying", is_lying=True),
    Behaviour("hungry", memory_bytes=48 << 20),  # the class has that, its own budget has not
    Behaviour("unloadable", is_loadable=False),
    Behaviour("flaky", error_rate=0.5, bad_share=0.3),
    Behaviour("late", crash_after_s=90.0),
)


@dataclass(frozen=True)
class Made:
    """A bundle as the release people signed it; `behaviour` is what they do not know."""

    bundle: Bundle
    manifest: Manifest
    file: bytes
    behaviour: Behaviour

    @property
    def digest(self) -> bytes:
        return self.bundle.digest

    def on(self, device_rank: float) -> Behaviour:
        """How it does on a device that stands at `device_rank` in 0..1."""
        return self.behaviour if device_rank < self.behaviour.bad_share else GOOD


@cache
def _image(seed: int, rows: int) -> bytes:
    return layer_image(seed, ballast_rows=rows)


@cache
def _unsigned(version: str, weights: int, rows: int) -> Bundle:
    image, budgets = _image(weights, rows), {HARDWARE: BUDGET}
    return make_bundle(version, model=MODEL, image=image, budgets=budgets)


def make_model(
    version: str, weights: int, keys: list[SigningKey], behaviour: Behaviour, rows: int = 0
) -> Made:
    """A signed bundle of that version."""
    bundle = sign_bundle(_unsigned(version, weights, rows), keys)
    manifest = decode(Manifest, bundle.manifest_bytes)
    return Made(bundle, manifest, write_bundle(bundle), behaviour)
