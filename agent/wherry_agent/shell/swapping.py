"""One instance in place of another, with its recurrent state where the manifest keeps it."""

from typing import Protocol

from wherry_native.loop import Instance, Loop
from wherry_protocol.manifest import Manifest, StatePolicy
from wherry_protocol.version import Version


class Loaded(Protocol):
    """What is loaded for one manifest."""

    @property
    def instance(self) -> Instance: ...

    @property
    def manifest(self) -> Manifest: ...


def swap(loop: Loop, before: Loaded | None, after: Loaded | None) -> None:
    """Puts `after` where `before` served; None: nothing serves."""
    if after is not None and before is not None and goes_on(before.manifest, after.manifest):
        loop.swap_keeping(after.instance)
    else:
        loop.swap(None if after is None else after.instance)


def goes_on(before: Manifest, after: Manifest) -> bool:
    """Whether a version goes on from the state of what served before it: its manifest says so, and
    it is a later PATCH of that (on the way back a state may be what went wrong)."""
    if after.state_policy is not StatePolicy.KEEP:
        return False
    old, new = Version.parse(before.version), Version.parse(after.version)
    return (old.major, old.minor) == (new.major, new.minor) and old < new
