"""Names that go into topics, files and tables: checked once, here.

The patterns keep out MQTT wildcards, path tricks and SQL; everything is lower case, so that no
two names differ by case alone.
"""

import re
from typing import Final

from wherry_protocol.codec import Text
from wherry_protocol.errors import Code, WherryError

ORG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
CONNECTION: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?=[a-z0-9])){0,62}")
UNIT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
MODEL: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
HARDWARE_CLASS: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
LABEL: Final = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
SEMVER: Final = re.compile(r"(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})")
BLOB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}(?:\.[a-z0-9]{1,15})?")

SELF: Final = "self"  # the unit that is the agent itself

OrgName: Final = Text(32, ORG)
ConnectionName: Final = Text(63, CONNECTION)
UnitName: Final = Text(32, UNIT)
ModelName: Final = Text(63, MODEL)
ClassName: Final = Text(63, HARDWARE_CLASS)
LabelName: Final = Text(32, LABEL)
SemverText: Final = Text(20, SEMVER)
BlobName: Final = Text(79, BLOB_NAME)


def check_name(kind: str, pattern: re.Pattern[str], value: str) -> str:
    """`value` if it is a legal name of its kind. Raises WherryError(INVALID) with the pattern."""
    if not pattern.fullmatch(value):
        raise WherryError(
            f"{kind} name {value!r} is not allowed, it must match {pattern.pattern}", Code.INVALID
        )
    return value
