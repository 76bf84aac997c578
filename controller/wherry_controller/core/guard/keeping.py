"""The guard's memory as JSON, so that a restart forgets no streak."""

import json

from wherry_protocol.errors import DecodeError

from wherry_controller.core.guard.standing import Figure, Level, Watch


def watch_to_json(watch: Watch) -> str:
    """One JSON text; `watch_from_json` gives the same Watch."""
    return json.dumps(
        {
            "levels": {figure.value: int(level) for figure, level in watch.levels.items()},
            "digest": watch.digest.hex(),
            "bad_s": watch.bad_s,
            "bad_until_s": watch.bad_until_s,
            "heard_s": watch.heard_s,
            "unheard_s": watch.unheard_s,
            "checked_s": watch.checked_s,
            "rolled_back": None if watch.rolled_back is None else watch.rolled_back.hex(),
        },
        sort_keys=True,
        allow_nan=False,
    )


def watch_from_json(text: str) -> Watch:
    """The Watch that was kept. Raises DecodeError."""
    try:
        values = json.loads(text)
        levels = {Figure(name): Level(level) for name, level in values.pop("levels").items()}
        rolled_back, digest = values.pop("rolled_back"), values.pop("digest")
        return Watch(
            levels=levels,
            digest=bytes.fromhex(digest),
            rolled_back=None if rolled_back is None else bytes.fromhex(rolled_back),
            **values,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"kept guard: {error!r}") from error
