"""What the service path loads: nothing that a device has no memory for."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import wherry_agent
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.pem import ED25519, plain_seed

ROOT = Path(__file__).parents[3]
HEAVY = (
    "numpy",
    "typer",
    "click",
    "pydantic",
    "rich",
    "serial",
    "importlib.metadata",
    "cryptography.hazmat.primitives.serialization",
    "wherry_controller",
    "wherry_native.compiler",
)
RUN = """
import sys
import wherry_agent.main
import wherry_agent.shell.station
from wherry_protocol.keys import AgreementKey, SigningKey
SigningKey.from_pem(bytes.fromhex(sys.argv[1]))
AgreementKey.from_pem(bytes.fromhex(sys.argv[2]))
print(" ".join(sys.modules))
"""


def test_the_service_loads_nothing_that_a_small_device_has_no_room_for():
    paths = [str(ROOT / name) for name in ("protocol", "native", "agent", "controller")]
    keys = [SigningKey.generate().to_pem().hex(), AgreementKey.generate().to_pem().hex()]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{RUN}", *keys],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()).isdisjoint(HEAVY)


def test_the_agent_names_the_distributions_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wherry_agent.__version__ == project["version"]


def test_plain_pem_is_read_as_the_library_reads_it():
    key = SigningKey.generate()
    pem = key.to_pem()
    seed = plain_seed(pem, ED25519)
    assert seed is not None
    assert SigningKey.from_seed(seed).public == key.public
    assert plain_seed(pem.replace(b"\n", b"\r\n"), ED25519) == seed


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        SigningKey.from_seed(bytes(32)).to_pem(b"locked"),
        AgreementKey.from_seed(bytes(32)).to_pem(),
        SigningKey.from_seed(bytes(32)).to_pem() + b"more",
        SigningKey.from_seed(bytes(32)).to_pem().replace(b"M", b"!", 1),
    ],
)
def test_every_other_form_is_left_to_the_library(pem):
    assert plain_seed(pem, ED25519) is None


LEAVE_OUT = """
import sys
from pathlib import Path
from wherry_agent.main import leave_out_tls
print(leave_out_tls(Path(sys.argv[1])))
import wherry_agent.shell.station, paho.mqtt.client as paho, hashlib, random, hmac
print("_ssl" in sys.modules and sys.modules["_ssl"] is not None)
names = [name for name in ("SSLWantReadError", "SSLWantWriteError")]
print(all(issubclass(getattr(paho.ssl, name), Exception) for name in names))
print(hashlib.sha256(b"abc").hexdigest()[:8])
"""


@pytest.mark.parametrize(
    ("marker", "is_left_out"), [("plain\n", True), ("tls\n", False), ("?", False), (None, False)]
)
def test_tls_is_left_out_of_memory_only_where_the_enrolment_says_so(tmp_path, marker, is_left_out):
    if marker is not None:
        (tmp_path / "transport").write_text(marker)
    paths = [str(ROOT / name) for name in ("protocol", "native", "agent")]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{LEAVE_OUT}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(is_left_out), str(not is_left_out), "True", "ba7816bf"]
