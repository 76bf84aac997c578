"""How a version is named on the command line: NAME:VERSION."""

from wherry_protocol.errors import WherryError


def split_reference(reference: str) -> tuple[str, str]:
    """NAME:VERSION in its halves. Raises WherryError(INVALID)."""
    name, colon, version = reference.partition(":")
    if not (name and colon and version):
        raise WherryError(f"{reference!r} must be NAME:VERSION, like pump-anomaly:1.0.0")
    return name, version.removeprefix("v")
