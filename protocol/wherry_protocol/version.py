"""Semantic versions of models: numeric, so that 10 comes after 9.

MAJOR: the input/output contract changed. MINOR: same contract, new ability. PATCH: same contract,
new weights. Source: semver.org 2.0.0 without pre-release and build parts.
"""

from dataclasses import dataclass

from wherry_protocol.errors import Code, WherryError
from wherry_protocol.frozen import quick
from wherry_protocol.names import SEMVER


@quick
@dataclass(frozen=True, slots=True, order=True)
class Version:
    """MAJOR.MINOR.PATCH, ordered numerically."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """From `1.2.3` (or `v1.2.3`). Raises WherryError(INVALID)."""
        bare = text.removeprefix("v")
        if not SEMVER.fullmatch(bare):
            raise WherryError(
                f"version {text!r} is not MAJOR.MINOR.PATCH (like 1.2.3)", Code.INVALID
            )
        return cls(*(int(number) for number in bare.split(".")))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
