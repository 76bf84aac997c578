"""A short run of the fuzzer that bench/fuzz.py lets run for long, and a proof that it finds."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine import fuzzing

EXECUTIONS = 20_000


Builder = Callable[[Path, bool], Path]


@pytest.fixture
def build() -> Builder:
    """Builds the fuzzer of a source tree, with or without kernels for particular processors."""
    if not fuzzing.is_possible():
        pytest.skip(f"no clang: `apt install {fuzzing.PACKAGES}` as root (make setup-targets)")
    return lambda root, with_tables: fuzzing.build(root, with_tables=with_tables)


@pytest.mark.parametrize(
    "with_tables",
    [
        pytest.param(False, id="portable"),
        pytest.param(True, id="every table", marks=pytest.mark.targets),
    ],
)
def test_the_fuzzer_finds_nothing_in_a_short_run(
    root: Path, build: Builder, tmp_path: Path, with_tables: bool
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    assert fuzzing.write_corpus(corpus) > 50
    outcome = fuzzing.run(build(root, with_tables), corpus, EXECUTIONS, seed=1, timeout_s=120)
    assert outcome.finding == ""
    assert outcome.executions == EXECUTIONS
    assert outcome.refused > outcome.ran > 100


@pytest.mark.targets
def test_the_fuzzer_finds_a_check_that_is_missing(
    root: Path, build: Builder, tmp_path: Path
) -> None:
    """An engine whose loader does not ask whether a tensor ends inside its memory."""
    shutil.copytree(root / "native" / "csrc", tmp_path / "native" / "csrc")
    shutil.copytree(root / "tests" / "engine", tmp_path / "tests" / "engine")
    loader = tmp_path / "native" / "csrc" / "core" / "load.c"
    weakened = re.sub(r" &&\s+t->size <= end - t->offset;", ";", loader.read_text())
    assert weakened != loader.read_text()
    loader.write_text(weakened)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    fuzzing.write_corpus(corpus)
    outcome = fuzzing.run(build(tmp_path, False), corpus, 10 * EXECUTIONS, seed=1, timeout_s=120)
    assert "AddressSanitizer" in outcome.finding
