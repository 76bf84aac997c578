"""What `protocol/csrc/frozen.c` compiles to."""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

def replace(value: T, /, **changes: Any) -> T: ...
def fill(value: object, /, *fields: Any) -> None: ...
def describe_by(function: Callable[[type[Any]], tuple[tuple[str, Any], ...]], /) -> None: ...
