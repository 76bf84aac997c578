"""Reports: numbered, held, spooled, bounded, released only on the director's word."""

import dataclasses
import logging

import pytest
from wherry_agent.core import reports as spool
from wherry_agent.core.effects import Publish, SpoolDrop, SpoolRead, SpoolWrite
from wherry_agent.core.inputs import Noticed, Sampled, Stopping
from wherry_agent.core.reports import Reports
from wherry_agent.core.tokens import Bucket, take
from wherry_protocol.errors import DecodeError
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.senml import Record

from tests.agent.harbour import SETTINGS, Harbour, afloat

BOOT = b"b" * 16


def made(**changes) -> Reports:
    return Reports(boot_id=BOOT, boot_count=3, **changes)


def filled(count: int, reports: Reports | None = None, size: int = 100, now_us: int = 0) -> Reports:
    reports = made() if reports is None else reports
    for _ in range(count):
        reports, _ = spool.add(reports, "topic", bytes(size), now_us)
    return reports


def test_reports_are_numbered_from_one_without_holes():
    assert sorted(filled(5).held) == [1, 2, 3, 4, 5]
    assert filled(5).oldest == 1
    assert made().oldest == 1


def test_an_ack_releases_everything_up_to_it_and_nothing_of_another_boot():
    reports, effects = spool.acknowledge(filled(5), BOOT, 3, 0)
    assert sorted(reports.held) == [4, 5]
    assert reports.oldest == 4
    assert effects == ()
    again, _ = spool.acknowledge(reports, b"x" * 16, 99, 0)
    assert sorted(again.held) == [4, 5]


def test_a_connected_device_that_is_acknowledged_never_writes():
    reports = made(is_connected=True)
    for second in range(600):
        reports, sent = spool.add(reports, "topic", b"x", second * 1_000_000)
        reports, acked = spool.acknowledge(reports, BOOT, second + 1, second * 1_000_000)
        reports, ticked = spool.tick(reports, second * 1_000_000)
        assert [type(one) for one in (*sent, *acked, *ticked)] == [Publish]


def test_what_is_not_acknowledged_for_its_time_is_written_once():
    reports, effects = spool.tick(filled(3), 59_999_999)
    assert effects == ()
    reports, effects = spool.tick(reports, 60_000_000)
    (written,) = effects
    assert isinstance(written, SpoolWrite)
    assert not reports.held
    assert reports.oldest == 1
    assert [r.sequence for r in spool.decode_segment(written.data).reports] == [1, 2, 3]
    assert spool.tick(reports, 120_000_000)[1] == ()


def test_more_in_memory_than_allowed_is_written_at_once():
    reports = filled(9, made(held_bytes_max=1000))
    assert reports.held_bytes == 900
    reports, effects = spool.add(reports, "topic", bytes(200), 0)
    assert [type(one) for one in effects] == [SpoolWrite]
    assert not reports.held


def test_a_full_spool_drops_the_oldest_segment_and_counts_every_report():
    reports = made(spool_bytes_max=2500)
    dropped = []
    for _ in range(5):
        reports, effects = spool.spool_all(filled(3, reports, 300))
        dropped += [one for one in effects if isinstance(one, SpoolDrop)]
    assert reports.spool_bytes <= 2500
    assert reports.dropped_count == 3 * len(dropped) > 0
    assert reports.oldest == 3 * len(dropped) + 1


def test_a_reconnection_sends_memory_and_the_oldest_segment_again():
    reports, _ = spool.spool_all(filled(2))
    reports = filled(2, reports)
    reports, effects = spool.connect(reports, 0)
    assert [type(one) for one in effects] == [SpoolRead, Publish, Publish]


def test_an_ack_of_one_segment_brings_the_next():
    reports, _ = spool.spool_all(filled(2))
    reports, _ = spool.spool_all(filled(2, reports))
    reports, _ = spool.connect(reports, 0)
    reports, effects = spool.acknowledge(reports, BOOT, 2, 0)
    assert [type(one) for one in effects] == [SpoolDrop, SpoolRead]
    reports, effects = spool.acknowledge(reports, BOOT, 4, 0)
    assert [type(one) for one in effects] == [SpoolDrop]
    assert reports.oldest == 5


def test_silence_of_the_controller_sends_again_after_half_a_minute():
    reports, _ = spool.connect(filled(2), 0)
    assert spool.tick(reports, 29_999_999)[1] == ()
    assert len(spool.tick(reports, 30_000_000)[1]) == 2


def test_a_report_lost_on_the_way_is_sent_again_however_many_acks_stop_before_it():
    """The broker lost report 1; the controller acknowledges each later one by saying 0."""
    reports = filled(1, made(is_connected=True))
    for second in range(1, 31):
        reports, _ = spool.add(reports, "topic", b"x", second * 1_000_000)
        reports, _ = spool.acknowledge(reports, BOOT, 0, second * 1_000_000)
    reports, sent = spool.tick(reports, 31 * 1_000_000)
    assert sent[0] == Publish("topic", bytes(100))


def test_a_torn_segment_is_dropped_and_counted():
    reports, (written,) = spool.spool_all(filled(4))
    assert isinstance(written, SpoolWrite)
    reports, _ = spool.connect(reports, 0)
    torn = written.data[:-1]
    with pytest.raises(DecodeError):
        spool.decode_segment(torn)
    reports, effects = spool.segment_read(reports, written.name, torn)
    assert reports.dropped_count == 4
    assert [type(one) for one in effects] == [SpoolDrop]


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_segment_cut_anywhere_is_known_as_torn(cut):
    _, (written,) = spool.spool_all(filled(4))
    assert isinstance(written, SpoolWrite)
    with pytest.raises(DecodeError):
        spool.found_segment(written.name, written.data[:cut])


# --- in the glass


def test_reports_made_offline_outlive_a_power_cut_and_arrive():
    harbour = afloat().cut()
    for number in range(5):
        harbour.live.post(Noticed("self", Kind.LOG, Severity.INFO, f"note {number}"))
    harbour.settle()
    harbour.tick(61)
    harbour.disk = harbour.disk.after_power_cut()
    harbour.broker.published.clear()
    harbour.boot().connect()
    texts = [event.text for event in harbour.events()]
    assert [f"note {n}" for n in range(5)] == [t for t in texts if t.startswith("note")]


def test_a_stop_makes_everything_durable():
    harbour = afloat()
    harbour.live.post(Stopping())
    harbour.settle()
    assert harbour.disk.names("spool")
    assert not harbour.live.agent.reports.held


def test_telemetry_carries_its_origin_and_only_the_oldest_that_is_still_held():
    harbour = afloat()
    harbour.live.post(Sampled("self", (Record(name="cpu", unit="/", value=0.1),)))
    harbour.settle()
    (report,) = harbour.telemetry()
    origin = report.origin
    assert (origin.org, origin.connection, origin.unit) == ("acme", "gw1", "self")
    assert origin.boot_id == harbour.live.agent.boot_id
    assert origin.oldest == 1
    assert origin.sequence == harbour.live.agent.reports.next_sequence - 1


def test_the_spool_stays_within_its_bounds_whatever_arrives():
    settings = dataclasses.replace(SETTINGS, spool_bytes_max=100_000)
    harbour = Harbour(settings=settings).boot()
    pack = tuple(Record(name=f"n{i}", value=float(i)) for i in range(200))
    for _ in range(400):
        harbour.live.post(Sampled("self", pack))
        harbour.settle()
        harbour.tick(61)
    spooled = sum(harbour.disk.size(f"spool/{n}") or 0 for n in harbour.disk.names("spool"))
    assert spooled <= 100_000
    assert harbour.live.agent.reports.dropped_count > 300


def test_a_flood_of_like_events_does_not_flood_the_log(caplog):
    """A full disk is told at each try, and the log may lie on that same disk."""
    harbour = afloat()
    with caplog.at_level(logging.WARNING):
        for _ in range(200):
            harbour.live.post(Noticed("self", Kind.STORAGE, Severity.CRITICAL, "disk is full"))
        harbour.settle()
        told = [line for line in caplog.messages if "disk is full" in line]
        assert len(told) == SETTINGS.events_per_minute
        harbour.tick(61)
        harbour.live.post(Noticed("self", Kind.STORAGE, Severity.CRITICAL, "disk is full"))
        harbour.settle()
    left_out = 200 - SETTINGS.events_per_minute
    assert caplog.messages[-1].endswith(f"disk is full ({left_out} more like this were left out)")


def test_a_flood_of_like_events_is_counted_and_not_sent():
    harbour = afloat()
    for _ in range(200):
        harbour.live.post(Noticed("self", Kind.LOG, Severity.WARNING, "again"))
    harbour.settle()
    again = [event for event in harbour.events() if event.text == "again"]
    assert len(again) == SETTINGS.events_per_minute
    harbour.tick(61)
    harbour.live.post(Noticed("self", Kind.LOG, Severity.WARNING, "again"))
    harbour.settle()
    assert harbour.events()[-1].suppressed == 200 - SETTINGS.events_per_minute


def test_tokens_come_back_at_their_rate():
    bucket = Bucket(level=0.0)
    allowed = 0
    for tenth in range(600):
        bucket, is_allowed, _ = take(bucket, tenth * 100_000, per_minute=30)
        allowed += is_allowed
    assert allowed == 29
