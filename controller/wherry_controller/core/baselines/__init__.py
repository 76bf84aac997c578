"""Baselines: what a model did on a hardware class, to hold it to later. Pure."""

from wherry_controller.core.baselines.compare import Verdict, compare
from wherry_controller.core.baselines.document import (
    FORMAT,
    Baseline,
    as_table,
    baseline_of,
    file_of,
    from_file,
)
from wherry_controller.core.baselines.summary import Summary, major_of, summarize
from wherry_controller.core.baselines.thresholds import Threshold, derived, difference

__all__ = [
    "FORMAT",
    "Baseline",
    "Summary",
    "Threshold",
    "Verdict",
    "as_table",
    "baseline_of",
    "compare",
    "derived",
    "difference",
    "file_of",
    "from_file",
    "major_of",
    "summarize",
]
