"""The targets: which compiler builds the engine for them, what runs it here, and which Debian
packages have both."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ENGINE = ("core", "kernels")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
RUN_S_MAX = 240


@dataclass(frozen=True)
class Build:
    """A compiler and how it is called; several machines may run what it makes."""

    name: str
    compiler: str
    package: str
    flags: tuple[str, ...]
    board: str = ""
    """The board's linker script; empty where an operating system loads the program."""


@dataclass(frozen=True)
class Machine:
    """What runs a build: the command in front of the executable; empty for this machine."""

    name: str
    build: Build
    command: tuple[str, ...] = ()
    package: str = ""


def _cortex_m(name: str, board: str, *flags: str) -> Build:
    return Build(
        name, "arm-none-eabi-gcc", "gcc-arm-none-eabi",
        ("-O2", "-mthumb", "-ffreestanding", "-fno-tree-loop-distribute-patterns", *flags), board,
    )  # fmt: skip


def _board(name: str, build: Build, machine: str) -> Machine:
    command = (
        "qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none",
        "-serial", "stdio", "-semihosting-config", "enable=on,target=native", "-kernel",
    )  # fmt: skip
    return Machine(name, build, command, "qemu-system-arm")


def _aarch64(cpu: str) -> Machine:
    return Machine(f"aarch64 {cpu}", AARCH64, ("qemu-aarch64", "-cpu", cpu), "qemu-user")


HERE_O2 = Build("portable -O2", "gcc", "gcc", ("-O2",))
HERE_O0 = Build("portable -O0", "gcc", "gcc", ("-O0",))
AARCH64 = Build(
    "aarch64", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    ("-O2", "-static"),
)  # fmt: skip
CORTEX_M7 = _cortex_m(
    "Cortex-M7", "an500.ld", "-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"
)
CORTEX_M55 = _cortex_m("Cortex-M55", "an547.ld", "-mcpu=cortex-m55", "-mfloat-abi=hard")

S390X = Build(
    "s390x", "s390x-linux-gnu-gcc", "gcc-s390x-linux-gnu libc6-dev-s390x-cross", ("-O2", "-static")
)

HERE = (Machine("here -O2", HERE_O2), Machine("here -O0", HERE_O0))
ELSEWHERE = (
    *map(_aarch64, ("cortex-a53", "cortex-a76", "max")),
    _board("Cortex-M7 mps2-an500", CORTEX_M7, "mps2-an500"),
    _board("Cortex-M55 mps3-an547", CORTEX_M55, "mps3-an547"),
)
BIG_ENDIAN = Machine("s390x", S390X, ("qemu-s390x",), "qemu-user")


def missing_package(machine: Machine) -> str | None:
    """The package that is missing to build for the machine or to run it; None: all is there."""
    if shutil.which(machine.build.compiler) is None:
        return machine.build.package
    if machine.command and shutil.which(machine.command[0]) is None:
        return machine.package
    return None


def engine_sources(root: Path) -> list[Path]:
    csrc = root / "native" / "csrc"
    return sorted(path for folder in ENGINE for path in (csrc / folder).glob("*.c"))


def includes(root: Path, build: Build) -> list[str]:
    csrc, board = root / "native" / "csrc", root / "tests" / "targets" / "board"
    folders = [csrc / "include", csrc, *([board / "include"] if build.board else [])]
    return [f"-I{folder}" for folder in folders]


def build_vectors(root: Path, build: Build, vectors: Path, output: Path) -> Path:
    """An executable of the engine, of run_vectors.c and of the vectors' file, for a target."""
    here = root / "tests" / "targets"
    last = ["board/board.c"] if build.board else ["hosted.c"]
    linking = (
        ["-nostdlib", "-nostartfiles", f"-L{here / 'board'}", "-T", build.board, "-lgcc"]
        if build.board
        else []
    )
    sources = [here / name for name in ("run_vectors.c", "vectors.S", *last)]
    subprocess.run(
        [build.compiler, "-std=gnu99", *WARNINGS, "-ffp-contract=off", *build.flags,
         *includes(root, build), f'-DWH_VECTORS_FILE="{vectors}"', *map(str, sources),
         *map(str, engine_sources(root)), "-o", str(output), *linking],
        check=True,
    )  # fmt: skip
    return output


def run(machine: Machine, executable: Path) -> subprocess.CompletedProcess[str]:
    """What the machine writes, and the status with which it stops by itself."""
    return subprocess.run(
        [*machine.command, str(executable)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=RUN_S_MAX,
    )  # fmt: skip
