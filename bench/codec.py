"""What it costs to read and to write one message of each kind: by protocol/csrc, and by the field
table, which is the specification.

usage: bench/codec.py [--calls N] [--rounds N]
Peer in the same run: cbor2 alone, on a map that is there already, with nothing checked. The
messages are the golden ones of the tests.
"""

import argparse
import os
import statistics
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
from _report import Figure, report
from wherry_protocol.codec import decode, encode, loads
from wherry_protocol.codec.encoding import by_the_table
from wherry_protocol.codec.table import from_map, is_strict, to_map

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from tests.protocol import examples

FACTOR_MIN = 3.0  # of the table's time, in the median over all messages
Route = Callable[[], object]


def routes(message: Any) -> dict[str, Route]:
    """Every way to read or write this message."""
    cls, data, plain = type(message), encode(message), to_map(message, "")
    strict, name = is_strict(cls), cls.__name__
    return {
        "read": lambda: decode(cls, data),
        "read by the table": lambda: from_map(cls, loads(data, what=name), name, strict),
        "read by cbor2 alone": lambda: cbor2.loads(data),
        "written": lambda: encode(message),
        "written by the table": lambda: by_the_table(message),
        "written by cbor2 alone": lambda: cbor2.dumps(plain),
    }


def least_us(route: Route, calls: int, rounds: int) -> float:
    """The least mean of a round: what is not disturbed by others on the machine."""
    return min(timeit.repeat(route, number=calls, repeat=rounds)) / calls * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/codec.py")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found = {
        type(message).__name__: {
            name: least_us(route, asked.calls, asked.rounds)
            for name, route in routes(message).items()
        }
        for message in examples.messages()
    }
    figures = [
        Figure(
            f"{way}: times as fast as the table, median of all messages",
            statistics.median(one[f"{way} by the table"] / one[way] for one in found.values()),
            "1", FACTOR_MIN, is_minimum=True,
        )
        for way in ("read", "written")
    ]  # fmt: skip
    figures += [
        Figure(f"{name}, {route}", value, "us")
        for name, one in found.items()
        for route, value in one.items()
    ]
    return report(figures)


if __name__ == "__main__":
    raise SystemExit(main())
