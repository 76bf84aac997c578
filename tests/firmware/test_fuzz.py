"""Coverage-guided fuzzing of the whole firmware under ASan and UBSan, from real requests on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.smp import (
    Message,
    Request,
    Upload,
    UploadAnswer,
    confirm_image,
    echo,
    encode_frame,
    encode_message,
    erase_image,
    histogram,
    infer,
    parameters,
    read_slots,
    reset,
    statistics,
    try_image,
)

from tests.engine.build import executable, headers_of
from tests.firmware.conftest import KEYS
from tests.firmware.programs import shifting_program

pytestmark = pytest.mark.slow
RUNS = int(os.environ.get("WHERRY_FUZZ_RUNS", "20000"))
PARTS = ("core", "histogram", "kernels")
SANITIZERS = "-fsanitize=fuzzer,address,undefined"


def step(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(2, "little") + data


def packet(request: Request[object]) -> bytes:
    return encode_message(Message(request.op, request.group, request.command, 1, request.body))


def seeds() -> dict[str, bytes]:
    """One input per request, and a whole update as one."""
    image = build_image(shifting_program(1), ImageVersion(1, 0, 0), KEYS[:2])
    digest = parse_image(image).digest
    requests: list[Request[object]] = [
        echo("x"), reset(), parameters(), read_slots(), try_image(digest), confirm_image(),
        confirm_image(digest), erase_image(), infer(b"1234"), statistics(), histogram(),
    ]  # fmt: skip
    upload = Upload(image, 512)
    pieces = []
    for request in upload.requests():
        pieces.append(step(1, packet(request)))
        upload.take(UploadAnswer(upload.offset + len(request.body["data"]), None))
    whole = b"".join([*pieces, step(1, packet(try_image(digest))), step(2, b""), step(3, image)])
    named = {f"request{index}": step(1, packet(item)) for index, item in enumerate(requests)}
    return {**named, "update": whole, "frame": step(0, encode_frame(packet(echo("x"))))}


@pytest.fixture(scope="module")
def fuzzer(root: Path, firmware: Path) -> Path:
    """The harness, built with clang from the same sources; the firmware's build has fetched all."""
    if shutil.which("clang") is None:
        pytest.skip("no clang on PATH: `apt install clang` brings the fuzzer")
    curve = firmware.parent.parent / "third_party" / "monocypher"
    engine = root / "native" / "csrc"
    sources = [
        root / "tests" / "firmware" / "fuzz_smp.c",
        *(root / "firmware-sim" / "core").glob("*.c"),
        *(
            path
            for part in ("core", "histogram", "kernels")
            for path in (engine / part).glob("*.c")
        ),
        curve / "monocypher.c",
    ]
    folders = [root / "firmware-sim" / "core", engine / "include", engine, curve]
    command = ["clang", "-std=c99", "-O1", "-g1", SANITIZERS, "-fno-sanitize-recover=all"]
    command += [f"-I{folder}" for folder in folders]
    try:
        return executable(root, "fuzz-smp", command, sources, headers_of(*folders))
    except subprocess.CalledProcessError as error:
        if "cannot find" in error.stderr:
            pytest.skip("clang has no libFuzzer here: `apt install libclang-rt-dev`")
        raise AssertionError(error.stderr) from error


def test_no_input_leaves_the_firmwares_bounds_or_runs_what_nobody_signed(
    fuzzer: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, data in seeds().items():
        (corpus / name).write_bytes(data)
    done = subprocess.run(
        [str(fuzzer), f"-runs={RUNS}", "-seed=1", "-max_len=4096", "-timeout=10", str(corpus)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done" in done.stderr
