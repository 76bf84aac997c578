"""The guard's memory as columns, so that a restart forgets no streak."""

from dataclasses import dataclass

from wherry_protocol.errors import DecodeError
from wherry_protocol.frozen import quick

from wherry_controller.core.guard.standing import Figure, Level, Watch


@quick
@dataclass(frozen=True, slots=True)
class KeptWatch:
    """A Watch of one model on one unit; `levels` is `errors=2 latency=1`, or empty."""

    connection: str
    unit: str
    model: str
    digest: bytes
    levels: str
    bad_s: float
    bad_until_s: float | None
    heard_link_s: float | None
    rolled_back: bytes | None


def keep_watch(key: tuple[str, str, str], watch: Watch) -> KeptWatch:
    """`watch_of` gives the same Watch; `key` is connection, unit and model."""
    levels = " ".join(f"{figure.value}={level:d}" for figure, level in watch.levels.items())
    return KeptWatch(
        *key,
        watch.digest,
        levels,
        watch.bad_s,
        watch.bad_until_s,
        watch.heard_link_s,
        watch.rolled_back,
    )


def watch_of(kept: KeptWatch) -> Watch:
    """The Watch that was kept. Raises DecodeError."""
    try:
        pairs = [text.split("=") for text in kept.levels.split()]
        levels = {Figure(name): Level(int(level)) for name, level in pairs}
    except ValueError as error:
        raise DecodeError(f"kept guard: {error}") from error
    return Watch(
        levels, kept.digest, kept.bad_s, kept.bad_until_s, kept.heard_link_s, kept.rolled_back
    )
