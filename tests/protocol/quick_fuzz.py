"""Run by a Python under sanitizers: reads changed golden messages with a sanitized `_quick`, and
writes what it has read, once more with a value that does not belong there.

usage: quick_fuzz.py FOLDER, which holds the extension. Prints how many byte strings it has read.
"""

import importlib.util
import sys
from pathlib import Path

path = Path(sys.argv[1]) / "_quick.abi3.so"
spec = importlib.util.spec_from_file_location("wherry_protocol.codec._quick", path)
assert spec is not None
assert spec.loader is not None
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.modules["wherry_protocol.codec._quick"] = module

from dataclasses import fields, replace  # noqa: E402  (with the extension above)

from wherry_protocol.codec import encode, kinds  # noqa: E402
from wherry_protocol.codec.encoding import by_the_table  # noqa: E402

from tests.protocol import examples  # noqa: E402

WRONG = (None, -1, 1 << 64, 1e308, b"", b"x" * 4096, "x" * 4096, "\ud800", (), (0,) * 99, {0: 0})
assert kinds.Kind is module.Kind
count = 0
for message in examples.messages():
    kind = kinds.kind_of_class(type(message), False)
    data = encode(message)
    assert kind.read(data) == message
    assert data == by_the_table(message)
    for field in fields(message):
        for value in WRONG:
            kind.write(replace(message, **{field.name: value}))
    for place in range(len(data)):
        kind.read(data[:place])
        for byte in (0x00, 0x17, 0x1B, 0x3B, 0x5B, 0x7B, 0x9B, 0xBB, 0xDB, 0xF9, 0xFB, 0xFF):
            found = kind.read(data[:place] + bytes([byte]) + data[place + 1 :])
            assert found is None or kind.write(found) == by_the_table(found)
            count += 1
print(count)
