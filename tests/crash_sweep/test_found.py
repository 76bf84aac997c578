"""What the crash sweep has found, each as small as it gets. docs/reliability.md lists them."""

import errno
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from wherry_agent.core import reports
from wherry_agent.core.effects import SpoolWrite, Wanted
from wherry_agent.core.inputs import Sampled
from wherry_agent.shell import identity_files, transport
from wherry_agent.shell.blob_store import BlobStore, sha256
from wherry_agent.telemetry.pack import resources_pack
from wherry_controller.core import spool
from wherry_controller.fleet import Organization, trustees
from wherry_protocol.errors import Code
from wherry_protocol.messages.enrolment import BrokerLogin
from wherry_protocol.messages.reported import Outcome

from tests.agent.director import Director
from tests.agent.harbour import SETTINGS, Harbour, afloat
from tests.agent.sim_disk import SimDisk
from tests.controller.test_trustees import advance, next_root
from tests.controller.world import make_world
from tests.crash_sweep.enrolment import PLAIN, SECURE, UNITS


def _fail_once(harbour: Harbour, at: int) -> None:
    """The `at`-th operation from now on ends with EIO."""
    disk = harbour.disk
    right, left = disk._operation, [at]

    def operation(act: Callable[[], None], tear: Callable[[], None] | None = None) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EIO, "Input/output error")
        right(act, tear)

    disk._operation = operation  # type: ignore[method-assign]


def test_what_a_lifted_isolation_let_go_begins_although_its_record_failed_once() -> None:
    """Agent, isolated-and-freed, 17:eio: the assignment waited for a word that had come."""
    harbour = afloat()
    old, new = harbour.director.made("1.0.0", seed=1), harbour.director.made("1.1.0", seed=2)
    harbour.install(old).publish(new)
    assignment = harbour.director.assignment(new)
    harbour.wish([assignment], is_isolated=True)
    _fail_once(harbour, 5)
    harbour.wish([assignment])
    harbour.tick(1).tick(31)
    harbour.serve_well(new)
    assert harbour.model.outcome is Outcome.CONFIRMED


def test_a_bundle_whose_manifest_the_disk_did_not_take_is_not_installed_without_it() -> None:
    """Agent, first-install, 14:eio 47:kept: it was confirmed, cleaned away for want of a manifest,
    and gone at the next start."""
    harbour = afloat()
    bundle = harbour.director.made("1.0.0", seed=1)
    harbour.publish(bundle)
    _fail_once(harbour, 9)  # eight operations make two records durable, then comes the manifest
    harbour.wish([harbour.director.assignment(bundle)])
    assert harbour.model.code is Code.STORAGE
    harbour.tick(10)
    harbour.serve_well(bundle)
    assert harbour.model.outcome is Outcome.CONFIRMED
    assert harbour.boot().serving == bundle.digest


def test_nothing_is_cleaned_away_while_a_manifest_cannot_be_read() -> None:
    """Read beside the above: an I/O error was taken for a bundle of which there is nothing."""
    harbour = afloat()
    bundle = harbour.director.made("1.0.0", seed=1)
    harbour.install(bundle)
    right = harbour.disk.read

    def read(name: str) -> bytes:
        if name == f"blobs/{bundle.digest.hex()}":
            raise OSError(errno.EIO, "Input/output error")
        return right(name)

    harbour.disk.read = read  # type: ignore[method-assign]
    harbour.wish([harbour.director.assignment(bundle)])
    harbour.disk.read = right  # type: ignore[method-assign]
    assert harbour.boot().serving == bundle.digest


def test_a_blob_whose_name_could_not_be_made_durable_is_fetched_again() -> None:
    """Agent, warm-candidate, 47:eio: the name was seen and trusted, and a power cut took it."""
    disk = SimDisk()
    store = BlobStore(disk)
    content = bytes(range(256))
    wanted = Wanted(sha256(content), len(content))
    store.keep_chunk(wanted.digest, 0, content)
    right = disk.fsync_dir

    def fsync_dir(folder: str) -> None:
        raise OSError(errno.EIO, f"Input/output error: {folder}")

    disk.fsync_dir = fsync_dir  # type: ignore[method-assign]
    with pytest.raises(OSError, match="blobs"):
        store.finish(wanted.digest, wanted.size_bytes)
    disk.fsync_dir = right  # type: ignore[method-assign]
    assert not store.survey([wanted], is_content_wanted=False).whole
    store.keep_chunk(wanted.digest, 0, content)
    assert store.finish(wanted.digest, wanted.size_bytes)


def test_reports_that_the_spool_did_not_take_are_held_and_tried_again() -> None:
    """Agent, long-offline, 5:eio: one failed write lost a minute of reports, and what came after
    them waited behind the gap."""
    held = reports.Reports(bytes(16), 1)
    for _ in range(3):
        held, _ = reports.add(held, "topic", b"figures", 0)
    held, effects = reports.tick(held, held.hold_us)
    (written,) = effects
    assert isinstance(written, SpoolWrite)
    held, _ = reports.add(held, "topic", b"later", held.hold_us)
    held, _ = reports.write_failed(held, written.name, written.data, held.hold_us)
    assert sorted(held.held) == [1, 2, 3, 4]
    assert (held.segments, held.dropped_count, held.oldest) == ((), 0, 1)


def test_reports_for_which_there_is_no_room_on_disk_nor_in_memory_are_counted() -> None:
    held = reports.Reports(bytes(16), 1, held_bytes_max=20)
    for _ in range(3):
        held, effects = reports.add(held, "topic", b"0123456789", 0)
    written = next(one for one in effects if isinstance(one, SpoolWrite))
    held, _ = reports.write_failed(held, written.name, written.data, 0)
    assert sorted(held.held) == [2, 3]
    assert (held.dropped_count, held.oldest) == (1, 2)


def test_a_root_whose_transaction_failed_is_not_believed_in_memory_either(tmp_path: Path) -> None:
    """Store, new-epoch, 4:full: the second try found the root known already, and neither made the
    documents of the new epoch nor wrote down who had published it."""
    world = make_world(tmp_path)
    device = world.enroll("gw1")
    world.push("1.0.0")
    world.deploy("1.0.0")
    world.go(3)

    def refused(org: Organization) -> None:
        trustees.advance_root(org, next_root(world, epoch=2), "ada", world.now_s)
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError):
        world.do(refused)
    assert world.org.trust.root.number == 1
    advance(world, next_root(world, epoch=2))
    world.go(2)
    assert device.trust.root.epoch == 2
    assert device.revision == 1


def test_reports_of_an_earlier_start_behind_a_gap_are_released() -> None:
    """Known from the simulator (everything, seed 405), and met again as soon as the sweep had a
    small spool: what lay before them had given way, and nobody could say so."""
    harbour = afloat(settings=replace(SETTINGS, spool_bytes_max=4096)).cut()
    _voyage(harbour, minutes=10)
    harbour.boot()
    _voyage(harbour, minutes=4)
    earlier = harbour.live.agent.reports.segments[0]
    assert earlier.boot_id != harbour.live.agent.boot_id
    assert earlier.last_sequence > earlier.count, "some of them must have given way"
    harbour.broker.published.clear()
    harbour.connect()
    position = spool.START
    for one in [*harbour.events(), *harbour.telemetry()]:
        if one.origin.boot_id == earlier.boot_id:
            position, _ = spool.accept(position, one.origin.sequence, one.origin.oldest)
    assert position.contiguous == earlier.last_sequence


def _voyage(harbour: Harbour, minutes: int) -> None:
    """Figures twice a minute."""
    for _ in range(2 * minutes):
        harbour.live.post(Sampled("self", resources_pack("acme/gw1/self/", {"memory.rss": 2e6})))
        harbour.tick(30)


def test_tls_is_not_left_out_for_an_enrolment_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enrolment, again-without-tls, 17:stop: what the new answer allows was written first, and the
    process ended before the answer: the device could not reach its former broker any more."""
    director, folder = Director(), tmp_path / "state"
    right = identity_files._write_private

    def keep(login: BrokerLogin) -> None:
        request = identity_files.make_request(folder, "gw1", UNITS, {}, "test")
        identity_files.keep_answer(folder, director.enrol(request, login)[1])

    def write(path: Path, data: bytes) -> None:
        if path.name == identity_files.ENROLMENT:
            raise OSError(errno.EIO, "the process ends here")
        right(path, data)

    keep(SECURE)
    monkeypatch.setattr(identity_files, "_write_private", write)
    with pytest.raises(OSError, match="ends here"):
        keep(PLAIN)
    assert identity_files.read_enrolment(folder)[0].broker == SECURE
    assert (folder / transport.FILE).read_text().strip() == transport.TLS
