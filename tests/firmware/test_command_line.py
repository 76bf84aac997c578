"""The simulator's command line: a mistake is one sentence and exit status 2, nothing is touched."""

from pathlib import Path

import pytest

from tests.firmware.conftest import KEYS, Start
from tests.firmware.device import keys_text, run_to_end


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--flash FILE is missing"),
        (["--flash", "f", "more"], "'more' is no option"),
        (["--flash", "f", "--slot-size", "5000"], "multiple of 4096"),
        (["--flash", "f", "--slot-size", "-1"], "must be a number from 4096 to"),
        (["--flash", "f", "--threshold", "9"], "must be a number from 1 to 8"),
        (["--flash", "f", "--keys", "absent"], "No such file"),
        (["--flash", "absent/f"], "cannot create"),
    ],
)
def test_a_wrong_option_is_named(
    sanitized: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_to_end(sanitized, *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("00\n", "line 1: must be 64 hexadecimal digits"),
        ("# a comment\n" + "zz" * 32, "line 2: must be 64"),
        (keys_text([KEYS[0].public] * 2), "there already"),
        (keys_text(bytes([n]) * 32 for n in range(9)), "at most 8 keys"),
        ("", "holds 0 keys"),
    ],
)
def test_a_wrong_keys_file_is_named(sanitized: Path, tmp_path: Path, keys: str, text: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(keys)
    done = run_to_end(sanitized, "--flash", str(tmp_path / "flash"), "--keys", str(path))
    assert done.returncode == 2
    assert text in done.stderr


def test_a_file_that_is_no_flash_is_left_alone(sanitized: Path, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader")
    done = run_to_end(sanitized, "--flash", str(path))
    assert done.returncode == 2
    assert "11 bytes are no flash" in done.stderr
    assert path.read_text() == "Dear reader"


def test_one_flash_belongs_to_one_process(start: Start, sanitized: Path, tmp_path: Path) -> None:
    start()
    done = run_to_end(sanitized, "--flash", str(tmp_path / "flash"))
    assert done.returncode == 2
    assert "another process uses it" in done.stderr


def test_help_lists_every_option(sanitized: Path) -> None:
    done = run_to_end(sanitized, "--help")
    assert done.returncode == 0
    for option in ("--flash", "--keys", "--threshold", "--cut-after", "--tear", "--boot-table"):
        assert option in done.stdout
