"""A short run of the fuzzer that bench/fuzz.py lets run for long, and a proof that it finds."""

import re
import shutil
from pathlib import Path

import pytest

from tests.engine import fuzzing

EXECUTIONS = 20_000


@pytest.fixture(scope="module")
def fuzzer(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not fuzzing.is_possible():
        pytest.skip(f"no clang: `apt install {fuzzing.PACKAGES}` as root (make setup-targets)")
    return fuzzing.build(root, tmp_path_factory.mktemp("fuzz") / "fuzz")


def test_the_fuzzer_finds_nothing_in_a_short_run(fuzzer: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    assert fuzzing.write_corpus(corpus) > 50
    outcome = fuzzing.run(fuzzer, corpus, EXECUTIONS, seed=1, timeout_s=120)
    assert outcome.finding == ""
    assert outcome.executions == EXECUTIONS
    assert outcome.refused > outcome.ran > 100


@pytest.mark.targets
def test_the_fuzzer_finds_a_check_that_is_missing(root: Path, tmp_path: Path) -> None:
    """An engine whose loader does not ask whether a tensor ends inside its memory."""
    if not fuzzing.is_possible():
        pytest.skip(f"no clang: `apt install {fuzzing.PACKAGES}` as root (make setup-targets)")
    shutil.copytree(root / "native" / "csrc", tmp_path / "native" / "csrc")
    shutil.copytree(root / "tests" / "engine", tmp_path / "tests" / "engine")
    loader = tmp_path / "native" / "csrc" / "core" / "load.c"
    weakened = re.sub(r" &&\s+t->size <= end - t->offset;", ";", loader.read_text())
    assert weakened != loader.read_text()
    loader.write_text(weakened)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    fuzzing.write_corpus(corpus)
    fuzzer = fuzzing.build(tmp_path, tmp_path / "fuzz")
    outcome = fuzzing.run(fuzzer, corpus, 10 * EXECUTIONS, seed=1, timeout_s=120)
    assert "AddressSanitizer" in outcome.finding
