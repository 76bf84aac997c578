"""A microcontroller as a unit: a thread of its own takes the core's effects, in order.

Rules:
1. While the link is away the effect at the head waits; after `LINK_S_MAX` it fails with
   DEVICE_LINK. Attempts back off.
2. A link that is lost, and one that is back, is one event each.
3. Between effects the statistics are read every `poll_s`, and the source's samples are fed.
4. What the core wants to serve and what runs are compared at every look: outside a trial the
   microcontroller is brought back to it, and is confirmed on it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from wherry_protocol.errors import Code, UnreachableError, WherryError
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.manifest import Manifest, Role
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.smp import ImageCode, RefusedError
from wherry_protocol.smp.requests import IMAGE_GROUP

from wherry_agent.config import UnitConfig
from wherry_agent.core.effects import (
    Ask,
    Configure,
    Effect,
    Isolate,
    LoadCandidate,
    OnUnit,
    UnwatchTrial,
    WatchTrial,
)
from wherry_agent.core.inputs import Answered, Figures, Input, Noticed, StepFailed
from wherry_agent.gateway.bundle import Material
from wherry_agent.gateway.duties import Job, Mcu, perform
from wherry_agent.gateway.port import SmpPort
from wherry_agent.gateway.rounds import Rounds
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.sources import Samples

LOG = logging.getLogger(__name__)

LINK_S_MAX: Final = 120.0
BACK_OFF_S_FIRST: Final = 0.2
BACK_OFF_S_LONGEST: Final = 30.0
JOBS_MAX: Final = 64
IMAGE_REFUSALS: Final[Mapping[int, Code]] = {
    ImageCode.NOT_ENOUGH_SIGNATURES: Code.THRESHOLD,
    ImageCode.INVALID_HASH: Code.DIGEST,
    ImageCode.INVALID_PROGRAM: Code.PROGRAM,
    ImageCode.NO_FREE_MEMORY: Code.OVER_MEMORY,
    ImageCode.TOO_LARGE: Code.OVER_STORAGE,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the unit needs of the agent; the functions may be called from any thread.

    `base` is `telemetry.pack.unit_base(…)` of this unit; `samples` its source, if it has one.
    """

    base: str
    store: BlobStore
    tell: Callable[[Input], None]
    hardware: Callable[[], HardwareClass | None]
    samples: Samples | None = None


class McuHost:
    """Runs a unit's model on a microcontroller (`shell.runtime.Host`)."""

    def __init__(self, config: UnitConfig, around: Surroundings) -> None:
        """Raises MissingExtraError without pyserial. Opens nothing before `start`."""
        self.unit = config.name
        self._stop = threading.Event()
        self._mcu = Mcu(config.name, SmpPort(config, self._stop))
        self._around = around
        self._rounds = Rounds(config, self._mcu, around)
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._is_link_up = True
        self._link_error = ""
        self._round_error = ""
        self._thread = threading.Thread(target=self._run, name=f"mcu-{config.name}")

    # --- for the runtime

    def execute(self, effect: OnUnit) -> None:
        """Queues the effect. On the store's thread: a bundle's blobs are read here."""
        try:
            job = Job(effect, self._material(effect))
        except WherryError as error:
            self._fail(effect, error.code, str(error))
        except OSError as error:
            self._fail(effect, Code.STORAGE, f"{effect.model}: {error}")
        else:
            self._put(job)

    def is_quick(self, effect: OnUnit) -> bool:  # noqa: ARG002  (the host's interface)
        return False  # a serial port never is, and the order must hold

    def isolate(self, effect: Isolate) -> None:
        self._put(Job(effect))

    def configure(self, effect: Configure) -> None:
        self._put(Job(effect))

    def ask(self, effect: Ask) -> None:
        """Queues a question; with too many before it the answer is OVERLOADED."""
        if len(self._jobs) >= JOBS_MAX:
            text = f"unit {self.unit}: {JOBS_MAX} questions wait already"
            self._around.tell(Answered(self.unit, effect.request_id, Code.OVERLOADED, text))
            return
        self._put(Job(effect))

    def figures(self) -> list[Figures]:
        """What the trial showed since the last call."""
        return self._rounds.take_figures()

    def has_trial(self) -> bool:
        return self._rounds.has_trial

    def status(self) -> dict[str, object]:
        """For `GET /status` of the agent."""
        return {
            "link": "up" if self._is_link_up else self._link_error,
            "waiting_effects": len(self._jobs),
            "is_isolated": self._mcu.is_isolated,
            **self._rounds.status(),
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; an effect that is under way is cut off and told to nobody."""
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    # --- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            job = self._next_job()
            if self._stop.is_set():
                break
            self._insist(job)
        self._mcu.port.close()

    def _next_job(self) -> Job | None:
        """The next effect, or None when it is time for a round."""
        with self._wake:
            if not self._jobs:
                self._wake.wait(self._rounds.wait_s(time.monotonic()))
            return self._jobs.popleft() if self._jobs else None

    def _insist(self, job: Job | None) -> None:
        """Until it is done, has failed, or the link was away for too long (rounds just end)."""
        ends_s = time.monotonic() + LINK_S_MAX
        back_off_s = BACK_OFF_S_FIRST
        while not self._stop.is_set():
            try:
                self._do(job)
            except UnreachableError as error:
                self._lost(error)
                if job is not None and time.monotonic() >= ends_s:
                    self._fail(job.effect, Code.DEVICE_LINK, str(error))
                    return
                self._stop.wait(back_off_s)
                back_off_s = min(back_off_s * 2, BACK_OFF_S_LONGEST)
                if job is None and self._jobs:
                    return  # an effect has come: it is insisted on instead
            except WherryError as error:
                self._failed(job, error)
                return
            else:
                self._found()
                return

    def _do(self, job: Job | None) -> None:
        if job is None:
            self._rounds.go(time.monotonic())
            return
        answers = self._note(job.effect)
        answers = perform(self._mcu, job) if answers is None else answers
        for answer in answers:
            self._around.tell(answer)

    def _note(self, effect: Effect) -> tuple[Input, ...] | None:
        """Effects that change only what this gateway does; None for all others."""
        if isinstance(effect, Isolate):
            self._mcu.is_isolated = effect.is_isolated
        elif isinstance(effect, Configure):
            self._rounds.configure(effect.telemetry)
        elif isinstance(effect, WatchTrial):
            self._rounds.begin_trial(effect.manifest_digest)
        elif isinstance(effect, UnwatchTrial):
            self._rounds.end_trial()
        else:
            return None
        return ()

    # --- ends

    def _failed(self, job: Job | None, error: WherryError) -> None:
        if job is not None:
            self._fail(job.effect, code_of(error), str(error))
        elif str(error) != self._round_error:
            self._round_error = str(error)  # said once, however often it happens again
            self._notice(Severity.WARNING, f"unit {self.unit}: {error}", code_of(error))

    def _fail(self, effect: Effect, code: Code, text: str) -> None:
        """Tells the core in the words of the effect."""
        LOG.warning("unit %s: %s: %s", self.unit, type(effect).__name__, text)
        if isinstance(effect, Ask):
            self._around.tell(Answered(self.unit, effect.request_id, code, text))
            return
        digest = getattr(effect, "manifest_digest", None)
        if isinstance(effect, LoadCandidate):
            digest = effect.slot.manifest_digest
        if isinstance(effect, OnUnit) and digest is not None:
            self._around.tell(StepFailed(self.unit, effect.model, digest, code, text))

    def _lost(self, error: UnreachableError) -> None:
        if self._is_link_up and not self._stop.is_set():
            self._is_link_up, self._link_error = False, str(error)
            self._notice(Severity.WARNING, f"unit {self.unit} is lost: {error}", Code.DEVICE_LINK)

    def _found(self) -> None:
        if not self._is_link_up:
            self._is_link_up = True
            self._notice(Severity.INFO, f"unit {self.unit} answers again", Code.OK)

    def _notice(self, severity: Severity, text: str, code: Code) -> None:
        self._mcu.note(text)
        self._around.tell(Noticed(self.unit, Kind.UNIT, severity, text, code))

    def _put(self, job: Job) -> None:
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

    def _material(self, effect: OnUnit) -> Material | None:
        if not isinstance(effect, LoadCandidate):
            return None
        return read_material(self._around.store, effect.manifest)


def code_of(error: WherryError) -> Code:
    """The reason behind a microcontroller's refusal, where it has one of ours."""
    if isinstance(error, RefusedError) and error.group == IMAGE_GROUP:
        return IMAGE_REFUSALS.get(error.rc, error.code)
    return error.code


def read_material(store: BlobStore, manifest: Manifest) -> Material:
    """A bundle's blobs for a microcontroller, verified. Raises OSError, TrustError."""
    return Material(
        header=store.pieces_of(manifest, Role.IMAGE_HEADER),
        program=bytes(store.open_image(manifest)),
        golden_inputs=store.pieces_of(manifest, Role.GOLDEN_INPUTS),
        golden_outputs=store.pieces_of(manifest, Role.GOLDEN_OUTPUTS),
    )
