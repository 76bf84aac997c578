"""Bytes that TFLite Micro's arena planner asks for; run by the interpreter of .venv-oracles.

usage: bench/_tflm_arena.py NAME.tflite… — one line per file: the planned part of the arena
(activations and scratch), and the whole arena with TFLite Micro's own structures.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from tflite_micro import runtime


def told(model: Path) -> str:
    """What the allocator prints: from C++, so its file descriptors are caught."""
    interpreter = runtime.Interpreter.from_bytes(model.read_bytes(), arena_size=1 << 21)
    with tempfile.TemporaryFile() as caught:
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(caught.fileno(), 1)
            os.dup2(caught.fileno(), 2)
            interpreter.print_allocations()
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
        caught.seek(0)
        return caught.read().decode()


for name in sys.argv[1:]:
    text = told(Path(name))
    head, total = (
        int(re.findall(rf"allocation {part} (\d+) bytes", text)[0]) for part in ("head", "total")
    )
    print(head, total)
