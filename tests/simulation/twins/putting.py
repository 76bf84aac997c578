"""Put a twin where a real part is: everywhere where a module of ours has it under its name."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PACKAGES = ("wherry_protocol", "wherry_agent", "wherry_controller")


@contextmanager
def put_in_place(twins: Mapping[Any, Any]) -> Iterator[None]:
    """Real part -> twin, in every module that has imported the real one; undone at the end.

    Raises RuntimeError for a real part that nobody has: then the twin would play for nobody.
    """
    places = [
        (module, name, value)
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").partition(".")[0] in PACKAGES
        for name, value in list(vars(module).items())
        if callable(value) and _is_key(value, twins)
    ]
    missing = [real for real in twins if real not in [value for _, _, value in places]]
    if missing:
        raise RuntimeError(f"no module has {missing}")
    try:
        for module, name, real in places:
            setattr(module, name, twins[real])
        yield
    finally:
        for module, name, real in places:
            setattr(module, name, real)


def _is_key(value: Any, twins: Mapping[Any, Any]) -> bool:
    return any(value is real for real in twins)
