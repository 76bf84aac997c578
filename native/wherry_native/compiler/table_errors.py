"""How far the tables of a 16-bit graph are from their functions, for the report."""

from collections.abc import Mapping

import numpy as np

from wherry_native.compiler.functions import Lookup, interpolation_error
from wherry_native.compiler.ir import Curve, Graph, Quantization
from wherry_native.compiler.ranges import Range
from wherry_native.program import Op


def table_notes(graph: Graph, ranges: Mapping[str, Range]) -> list[str]:
    """One sentence per int16 table: how far it is from its function within the observed range."""
    notes = []
    for node in graph.nodes:
        x, y = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        if node.op is not Op.LOOKUP or y.dtype != "int16" or not x.quantization:
            continue
        if not y.quantization or node.inputs[0] not in ranges:
            continue
        seen = ranges[node.inputs[0]]
        error = _error(node.curve, x.quantization, y.quantization, seen)
        notes.append(
            f"{node.name}: the table of {_in_words(node.curve)} is at most {error:.1f} steps "
            f"({error * y.quantization.scale:.2g}) from the function between {seen.low:.4g} and "
            f"{seen.high:.4g}"
        )
    return notes


def _error(curve: Curve, x: Quantization, y: Quantization, seen: Range) -> float:
    """In steps of y, over every code of the observed range whose value the output can hold."""
    (function, number), *then = curve
    lookup = Lookup(function, x, y, number, tuple(then))
    first, last = (int(np.clip(round(v / x.scale), -32768, 32767)) for v in (seen.low, seen.high))
    is_held = np.abs(lookup.levels(np.arange(first, last + 1))) <= 32767
    if not is_held.any():
        return 0.0
    held = np.flatnonzero(is_held)
    return interpolation_error(lookup, first + int(held[0]), first + int(held[-1]))


def _in_words(curve: Curve) -> str:
    return " then ".join(f"{n} {c:.4g}" if n in ("ADD", "MUL") else n for n, c in curve)
