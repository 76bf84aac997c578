"""The standing guard: it watches every unit and model always, in or out of a rollout.

`step` takes what was seen of one (unit, model) and says what to do; limits are data.
"""

from wherry_controller.core.guard.keeping import KeptWatch, keep_watch, watch_of
from wherry_controller.core.guard.limits import GuardLimits, Terms
from wherry_controller.core.guard.standing import (
    Cleared,
    EngineCrash,
    Heard,
    HoldRollouts,
    Level,
    OutOfMemory,
    Raised,
    RollBack,
    TimePassed,
    Used,
    Watch,
    Window,
    step,
)

__all__ = [
    "Cleared",
    "EngineCrash",
    "GuardLimits",
    "Heard",
    "HoldRollouts",
    "KeptWatch",
    "Level",
    "OutOfMemory",
    "Raised",
    "RollBack",
    "Terms",
    "TimePassed",
    "Used",
    "Watch",
    "Window",
    "keep_watch",
    "step",
    "watch_of",
]
