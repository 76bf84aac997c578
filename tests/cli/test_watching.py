"""Watching a rollout: what the screen shows, and that a controller that restarts is no end."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_controller.cli.output import printable
from wherry_controller.cli.rollout_view import BAR_WIDTH, FAILED, UNDER_WAY, rollout_text
from wherry_controller.cli.rollout_watch import _screen

from tests.cli.door import wherry


def view(state: str, **changes: Any) -> dict[str, Any]:
    """A rollout as the API shows it."""
    return {
        "id": "pump-1.1.0-2", "state": state, "stage": 2, "stages": 5, "opened": 3,
        "reason": "because", "strategy": "canary", "preset": "balanced", "created_by": "ada",
        "subset": 1.0, "overrides": [], "checks": [], "failed": {}, "silent": {}, "not_back": {},
        "skipped": {}, "waiting_for": [], "ladder": [], "earliest_end_s": None, "seen_s": 0,
        "environment": "", "on_call": "", "notes": "", "approved_by": "", "lifecycle": "deploying",
        "is_open": state in ("running", "paused"), "is_winding_down": False,
        "members": {"confirmed": 1, "trial": 2, "pending": 9},
    } | changes  # fmt: skip


def rung(action: str, share: float, units: int, state: str, opens_s: float | None) -> Any:
    return {
        "action": action, "share": share, "units": units, "state": state, "opens_s": opens_s,
        "ready_s": None,
    }  # fmt: skip


def test_a_rollout_is_shown_with_all_that_an_operator_asks() -> None:
    text = rollout_text(
        view(
            "running",
            overrides=["trial_s_min = 1.0 (10.0)"],
            checks=[
                {"verdict": "fail", "check": "latency", "class": "mcu", "text": "too slow"},
            ],
            failed={"gw1/self": "GOLDEN_MISMATCH"},
            waiting_for=["10 s of soak"],
            skipped={"gw2/self": "no budget"},
            ladder=[
                rung("warm", 0.05, 1, "done", None),
                rung("swap", 0.1, 2, "open", 0.0),
                rung("swap", 1.0, 12, "ahead", 7200.0),
            ],
            earliest_end_s=7500,
        )
    )
    assert text.splitlines() == [
        "pump-1.1.0-2: running (deploying), stage 2 of 5, "
        "1 of 12 confirmed (1 confirmed, 2 trial, 9 pending)",
        "  [##>>>>..................] 3 opened",
        "  why: because",
        "  canary, preset balanced, by ada",
        "  instead of the preset's: trial_s_min = 1.0 (10.0)",
        "  stages: warm 5 % (1) done  [10 % (2)]  100 % (12) in 2 h 0 min",
        "  fail         latency (mcu): too slow",
        "  failed: gw1/self: GOLDEN_MISMATCH",
        "  skipped: gw2/self: no budget",
        "  waits for 10 s of soak",
        "  ends in 2 h 5 min at the earliest, 1970-01-01 02:05:00 UTC",
    ]


def test_a_rollout_on_its_way_back_counts_who_is_back() -> None:
    returns = {"none": 7, "back": 3, "sent": 1, "lost": 1}
    lines = rollout_text(view("reverting", returns=returns)).splitlines()
    assert lines[0].endswith("3 of 5 devices are back (1 sent, 1 lost)")
    assert lines[1].startswith("  [##############>>>>>xxxxx]")


def test_a_check_that_is_waited_for_is_told_once() -> None:
    checks = [{"verdict": "inconclusive", "check": "energy", "class": "mcu", "text": "no sensor"}]
    waits = ["10 s of soak", "energy: no sensor"]
    text = rollout_text(view("running", checks=checks, waiting_for=waits))
    assert text.count("no sensor") == 1
    assert "waits for the gate's energy" in text


def test_a_long_list_of_units_is_cut() -> None:
    text = rollout_text(view("running", silent={f"gw{n}": "gone" for n in range(30)}))
    assert text.count("silent:") == 11
    assert "silent: and 20 more" in text


@given(st.dictionaries(st.sampled_from(["confirmed", "pending", *FAILED, *UNDER_WAY]),
                       st.integers(0, 10_000)))  # fmt: skip
def test_the_bar_always_has_its_width(members: dict[str, int]) -> None:
    bar = rollout_text(view("running", members=members)).splitlines()[1].split()[0]
    assert len(bar) == BAR_WIDTH + 2


def test_the_screen_colours_verdicts_and_keeps_brackets() -> None:
    checks = [{"verdict": "pass", "check": "errors", "class": "", "text": "[red] 0 fail"}]
    shown = _screen(view("running", checks=checks, members={"confirmed": 1, "silent": 1}), "")
    assert "[red] 0 fail" in shown.plain
    assert "[############xxxxxxxxxxxx]" in shown.plain
    coloured = {shown.plain[s.start : s.end].strip(): s.style for s in shown.spans}
    assert coloured["pass"] == "green"
    assert coloured["xxxxxxxxxxxx"] == "red"
    assert "fail" not in coloured
    assert "no answer; trying again" in _screen({}, "no answer").plain


@given(st.text())
def test_what_is_shown_never_drives_the_terminal(text: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in printable(text))


class Restarting(http.server.BaseHTTPRequestHandler):
    """A controller whose stream breaks twice before the rollout succeeds."""

    streams: ClassVar[list[list[dict[str, Any]] | None]] = []

    def do_GET(self) -> None:
        if not self.path.endswith("/watch"):
            self._answer(json.dumps(view("running" if self.streams else "succeeded")).encode())
            return
        views = self.streams.pop(0)
        if views is None:  # dies before it answers
            self.close_connection = True
            return
        self._answer(b"".join(b"data: %s\n\n" % json.dumps(v).encode() for v in views))

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def restarting() -> Iterator[str]:
    Restarting.streams[:] = [[view("running")], None, [view("succeeded")]]
    server = http.server.HTTPServer(("127.0.0.1", 0), Restarting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_watch_goes_on_after_the_controller_was_away(restarting: str) -> None:
    done = wherry("--server", restarting, "--token", "x", "rollout", "watch", "pump-1.1.0-2")
    assert done.status == 0, done
    lines = done.err.splitlines()
    assert lines[0].startswith("pump-1.1.0-2: running")
    assert lines[1] == "the controller ended the stream"
    assert "does not answer" in lines[2]
    assert lines[3].startswith("pump-1.1.0-2: succeeded")
    assert Restarting.streams == []


def test_a_watch_as_json_prints_the_last_view_only(restarting: str) -> None:
    done = wherry("--server", restarting, "--token", "x", "rollout", "watch", "pump", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.json["state"] == "succeeded"
