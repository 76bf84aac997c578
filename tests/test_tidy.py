"""Holds the shape of the code: short functions, short files, plain names, no machine's traces.

Looks at every file that git tracks, as it stands in the working tree.
"""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.house.shape import Function, c_functions, python_functions

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 100
CODE_SUFFIXES = {".py", ".c", ".h", ".ts", ".tsx"}
FORBIDDEN_NAMES = {"manager", "helper", "util", "common", "base", "misc", "impl"}
PRAGMA = re.compile(r"  # (?:type: ignore|noqa|fmt: skip)[^#]*$")  # ruff does not count it either
LOCK_FILES = ["requirements/dev.txt", "requirements/oracles.txt"]

THIS_FILE = "tests/test_tidy.py"  # names what it looks for

MACHINE_PATHS = [r"(?<![\w.$}>-])/(?:home|Users|root|work|opt)/[\w.][\w./-]*"]
REGISTRIES = [
    r"\bpypi\.org",
    r"\bpythonhosted\.org",
    r"\bregistry\.\w+\.\w+",
    r"\banaconda\.org",
    r"\bdeb\.debian\.org",
    r"--(?:extra-)?index-url[ =]",
    r"--find-links[ =]",
]


def source_files() -> list[Path]:
    """What git tracks and the working tree holds, in the order of the names."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    names = sorted(name for name in listed.split("\0") if name)
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files to look at")
    return source_files()


def code(files: list[Path], *suffixes: str) -> list[Path]:
    return [path for path in files if path.suffix in (suffixes or CODE_SUFFIXES)]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def functions_of(path: Path) -> tuple[Function, ...]:
    return tuple((python_functions if path.suffix == ".py" else c_functions)(read(path)))


def hold_none(breaches: Iterable[str], advice: str) -> None:
    """Fails with every breach on a line of its own."""
    rows = sorted(breaches)
    assert not rows, "\n".join([f"{advice}:", *rows])


def test_the_tidy_test_sees_every_package(files: list[Path]) -> None:
    folders = {relative(path).split("/")[0] for path in code(files)}
    assert {"protocol", "native", "agent", "controller", "tests"} <= folders


def test_no_function_is_longer_than_a_screen(files: list[Path]) -> None:
    long = [
        f"{relative(path)}:{function.line} {function.name}: {function.code_lines} code lines"
        for path in code(files, ".py", ".c", ".h")
        for function in functions_of(path)
        if function.code_lines > FUNCTION_LINES_MAX
    ]
    hold_none(long, f"at most {FUNCTION_LINES_MAX}: split them")


def test_most_functions_are_short_and_most_files_are_small(files: list[Path]) -> None:
    functions = [f for path in code(files, ".py") for f in functions_of(path)]
    lengths = [len(read(path).splitlines()) for path in code(files)]
    assert statistics.median(function.code_lines for function in functions) < 10
    assert statistics.median(lengths) < 250


def test_no_file_is_longer_than_one_concern_needs(files: list[Path]) -> None:
    long = [
        f"{relative(path)}: {count} lines"
        for path in code(files)
        if (count := len(read(path).splitlines())) > FILE_LINES_MAX
    ]
    hold_none(long, f"at most {FILE_LINES_MAX}: split them")


def test_no_line_of_code_is_wider_than_the_page(files: list[Path]) -> None:
    wide = [
        f"{relative(path)}:{number}: {len(line)} columns"
        for path in code(files)
        for number, line in enumerate(read(path).splitlines(), 1)
        if len(PRAGMA.sub("", line)) > COLUMNS_MAX
    ]
    hold_none(wide, f"at most {COLUMNS_MAX}")


def is_forbidden(name: str) -> bool:
    words = re.split(r"[_\-.]", name.lower())
    return not FORBIDDEN_NAMES.isdisjoint([*words, *(word.removesuffix("s") for word in words)])


@pytest.mark.parametrize("name", ["utils", "fleet_manager", "base", "test_helpers", "misc.c"])
def test_names_that_say_nothing_are_recognised(name: str) -> None:
    assert is_forbidden(name)


@pytest.mark.parametrize("name", ["database", "utility", "baseline", "implied"])
def test_names_that_only_sound_similar_are_allowed(name: str) -> None:
    assert not is_forbidden(name)


def test_no_module_has_a_name_that_says_nothing(files: list[Path]) -> None:
    bad = {
        relative(path)
        for path in code(files)
        if any(is_forbidden(part) for part in path.relative_to(ROOT).with_suffix("").parts)
    }
    hold_none(bad, "say what the module is for")


def test_no_class_has_a_name_that_says_nothing(files: list[Path]) -> None:
    bad = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in code(files, ".py")
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.ClassDef)
        and is_forbidden(re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).strip("_"))
    ]
    hold_none(bad, "say what the class is for")


def test_every_package_says_what_it_is_for(files: list[Path]) -> None:
    silent = [
        relative(path)
        for path in files
        if path.name == "__init__.py"
        and relative(path).split("/")[0] in {"protocol", "native", "agent", "controller"}
        and not ast.get_docstring(ast.parse(read(path)))
    ]
    hold_none(silent, "give __init__.py a docstring")


def test_every_folder_of_python_is_a_package(files: list[Path]) -> None:
    roots = {"protocol", "native", "agent", "controller", "tests"}
    folders = {
        path.parent
        for path in code(files, ".py")
        if len(path.relative_to(ROOT).parts) > 2 or relative(path).startswith("tests/")
    }
    inside = {folder for folder in folders if relative(folder).split("/")[0] in roots}
    bare = sorted(relative(folder) for folder in inside if not (folder / "__init__.py").exists())
    hold_none(bare, "it would not be installed, or clash with another of its name: __init__.py")


def texts(files: list[Path]) -> list[Path]:
    """All files but this one: binary ones are searched too, as bytes that stand for characters."""
    return [path for path in files if relative(path) != THIS_FILE]


def matches(path: Path, patterns: list[str]) -> list[str]:
    text = path.read_text(encoding="latin-1")
    found = [match for pattern in patterns for match in re.finditer(pattern, text)]
    return [
        f"{relative(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for match in found
    ]


@pytest.mark.parametrize("line", ["cd /home/jo/wherry", '"/root/.cache"', "file:///opt/x/y.whl"])
def test_paths_of_machines_are_recognised(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in MACHINE_PATHS)


@pytest.mark.parametrize("line", ["wherry/1/acme/trust/root/2", "$HOME/work/x", "a/home/b"])
def test_topics_and_relative_paths_are_not_taken_for_machines(line: str) -> None:
    assert not any(re.search(pattern, line) for pattern in MACHINE_PATHS)


def test_no_file_names_a_path_of_a_developers_machine(files: list[Path]) -> None:
    hold_none(
        [hit for path in texts(files) for hit in matches(path, MACHINE_PATHS)],
        "name no machine and no registry",
    )


def test_no_file_names_the_address_of_a_package_registry(files: list[Path]) -> None:
    hold_none(
        [hit for path in texts(files) for hit in matches(path, REGISTRIES)],
        "name no machine and no registry",
    )


@pytest.mark.parametrize("name", LOCK_FILES)
def test_lock_files_hold_hashes_and_no_address(name: str) -> None:
    text = "".join(row for row in read(ROOT / name).splitlines(True) if not row.startswith("#"))
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "--" not in text.replace("--hash=sha256:", "")
