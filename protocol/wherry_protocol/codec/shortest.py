"""Whether an item that was decoded came from its one deterministic encoding, by its size.

Sorting the keys of every map again is most of what encoding costs. This proves the same without:
1. Heads of definite length, integers and floats each have one shortest form, and no form is as
   short as another. So the encoding is the shortest one exactly where its size is.
2. What is left is the order of a map's keys. Few key lists exist, so each is sorted once.
3. A container's head is as long as that of an unsigned integer with its length: all heads, keys
   and values in one flat array have the size of the item, and cbor2 encodes that without a map.
4. Where this cannot be told here (tags with a meaning, other keys than integers, NaN with its
   many encodings), the answer is False, and the caller compares bytes.

Source: RFC 8949 §3 (heads), §4.2 (deterministic encoding).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import cbor2

MAPS: Final = frozenset((dict, cbor2.frozendict))
NESTED: Final = frozenset((*MAPS, list, tuple, cbor2.CBORTag))
PLAIN: Final = frozenset((int, float, str, bytes, bool, type(None)))
INTEGERS: Final = frozenset((int,))
NAN: Final = b"\xf9\x7e\x00"
KEYS_MAX: Final = 32  # of a map whose key order is remembered
ORDERS_MAX: Final = 1024
HEADS: Final = ((24, 1), (1 << 8, 2), (1 << 16, 3), (1 << 32, 5))  # (argument below, bytes)


def is_shortest(item: Any, size_bytes: int) -> bool:
    """True: the decoded `item` was encoded deterministically in `size_bytes`. False: unknown."""
    tokens: list[Any] = []
    keys: list[Any] = []
    if not _gather((item,), tokens, keys):
        return False
    if not (PLAIN.issuperset(map(type, tokens)) and INTEGERS.issuperset(map(type, keys))):
        return False
    tokens += keys
    encoded = cbor2.dumps(tokens, canonical=True)
    return len(encoded) - _head_bytes(len(tokens)) == size_bytes and NAN not in encoded


def _gather(parts: Iterable[Any], tokens: list[Any], keys: list[Any]) -> bool:
    """Append every head's argument, leaf and key; False where a map's order is not known here."""
    for part in parts:
        kind = type(part)
        inner: Iterable[Any]
        if kind not in NESTED:
            tokens.append(part)
            continue
        if kind in MAPS:
            order = (*part,)
            if len(order) > KEYS_MAX or not _is_sorted(order):
                return False
            tokens.append(len(order))
            keys += order
            inner = part.values()
        elif kind is cbor2.CBORTag:
            tokens.append(part.tag)
            inner = (part.value,)
        else:
            tokens.append(len(part))
            inner = part
        if NESTED.isdisjoint(map(type, inner)):
            tokens += inner
        elif not _gather(inner, tokens, keys):
            return False
    return True


@lru_cache(maxsize=ORDERS_MAX)
def _is_sorted(keys: tuple[Any, ...]) -> bool:
    """Whether these integers are in the order that `cbor2` gives them.

    True and 1.0 equal 1 here and in the cache; that they are no integers is seen by their types.
    """
    if not all(isinstance(key, (int, float)) and key % 1 == 0 for key in keys):
        return False
    integers = [int(key) for key in keys]
    ordered = cbor2.loads(cbor2.dumps(dict.fromkeys(integers), canonical=True))
    return list(ordered) == integers


def _head_bytes(argument: int) -> int:
    return next((size for limit, size in HEADS if argument < limit), 9)
