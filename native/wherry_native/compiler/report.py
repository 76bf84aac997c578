"""What a compilation says about itself: sizes, work, and how far int8 is from float."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerError:
    """One node's int8 output against the float reference, over all calibration samples.
    `sqnr_db` is the signal-to-noise ratio in dB, None where there is no error at all;
    `relative_rms` is the error's root mean square over the signal's. `noise_share` is the part of
    all noise at the outputs that this layer alone makes, `weights_share` the part that its 8-bit
    weights make, which 16 bits do not take away; None where that was not measured."""

    node: str
    op: str
    sqnr_db: float | None
    relative_rms: float
    max_abs_error: float
    noise_share: float | None = None
    weights_share: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """Layers (and inputs) to keep in 16 bits beside those that are, costliest first: the outputs'
    signal-to-noise ratio is `sqnr_db` now and `sqnr_db_then` with them in 16 bits, both measured
    on all samples, with the model compiled so."""

    layers: tuple[str, ...]
    sqnr_db: float
    sqnr_db_then: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Float reference against int8 program on the calibration samples. `argmax_fraction` is the
    part of samples with the same largest element in the first output, or the same positions where
    it has positions (ARG_MAX), None where that has only one element; errors are over all outputs,
    in their real units. `sqnr_db` is the signal-to-noise ratio over all outputs that are values,
    None where those have no error at all."""

    sample_count: int
    argmax_fraction: float | None
    max_abs_error: float
    mean_abs_error: float
    sqnr_db: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one compilation. `agreement` and `layers` are empty when no samples were given.
    `macs` are multiply-accumulates of one inference."""

    name: str
    source: str
    operators: Mapping[str, int]
    macs: int
    arena_bytes: int
    image_bytes: int
    piece_count: int
    notes: tuple[str, ...] = ()
    agreement: Agreement | None = None
    layers: tuple[LayerError, ...] = ()
    advice: Advice | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain dicts, lists, strings and numbers."""
        fields = asdict(self)
        fields["operators"] = dict(self.operators)
        fields["notes"] = list(self.notes)
        fields["layers"] = list(fields["layers"])
        return fields

    def as_text(self) -> str:
        """For a person: a few lines."""
        operators = ", ".join(f"{name} {count}" for name, count in self.operators.items())
        lines = [
            f"{self.name} ({self.source}): {operators}",
            f"image {self.image_bytes} bytes in {self.piece_count} pieces, "
            f"arena {self.arena_bytes} bytes, {self.macs} multiply-accumulates",
            *(f"note: {note}" for note in self.notes),
            *_agreement_lines(self.agreement),
        ]
        lines += [_layer_line(layer) for layer in self.layers]
        if self.advice is not None:
            lines.append(
                f"keep in 16 bits: {', '.join(self.advice.layers)} (measured: "
                f"{self.advice.sqnr_db_then:.1f} dB at the outputs instead of "
                f"{self.advice.sqnr_db:.1f})"
            )
        return "\n".join(lines)


def _layer_line(layer: LayerError) -> str:
    share = "" if layer.noise_share is None else f", {layer.noise_share:.1%} of the outputs' noise"
    if layer.weights_share:
        share += f" ({layer.weights_share:.1%} by its weights)"
    return (
        f"  {layer.node} ({layer.op}): {_decibels(layer.sqnr_db)}, relative error "
        f"{layer.relative_rms:.4f}, at most {layer.max_abs_error:.4g}{share}"
    )


def _agreement_lines(agreement: Agreement | None) -> list[str]:
    if agreement is None:
        return ["float against int8: not measured, no calibration samples were given"]
    fraction = agreement.argmax_fraction
    argmax = "" if fraction is None else f"same argmax in {fraction:.2%}, "
    noise = "" if agreement.sqnr_db is None else f"{_decibels(agreement.sqnr_db)}, "
    return [
        f"float against int8 on {agreement.sample_count} samples: {argmax}{noise}error at "
        f"most {agreement.max_abs_error:.4g}, mean {agreement.mean_abs_error:.4g}"
    ]


def _decibels(sqnr_db: float | None) -> str:
    return "exact" if sqnr_db is None else f"{sqnr_db:.1f} dB"
