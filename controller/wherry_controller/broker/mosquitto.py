"""mosquitto's configuration, password file and access list.

A device's login names its connection, and its access list follows from that: it reads its own
desired state and writes its own reports, and nobody else's. Passwords are kept as mosquitto
hashes them: PBKDF2-HMAC-SHA512, `$7$iterations$salt$hash`.
"""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wherry_protocol.topics import DEVICE_LEAVES, Topics

from wherry_controller.settings import BrokerSettings

ITERATIONS: Final = 101  # mosquitto's own default; the passwords have 192 random bits
SALT_BYTES: Final = 12
CONTROLLER: Final = "controller"
CONSUMER: Final = "consumer"


@dataclass(frozen=True, slots=True)
class Login:
    """One user of the broker; `connection` is None for the controller and for consumers."""

    username: str
    password_hash: str
    connection: str | None = None


def username(org: str, connection: str) -> str:
    """The login of a connection: its identity on the wire. `/` is in no name, so no two collide."""
    return f"{org}/d/{connection}"


def role_username(org: str, role: str) -> str:
    """The login of the controller or of read-only consumers."""
    return f"{org}/{role}"


def password_hash(password: str, salt: bytes) -> str:
    """As `mosquitto_passwd` writes it; `salt` is 12 random bytes."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${ITERATIONS}${'$'.join(encoded)}"


def password_file(logins: Iterable[Login]) -> str:
    return "".join(f"{login.username}:{login.password_hash}\n" for login in logins)


def access_list(org: str, logins: Iterable[Login]) -> str:
    """Default deny; one section per user."""
    topics = Topics(org)
    sections = [_section(topics, org, login) for login in logins]
    return "\n".join(sections)


def _section(topics: Topics, org: str, login: Login) -> str:
    if login.connection is not None:
        rules = _device_rules(topics, login.connection)
    elif login.username == role_username(org, CONTROLLER):
        rules = [f"readwrite {topics.prefix}/#"]
    else:
        leaves = ("presence", *(f"+/{leaf}" for leaf in DEVICE_LEAVES if leaf != "reply"))
        rules = [f"read {topics.prefix}/d/+/{leaf}" for leaf in leaves]
    return "\n".join((f"user {login.username}", *(f"topic {rule}" for rule in rules), ""))


def _device_rules(topics: Topics, connection: str) -> list[str]:
    own = topics.connection(connection, "")
    return [
        f"read {own}+/desired",
        f"read {own}+/rpc",
        f"read {own}ack",
        *(f"write {own}+/{leaf}" for leaf in DEVICE_LEAVES),
        f"write {own}presence",
        f"read {topics.prefix}/b/+/+",
        f"read {topics.prefix}/trust/#",
        f"read {topics.prefix}/all/#",
    ]


def configuration(folder: Path, broker: BrokerSettings, user: str) -> str:
    """`mosquitto.conf`: why each line is there stands above it."""
    tls = f"certfile {broker.cert_file}\nkeyfile {broker.key_file}\n" if broker.is_tls else ""
    return f"""# Written by `wherry init`. mosquitto 2.0 or newer.
listener {broker.port} {broker.host}
{tls}allow_anonymous false
password_file {folder / "passwd"}
acl_file {folder / "acl"}
# The broker reads files that only their owner may read.
user {user}
pid_file {folder / "mosquitto.pid"}

# Retained messages and sessions outlive a restart. They are saved every 60 s; what a kill -9
# loses of the last minute, the controller publishes again when it is connected again.
persistence true
persistence_location {folder}/
persistence_file retained.db
autosave_interval 60
autosave_on_changes false

# mosquitto's defaults drop what exceeds 1000 queued messages, and send 20 at a time.
max_queued_messages 1000000
max_queued_bytes 0
max_inflight_messages 1000
# The longest message is one 64 KiB chunk or a 256 KiB desired document.
message_size_limit 300000
# A session of a device that was away that long is forgotten; its desired state is not.
persistent_client_expiration 14d
set_tcp_nodelay true
"""
