"""Hands logins to the broker: writes its files from the store, has it read them again."""

import os
import signal
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from wherry_controller.broker import mosquitto
from wherry_controller.broker.mosquitto import Login
from wherry_controller.layout import DataDir, write_durably
from wherry_controller.settings import Settings
from wherry_controller.store import devices, meta

PASSWORD_BYTES: Final = 24


def make_password(random: Callable[[int], bytes]) -> str:
    return urlsafe_b64encode(random(PASSWORD_BYTES)).decode()


def password_path(data: DataDir, role: str) -> Path:
    """Where the password of the controller's or the consumers' login lies, 0600."""
    return data.keys / f"broker-{role}.password"


def logins(db: Database, org: str) -> list[Login]:
    """The controller, the consumers, and every connection that is not revoked."""
    roles = [
        Login(mosquitto.role_username(org, role), meta.get(db, f"broker.{role}"))
        for role in (mosquitto.CONTROLLER, mosquitto.CONSUMER)
    ]
    connections = [
        Login(row.username, row.login_hash, row.name)
        for row in devices.connections(db)
        if not row.is_revoked
    ]
    return roles + connections


def write_files(db: Database, data: DataDir, settings: Settings) -> None:
    """Write the password file and the access list whole, each at once."""
    everyone = logins(db, settings.organization)
    access = mosquitto.access_list(settings.organization, everyone)
    write_durably(data.broker / "passwd", mosquitto.password_file(everyone).encode())
    write_durably(data.broker / "acl", access.encode())


def reload(data: DataDir) -> bool:
    """Have the broker read its files again and end connections that lost their login.

    False where it does not run here: then it reads them at its next start.
    """
    try:
        pid = int((data.broker / "mosquitto.pid").read_text())
        if b"mosquitto" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True
