"""Mistakes that a sweep must find: each is switched on, and its subject is swept until it breaks.

A new mistake is a function registered by `mistake(subject, scenarios)`, which patches through
`switch.set`, or a text of the firmware's core that is replaced (`in_firmware`).

    python -m tests.crash_sweep.mistakes            # all of them
"""

# ruff: noqa: ARG001, ARG005  (a wrong rule takes the parameters of the right one)

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wherry_agent.core import penalty, trying
from wherry_agent.core.effects import Remember
from wherry_agent.shell import blob_store
from wherry_agent.shell.blob_store import BlobStore
from wherry_controller import vault
from wherry_controller.fleet import rollouts
from wherry_controller.fleet.service import Fleet

from tests.crash_sweep.firmware import bench
from tests.crash_sweep.subjects import SUBJECTS
from tests.crash_sweep.sweep import Cut, Share, judged, play, sweep
from tests.simulation.defects import Switch, is_stale
from tests.simulation.defects.in_agent import (
    believe_an_ack_of_another_boot,
    let_the_spool_grow,
    persist_after_activate,
    skip_an_fsync,
    skip_the_folders_fsync,
    try_for_ever,
    write_the_record_in_place,
)

SwitchOn = Callable[[Switch], None]


@dataclass(frozen=True)
class Mistake:
    """Where it should come to light."""

    switch_on: SwitchOn
    subject: str
    scenario: str


MISTAKES: dict[str, Mistake] = {}


def mistake(subject: str, scenario: str) -> Callable[[SwitchOn], SwitchOn]:
    def register(switch_on: SwitchOn) -> SwitchOn:
        MISTAKES[switch_on.__name__] = Mistake(switch_on, subject, scenario)
        return switch_on

    return register


def in_firmware(name: str, scenario: str, file: str, right: str, wrong: str) -> None:
    """A line of the core is another one."""

    def switch_on(switch: Switch) -> None:
        bench.MISTAKES.append((file, right, wrong))
        switch.undo.append(bench.MISTAKES.clear)

    MISTAKES[name] = Mistake(switch_on, "firmware", scenario)


# --- the agent; those of the simulator first

for known, where in (
    (skip_an_fsync, "update"),
    (skip_the_folders_fsync, "update"),
    (write_the_record_in_place, "update"),
    (persist_after_activate, "update"),
    (try_for_ever, "unconfirmed-starts"),
    (let_the_spool_grow, "long-offline"),
    (believe_an_ack_of_another_boot, "offline-over-nights"),
):
    mistake("agent", where)(known)


@mistake("agent", "first-install")
def name_before_fsync(switch: Switch) -> None:
    """Blobs and images get their names before their bytes are durable."""

    def name_quickly(disk: Any, new: str, name: str, folder: str) -> None:
        disk.rename(new, name)
        disk.fsync_dir(folder)

    switch.set(blob_store, "name_durably", name_quickly)


@mistake("agent", "first-install")
def forget_the_folder_of_blobs(switch: Switch) -> None:
    """Their names are not durable when the record tells of them."""

    def name_quickly(disk: Any, new: str, name: str, folder: str) -> None:
        disk.fsync(new)
        disk.rename(new, name)

    switch.set(blob_store, "name_durably", name_quickly)


@mistake("agent", "update")
def clean_up_before_the_record(switch: Switch) -> None:
    """The pieces of the old bundle go while the record still names it."""
    right = BlobStore.assemble

    def assemble(store: BlobStore, manifest: Any) -> None:
        for name in store.disk.names("images"):
            store.disk.unlink(f"images/{name}")
        right(store, manifest)

    switch.set(BlobStore, "assemble", assemble)


@mistake("agent", "active-is-damaged")
def believe_what_is_on_disk(switch: Switch) -> None:
    """Images are not hashed before they run."""
    switch.set(blob_store.BlobStore, "open_image", _open_unhashed)


def _open_unhashed(store: BlobStore, manifest: Any) -> Any:
    return store.disk.image(f"images/{manifest.program_digest.hex()}")


@mistake("agent", "penalty-over-nights")
def forget_penalties_over_night(switch: Switch) -> None:
    switch.set(penalty, "remaining_s", lambda penalties, digest, now_s: 0)


@mistake("agent", "breach")
def revert_without_a_record(switch: Switch) -> None:
    right = trying.revert

    def revert(*given: Any, **options: Any) -> Any:
        after, effects = right(*given, **options)
        return after, tuple(one for one in effects if not isinstance(one, Remember))

    switch.set(trying, "revert", revert)


@mistake("agent", "update")
def keep_what_failed(switch: Switch) -> None:
    """A name that could not be made durable is trusted at the next try."""

    def name_and_hope(disk: Any, new: str, name: str, folder: str) -> None:
        disk.fsync(new)
        disk.rename(new, name)
        disk.fsync_dir(folder)

    switch.set(blob_store, "name_durably", name_and_hope)


# --- the firmware

in_firmware(
    "erase_the_log_that_counts", "full-state-sector", "state.c",
    "*index = (1u - sector) * RECORDS_PER_SECTOR;", "*index = sector * RECORDS_PER_SECTOR;",
)  # fmt: skip
in_firmware(
    "journal_before_the_erasure",
    "update",
    "upload.c",
    """    if (status == FW_OK) {
        status = fw_flash_erase(flash, fw_bank_offset(flash, bank), fw_bank_size(flash));
    }
    if (status == FW_OK && sha) {
        status = write_journal(upload, flash);
    }
    return status;""",
    """    if (status == FW_OK && sha) {
        status = write_journal(upload, flash);
    }
    if (status == FW_OK) {
        status = fw_flash_erase(flash, fw_bank_offset(flash, bank), fw_bank_size(flash));
    }
    return status;""",
)
in_firmware(
    "keep_the_torn_sector", "update", "upload.c",
    "(filled - 1u) / FW_SECTOR_SIZE * FW_SECTOR_SIZE", "filled / FW_WRITE_UNIT * FW_WRITE_UNIT",
)  # fmt: skip
in_firmware(
    "decide_in_memory_only",
    "revert",
    "firmware.c",
    "return is_same ? FW_OK : fw_state_write(fw->board->flash, &fw->state);",
    "return is_same || fw->boot == FW_BOOT_TRY ? FW_OK\n"
    "        : fw_state_write(fw->board->flash, &fw->state);",
)
in_firmware(
    "write_into_a_used_place",
    "full-state-log",
    "state.c",
    "        if (fw_flash_is_blank(flash, record_offset(i), RECORD_SIZE)) {",
    "        {",
)


# --- the controller


@mistake("controller", "push")
def list_before_the_vault(switch: Switch) -> None:
    """The bundle's row is committed, and its blobs follow."""
    right = Fleet.do

    def do(fleet: Fleet, command: Any, now_s: float) -> Any:
        late: list[bytes] = []
        with _vault_later(late):
            result = right(fleet, command, now_s)
        for content in late:
            fleet.org.vault.write(content)
        return result

    switch.set(Fleet, "do", do)


@contextlib.contextmanager
def _vault_later(late: list[bytes]) -> Iterator[None]:
    right = vault.Vault.write

    def write(_: Any, content: bytes) -> bytes:
        late.append(content)
        return vault.sha256(content).digest()

    vault.Vault.write = write  # type: ignore[method-assign]
    try:
        yield
    finally:
        vault.Vault.write = right  # type: ignore[method-assign]


@mistake("controller", "rolling")
def keep_rollouts_in_another_transaction(switch: Switch) -> None:
    """What was assigned is committed, how far the rollout is follows."""
    right = Fleet._kept

    @contextlib.contextmanager
    def kept(fleet: Fleet, now_s: float) -> Iterator[None]:
        with right(fleet, now_s):
            yield
        with fleet.org.db.atomic():
            keep_now(fleet.org, now_s)

    keep_now = rollouts.keep
    switch.set(rollouts, "keep", lambda org, now_s: None)
    switch.set(Fleet, "_kept", kept)


@mistake("store", "push")
def believe_a_file_that_was_begun(switch: Switch) -> None:
    """The vault writes in place."""
    switch.set(vault, "write_durably", lambda path, content: _write_in_halves(path, content))


def _write_in_halves(path: Any, content: bytes) -> None:
    half = len(content) // 2
    path.write_bytes(content[:half])
    with path.open("ab") as file:
        file.write(content[half:])


@mistake("store", "new-epoch")
def believe_a_root_that_was_rolled_back(switch: Switch) -> None:
    """Memory is ahead of a transaction that failed."""

    @contextlib.contextmanager
    def kept(fleet: Fleet, now_s: float) -> Iterator[None]:
        try:
            with fleet.org.db.atomic():
                yield
                rollouts.keep(fleet.org, now_s)
        except BaseException:
            rollouts.forget(fleet.org)
            raise

    switch.set(Fleet, "_kept", kept)


# --- finding them


def found(name: str) -> tuple[tuple[Cut, ...] | None, str]:
    """The first cuts that show it, and how; () where not even a whole play ends, None where none
    does."""
    one, switch = MISTAKES[name], Switch()
    subject = SUBJECTS[one.subject]
    wanted = play(subject, one.scenario).end
    one.switch_on(switch)
    try:
        whole = judged(subject, one.scenario, (), wanted)
        if whole.failure is not None:
            return None if is_stale(whole.failure) else (), whole.failure
        tally = sweep(subject, one.scenario, Share(seconds_max=2), ends_with_failure=True)
        if not tally.failed:
            return None, "not found"
        cuts, why = tally.failed[0]
        return None if is_stale(why) else cuts, why
    finally:
        switch.off()


def main(names: list[str]) -> int:
    missed = []
    for name in names or MISTAKES:
        cuts, why = found(name)
        where = "-" if cuts is None else " ".join(map(str, cuts)) or "at once"
        print(f"{name:<40}{where:<24}{why[:110]}", flush=True)
        missed += [name] if cuts is None else []
    print(json.dumps({"mistakes": len(names or MISTAKES), "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
