"""`wherry init`: an organization comes into being.

Makes the data directory, the online keys, the offline root and release keys, root document 1, the
first operator, the default hardware classes, and the broker's configuration.
"""

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlite_utils import Database
from wherry_protocol import cose
from wherry_protocol.codec import content_type, encode
from wherry_protocol.errors import StateError, WherryError
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.limits import KEYS_MAX
from wherry_protocol.messages.trust import RoleKeys, Root, TrustRole
from wherry_protocol.names import ORG, check_name

from wherry_controller import keyring, store
from wherry_controller.broker import mosquitto, provision
from wherry_controller.core.permissions import Role
from wherry_controller.core.profiles import DEFAULT_CLASSES
from wherry_controller.fleet.operators import add_operator
from wherry_controller.layout import DataDir, write_durably
from wherry_controller.settings import BrokerSettings, HttpSettings, Settings, to_toml
from wherry_controller.store import audit, classes, meta
from wherry_controller.succession import ROOT_VALID_S


@dataclass(frozen=True, slots=True)
class Charter:
    """What `wherry init` is asked for. Passphrases lock the offline keys; None leaves them open."""

    organization: str
    operator: str
    root_keys: int = 1
    root_threshold: int = 1
    release_keys: int = 1
    release_threshold: int = 1
    root_passphrase: bytes | None = None
    release_passphrase: bytes | None = None
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    http: HttpSettings = field(default_factory=HttpSettings)


@dataclass(frozen=True, slots=True)
class Founded:
    """What `wherry init` has made; the token is shown once."""

    token: str
    root: bytes
    root_key_files: tuple[Path, ...]
    release_key_files: tuple[Path, ...]


def found(
    data: DataDir, charter: Charter, now_s: float, random: Callable[[int], bytes] = os.urandom
) -> Founded:
    """Create everything. Raises StateError where an organization is there, WherryError(INVALID)."""
    check_name("organization", ORG, charter.organization)
    _check_threshold("root", charter.root_keys, charter.root_threshold)
    _check_threshold("release", charter.release_keys, charter.release_threshold)
    _check_tls(charter.broker)
    if data.settings.exists() or data.database.exists():
        raise StateError(f"{data.root} already holds an organization; choose another folder")
    data.make()
    ring = keyring.create(data)
    root_keys = [SigningKey.generate() for _ in range(charter.root_keys)]
    release_keys = [SigningKey.generate() for _ in range(charter.release_keys)]
    root = _first_root(charter, root_keys, release_keys, ring.director, int(now_s))
    write_durably(data.roots / "1.cose", root)
    root_files = _write_keys(data, "root", root_keys, charter.root_passphrase)
    release_files = _write_keys(data, "release", release_keys, charter.release_passphrase)
    settings = Settings(charter.organization, _resolved(charter.broker), charter.http)
    token = _fill_database(data, charter, settings, now_s, random)
    write_durably(data.operator_token, token.encode() + b"\n")
    # Last, because its presence says that the organization is whole.
    write_durably(data.settings, to_toml(settings).encode())
    return Founded(token, root, root_files, release_files)


def _check_threshold(role: str, count: int, threshold: int) -> None:
    if not 1 <= threshold <= count <= KEYS_MAX:
        raise WherryError(
            f"{role} keys: {threshold} of {count} cannot be; "
            f"1 <= threshold <= keys <= {KEYS_MAX} must hold"
        )


def _check_tls(broker: BrokerSettings) -> None:
    if broker.is_tls and not (broker.ca_file and broker.cert_file and broker.key_file):
        raise WherryError("TLS on the broker needs its CA, certificate and key: name all three")


def _resolved(broker: BrokerSettings) -> BrokerSettings:
    """With absolute paths: the service and the broker start in other folders."""
    return replace(
        broker,
        ca_file=_absolute(broker.ca_file),
        cert_file=_absolute(broker.cert_file),
        key_file=_absolute(broker.key_file),
    )


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if path else ""


def _first_root(
    charter: Charter,
    root_keys: list[SigningKey],
    release_keys: list[SigningKey],
    director: SigningKey,
    now_s: int,
) -> bytes:
    def holders(threshold: int, keys: list[SigningKey]) -> RoleKeys:
        return RoleKeys(threshold=threshold, keys=tuple(key.public for key in keys))

    root = Root(
        org=charter.organization,
        number=1,
        issued_s=now_s,
        expires_s=now_s + ROOT_VALID_S,
        epoch=1,
        roles={
            TrustRole.ROOT: holders(charter.root_threshold, root_keys),
            TrustRole.RELEASE: holders(charter.release_threshold, release_keys),
            TrustRole.DIRECTOR: holders(1, [director]),
        },
    )
    signed_by = root_keys[: charter.root_threshold]
    return cose.sign(
        encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=signed_by
    )


def _write_keys(
    data: DataDir, role: str, keys: list[SigningKey], passphrase: bytes | None
) -> tuple[Path, ...]:
    paths = tuple(data.offline / f"{role}-{number}.pem" for number in range(1, len(keys) + 1))
    for path, key in zip(paths, keys, strict=True):
        write_durably(path, key.to_pem(passphrase))
    return paths


def _fill_database(
    data: DataDir,
    charter: Charter,
    settings: Settings,
    now_s: float,
    random: Callable[[int], bytes],
) -> str:
    db = store.open_writer(data.database)
    try:
        with db.atomic():
            for profile in DEFAULT_CLASSES:
                classes.put(db, profile, now_s)
            audit.add(db, now_s, charter.operator, "organization.found", charter.organization)
            token = add_operator(db, charter.operator, Role.ADMIN, charter.operator, now_s, random)
            _add_broker_logins(db, data, random)
        provision.write_files(db, data, settings)
        folder = data.broker.resolve()
        configuration = mosquitto.configuration(folder, settings.broker, getpass.getuser())
        write_durably(data.broker / "mosquitto.conf", configuration.encode())
    finally:
        db.close()
    return token


def _add_broker_logins(db: Database, data: DataDir, random: Callable[[int], bytes]) -> None:
    for role in (mosquitto.CONTROLLER, mosquitto.CONSUMER):
        password = provision.make_password(random)
        write_durably(provision.password_path(data, role), password.encode() + b"\n")
        hashed = mosquitto.password_hash(password, random(mosquitto.SALT_BYTES))
        meta.put(db, f"broker.{role}", hashed)
