"""What an agent goes through under the cuts. A new scenario is one function here.

It speaks for the shore (nothing moves by that) and yields legs, in which the device moves.
`@scenario(OLD_ABOARD)` names what was done before the first counted operation.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from wherry_agent.core.acceptance import memory_bytes
from wherry_agent.core.inputs import Ran
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SlotRelease, SwapWindow
from wherry_protocol.messages.reported import Outcome, Phase

from tests.agent.director import hardware_class
from tests.crash_sweep.agent.ship import Bay, first_port, sail, until, voyage_of
from tests.crash_sweep.sweep import Broken, Leg, Scenario

SMALL_SPOOL_BYTES = 12 * 1024
SCENARIOS: dict[str, Scenario] = {}
PORTS: dict[str, Callable[[], Bay]] = {}


# --- ports of departure


@cache
def enrolled() -> Bay:
    """Never booted."""
    return first_port()


@cache
def at_sea() -> Bay:
    """1.0.0 was confirmed."""
    bay = first_port()
    bay.want("old")
    return sail(bay, [confirmed(bay, "old")])


@cache
def with_two() -> Bay:
    """1.1.0 was confirmed after 1.0.0, which is the way back."""
    bay = first_port()
    bay.want("old")
    sail(bay, [confirmed(bay, "old")])
    bay.want("new")
    return sail(bay, [confirmed(bay, "new")])


def scenario(port: Callable[[], Bay] = at_sea) -> Callable[[Scenario], Scenario]:
    def register(act: Scenario) -> Scenario:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name], PORTS[name] = act, port
        return act

    return register


# --- legs


def confirmed(bay: Bay, name: str, model: str = "digits") -> Leg:
    digest = bay[name].digest

    def holds(now: Bay) -> bool:
        record = now.record(model)
        return bool(
            record
            and record.outcome is Outcome.CONFIRMED
            and record.active
            and record.active.manifest_digest == digest
            and now.live.agent.units["self"].memory.revision == now.director.revision
        )

    return until(holds, f"{name} is confirmed")


def ended(outcome: Outcome, model: str = "digits") -> Leg:
    """The assignment of the newest document has this outcome."""

    def holds(now: Bay) -> bool:
        record = now.record(model)
        is_new = now.live.agent.units["self"].memory.revision == now.director.revision
        return bool(record and record.outcome is outcome and is_new)

    return until(holds, f"{model} is {outcome.name}")


def heard() -> Leg:
    """The newest document was believed."""
    return until(
        lambda now: now.live.agent.units["self"].memory.revision == now.director.revision,
        "the newest document is believed",
    )


def waits(code: Code) -> Leg:
    def holds(now: Bay) -> bool:
        return any(one.code is code for one in now.live.agent.units["self"].waiting.values())

    return until(holds, f"an assignment waits for {code.name}")


# --- installs


@scenario(enrolled)
def first_install(bay: Bay) -> Iterator[Leg]:
    bay.want("old")
    yield confirmed(bay, "old")


@scenario()
def update(bay: Bay) -> Iterator[Leg]:
    bay.want("new")
    yield confirmed(bay, "new")


@scenario(with_two)
def third_version(bay: Bay) -> Iterator[Leg]:
    """The oldest one gives way, and the floor rises."""
    bay.want("newer")
    yield confirmed(bay, "newer")


@scenario()
def breach(bay: Bay) -> Iterator[Leg]:
    """The trial fails, and the device goes back by itself."""
    bay.doing[bay["new"].digest] = {"good_count": 10, "error_count": 10}
    bay.want("new")
    yield ended(Outcome.REVERTED)


@scenario(enrolled)
def breach_with_nothing_to_go_back_to(bay: Bay) -> Iterator[Leg]:
    bay.doing[bay["old"].digest] = {"good_count": 10, "error_count": 10}
    bay.want("old")
    yield ended(Outcome.REVERTED)


@scenario(with_two)
def sustained_errors(bay: Bay) -> Iterator[Leg]:
    """What was confirmed fails for two minutes on end; a start begins them anew."""
    yield _fails_until(bay, _has_reverted)
    yield ended(Outcome.REVERTED)


def _fails_until(bay: Bay, holds: Callable[[Bay], bool]) -> Leg:
    digest = bay["new"].digest

    def has_gone_back(now: Bay) -> bool:
        if not holds(now):
            now.live.post(Ran("self", "digits", digest, (True, False) * 20))
        return holds(now)

    return until(has_gone_back, "the confirmed bundle goes back")


@scenario(with_two)
def sustained_errors_while_another_waits(bay: Bay) -> Iterator[Leg]:
    """It goes back nevertheless, and the one that waits comes all the same."""
    opens_s = bay.director.now_s + 3600
    bay.want("newer", window=SwapWindow(not_before_s=opens_s))
    yield until(lambda now: now.phase() is Phase.STAGED, "it waits")
    yield _fails_until(bay, _serves_old)
    yield until(lambda now: now.phase() is Phase.STAGED, "it still waits")
    bay.now_us += 3600 * 1_000_000
    yield confirmed(bay, "newer")


def _serves_old(bay: Bay) -> bool:
    record = bay.log.durable("digits")
    return bool(record and record.active and record.active.version == "1.0.0")


@scenario()
def unconfirmed_starts(bay: Bay) -> Iterator[Leg]:
    """Nothing is inferred, and power is cut every night."""
    bay.doing[bay["new"].digest] = {}
    bay.want("new")
    yield until(_tries_or_has_reverted, "new is on trial")
    for _ in range(6):  # a start whose record could not be written is not counted
        if not _has_reverted(bay):
            bay.pull_plug("kept")
            yield until(_tries_or_has_reverted, "it has started again")
    yield ended(Outcome.REVERTED)


def _has_reverted(bay: Bay) -> bool:
    """For good: what could not be written is tried once more after the next night."""
    record = bay.log.durable("digits")
    return bool(record and record.outcome is Outcome.REVERTED)


def _tries_or_has_reverted(bay: Bay) -> bool:
    return bay.phase() is Phase.TRIAL or _has_reverted(bay)


@scenario()
def rejected(bay: Bay) -> Iterator[Leg]:
    """Its golden vectors do not come out."""
    bay.want("lying")
    yield ended(Outcome.REJECTED)


@scenario(with_two)
def rollback(bay: Bay) -> Iterator[Leg]:
    """The controller wants the previous version again."""
    bay.want("old", attempt=1)
    yield confirmed(bay, "old")


@scenario()
def two_models_at_once(bay: Bay) -> Iterator[Leg]:
    bay.want("new", "words")
    yield confirmed(bay, "words", "words")
    yield confirmed(bay, "new")


@scenario(enrolled)
def three_models_one_fails(bay: Bay) -> Iterator[Leg]:
    bay.doing[bay["sounds"].digest] = {"error_count": 20}
    bay.want("old", "words", "sounds")
    yield ended(Outcome.REVERTED, "sounds")
    yield confirmed(bay, "words", "words")
    yield confirmed(bay, "old")


@scenario()
def changed_mind(bay: Bay) -> Iterator[Leg]:
    """What is half fetched is not wanted any more."""
    yield from half_fetched(bay)
    bay.want("old", attempt=1)
    yield confirmed(bay, "old")


def half_fetched(bay: Bay) -> Iterator[Leg]:
    """Of the large bundle one chunk of each blob does not come; `release` lets it."""
    for topic in bay.director.chunks(bay["large"]):
        if topic.endswith("/2"):
            del bay.broker.retained[topic]
    bay.want("large")
    yield until(lambda now: now.phase() is Phase.FETCHING and _parts(now) > 1, "it fetches")


def release(bay: Bay) -> None:
    for topic, chunk in bay.director.chunks(bay["large"]).items():
        if topic.endswith("/2"):
            bay.broker.say(topic, chunk, is_retained=True)


def delivered(bay: Bay) -> None:
    """A leg: the spool is empty; figures come in all the while."""
    for _ in range(60):
        if not bay.live.agent.reports.segments:
            return
        bay.sample()
        bay.pass_time(10)
    raise Broken(f"{len(bay.live.agent.reports.segments)} segments stay in the spool")


def _parts(bay: Bay) -> int:
    return len(bay.disk.names("parts"))


@scenario()
def resumed(bay: Bay) -> Iterator[Leg]:
    """The last chunks come after the night."""
    yield from half_fetched(bay)
    bay.pull_plug("kept")
    release(bay)
    yield confirmed(bay, "large")


@scenario()
def refreshed(bay: Bay) -> Iterator[Leg]:
    """Newer documents with the same assignments: nothing to do, much to remember."""
    for _ in range(4):
        bay.want("old")
        yield heard()
    yield confirmed(bay, "old")


@scenario()
def warm_candidate(bay: Bay) -> Iterator[Leg]:
    """Loaded and tested, then activated later."""
    bay.want("new", mode=Mode.WARM)
    yield ended(Outcome.READY)
    bay.want("new")
    yield confirmed(bay, "new")


# --- trust


@scenario()
def next_root(bay: Bay) -> Iterator[Leg]:
    """The director's key is replaced, within its epoch."""
    _rotate(bay)
    bay.want("new")
    yield confirmed(bay, "new")


@scenario()
def new_epoch(bay: Bay) -> Iterator[Leg]:
    """A stolen director was fast-forwarded in mid-fetch; the new one begins at revision 1."""
    yield from half_fetched(bay)
    _rotate(bay, epoch=1)
    bay.director.revision = 0
    yield until(lambda now: len(now.live.agent.trust.roots) == 2, "the root is accepted")
    release(bay)
    bay.want("large")
    yield confirmed(bay, "large")


@scenario()
def two_roots_while_away(bay: Bay) -> Iterator[Leg]:
    bay.put_to_sea()
    _rotate(bay)
    _rotate(bay, epoch=2)
    bay.director.revision = 0
    bay.want("new")
    bay.land()
    yield confirmed(bay, "new")


def _rotate(bay: Bay, epoch: int | None = None) -> None:
    root = bay.director.rotate(epoch=epoch)
    topic = bay.director.topics.root(len(bay.director.roots))
    bay.broker.say(topic, root, is_retained=True)


@scenario()
def stopped_and_released(bay: Bay) -> Iterator[Leg]:
    _stop(bay, True)
    yield until(lambda now: now.live.agent.is_stopped, "it has heard the stop")
    bay.want("new")
    yield waits(Code.STOPPED)
    bay.pull_plug()
    yield waits(Code.STOPPED)
    _stop(bay, False)
    yield confirmed(bay, "new")


@scenario()
def stopped_in_the_middle(bay: Bay) -> Iterator[Leg]:
    yield from half_fetched(bay)
    _stop(bay, True)
    yield waits(Code.STOPPED)
    release(bay)
    _stop(bay, False)
    yield confirmed(bay, "large")


def _stop(bay: Bay, is_stopped: bool) -> None:
    order = bay.director.stop(is_stopped)
    bay.broker.say(bay.director.topics.stop, order, is_retained=True)


@scenario()
def isolated_and_freed(bay: Bay) -> Iterator[Leg]:
    bay.wish([bay.director.assignment(bay["new"])], is_isolated=True)
    yield waits(Code.STOPPED)
    bay.pull_plug("kept")
    yield until(lambda now: now.loops.is_isolated, "it is isolated after the start too")
    bay.want("new")
    yield confirmed(bay, "new")


# --- disks


@scenario()
def no_room(bay: Bay) -> Iterator[Leg]:
    """The bundle does not fit, which is seen before anything is fetched."""
    bay.disk.capacity_bytes = bay.swept.used_bytes + 20_000
    bay.want("large")
    yield ended(Outcome.REJECTED)
    bay.disk.capacity_bytes = 1 << 30
    bay.want("large", attempt=1)
    yield confirmed(bay, "large")


@scenario()
def disk_fills_up(bay: Bay) -> Iterator[Leg]:
    """Others take the room while it fetches; then somebody makes room."""
    yield from half_fetched(bay)
    bay.disk.capacity_bytes = bay.swept.used_bytes + 3_000
    release(bay)
    yield until(_has_no_room, "there is no room")
    bay.disk.capacity_bytes = 1 << 30
    bay.want("large", attempt=1)
    yield confirmed(bay, "large")


def _has_no_room(bay: Bay) -> bool:
    """Seen before or while it fetches."""
    record = bay.record()
    waiting = bay.live.agent.units["self"].waiting.values()
    is_refused = bool(record and record.code is Code.OVER_STORAGE)
    return is_refused or any(one.code is Code.STORAGE for one in waiting)


@scenario()
def disk_full_to_the_last_byte(bay: Bay) -> Iterator[Leg]:
    """Not even the record can be written, over a reboot; then all goes on."""
    bay.disk.capacity_bytes = bay.swept.used_bytes
    bay.want("new")
    yield voyage_of(20, 5, is_telling=False)
    bay.pull_plug("kept")
    yield voyage_of(20, 5, is_telling=False)
    bay.disk.capacity_bytes = 1 << 30
    yield confirmed(bay, "new")


@scenario(with_two)
def active_is_damaged(bay: Bay) -> Iterator[Leg]:
    """A flipped bit in the image that serves: the previous one takes over, then it comes again."""
    yield confirmed(bay, "new")
    bay.pull_plug("kept")
    _damage(bay, f"images/{bay['new'].manifest.program_digest.hex()}")
    yield confirmed(bay, "new")


@scenario()
def the_only_one_is_damaged(bay: Bay) -> Iterator[Leg]:
    yield confirmed(bay, "old")
    bay.pull_plug("kept")
    bay.log.bare.add("digits")
    _damage(bay, f"images/{bay['old'].manifest.program_digest.hex()}")
    yield confirmed(bay, "old")


@scenario(with_two)
def previous_is_damaged(bay: Bay) -> Iterator[Leg]:
    """A way back that is no more, and is wanted."""
    yield confirmed(bay, "new")
    bay.pull_plug("kept")
    _damage(bay, f"images/{bay['old'].manifest.program_digest.hex()}")
    bay.want("old", attempt=1)
    yield confirmed(bay, "old")


def _damage(bay: Bay, name: str) -> None:
    disk = bay.swept
    data = bytearray(disk.files[name])
    data[len(data) // 2] ^= 0x10
    disk.files[name] = disk.synced_inodes[disk.inodes[name]] = bytes(data)


# --- candidates


def beside(name: str, mode: Mode) -> Leg:
    def holds(now: Bay) -> bool:
        record = now.record()
        return bool(
            record
            and record.candidate
            and record.candidate.manifest_digest == now[name].digest
            and (record.outcome, record.mode) == (Outcome.READY, mode)
            and now.live.agent.units["self"].memory.revision == now.director.revision
        )

    return until(holds, f"{name} stands {mode.name.lower()}")


def unloaded(name: str) -> Leg:
    return until(lambda now: now[name].digest not in now.loops.programs, f"{name} is unloaded")


@scenario()
def warm(bay: Bay) -> Iterator[Leg]:
    bay.want("new", mode=Mode.WARM)
    yield beside("new", Mode.WARM)
    bay.pull_plug("kept")
    yield beside("new", Mode.WARM)
    bay.want("old", attempt=1)
    yield confirmed(bay, "old")
    yield unloaded("new")


@scenario()
def switch(bay: Bay) -> Iterator[Leg]:
    """In, and back again."""
    bay.want("new", mode=Mode.WARM)
    yield beside("new", Mode.WARM)
    bay.want("new")
    yield confirmed(bay, "new")
    bay.want("old", attempt=1)
    yield confirmed(bay, "old")


@scenario()
def shadow(bay: Bay) -> Iterator[Leg]:
    """It runs beside, then it is switched in and fails."""
    bay.want("new", mode=Mode.SHADOW)
    yield beside("new", Mode.SHADOW)
    bay.doing[bay["new"].digest] = {"good_count": 10, "error_count": 10}
    bay.want("new")
    yield ended(Outcome.REVERTED)


@scenario(with_two)
def decommission(bay: Bay) -> Iterator[Leg]:
    """Unloaded first, then the bytes go too; the other one serves on."""
    for is_purged in (False, True):
        bay.wish(
            [bay.director.assignment(bay["new"])],
            releases=(
                SlotRelease(model="digits", manifest_digest=bay["old"].digest, is_purged=is_purged),
            ),
        )
        yield heard()
        yield unloaded("old")


@scenario()
def window(bay: Bay) -> Iterator[Leg]:
    """It is installed, waits over a night, and is swapped in when its window opens."""
    opens_s = bay.director.now_s + 600
    bay.want("new", window=SwapWindow(not_before_s=opens_s))
    yield until(lambda now: now.phase() is Phase.STAGED, "it waits")
    bay.pull_plug("kept")
    yield until(lambda now: now.phase() is Phase.STAGED, "it waits again")
    yield confirmed(bay, "new")


@scenario(with_two)
def memory_is_short(bay: Bay) -> Iterator[Leg]:
    """A way back gives way to another model while its own waits for its window."""
    names = ("old", "new", "newer", "words")
    limit = sum(memory_bytes(bay[name].manifest) for name in names) - 1
    opens_s = bay.director.now_s + 600
    waiting = bay.director.assignment(bay["newer"], window=SwapWindow(not_before_s=opens_s))
    tight = hardware_class(memory_budget_bytes=limit)
    bay.wish([waiting], hardware_class=tight)
    yield until(lambda now: now.phase() is Phase.STAGED, "it waits")
    bay.wish([waiting, bay.director.assignment(bay["words"])], hardware_class=tight)
    yield confirmed(bay, "words", "words")
    yield unloaded("old")
    bay.pull_plug("kept")
    yield until(lambda now: now.phase() is not Phase.FETCHING, "it waits or swaps")
    yield unloaded("old")
    yield confirmed(bay, "newer")


# --- reports


@scenario()
def long_offline(bay: Bay) -> Iterator[Leg]:
    """The spool fills, drops its oldest, and is delivered when land comes in sight."""
    bay.settings = replace(bay.settings, spool_bytes_max=SMALL_SPOOL_BYTES)
    bay.put_to_sea()
    yield voyage_of(900, 10, is_telling=True)
    bay.land()
    yield delivered


@scenario()
def offline_over_nights(bay: Bay) -> Iterator[Leg]:
    """Each night power goes too: segments of several boots."""
    bay.settings = replace(bay.settings, spool_bytes_max=SMALL_SPOOL_BYTES)
    bay.put_to_sea()
    for _ in range(3):
        yield voyage_of(200, 10, is_telling=True)
        bay.pull_plug("kept")
    bay.land()
    yield delivered


# --- penalties


@scenario()
def penalty_over_nights(bay: Bay) -> Iterator[Leg]:
    """A bundle that failed waits, also after a reboot; then it fails again and waits longer."""
    bay.want("lying")
    yield ended(Outcome.REJECTED)
    bay.want("lying", attempt=1)
    yield waits(Code.PENALTY)
    bay.pull_plug("kept")
    yield until(lambda now: now.live.agent.units["self"].memory.penalties != (), "it remembers")
    yield ended(Outcome.REJECTED)


@scenario()
def forgiven(bay: Bay) -> Iterator[Leg]:
    """It failed its first trial and passes the second, after its penalty."""
    bay.doing[bay["new"].digest] = {"good_count": 10, "error_count": 10}
    bay.want("new")
    yield ended(Outcome.REVERTED)
    bay.doing[bay["new"].digest].clear()
    bay.doing[bay["new"].digest]["good_count"] = 100
    bay.want("new", attempt=1)
    yield confirmed(bay, "new")
