"""What the link to the broker needs in memory.

Rules:
1. Where the enrolment says that the broker needs no TLS, Python's `ssl` and its binding of the
   system's OpenSSL are left out: 5 MB that nothing would use, since `cryptography` brings an
   OpenSSL of its own and `hashlib` has SHA-2 of its own.
2. Anything unknown counts as TLS, and then everything is as usual.
3. It happens before anything else has imported `ssl` or `hashlib`, or not at all.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Final

FILE: Final = "transport"
PLAIN: Final = "plain"
TLS: Final = "tls"
LEFT_OUT: Final = ("_ssl", "ssl", "_hashlib")


class NeverRaisedError(Exception):
    """Stands for the exceptions of `ssl` where there are no TLS sockets to raise them."""


def leave_out_tls(state_dir: Path) -> bool:
    """True where TLS was left out. To be called once, first of all."""
    if _transport(state_dir) != PLAIN or any(name in sys.modules for name in LEFT_OUT):
        return False
    for name in LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment]
    import paho.mqtt.client

    # paho allows for a missing `ssl` when it is imported, and names its exceptions all the same
    # in the path of every socket error; without them the first such error ends its thread.
    vars(paho.mqtt.client)["ssl"] = SimpleNamespace(
        SSLWantReadError=NeverRaisedError, SSLWantWriteError=NeverRaisedError
    )
    return True


def _transport(state_dir: Path) -> str:
    try:
        return (state_dir / FILE).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return TLS
