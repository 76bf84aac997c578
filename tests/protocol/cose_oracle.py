"""Run by the oracles' interpreter: reads vectors and keys from stdin, verifies with pycose.

Prints one line per verified message. Independent of our code on purpose.
"""

import json
import sys

from pycose.keys import OKPKey, SymmetricKey
from pycose.keys.curves import Ed25519
from pycose.keys.keyops import MacVerifyOp, VerifyOp
from pycose.messages import CoseMessage, Mac0Message, Sign1Message, SignMessage


def public_key(raw: str) -> OKPKey:
    return OKPKey(crv=Ed25519, x=bytes.fromhex(raw), optional_params={"KEY_OPS": [VerifyOp]})


def verified(message: CoseMessage, keys: dict[str, str], payload: bytes | None) -> bool:
    if isinstance(message, Mac0Message):
        mac_key = bytes.fromhex(keys["mac"])
        message.key = SymmetricKey(k=mac_key, optional_params={"KEY_OPS": [MacVerifyOp]})
        return bool(message.verify_tag())
    if isinstance(message, Sign1Message):
        message.key = public_key(keys[_key_id(message)])
        return bool(message.verify_signature())
    if not isinstance(message, SignMessage):
        raise SystemExit(f"unexpected {type(message).__name__}")
    if payload is not None:
        message.payload = payload
    for signer in message.signers:
        signer.key = public_key(keys[_key_id(signer)])
    return all(signer.verify_signature() for signer in message.signers)


def _key_id(part: object) -> str:
    for label, value in part.phdr.items():
        if getattr(label, "identifier", label) == 4:
            return value.hex()
    raise SystemExit("no key id")


def main() -> None:
    given = json.load(sys.stdin)
    for name, row in given["vectors"].items():
        if "cose" not in row:
            continue
        message = CoseMessage.decode(bytes.fromhex(row["cose"]))
        payload = bytes.fromhex(row["cbor"]) if message.payload is None else None
        if verified(message, given["keys"], payload):
            print(name)


main()
