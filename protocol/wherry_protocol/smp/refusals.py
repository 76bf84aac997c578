"""Answers that say no: the two shapes in which a device refuses, as one error."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from wherry_protocol.errors import Code, StateError
from wherry_protocol.smp.requests import IMAGE_GROUP, OS_GROUP, WHERRY_GROUP


class General(IntEnum):
    """Result codes of SMP itself (`rc`, protocol version 1, and group 0)."""

    OK = 0
    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    TIMEOUT = 4
    NO_ENTRY = 5
    BAD_STATE = 6
    ANSWER_TOO_LARGE = 7
    NOT_SUPPORTED = 8
    CORRUPT = 9
    BUSY = 10
    ACCESS_DENIED = 11


class ImageCode(IntEnum):
    """Result codes of the image group that our firmware uses; meanings as in Zephyr."""

    NO_IMAGE = 3
    NO_TLVS = 4
    INVALID_TLV = 5
    HASH_NOT_FOUND = 8
    NO_FREE_SLOT = 9
    FLASH_WRITE_FAILED = 12
    FLASH_ERASE_FAILED = 13
    INVALID_SLOT = 14
    NO_FREE_MEMORY = 15
    INVALID_OFFSET = 20
    INVALID_LENGTH = 21
    INVALID_IMAGE_HEADER = 22
    WRONG_MAGIC = 23
    INVALID_HASH = 24
    CURRENT_VERSION_IS_NEWER = 27
    ALREADY_PENDING = 28
    INVALID_PROGRAM = 29
    TOO_LARGE = 30
    DATA_OVERRUN = 31
    NOT_ENOUGH_SIGNATURES = 32
    TEST_OF_ACTIVE = 33


class WherryCode(IntEnum):
    """Result codes of the Wherry group."""

    NO_MODEL = 1
    OFFSET = 2
    INPUT_TOO_LONG = 3
    ENGINE = 4
    OUTPUT_TOO_LARGE = 5


_CODES: Final[Mapping[int, type[IntEnum]]] = {
    OS_GROUP: General,
    IMAGE_GROUP: ImageCode,
    WHERRY_GROUP: WherryCode,
}


class RefusedError(StateError):
    """The device said no. `group` and `rc` are its words; group is None for a version 1 answer."""

    default_code = Code.DEVICE_LINK

    def __init__(self, group: int | None, rc: int, what: str) -> None:
        self.group = group
        self.rc = rc
        super().__init__(f"microcontroller refuses {what}: {code_name(group, rc)} (rc {rc})")


def code_name(group: int | None, rc: int) -> str:
    """A result code's name; `unknown` for one that we do not have."""
    names = General if group is None else _CODES.get(group, General)
    try:
        return names(rc).name
    except ValueError:
        return "unknown"


def refusal(body: Mapping[str, Any], what: str) -> RefusedError | None:
    """The refusal in an answer's body, of either protocol version, or None."""
    error = body.get("err")
    if isinstance(error, Mapping):
        group, rc = error.get("group"), error.get("rc")
        if isinstance(group, int) and isinstance(rc, int):
            return RefusedError(group, rc, what)
    rc = body.get("rc", 0)
    if isinstance(rc, int) and rc != 0:
        return RefusedError(None, rc, what)
    return None
