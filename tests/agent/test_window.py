"""Swap windows: the unit installs at once and swaps when it may, and says why it waits."""

import pytest
from wherry_agent.core.inputs import Deferred
from wherry_agent.core.window import When, judge
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import EVERY_DAY, Mode, SwapWindow
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.director import NOW_S
from tests.agent.harbour import afloat

DAY = 86_400
HOUR = 3600
MONDAY = 1_790_553_600  # 2026-09-28 00:00 UTC
NIGHT = SwapWindow(start_minute=120, end_minute=240)
INDIAN = SwapWindow(start_minute=120, end_minute=180, offset_minutes=330)


def at(day: int, hour: float) -> int:
    return int(MONDAY + day * DAY + hour * HOUR)


@pytest.mark.parametrize(
    ("window", "now_s", "code", "said"),
    [
        (None, None, Code.OK, ""),
        (SwapWindow(), None, Code.TIME_UNKNOWN, "not known"),
        (SwapWindow(), at(0, 3), Code.OK, ""),
        (NIGHT, at(0, 1.99), Code.WINDOW_CLOSED, "opens Mon 02:00"),
        (NIGHT, at(0, 2), Code.OK, ""),
        (NIGHT, at(0, 3.99), Code.OK, ""),
        (NIGHT, at(0, 4), Code.WINDOW_CLOSED, "opens Tue 02:00"),
        (SwapWindow(days=0b100_0000), at(0, 4), Code.WINDOW_CLOSED, "opens Sun 00:00"),
        (SwapWindow(days=0b100_0000), at(6, 12), Code.OK, ""),
        (SwapWindow(days=1, start_minute=60), at(0, 0), Code.WINDOW_CLOSED, "opens Mon 01:00"),
        (SwapWindow(days=1, end_minute=60), at(0, 2), Code.WINDOW_CLOSED, "opens Mon 00:00"),
        # beyond midnight: the day is the one on which it opens
        (SwapWindow(days=1, start_minute=1380, end_minute=60), at(1, 0.5), Code.OK, ""),
        (SwapWindow(days=1, start_minute=1380, end_minute=60), at(0, 0.5), Code.WINDOW_CLOSED,
         "opens Mon 23:00"),
        # zones: 02:00 at +05:30 is 20:30 UTC of the day before
        (INDIAN, at(0, 20.5), Code.OK, ""),
        (INDIAN, at(0, 2.5), Code.WINDOW_CLOSED, "opens Tue 02:00"),
        (SwapWindow(start_minute=120, end_minute=180, is_local=True), at(0, 3.5), Code.OK, ""),
        (SwapWindow(not_before_s=at(1, 0)), at(0, 23), Code.WINDOW_CLOSED, "not before 2026-09-29"),
        (SwapWindow(not_after_s=at(1, 0)), at(1, 0), Code.OK, ""),
        (SwapWindow(not_after_s=at(1, 0)), at(1, 0) + 1, Code.WINDOW_OVER, "closed for good"),
        (SwapWindow(defer_until_s=at(0, 9)), at(0, 8), Code.DEFERRED, "until 2026-09-28 09:00"),
        (SwapWindow(defer_until_s=at(0, 7)), at(0, 8), Code.OK, ""),
        (SwapWindow(), at(0, 8), Code.OK, ""),  # one that may not be deferred
    ],
    ids=str,
)  # fmt: skip
def test_a_window_is_open_or_says_when_it_opens(window, now_s, code, said):
    judged = judge(window, When(now_s, -90, deferred_s=at(0, 10)))
    assert judged.code is code
    assert said in judged.reason


@pytest.mark.parametrize("days", range(1, EVERY_DAY + 1, 6))
@pytest.mark.parametrize(("start", "end"), [(0, 1440), (300, 301), (1439, 0), (600, 600)])
def test_every_window_opens_within_a_week_and_then_when_it_said(days, start, end):
    window = SwapWindow(days=days, start_minute=start, end_minute=end)
    judged = [judge(window, When(at(0, 0) + 60 * m, 0, 0)) for m in range(0, 8 * 1440, 61)]
    minutes = [judge(window, When(at(0, 0) + 60 * m, 0, 0)) for m in (0, start, start + 1440 * 6)]
    assert {one.code for one in judged + minutes} <= {Code.OK, Code.WINDOW_CLOSED}
    assert any(
        judge(window, When(at(day, 0) + start * 60, 0, 0)).code is Code.OK for day in range(7)
    )


@pytest.fixture
def waiting():
    """1.0.0 serves; 1.1.0 was assigned with a window that opens in an hour."""
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1)
    harbour.install(old)
    new = harbour.director.made("1.1.0", seed=2)
    window = SwapWindow(not_before_s=NOW_S + HOUR, not_after_s=NOW_S + 2 * HOUR)
    harbour.assign(new, window=window)
    return harbour, old, new


def go_on(harbour, seconds):
    """Time passes, and the fleet's with it."""
    harbour.director.now_s += seconds
    harbour.tick(seconds)


def test_a_bundle_is_installed_at_once_and_swapped_in_when_its_window_opens(waiting):
    harbour, old, new = waiting
    model = harbour.model
    assert (model.phase, model.code, model.outcome) == (
        Phase.STAGED, Code.WINDOW_CLOSED, Outcome.NONE,
    )  # fmt: skip
    assert model.reason.startswith("waits for its window")
    assert model.candidate is not None
    assert model.candidate.version == "1.1.0"
    for topic in [t for t in harbour.broker.retained if "/b/" in t]:
        del harbour.broker.retained[topic]
    go_on(harbour, HOUR - 10)
    assert harbour.serving == old.digest
    go_on(harbour, 10)
    assert harbour.serving == new.digest
    assert harbour.model.code is Code.OK
    harbour.serve_well(new)
    assert harbour.model.outcome is Outcome.CONFIRMED


def test_waiting_writes_nothing_and_says_nothing_new(waiting):
    harbour, _, _ = waiting
    harbour.tick(2)
    said, writes = len(harbour.broker.published), harbour.disk.operation_count
    for _ in range(20):
        harbour.tick(1)
    assert harbour.disk.operation_count == writes
    assert len(harbour.broker.published) == said


def test_a_window_that_was_missed_rejects_with_its_own_code_and_without_penalty(waiting):
    harbour, old, new = waiting
    harbour.cut()
    harbour.director.now_s += 3 * HOUR
    harbour.now_us += 3 * HOUR * 1_000_000
    harbour.boot().connect()
    assert (harbour.model.outcome, harbour.model.code) == (Outcome.REJECTED, Code.WINDOW_OVER)
    assert harbour.serving == old.digest
    harbour.wish([harbour.director.assignment(new)])
    harbour.serve_well(new)
    assert harbour.serving == new.digest


def test_a_restart_in_the_meantime_changes_nothing(waiting):
    harbour, old, new = waiting
    harbour.cut().boot().connect()
    assert harbour.model.phase is Phase.STAGED
    assert harbour.serving == old.digest
    go_on(harbour, HOUR)
    assert harbour.serving == new.digest


def test_another_window_is_followed_without_testing_again(waiting):
    harbour, _, new = waiting
    harbour.loops.latency_us_p95 = 10_000_000  # a second test would not pass
    harbour.wish([harbour.director.assignment(new)])
    assert harbour.serving == new.digest


def test_a_switch_waits_for_its_window_and_the_shadow_runs_on(waiting):
    harbour, old, _ = waiting
    newer = harbour.director.made("1.2.0", seed=3)
    harbour.assign(newer, mode=Mode.SHADOW)
    window = SwapWindow(not_before_s=NOW_S + HOUR)
    harbour.wish([harbour.director.assignment(newer, window=window)])
    assert (harbour.model.phase, harbour.model.code) == (Phase.STAGED, Code.WINDOW_CLOSED)
    assert harbour.loops.shadows == {"digits": (newer.digest, 10_000)}
    assert harbour.serving == old.digest
    go_on(harbour, HOUR)
    assert harbour.serving == newer.digest
    assert harbour.loops.shadows == {}


def test_a_revert_never_waits_for_a_window():
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1)
    harbour.install(old)
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new, window=SwapWindow(not_after_s=NOW_S + 60))
    go_on(harbour, HOUR)
    harbour.loops.doing[new.digest] = {"error_count": 50}
    harbour.tick(0.1)
    assert harbour.serving == old.digest


def test_a_stop_ends_the_waiting_and_the_window_is_looked_at_again_after_it(waiting):
    harbour, old, new = waiting
    stop = harbour.director.topics.stop
    harbour.broker.say(stop, harbour.director.stop(True), is_retained=True)
    harbour.settle()
    go_on(harbour, HOUR)
    assert (harbour.serving, harbour.model.code) == (old.digest, Code.STOPPED)
    harbour.broker.say(stop, harbour.director.stop(False), is_retained=True)
    harbour.settle()
    assert harbour.serving == new.digest


def test_the_owner_puts_a_swap_off_as_long_as_the_assignment_allows():
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1)
    harbour.install(old)
    harbour.live.post(Deferred(NOW_S + 10 * HOUR))
    harbour.settle()
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new, window=SwapWindow(defer_until_s=NOW_S + 2 * HOUR))
    assert (harbour.model.phase, harbour.model.code) == (Phase.STAGED, Code.DEFERRED)
    harbour.cut().boot().connect()
    assert harbour.model.code is Code.DEFERRED
    go_on(harbour, 2 * HOUR - 60)
    assert harbour.serving == old.digest
    go_on(harbour, 60)
    assert harbour.serving == new.digest


def test_who_ends_the_deferral_swaps_at_once():
    harbour = afloat()
    harbour.install(harbour.director.made("1.0.0", seed=1))
    harbour.live.post(Deferred(NOW_S + 10 * HOUR))
    harbour.settle()
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new, window=SwapWindow(defer_until_s=NOW_S + 2 * HOUR))
    harbour.live.post(Deferred(0))
    harbour.settle()
    assert harbour.serving == new.digest


def test_an_assignment_without_a_window_is_not_put_off():
    harbour = afloat()
    harbour.live.post(Deferred(NOW_S + 10 * HOUR))
    harbour.settle()
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new)
    assert harbour.serving == new.digest


def revoke(harbour):
    """A new root with other release keys: nothing that was signed before holds any more."""
    director = harbour.director
    director.release_keys = [type(director.director_key).from_seed(b"r" * 32)]
    harbour.broker.say(director.topics.root(2), director.rotate(), is_retained=True)
    harbour.settle()


def waiting_switch():
    """1.0.0 serves; a warm 1.1.0 was assigned as active with a window that opens in an hour."""
    harbour = afloat()
    old = harbour.director.made("1.0.0", seed=1)
    harbour.install(old)
    new = harbour.director.made("1.1.0", seed=2)
    harbour.assign(new, mode=Mode.WARM)
    harbour.assign(new, window=SwapWindow(not_before_s=NOW_S + HOUR))
    return harbour, old, new


@pytest.mark.parametrize("is_switch", [False, True], ids=["fetched", "switched to"])
def test_what_waited_while_its_signer_was_revoked_never_serves(waiting, is_switch):
    harbour, old, new = waiting_switch() if is_switch else waiting
    assert harbour.model.code is Code.WINDOW_CLOSED
    revoke(harbour)
    go_on(harbour, HOUR)
    assert ("digits", new.digest) not in harbour.loops.history
    assert harbour.serving == old.digest
    model = harbour.model
    assert model.outcome is Outcome.REJECTED
    assert 200 <= model.code < 300
    assert harbour.live.agent.units["self"].penalties == ()
    assert harbour.loops.programs.keys() == {old.digest}
