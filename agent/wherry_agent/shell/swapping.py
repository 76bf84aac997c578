"""One instance in place of another, with its recurrent state where the manifest keeps it; and one
beside it, as its shadow."""

from typing import Protocol

from wherry_native.loop import Instance, Loop
from wherry_protocol.manifest import Comparator, Manifest, StatePolicy
from wherry_protocol.version import Version

from wherry_agent.core.record import Slot


class Loaded(Protocol):
    """What is loaded for one manifest."""

    @property
    def instance(self) -> Instance: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def slot(self) -> Slot: ...


def swap(loop: Loop, before: Loaded | None, after: Loaded | None) -> None:
    """Puts `after` where `before` served; None: nothing serves."""
    if after is not None and before is not None and goes_on(before.manifest, after.manifest):
        loop.swap_keeping(after.instance)
    else:
        loop.swap(None if after is None else after.instance)


def set_shadow(loop: Loop, candidate: Loaded, sample_bp: int) -> None:
    """By the comparator that the candidate's manifest names."""
    contract = candidate.manifest.contract
    is_tolerant = contract.comparator is Comparator.TOLERANCE
    loop.set_shadow(
        candidate.instance,
        sample_bp=sample_bp,
        tolerance_lsb=contract.tolerance_lsb if is_tolerant else None,
        deadline_us=candidate.slot.deadline_us,
    )


def goes_on(before: Manifest, after: Manifest) -> bool:
    """Whether a version goes on from the state of what served before it: its manifest says so, and
    it is a later PATCH of that (on the way back a state may be what went wrong)."""
    if after.state_policy is not StatePolicy.KEEP:
        return False
    old, new = Version.parse(before.version), Version.parse(after.version)
    return (old.major, old.minor) == (new.major, new.minor) and old < new
