"""Release notes: what a rollout means for those who serve an older version.

Rules, in order:
1. A rollout is MAJOR if one of its units serves a lower MAJOR version now: its callers will meet
   another contract. It needs notes, and somebody who says that they were read.
2. Where the organization asks for it, MINOR and PATCH need notes too.
3. The notes, the bump, and who acknowledged them are kept with the rollout.
"""

from collections.abc import Iterable

from wherry_protocol.errors import StateError
from wherry_protocol.manifest import Manifest
from wherry_protocol.version import Version

from wherry_controller.core.registry.bumps import Bump, bump_between


def bump_for(serving: Iterable[str], version: str) -> Bump:
    """The highest bump that any of these units would see; NONE where nobody serves an older one."""
    new = Version.parse(version)
    return max((bump_between(Version.parse(old), new) for old in set(serving)), default=Bump.NONE)


def check_notes(
    manifest: Manifest, bump: Bump, *, is_acknowledged: bool, needs_notes: bool
) -> None:
    """Raises StateError where notes are missing or nobody acknowledged them."""
    name = f"{manifest.model}:{manifest.version}"
    has_notes = bool(manifest.release_notes.strip())
    if not has_notes and (bump is Bump.MAJOR or needs_notes):
        why = "a MAJOR version" if bump is Bump.MAJOR else "needs_notes in wherry.toml"
        raise StateError(f"{name} has no release notes, {why} asks for them: package it with notes")
    if bump is Bump.MAJOR and not is_acknowledged:
        raise StateError(
            f"{name} is a MAJOR version for units that serve an older one: read its release notes "
            f"(`wherry registry show {name}`) and acknowledge them (--acknowledge-notes)"
        )
