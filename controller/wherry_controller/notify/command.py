"""One program run, without a shell: the message on stdin, its fields in the environment."""

import json
import os
import signal
import subprocess
from typing import Any, Final

from wherry_controller.core.notify import Attempt, Route

SAID_MAX: Final = 300
PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def environment(message_id: str, body: bytes) -> dict[str, str]:
    """WHERRY_KIND, WHERRY_TEXT, …: what a short script needs, without a JSON parser."""
    told: dict[str, Any] = json.loads(body)
    alert: dict[str, Any] = told.get("alert") or {}
    fields = {
        "ID": message_id,
        "KIND": told["kind"],
        "ORGANIZATION": told["organization"],
        "CONTACT": told.get("contact", ""),
        "SEVERITY": told.get("severity", ""),
        "CAUSE": told.get("cause", ""),
        "TEXT": told.get("text", ""),
        "ROLLOUT": told.get("rollout", ""),
        "ALERT": str(alert.get("id", "")),
        "UNIT": alert.get("unit", ""),
        "MODEL": alert.get("model", ""),
    }
    plain = {name: str(value).replace("\0", "") for name, value in fields.items()}
    return {"PATH": PATH} | {f"WHERRY_{name}": value for name, value in plain.items()}


def run(route: Route, message_id: str, body: bytes) -> Attempt:
    """Try once: exit status 0 is delivered. What it starts ends with it when time is over."""
    try:
        process = subprocess.Popen(
            route.command,
            env=environment(message_id, body),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Attempt(False, f"{route.command[0]}: {error.strerror}")
    try:
        said, _ = process.communicate(body, timeout=route.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Attempt(False, f"not done within {route.timeout_s} s, it was ended")
    text = f"exit status {process.returncode} {said.decode(errors='replace').strip()}".strip()
    return Attempt(process.returncode == 0, text[:SAID_MAX])
