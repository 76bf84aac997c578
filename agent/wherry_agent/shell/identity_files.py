"""Who this device is, on disk: keys (0600), the enrolment answer, and the lock of the folder.

STATE/signing.pem, STATE/agreement.pem   made on the device, never leave it
STATE/enrolment                          the answer as it came, verified at every start
STATE/request-nonce                      which answer belongs to our request
STATE/transport                          what the link needs in memory (`shell.transport`)
STATE/data/                              record, blobs, images, spool (`shell.disk`)
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from wherry_protocol import cose, trust
from wherry_protocol.codec import decode
from wherry_protocol.errors import Code, DecodeError, StateError, TrustError
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.enrolment import EnrolAnswer, EnrolRequest, UnitRequest
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import open_sealed, seal

from wherry_agent.core.state import Identity
from wherry_agent.shell import transport

SIGNING: Final = "signing.pem"
AGREEMENT: Final = "agreement.pem"
ENROLMENT: Final = "enrolment"
NONCE: Final = "request-nonce"
ANSWER_BYTES_MAX: Final = 1 << 20


def make_request(
    state_dir: Path,
    connection: str,
    units: tuple[UnitRequest, ...],
    labels: dict[str, str],
    agent_version: str,
) -> bytes:
    """A signed request; keys are made where there are none. Raises OSError, ValueError."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing, agreement = _make_keys(state_dir)
    nonce = os.urandom(16)
    request = EnrolRequest(
        connection=connection,
        signing_key=signing.public,
        agreement_key=agreement.public,
        units=units,
        labels=labels,
        agent_version=agent_version,
        nonce=nonce,
    )
    sealed = seal(request, TrustRole.DEVICE, signing)
    _write_private(state_dir / NONCE, nonce)
    return sealed


def _make_keys(state_dir: Path) -> tuple[SigningKey, AgreementKey]:
    if not (state_dir / SIGNING).exists():
        _write_private(state_dir / SIGNING, SigningKey.generate().to_pem())
    if not (state_dir / AGREEMENT).exists():
        _write_private(state_dir / AGREEMENT, AgreementKey.generate().to_pem())
    return read_keys(state_dir)


def read_keys(state_dir: Path) -> tuple[SigningKey, AgreementKey]:
    """Raises StateError where the device has none, DecodeError where they are damaged."""
    try:
        signing = SigningKey.from_pem((state_dir / SIGNING).read_bytes())
        agreement = AgreementKey.from_pem((state_dir / AGREEMENT).read_bytes())
    except FileNotFoundError as error:
        raise StateError(
            f"{state_dir} holds no device keys; run `wherry-agent enroll --dir {state_dir} "
            "--connection NAME --class CLASS --request FILE` first"
        ) from error
    return signing, agreement


def keep_answer(state_dir: Path, data: bytes) -> EnrolAnswer:
    """Verify and store the controller's answer. Raises WherryError, OSError."""
    read_keys(state_dir)
    answer = open_answer(data)
    try:
        expected = (state_dir / NONCE).read_bytes()
    except FileNotFoundError as error:
        raise StateError(f"{state_dir} holds no open enrolment request") from error
    if answer.nonce != expected:
        raise TrustError("the answer belongs to another request", Code.REPLAY)
    needed = transport.TLS if answer.broker.is_tls else transport.PLAIN
    # Until the answer is there and after, TLS is never left out for one that needs it.
    _write_private(state_dir / transport.FILE, f"{transport.TLS}\n".encode())
    _write_private(state_dir / ENROLMENT, data)
    _write_private(state_dir / transport.FILE, f"{needed}\n".encode())
    return answer


def open_answer(data: bytes) -> EnrolAnswer:
    """The answer, signed by the director that its own root chain names.

    The first root is trusted because the answer was carried here by hand, once.
    """
    if len(data) > ANSWER_BYTES_MAX:
        raise DecodeError(f"the answer has {len(data)} bytes, at most {ANSWER_BYTES_MAX}")
    claimed = decode(EnrolAnswer, cose.unverified_payload(data))
    chain = trust.start(claimed.org, claimed.roots)
    return open_sealed(EnrolAnswer, data, TrustRole.DIRECTOR, chain.role(TrustRole.DIRECTOR).keys)


def read_enrolment(state_dir: Path) -> tuple[EnrolAnswer, Identity]:
    """What an enrolled device starts with. Raises StateError, WherryError, OSError."""
    signing, agreement = read_keys(state_dir)
    try:
        data = (state_dir / ENROLMENT).read_bytes()
    except FileNotFoundError as error:
        raise StateError(
            f"{state_dir} is not enrolled; run `wherry-agent enroll --dir {state_dir} "
            "--answer FILE` with the controller's answer"
        ) from error
    answer = open_answer(data)
    keys = agreement.agree(answer.agreement_key, answer.org, answer.connection)
    identity = Identity(answer.org, answer.connection, signing, keys, answer.classes)
    return answer, identity


def lock(state_dir: Path) -> int:
    """Hold the folder for this process; keep the descriptor. Raises StateError."""
    try:
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise StateError(
            f"{state_dir} does not exist; `wherry-agent enroll --dir {state_dir} …` makes it"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StateError(f"{state_dir} is in use by another wherry-agent") from error
    return descriptor


def _write_private(path: Path, data: bytes) -> None:
    """Whole and durable, readable by its owner only."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
