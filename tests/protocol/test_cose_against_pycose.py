"""Our COSE, verified by an independent library in an environment of its own."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.protocol import examples

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / ".venv-oracles" / "bin" / "python"


def verified_by_pycose(vectors: dict[str, dict[str, str]]) -> set[str]:
    signers = (
        examples.ROOT_KEY,
        examples.RELEASE_KEY,
        examples.RELEASE_KEY_2,
        examples.DIRECTOR_KEY,
        examples.DEVICE_KEY,
    )
    keys = {key.id.hex(): key.public.hex() for key in signers}
    keys["mac"] = examples.CONNECTION_KEYS.mac_key.hex()
    done = subprocess.run(
        [ORACLE, Path(__file__).with_name("cose_oracle.py")],
        input=json.dumps({"vectors": vectors, "keys": keys}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.skipif(not ORACLE.exists(), reason="no .venv-oracles: run `make setup-oracles`")
def test_pycose_verifies_every_golden_vector_and_no_tampered_one() -> None:
    golden = json.loads(examples.VECTORS.read_text())
    wrapped = {name for name, row in golden.items() if "cose" in row}
    assert verified_by_pycose(golden) == wrapped
    assert len(wrapped) >= 15
    tampered = {n: golden[n] | {"cose": golden[n]["cose"][:-2] + "00"} for n in ("Ack", "Event")}
    assert verified_by_pycose(tampered) == set()
