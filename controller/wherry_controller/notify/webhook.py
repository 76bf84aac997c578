"""One HTTP POST, signed as Standard Webhooks does it (standardwebhooks.com, version 1).

The receiver checks `webhook-signature: v1,BASE64`, the HMAC-SHA256 of `ID.TIMESTAMP.BODY` with
the key that `secret_file` holds, and takes each `webhook-id` once: a message may come twice.
"""

import hmac
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx

from wherry_controller.core.notify import Attempt, Route

SECRET_BYTES_MIN: Final = 16
ANSWER_BYTES_MAX: Final = 300


def signature(secret: bytes, message_id: str, at_s: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    content = f"{message_id}.{at_s}.".encode() + body
    return f"v1,{b64encode(hmac.digest(secret, content, sha256)).decode()}"


def post(route: Route, folder: Path, message_id: str, body: bytes, at_s: int) -> Attempt:
    """Try once; redirects are not followed. What went wrong is in the answer, nothing is raised."""
    path = folder / route.secret_file
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        return Attempt(False, f"{path} cannot be read: {error.strerror}")
    if len(secret) < SECRET_BYTES_MIN:
        return Attempt(False, f"{path} holds {len(secret)} bytes, at least {SECRET_BYTES_MIN}")
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": signature(secret, message_id, at_s, body),
    }
    try:
        with (
            httpx.Client(timeout=route.timeout_s, trust_env=False) as client,
            client.stream("POST", route.webhook, content=body, headers=headers) as answer,
        ):
            said = next(answer.iter_bytes(ANSWER_BYTES_MAX), b"")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Attempt(False, f"{type(error).__name__}: {error}"[:ANSWER_BYTES_MAX])
    text = f"{answer.status_code} {said.decode(errors='replace')}".strip()
    return Attempt(answer.is_success, text[:ANSWER_BYTES_MAX])
