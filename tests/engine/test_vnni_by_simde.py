"""The AVX-512 VNNI kernels on machines without AVX-512: SIMDe (Debian's libsimde-dev) computes what
the instructions would. Where a processor has them, test_kernels_equal.py runs them as well."""

import random
import struct
import subprocess
from pathlib import Path

import pytest
from wherry_native.engine import kernel_names

from tests.engine.build import executable, headers_of
from tests.engine.test_kernels_equal import LAYERS

pytestmark = pytest.mark.slow
IMAGES = 400
# What SIMDe's vectors of 64 bytes become takes gcc a minute with checks inline or whole debug data.
SANITIZE = ("-g1", "-fsanitize=address", "--param", "asan-instrumentation-with-call-threshold=0")


@pytest.fixture(scope="module")
def vnni(root: Path) -> Path:
    """The program that compares."""
    if "avx2" not in kernel_names():
        pytest.skip("no x86-64 with AVX2: the VNNI kernels use AVX2 besides")
    if not Path("/usr/include/simde/x86/avx512.h").exists():
        pytest.skip("no SIMDe: `apt install libsimde-dev` (or `make setup` as root) brings it")
    csrc = root / "native" / "csrc"
    sources = [path for folder in ("core", "kernels") for path in (csrc / folder).glob("*.c")]
    sources += [csrc / "kernels/x86" / name for name in ("conv_2d_vnni.c", "finish_avx2.c")]
    command = ["gcc", "-std=c11", "-O1", *SANITIZE, "-DWHERRY_SIMDE", "-w"]
    command += [f"-I{csrc / 'include'}", f"-I{csrc}"]
    program = root / "tests/engine/vnni.c"
    return executable(root, "vnni", command, [program, *sources], headers_of(csrc))


@pytest.mark.parametrize("layer", ["CONV_2D", "FULLY_CONNECTED"])
def test_vnni_kernels_give_the_portable_bytes(vnni: Path, tmp_path: Path, layer: str) -> None:
    path = tmp_path / "images"
    with path.open("wb") as file:
        for seed in range(IMAGES):
            image = LAYERS[layer](random.Random(seed))
            file.write(struct.pack("<I", len(image)) + image)
    done = subprocess.run([vnni, path], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > IMAGES * 0.9
