"""The file beside a model that says what the model file itself cannot: `--manifest FILE.toml`.

    description = "reads handwritten digits"
    labels = ["0", "1", "2"]
    [budgets.linux-arm64]
    latency_us_p95 = 2000
    memory_bytes = 1_000_000

Tables that go into the manifest as they are have the manifest's own names. Values about outputs
(`valid_min`, `valid_max`, `safe_output`) are in real units and are quantized when packaged.
"""

import tomllib
from typing import Final

from wherry_protocol.codec import (
    Bool,
    Closed,
    Int,
    Mapping,
    Nested,
    Real,
    Sequence,
    Text,
    Uint,
    field,
    from_plain,
    part,
)
from wherry_protocol.errors import DecodeError
from wherry_protocol.manifest import (
    Budget,
    Comparator,
    Evaluation,
    Policy,
    Provenance,
    StatePolicy,
)
from wherry_protocol.names import ClassName, SemverText

GOLDEN_COUNT: Final = 16


@part
class Recipe:
    """A recipe whose every value is within its bounds (it never goes over a wire)."""

    author: str | None = field(1, Text(128), default=None)
    description: str = field(2, Text(1024), default="")
    release_notes: str = field(3, Text(8192), default="")
    budgets: dict[str, Budget] = field(4, Mapping(ClassName, Nested(Budget), 64), default={})
    state_policy: StatePolicy = field(5, Closed(StatePolicy), default=StatePolicy.RESET)
    evaluations: tuple[Evaluation, ...] = field(6, Sequence(Nested(Evaluation), 16), default=())
    provenance: Provenance = field(7, Nested(Provenance), default=Provenance())
    security_floor: str = field(8, SemverText, default="0.0.0")
    policy: Policy = field(9, Nested(Policy), default=Policy())
    labels: tuple[str, ...] = field(10, Sequence(Text(64), 4096), default=())
    valid_min: float | None = field(11, Real(), default=None)
    valid_max: float | None = field(12, Real(), default=None)
    safe_output: tuple[float, ...] | None = field(13, Sequence(Real(), 65_536), default=None)
    comparator: Comparator = field(14, Closed(Comparator), default=Comparator.ARGMAX)
    tolerance_lsb: int = field(15, Uint(65_535), default=0)
    preprocessing: str = field(16, Text(256), default="")
    golden_count: int = field(17, Int(1, 4096), default=GOLDEN_COUNT)
    microcontroller: bool = field(18, Bool(), default=False)


def read_recipe(text: str, where: str) -> Recipe:
    """The recipe in a TOML text. Raises DecodeError that names `where`, the key and the limit."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DecodeError(f"{where}: not TOML: {error}") from error
    return from_plain(Recipe, table, where)
