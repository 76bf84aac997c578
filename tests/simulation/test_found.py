"""What the simulator has found, each as small as it gets. docs/reliability.md lists them."""

from dataclasses import replace

import cbor2
import pytest
from wherry_agent.core.agent import step
from wherry_agent.core.effects import Publish, SpoolDrop, Subscribe
from wherry_agent.core.inputs import Connected, Stopping
from wherry_agent.core.presence import presence
from wherry_agent.core.record import unit_record
from wherry_agent.core.reports import Reports, Segment, trim
from wherry_agent.shell import record_file, spool_files
from wherry_controller.core.rollouts.members import MemberPhase
from wherry_controller.fleet import rollouts
from wherry_protocol import cose
from wherry_protocol.errors import Code, DecodeError
from wherry_protocol.messages.reported import Outcome
from wherry_protocol.messages.trust import ReportRequest

from tests.agent.director import ORG, TRIAL
from tests.agent.harbour import Harbour, afloat
from tests.controller.world import World, make_world
from tests.simulation.disk import FaultyDisk

RECORD_OPERATIONS = 4  # write, fsync, rename, fsync of the folder


@pytest.mark.parametrize("header", [cbor2.CBORSimpleValue(16), 7, b"", []])
def test_an_unprotected_header_that_is_no_empty_map_is_refused(header: object) -> None:
    """Seed 38: one flipped bit in a message was a TypeError in whoever opened it."""
    data = cbor2.dumps(cbor2.CBORTag(cose.TAG_MAC0, [b"", header, b"", b""]), canonical=True)
    with pytest.raises(DecodeError, match="the other one empty"):
        cose.verify_mac0(data, content_type="x", key=bytes(32))


def test_a_way_back_that_could_not_be_written_stays_a_way_back() -> None:
    """Seed 108: the pointer went back on a full disk, then the record confirmed the other one."""
    harbour = afloat()
    old, new = harbour.director.made("1.0.0", seed=1), harbour.director.made("1.1.0", seed=2)
    harbour.install(old).assign(new)
    harbour.disk.is_full = True
    harbour.serve_well(new, 5, error_count=50)
    assert harbour.serving == old.digest
    harbour.serve_well(new, 1000).tick(10)
    harbour.disk.is_full = False
    harbour.tick(2).tick(2)
    assert harbour.serving == old.digest
    assert harbour.model.outcome is Outcome.REVERTED
    harbour.disk = harbour.disk.after_power_cut()
    assert harbour.boot().serving == old.digest


def _asked(harbour: Harbour) -> None:
    director = harbour.director
    request = ReportRequest(org=ORG, epoch=0, issued_s=director.now_s, nonce=bytes(16), spread_s=5)
    harbour.broker.say(director.topics.report, director.sealed(request))
    harbour.settle()


def test_a_device_that_is_asked_to_report_says_that_it_is_here_too() -> None:
    """Seed 168: a controller from a backup believed a connected device away, for ever."""
    harbour = afloat()
    topic = harbour.director.topics.presence(harbour.ashore.name)
    harbour.broker.published.clear()
    _asked(harbour)
    harbour.tick(6)
    said = [payload for name, payload in harbour.broker.published if name == topic]
    assert harbour.ashore.identity is not None
    assert said == [presence(harbour.ashore.identity, harbour.connection_number, True)]


def test_a_broker_that_forgot_our_session_makes_us_ask_everybody(tmp_path) -> None:
    """Seed 170: what devices said between the broker's start and ours was lost, for ever."""
    world = make_world(tmp_path)
    world.publish()
    world.told.clear()
    world.fleet.link_changed(False, False, world.now_s)
    world.fleet.link_changed(True, False, world.now_s)
    world.publish()
    assert world.org.topics.report in [one.topic for one in world.told]


def test_a_spool_above_its_limit_is_trimmed_at_the_start() -> None:
    """Long night, seed 403: power went between a segment's write and the drop of an older one."""
    first, last = Segment("a", 50, b"b" * 16, 2, 2), Segment("b", 60, b"b" * 16, 5, 3)
    held, effects = trim(Reports(bytes(16), 7, spool_bytes_max=100, segments=(first, last)))
    assert held.segments == (last,)
    assert held.dropped_count == 2
    assert effects == (SpoolDrop("a"),)


def test_a_pointer_that_was_not_moved_does_not_go_back_with_a_record_that_failed() -> None:
    """Seed 598: on a full disk the record went back in memory, and the pointer stayed."""
    harbour = afloat()
    old, new = harbour.director.made("1.0.0", seed=1), harbour.director.made("1.1.0", seed=2)
    harbour.install(old).assign(new)
    harbour.disk.is_full = True
    harbour.assign(old)  # its revision is written first: the way back never begins
    active = harbour.live.agent.units["self"].models["digits"].record.active
    assert active is not None
    assert active.manifest_digest == harbour.serving == new.digest
    harbour.disk.is_full = False
    harbour.tick(2)
    assert harbour.serving == old.digest
    assert harbour.model.active is not None
    assert harbour.model.active.manifest_digest == old.digest


def test_what_was_written_before_the_record_failed_stays() -> None:
    """A disk that failed at the second record of a step made the revision fall on the next tick."""
    disk = FaultyDisk()
    harbour = afloat(disk=disk)
    harbour.publish(made := harbour.director.made("1.0.0", seed=1))
    disk.good_left, disk.failures_left = RECORD_OPERATIONS, 1
    harbour.assign(made)
    assert disk.failures_left == 0
    written = record_file.load(disk)
    assert written is not None
    assert unit_record(written, "self").revision > 0
    assert harbour.live.agent.units["self"].memory.revision == unit_record(written, "self").revision


def test_what_was_subscribed_before_the_record_failed_is_let_go_with_the_install() -> None:
    """A chunk topic that was asked for in a step whose record failed stayed subscribed."""
    harbour = afloat()
    refused, next_one = (harbour.director.made(model=name) for name in ("digits", "letters"))
    topics = [harbour.director.topics.chunk(one.digest, 0) for one in (refused, next_one)]
    harbour.publish(refused, without=(topics[0],))
    assigned = (
        harbour.director.assignment(refused, signatures=b"\0"),
        harbour.director.assignment(next_one),
    )
    harbour.wish(assigned, chunk_window=1)
    assert _chunk_topics(harbour) == topics[:1]
    harbour.disk.is_full = True
    harbour.broker.say(topics[0], harbour.director.chunks(refused)[topics[0]])
    harbour.settle()
    assert _chunk_topics(harbour) == topics[1:]
    harbour.tick(2)
    assert _chunk_topics(harbour) == []


def _chunk_topics(harbour: Harbour) -> list[str]:
    return [topic for topic in harbour.broker.subscribed if "/b/" in topic]


def test_what_was_to_be_spooled_is_spooled_although_the_record_failed() -> None:
    """An agent that stopped and could not write its record forgot its reports with it."""
    disk = FaultyDisk()
    harbour = afloat(disk=disk)
    director = harbour.director
    for later_s in (10, 20):  # the second one is not worth a write of its own
        harbour.broker.say(director.topics.time, director.fleet_time(director.now_s + later_s))
        harbour.settle()
    disk.failures_left = 1
    harbour.live.post(Stopping())
    harbour.settle()
    assert disk.failures_left == 0
    (segment,) = harbour.live.agent.reports.segments
    assert segment.count > 0
    assert [one.name for one in spool_files.load(disk)] == [segment.name]


def test_a_device_that_learns_the_newest_root_says_that_it_is_here() -> None:
    """Seed 503: what the new director had asked of everybody came before its root, and was refused;
    the greeting was lost, and a late will spoke last."""
    harbour = afloat()
    root = harbour.director.rotate()
    _asked(harbour)
    harbour.broker.published.clear()
    harbour.broker.say(harbour.director.topics.root(2), root, is_retained=True)
    harbour.settle()
    topic = harbour.director.topics.presence(harbour.ashore.name)
    assert topic in [name for name, _ in harbour.broker.published]


def test_a_device_greets_once_it_has_subscribed() -> None:
    """Seed 683: a greeting came before the controller was there, and the controller's question
    before the device listened: it was believed away for ever."""
    harbour = Harbour().boot()
    _, effects = step(harbour.live.agent, Connected(1), harbour.moment())
    topics = harbour.director.topics
    asked = [n for n, one in enumerate(effects) if isinstance(one, Subscribe)]
    said = [n for n, one in enumerate(effects) if isinstance(one, Publish)]
    assert topics.report in effects[asked[0]].topics
    assert effects[said[0]].topic == topics.presence(harbour.ashore.name)
    assert max(asked) < min(said)


def test_the_time_in_which_the_controller_was_not_there_is_nobodys_silence(tmp_path) -> None:
    """Seed 635: deadlines ran on while the process was dead."""
    world = make_world(tmp_path)
    world.enroll("gw1")
    world.devices.clear()  # it says nothing any more
    world.push("1.0.0")
    rollout = world.deploy("1.0.0", silent_after_s=100.0)
    world.go(50)
    world.now_s += 3_600
    world.restart()
    world.go(40)
    assert _phase_of_gw1(world, rollout) is MemberPhase.OFFERED
    world.go(20)
    assert _phase_of_gw1(world, rollout) is MemberPhase.SILENT


def _phase_of_gw1(world: World, rollout: str) -> MemberPhase:
    return rollouts.load(world.org, rollout).members["gw1/self"].phase


def test_a_bundle_is_not_blamed_for_a_disk_that_does_not_take_its_confirmation() -> None:
    """Seed 1000: what was counted in the trial was undone with the confirmation, so that the time
    reverted a good bundle."""
    harbour = afloat()
    made = harbour.director.made("1.0.0")
    harbour.assign(made, trial=replace(TRIAL, trial_s_max=60.0))
    harbour.disk.is_full = True
    for _ in range(70):
        harbour.serve_well(made).tick(1)
    assert harbour.serving == made.digest
    harbour.disk.is_full = False
    harbour.tick(2).tick(2)
    assert harbour.model.outcome is Outcome.CONFIRMED


def test_a_boot_number_that_came_again_is_overtaken_once_the_time_is_known() -> None:
    """A disk that takes nothing for a whole life: what the next life says was taken for old."""
    harbour = afloat()
    harbour.disk.is_full = True
    harbour.director.now_s += 10
    harbour.boot().connect()
    for _ in range(5):
        harbour.wish([]).tick(2)  # much is said
    first = harbour.reported
    assert first.sequence > 5
    assert first.time_s is not None
    harbour.director.now_s += 10
    harbour.disk.is_full = False
    second = harbour.boot().connect().tick(2).reported
    assert first.boot_count == second.boot_count
    assert first.boot_id != second.boot_id
    assert second.sequence > first.sequence


def test_the_time_is_asked_for_again_after_an_answer_that_a_newer_time_has_overtaken() -> None:
    """Seed 614 of `stopped`: the answer came 5 s late and behind a newer `trust/time`, was refused
    as older than that, and nobody asked again."""
    harbour = afloat(answers_time=False).wish([]).tick(2)
    director, said = harbour.director, harbour.reported
    assert said.nonce is not None
    late = director.time_answer(harbour.ashore, said.nonce)
    director.now_s += 4
    harbour.broker.say(director.topics.time, director.fleet_time(), is_retained=True)
    harbour.say("rpc", late)
    for _ in range(40):
        harbour.tick(1)
    again = harbour.reported
    assert (again.refusal_code, again.nonce) == (Code.TIME_UNKNOWN, said.nonce)
    assert again.sequence == said.sequence + 1  # which is what a controller answers
    harbour.say("rpc", director.time_answer(harbour.ashore, said.nonce))
    assert harbour.tick(2).reported.refusal_code is Code.OK
    assert harbour.reported.revision == director.revision
