"""From a loop's latest answers to what the breaker counts: good or failed, in their order."""

from collections.abc import Callable
from typing import Final

from wherry_native.loop import Loop, Output

ANSWERS_MAX: Final = 256  # as many as a loop keeps; the oldest give way
NO_INFERENCE: Final = frozenset({"WH_ERR_INPUT_SIZE", "WH_ERR_NO_MODEL"})


def is_good(output: Output) -> bool:
    """An engine status, a missed deadline and a value out of range are failures."""
    return not (output.status or output.is_deadline_missed or output.is_out_of_range)


def latest(loop: Loop, digest_of: Callable[[int], bytes | None]) -> dict[bytes, tuple[bool, ...]]:
    """Takes the loop's kept answers: by bundle, in their order, True where one was good.

    `digest_of` maps an answer's tag to its bundle, None where that is gone.
    """
    found: dict[bytes, list[bool]] = {}
    for output in loop.drain_outputs(ANSWERS_MAX):
        is_inference = output.status == 0 or output.status_name not in NO_INFERENCE
        digest = digest_of(output.tag) if is_inference else None
        if digest is not None:
            found.setdefault(digest, []).append(is_good(output))
    return {digest: tuple(outcomes) for digest, outcomes in found.items()}
