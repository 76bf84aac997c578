"""Mermaid diagram of the table of stages, for the documents."""

from wherry_controller.core.registry.stages import TRANSITIONS, Stage
from wherry_controller.core.rollouts.diagram import mermaid


def stage_diagram() -> str:
    """What moves a version; pairs that lead nowhere are left out."""
    arrows = [
        (source, one.value, target)
        for (source, one), target in TRANSITIONS.items()
        if source is not target
    ]
    return mermaid("stages of a version", Stage.DEVELOPMENT, arrows)
