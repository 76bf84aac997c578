"""The targets: which compiler builds the engine for them, what runs it here, and which Debian
packages have both."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ENGINE = ("core", "kernels")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wvla", "-Werror")
PORTABLE_ONLY = ("-DWH_PORTABLE_ONLY", "-Wframe-larger-than=1536")
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
    has_tables: bool = False
    """Whether kernels for particular processors are built besides the portable ones."""


@dataclass(frozen=True)
class Machine:
    """What runs a build: the command in front of the executable; empty for this machine."""

    name: str
    build: Build
    command: tuple[str, ...] = ()
    package: str = ""
    asked: str = ""
    """The table of kernels that is asked for; empty for the processor's best."""
    kernels: str = "portable"
    """The table that must run."""


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


def aarch64(cpu: str, kernels: str, asked: str = "") -> Machine:
    command = ("qemu-aarch64", "-cpu", cpu)
    return Machine(f"aarch64 {cpu} {kernels}", AARCH64, command, "qemu-user", asked, kernels)


HERE_O2 = Build("portable -O2", "gcc", "gcc", ("-O2",))
HERE_O0 = Build("portable -O0", "gcc", "gcc", ("-O0",))
HERE_WITH_TABLES = Build("with tables -O2", "gcc", "gcc", ("-O2",), has_tables=True)
AARCH64 = Build(
    "aarch64", "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    ("-O2", "-static"), has_tables=True,
)  # fmt: skip
CORTEX_M7 = _cortex_m(
    "Cortex-M7", "an500.ld", "-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"
)
CORTEX_M55 = _cortex_m("Cortex-M55", "an547.ld", "-mcpu=cortex-m55", "-mfloat-abi=hard")

S390X = Build(
    "s390x", "s390x-linux-gnu-gcc", "gcc-s390x-linux-gnu libc6-dev-s390x-cross", ("-O2", "-static")
)

HERE = tuple(Machine(f"here {b.name}", b, asked="portable") for b in (HERE_O2, HERE_O0))
ELSEWHERE = (
    aarch64("cortex-a53", "portable", asked="portable"),
    aarch64("cortex-a53", "neon"),
    aarch64("cortex-a76", "neondot"),
    aarch64("max", "neon", asked="neon"),
    aarch64("max", "neondot"),
    _board("Cortex-M7 mps2-an500", CORTEX_M7, "mps2-an500"),
    _board("Cortex-M55 mps3-an547", CORTEX_M55, "mps3-an547"),
)
WITHOUT_DOT_PRODUCT = aarch64("cortex-a53", "unknown here", asked="neondot")
BIG_ENDIAN = Machine("s390x", S390X, ("qemu-s390x",), "qemu-user")


def missing_package(machine: Machine) -> str | None:
    """The package that is missing to build for the machine or to run it; None: all is there."""
    if shutil.which(machine.build.compiler) is None:
        return machine.build.package
    if machine.command and shutil.which(machine.command[0]) is None:
        return machine.package
    return None


def engine_sources(root: Path, build: Build) -> list[Path]:
    csrc = root / "native" / "csrc"
    folders = (*ENGINE, "kernels/*") if build.has_tables else ENGINE
    return sorted(path for folder in folders for path in csrc.glob(f"{folder}/*.c"))


def includes(root: Path, build: Build) -> list[str]:
    csrc, board = root / "native" / "csrc", root / "tests" / "targets" / "board"
    folders = [csrc / "include", csrc, *([board / "include"] if build.board else [])]
    return [f"-I{folder}" for folder in folders]


def compile_engine(root: Path, build: Build, output: Path, *more: str) -> Path:
    """An executable of the engine and of `more`: the sources of a program, and flags."""
    sources = engine_sources(root, build)
    flags = build.flags if build.has_tables else (*build.flags, *PORTABLE_ONLY)
    linking: tuple[str, ...] = ()
    if build.board:
        board = root / "tests" / "targets" / "board"
        sources.append(board / "board.c")
        linking = ("-nostdlib", "-nostartfiles", f"-L{board}", "-T", build.board, "-lgcc")
    else:
        sources.append(root / "native" / "csrc" / "host" / "kernels.c")
    subprocess.run(
        [build.compiler, "-std=gnu99", *WARNINGS, "-ffp-contract=off", *flags,
         *includes(root, build), *more, *map(str, sources), "-o", str(output), *linking],
        check=True,
    )  # fmt: skip
    return output


def build_vectors(root: Path, build: Build, vectors: Path, output: Path) -> Path:
    """run_vectors.c with the vectors' file in it, for a target."""
    here = root / "tests" / "targets"
    names = ["run_vectors.c", "vectors.S", *([] if build.board else ["hosted.c"])]
    sources = [str(here / name) for name in names]
    return compile_engine(root, build, output, f'-DWH_VECTORS_FILE="{vectors}"', *sources)


def build_random_layers(root: Path, build: Build, output: Path) -> Path:
    source = root / "tests" / "targets" / "random_layers.c"
    return compile_engine(root, build, output, str(source))


def run(machine: Machine, executable: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the machine writes, and the status with which it stops by itself."""
    return subprocess.run(
        [*machine.command, str(executable), *arguments], capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL, timeout=RUN_S_MAX,
        env={**os.environ, "WHERRY_ENGINE_KERNELS": machine.asked},
    )  # fmt: skip
