"""From an authenticated SenML pack to figures: typed, bounded, or refused as a whole.

Rules:
1. A record's full name is base name + name (RFC 8428 §4.1); its address must be the one that
   the message came from.
2. Seven parts, `org/connection/unit/model/version/slot/figure`, are one model's performance;
   four, `org/connection/unit/figure`, are the unit's resources.
3. Counts are whole and at least 0, ratios and sums are finite and at least 0. One bad record
   refuses the pack, so that a half of it never counts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from wherry_native import sketch as packed
from wherry_native.engine import EngineError
from wherry_native.sketch import PackedSketch
from wherry_protocol import sketch
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.frozen import quick
from wherry_protocol.messages.observed import Origin, Telemetry
from wherry_protocol.names import MODEL, SEMVER
from wherry_protocol.senml import Record

from wherry_controller.core.gates.shadowing import ShadowFigures

COUNT_MAX: Final = 1 << 40  # per report
SUM_NS_MAX: Final = 1 << 55  # a year of latency in one report
ENERGY_J_MAX: Final = 1e6
FIGURES_MAX: Final = 64  # per model or unit
SHADOW: Final = "shadow"
DISAGREEMENT: Final = "shadow.disagreement"
SAMPLE: Final = re.compile(r"[0-9]{1,20}(?: [0-9a-f]{16,64}){3}")
SLOTS: Final = frozenset(("active", "previous", "candidate", "warm", "shadow"))
COUNTS: Final = frozenset(
    (
        "inferences", "errors", "errors.engine", "errors.deadline", "errors.range", "refused",
        "latency.count", "spool.dropped",
    )
)  # fmt: skip


@quick
@quick
@dataclass(frozen=True, slots=True)
class Performance:
    """One model's figures since its last report. `energy_j` is per inference; None: not there."""

    model: str
    version: str
    slot: str
    digest: bytes
    inferences: int
    errors: int
    errors_engine: int
    errors_deadline: int
    errors_range: int
    refused: int
    latency: PackedSketch
    energy_j: float | None
    energy_source: str
    energy_uncertainty: float | None
    power_w: float | None
    interval_s: float  # that the counts were made in; 0 if the device did not say
    shadow: ShadowFigures | None = None  # of the slot `shadow` only


@dataclass(frozen=True, slots=True)
class Figures:
    """What one pack says: models' performance, and the unit's resources by name."""

    performances: tuple[Performance, ...]
    resources: Mapping[str, float | str]


Fields = dict[str, Record]
Key = tuple[str, ...]  # model, version and slot; empty for the unit itself
NOTHING: Final[Mapping[str, float | str]] = MappingProxyType({})


def read(telemetry: Telemetry) -> Figures:
    """The figures of a pack. Raises DecodeError naming the record that is wrong."""
    models, resources = _group(telemetry)
    performances = tuple(_performance(key, fields) for key, fields in models.items())
    return Figures(performances, {name: _plain(name, r) for name, r in resources.items()})


def _group(telemetry: Telemetry) -> tuple[dict[tuple[str, str, str], Fields], Fields]:
    models: dict[tuple[str, str, str], Fields] = {}
    resources: Fields = {}
    places: dict[str, Fields] = {}  # by what stands before the figure
    base = ""
    for record in telemetry.pack:
        base = base if record.base_name is None else record.base_name
        place, _, figure = (base + (record.name or "")).rpartition("/")
        fields = places.get(place)
        if fields is None:
            model = _model(telemetry.origin, place, figure)
            fields = places[place] = resources if model is None else models.setdefault(model, {})
        if figure == DISAGREEMENT:  # may be there more than once
            figure = f"{figure}.{sum(name.startswith(figure) for name in fields)}"
        if figure in fields or len(fields) >= FIGURES_MAX:
            name = f"{place}/{figure}"
            raise _wrong(name, f"there twice, or more than {FIGURES_MAX} figures")
        fields[figure] = record
    return models, resources


def _model(origin: Origin, place: str, figure: str) -> tuple[str, str, str] | None:
    """(model, version, slot) that a record is of, or None for the unit itself (rules 1 and 2)."""
    address = [origin.org, origin.connection, origin.unit]
    parts = place.split("/")
    if parts[:3] == address and len(parts) == 6:
        return parts[3], parts[4], parts[5]
    if parts != address:
        raise _wrong(f"{place}/{figure}", f"not below {'/'.join(address)}/")
    return None


def _performance(key: tuple[str, str, str], fields: Fields) -> Performance:
    model, version, slot = key
    if not (MODEL.fullmatch(model) and SEMVER.fullmatch(version) and slot in SLOTS):
        raise _wrong("/".join(key), "not a model, a version and a slot")
    return Performance(
        model,
        version,
        slot,
        _digest(key, fields.get("digest")),
        _count(key, fields, "inferences"),
        _count(key, fields, "errors"),
        _count(key, fields, "errors.engine"),
        _count(key, fields, "errors.deadline"),
        _count(key, fields, "errors.range"),
        _count(key, fields, "refused"),
        _latency(key, fields),
        _real(key, fields, "energy.per_inference", ENERGY_J_MAX),
        _source(fields.get("energy.source")),
        _real(key, fields, "energy.uncertainty", 1e3),
        _real(key, fields, "power.mean", 1e6),
        _real(key, fields, "interval", 1e7) or 0.0,
        _shadow(key, fields) if slot == SHADOW else None,
    )


def _shadow(key: Key, fields: Fields) -> ShadowFigures | None:
    """What the shadow showed; None where it says nothing of a comparison."""
    if "shadow.compared" not in fields:
        return None

    def counts(prefix: str) -> dict[str, int]:
        names = [name for name in fields if name.startswith(prefix)]
        return {name.removeprefix(prefix): _count(key, fields, name) for name in names}

    compared, agreed = (_count(key, fields, f"shadow.{name}") for name in ("compared", "agreed"))
    if agreed > compared:
        raise _wrong("/".join((*key, "shadow.agreed")), f"{agreed} of {compared} compared")
    lines = [fields[name].string or "" for name in fields if name.startswith(DISAGREEMENT)]
    return ShadowFigures(
        compared,
        agreed,
        counts("shadow.agreed."),
        _count(key, fields, "shadow.errors"),
        counts("shadow.skipped."),
        _latency(key, fields),
        _latency(key, fields, "shadow.primary_latency"),
        tuple(line for line in lines if SAMPLE.fullmatch(line)),
    )


def _count(key: Key, fields: Fields, figure: str) -> int:
    record = fields.get(figure)
    if record is None:
        return 0
    value = record.value
    if value is None or value != int(value) or not 0 <= value <= COUNT_MAX:
        name = "/".join((*key, figure))
        raise _wrong(name, f"{value}, must be a whole number in 0..{COUNT_MAX}")
    return int(value)


def _real(key: Key, fields: Fields, figure: str, high: float) -> float | None:
    record = fields.get(figure)
    if record is None or record.value is None:
        return None
    if not 0.0 <= record.value <= high:
        raise _wrong("/".join((*key, figure)), f"{record.value}, must be in 0..{high}")
    return record.value


def _digest(key: Key, record: Record | None) -> bytes:
    text = None if record is None else record.string
    if text is None or len(text) != 64:
        raise _wrong("/".join((*key, "digest")), f"{text!r}, must be 64 hexadecimal digits")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _wrong("/".join((*key, "digest")), f"{text!r}, must be hexadecimal") from error


def _latency(key: Key, fields: Fields, figure: str = "latency.sketch") -> PackedSketch:
    record = fields.get(figure)
    if record is None or record.data is None:
        return packed.EMPTY
    try:
        found = packed.read(record.data)
    except EngineError as error:
        sketch.from_bytes(record.data)  # refuses the same, and says what is wrong
        raise _wrong("/".join((*key, figure)), "no sketch") from error
    if found.count > COUNT_MAX or found.sum_ns > SUM_NS_MAX or found.max_ns > SUM_NS_MAX:
        name = "/".join((*key, figure))
        raise _wrong(name, f"{found.count} samples, {found.sum_ns} ns")
    return found


def _source(record: Record | None) -> str:
    return "" if record is None or record.string is None else record.string[:64]


def _plain(name: str, record: Record) -> float | str:
    if record.value is not None:
        if name in COUNTS:
            _count((), {name: record}, name)
        return record.value
    return "" if record.string is None else record.string


def _wrong(name: str, text: str) -> DecodeError:
    return DecodeError(f"telemetry record {name[:128]!r}: {text}", Code.OUT_OF_BOUNDS)


def energy_is_proof(source: str) -> bool:
    """Only measured or calibrated energy may revert a model (DESIGN §6)."""
    return source.startswith("measured:") or source == "modelled:calibrated"
