"""What `_engine_build.py` compiles; cffi gives it no types."""

from typing import Any

ffi: Any
lib: Any
