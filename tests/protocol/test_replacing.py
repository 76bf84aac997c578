"""`replace` gives what `dataclasses.replace` gives, for whatever the agent's core changes, in C as
in Python, which is its specification."""

import dataclasses
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from wherry_agent.core.breaker import Breaker, State
from wherry_agent.core.reports import Reports
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.replacing import replace, replace_plainly
from wherry_protocol.topics import Topics

LIMITS = TrialLimits(good_inferences_min=1, trial_s_min=1.0, trial_s_max=2.0, error_rate_max=0.1,
                     error_samples_min=3)  # fmt: skip

BOTH = pytest.mark.parametrize("copy", [replace, replace_plainly])


@BOTH
@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (LIMITS, {}),
        (LIMITS, {"trial_s_max": 9.0, "may_confirm_by_golden": True}),
        (Breaker(bytes(32)), {"state": State.OPEN, "until_us": 7}),
        (Reports(bytes(16), 3), {"held": {}, "next_sequence": 9}),
    ],
)
def test_the_copy_is_the_same_but_for_the_changes(copy, value, changes):
    made = copy(value, **changes)
    assert made == dataclasses.replace(value, **changes)
    assert type(made) is type(value)
    assert made is not value


def test_it_is_compiled_where_tests_run():
    assert replace is not replace_plainly, "make setup"


@BOTH
def test_what_is_replaced_stays_as_it_was(copy):
    before = dataclasses.replace(LIMITS)
    copy(LIMITS, error_samples_min=99)
    assert before == LIMITS


@BOTH
def test_the_copy_is_frozen(copy):
    with pytest.raises(dataclasses.FrozenInstanceError):
        copy(LIMITS).error_samples_min = 99


@BOTH
def test_an_unknown_field_is_an_error(copy):
    with pytest.raises(AttributeError):
        copy(LIMITS, colour="red")


@BOTH
def test_a_name_that_is_equal_but_not_the_same_object_is_known(copy):
    name = "".join(["error_samples", "_min"])
    assert copy(LIMITS, **{name: 99}).error_samples_min == 99


@dataclass(frozen=True)
class WithoutSlots:
    size: int


@BOTH
@pytest.mark.parametrize("value", [WithoutSlots(1), Topics("acme")])
def test_a_class_that_it_cannot_copy_is_refused_by_name(copy, value):
    """`Topics` checks its name: a copy without that check would be another class's promise."""
    with pytest.raises(RuntimeError, match="it checks its values or has no slots"):
        copy(value)


def test_copies_touch_no_memory_but_their_own(root: Path, tmp_path: Path) -> None:
    """Values, changes, and classes that are described wrongly, under ASan and UBSan."""
    sanitizer = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-g1", "-shared", "-fPIC",
         f"-I{sysconfig.get_path('include')}", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all", os.fspath(root / "protocol/csrc/frozen.c"),
         "-o", os.fspath(tmp_path / "_frozen.abi3.so")],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, os.fspath(Path(__file__).with_name("frozen_fuzz.py")), str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": sanitizer, "ASAN_OPTIONS": "detect_leaks=0",
             "PYTHONMALLOC": "malloc"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
