"""What can go wrong between two sides of Wherry, with codes that travel.

Rules:
1. A `WherryError` is the peer's (or the operator's) mistake. Our own mistakes raise `ValueError`
   or `RuntimeError`; the world's mistakes are `OSError`, caught in shells only.
2. A `Code` is stable for ever: it travels in `reported`, `event` and `reply`, and its family
   decides the exit status of the command line.
3. The text is one sentence for an operator: what failed, where, the limit and the value.
"""

from enum import IntEnum


class Code(IntEnum):
    """Stable reason codes. The hundreds name the family; numbers are never used again."""

    OK = 0

    # 1xx: bytes that cannot be understood
    MALFORMED = 100
    NOT_DETERMINISTIC = 101
    UNKNOWN_FIELD = 102
    OUT_OF_BOUNDS = 103
    CONTAINER = 104
    PROGRAM = 105
    UNSUPPORTED_FORMAT = 106

    # 2xx: bytes that cannot be trusted
    SIGNATURE = 200
    THRESHOLD = 201
    WRONG_ROLE = 202
    EXPIRED = 203
    ROLLBACK = 204
    WRONG_TARGET = 205
    ROOT_CHAIN = 206
    DIGEST = 207
    DECRYPT = 208
    FLOOR = 209
    TIME_UNKNOWN = 210
    REPLAY = 211
    STALE_TRUST = 212

    # 3xx: bundles that do not fit
    WRONG_CLASS = 300
    WRONG_ABI = 301
    CONTRACT = 302
    NO_BUDGET = 303
    GOLDEN_MISMATCH = 304
    OVER_LATENCY = 305
    OVER_MEMORY = 306
    OVER_STORAGE = 307
    OVER_ENERGY = 308
    POLICY = 309
    PENALTY = 310
    NO_SHADOW = 311  # the unit cannot run two models on one input

    # 4xx: a model that turned out bad
    ERROR_RATE = 400
    LATENCY = 401
    ENERGY = 402
    UNCONFIRMED_STARTS = 403
    ENGINE_CRASH = 404
    NOT_CONFIRMED_IN_TIME = 405
    BREAKER_OPEN = 406

    # 5xx: transfer and resources
    NO_PROGRESS = 500
    STORAGE = 501
    SPOOL_DROPPED = 502
    OVERLOADED = 503
    DEVICE_LINK = 504

    # 6xx: what an operator asked for does not fit the state of things
    CONFLICT = 600
    NOT_FOUND = 601
    FORBIDDEN = 602
    INVALID = 603
    UNREACHABLE = 604
    FAILED = 605
    MISSING_EXTRA = 606
    STOPPED = 607
    WINDOW_CLOSED = 608  # installed; the swap waits for its window
    WINDOW_OVER = 609  # the window passed before the unit could swap
    DEFERRED = 610  # the device's owner has put the swap off


class WherryError(Exception):
    """The peer's mistake. `code` is stable, `str()` is one sentence for an operator."""

    default_code = Code.INVALID
    exit_status = 1

    def __init__(self, text: str, code: Code | None = None) -> None:
        super().__init__(text)
        self.code = self.default_code if code is None else code


class DecodeError(WherryError):
    """Bytes that are not what they claim to be."""

    default_code = Code.MALFORMED
    exit_status = 10


class TrustError(WherryError):
    """A signature, threshold, digest, expiry or order that does not hold."""

    default_code = Code.SIGNATURE
    exit_status = 11


class ContractError(WherryError):
    """A bundle that does not fit its device, its class or its predecessor."""

    default_code = Code.CONTRACT
    exit_status = 12


class LimitError(WherryError):
    """A budget, size or rate that is exceeded."""

    default_code = Code.OUT_OF_BOUNDS
    exit_status = 13


class StateError(WherryError):
    """A request that does not fit the present state, or lost a race."""

    default_code = Code.CONFLICT
    exit_status = 14


class NotFoundError(WherryError):
    """A name or digest that nobody knows."""

    default_code = Code.NOT_FOUND
    exit_status = 15


class ForbiddenError(WherryError):
    """An operator whose role does not allow the request."""

    default_code = Code.FORBIDDEN
    exit_status = 16


class UnreachableError(WherryError):
    """A broker, controller or unit that does not answer."""

    default_code = Code.UNREACHABLE
    exit_status = 17


class FailedError(WherryError):
    """A rollout or check that ended otherwise than asked."""

    default_code = Code.FAILED
    exit_status = 18


class MissingExtraError(WherryError):
    """A part of Wherry that is not installed here."""

    default_code = Code.MISSING_EXTRA
    exit_status = 19


_BY_HUNDRED: dict[int, type[WherryError]] = {
    1: DecodeError,
    2: TrustError,
    3: ContractError,
    4: FailedError,
    5: LimitError,
}
_BY_CODE: dict[Code, type[WherryError]] = {
    Code.CONFLICT: StateError,
    Code.STOPPED: StateError,
    Code.WINDOW_CLOSED: StateError,
    Code.WINDOW_OVER: StateError,
    Code.DEFERRED: StateError,
    Code.NOT_FOUND: NotFoundError,
    Code.FORBIDDEN: ForbiddenError,
    Code.UNREACHABLE: UnreachableError,
    Code.FAILED: FailedError,
    Code.MISSING_EXTRA: MissingExtraError,
}


def error_of(code: Code, text: str) -> WherryError:
    """The error that a code which came over a wire stands for."""
    family = _BY_CODE.get(code) or _BY_HUNDRED.get(code // 100, WherryError)
    return family(text, code)
