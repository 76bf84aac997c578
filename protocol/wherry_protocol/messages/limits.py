"""The bounds of the wire in one place: what a peer may send, at the most."""

from typing import Final

from wherry_protocol.codec import Octets, Real, Text, Uint

ASSIGNMENTS_MAX: Final = 32  # models per unit
BLOBS_MAX: Final = 512  # blobs per manifest
KEYS_MAX: Final = 16  # keys per role
MANIFEST_BYTES_MAX: Final = 256 * 1024
DESIRED_BYTES_MAX: Final = 256 * 1024
REPORT_BYTES_MAX: Final = 64 * 1024
BLOB_BYTES_MAX: Final = 1 << 30
CHUNK_BYTES: Final = 65_520  # plaintext of a full segment; with its 16-byte tag exactly 64 KiB

Digest: Final = Octets(32)
PublicKey: Final = Octets(32)
BootId: Final = Octets(16)
Nonce: Final = Octets(16)
UnixSeconds: Final = Uint(253_402_300_799)  # to the year 9999
Micros: Final = Uint()
Reason: Final = Text(256)
Ratio: Final = Real(0.0, 1.0)
