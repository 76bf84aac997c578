"""The agent's one event loop: inputs in, a step of the core, its effects done in order.

Rules:
1. The core runs on one thread. Whoever has news posts it; nobody else touches the state.
2. What takes long (hashing, loading, testing) runs on a worker, in order, and posts its answer.
3. Where the record cannot be made durable, the step did not happen: the agent is rolled back to
   what the disk knows, what followed is not done, and the core is told on the next tick.
4. A broker message is acknowledged after its step was carried out.
"""

import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from wherry_protocol.errors import Code, TrustError
from wherry_protocol.messages.observed import Kind, Severity

from wherry_agent.core import agent as core
from wherry_agent.core.effects import (
    Ask,
    Assemble,
    Collect,
    Configure,
    Effect,
    FinishBlob,
    Isolate,
    KeepBlob,
    KeepChunk,
    OnUnit,
    Persist,
    Publish,
    PublishOnce,
    Say,
    SpoolDrop,
    SpoolRead,
    SpoolWrite,
    Subscribe,
    Survey,
    Unsubscribe,
)
from wherry_agent.core.inputs import (
    Assembled,
    BlobFinished,
    Figures,
    Input,
    Moment,
    Noticed,
    PersistFailed,
    SegmentRead,
    SpoolFailed,
    StepFailed,
    StoreFailed,
    Ticked,
)
from wherry_agent.core.state import Agent
from wherry_agent.shell import record_file, spool_files
from wherry_agent.shell.blob_store import BlobStore

LOG = logging.getLogger(__name__)
LEVELS: Final = {
    Severity.DEBUG: logging.DEBUG,
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}
BUSY_TICK_S: Final = 0.1
IDLE_TICK_S: Final = 1.0


class Link(Protocol):
    """The network, as the runtime uses it."""

    def publish(self, topic: str, payload: bytes, is_retained: bool) -> None: ...

    def publish_once(self, topic: str, payload: bytes) -> None: ...

    def subscribe(self, topics: tuple[str, ...]) -> None: ...

    def unsubscribe(self, topics: tuple[str, ...]) -> None: ...


class Host(Protocol):
    """What runs a unit's models: this process (`LoopHost`), or a microcontroller's gateway.

    Every method may take long, except `is_quick` and `figures`; answers go to the inbox.
    """

    def execute(self, effect: OnUnit) -> None: ...

    def is_quick(self, effect: OnUnit) -> bool: ...

    def isolate(self, effect: Isolate) -> None: ...

    def figures(self) -> list[Figures]: ...

    def has_trial(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """Where the shell's other parts are asked."""

    ask: Callable[[Ask], None]
    configure: Callable[[Configure], None]


def raise_again(given: Input, error: Exception) -> None:  # noqa: ARG001  (a handler of mistakes)
    """A mistake of ours in the core ends the program, where nobody decided otherwise."""
    raise error


Worker = Callable[[Callable[[], None]], None]


@dataclass(slots=True)
class Runtime:
    """`agent` and the world that its effects change. `worker` runs jobs in order."""

    agent: Agent
    store: BlobStore
    link: Link
    hosts: Mapping[str, Host]
    moment: Callable[[], Moment]
    worker: Worker
    answers: Answers
    inbox: "queue.SimpleQueue[tuple[Input, Callable[[], None] | None]]" = field(
        default_factory=queue.SimpleQueue
    )
    is_running: bool = True
    beat: Callable[[], None] = lambda: None
    on_bug: Callable[[Input, Exception], None] = raise_again
    _failure: PersistFailed | None = None

    # --- the loop

    def post(self, given: Input, after: Callable[[], None] | None = None) -> None:
        """Queue an input, from any thread; `after` is called once its effects were done."""
        self.inbox.put((given, after))

    def run(self) -> None:
        """Until `is_running` is false; a flood of inputs does not hold up the ticks."""
        ticked_us = self.moment().now_us
        while self.is_running:
            wait_s = self.tick_s() - (self.moment().now_us - ticked_us) / 1e6
            try:
                given, after = self.inbox.get(timeout=max(0.0, wait_s))
                self.handle(given)
                if after is not None:
                    after()
            except queue.Empty:
                wait_s = 0.0
            if wait_s <= 0.0:
                self.tick()
                ticked_us = self.moment().now_us

    def tick_s(self) -> float:
        """Often while a trial has to be watched, rarely otherwise."""
        is_busy = any(host.has_trial() for host in self.hosts.values())
        return BUSY_TICK_S if is_busy else IDLE_TICK_S

    def tick(self) -> None:
        """Time went on: trials are looked at, everything that is due is done."""
        self.beat()
        failure, self._failure = self._failure, None
        if failure is not None:
            self.handle(failure)
        for host in self.hosts.values():
            for figures in host.figures():
                self.handle(figures)
        self.handle(Ticked())

    def handle(self, given: Input) -> None:
        """One step of the core, carried out."""
        before = self.agent
        try:
            self.agent, effects = core.step(before, given, self.moment())
        except Exception as error:
            self.on_bug(given, error)
            return
        self.carry_out(before, effects)

    def carry_out(self, before: Agent | None, effects: tuple[Effect, ...]) -> None:
        """Do the effects in order; a record that cannot be written undoes the step.

        `before` None: these are of the start, and what can serve shall serve all the same.
        """
        for n, effect in enumerate(effects):
            try:
                self._do(effect)
            except OSError as error:
                if not isinstance(effect, Persist):
                    self._notice_disk(error)
                    continue
                self._failure = PersistFailed(f"the agent record cannot be written: {error}")
                if before is not None:
                    done, left = effects[:n], effects[n + 1 :]
                    self.agent, rest = core.roll_back(before, self.agent, done, left)
                    self.carry_out(None, rest)
                    return

    def _notice_disk(self, error: OSError) -> None:
        self.post(Noticed("self", Kind.STORAGE, Severity.ERROR, str(error), Code.STORAGE))

    # --- effects

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Assemble):
            self.worker(lambda: self._assemble(effect))
        elif isinstance(effect, OnUnit):
            self._on_unit(effect)
        else:
            DOERS[type(effect)](self, effect)

    def _on_unit(self, effect: OnUnit) -> None:
        host = self.hosts[effect.unit]
        if host.is_quick(effect):
            host.execute(effect)
        else:
            self.worker(lambda: host.execute(effect))

    def _assemble(self, effect: Assemble) -> None:
        place = (effect.unit, effect.model, effect.manifest_digest)
        try:
            self.store.assemble(effect.manifest)
        except TrustError as error:
            self.post(StepFailed(*place, error.code, str(error)))
        except OSError as error:
            self.post(StepFailed(*place, Code.STORAGE, f"the program cannot be kept: {error}"))
        else:
            self.post(Assembled(*place))

    def _survey(self, effect: Survey) -> None:
        def job() -> None:
            self.post(self.store.survey(effect.blobs, is_content_wanted=effect.is_content_wanted))

        self._guarded(effect.blobs[0].digest if effect.blobs else b"", job)

    def _keep_chunk(self, effect: KeepChunk) -> None:
        self._guarded(
            effect.digest,
            lambda: self.store.keep_chunk(effect.digest, effect.index, effect.data),
        )

    def _keep_blob(self, effect: KeepBlob) -> None:
        self._guarded(effect.digest, lambda: self.store.keep_blob(effect.digest, effect.data))

    def _finish_blob(self, effect: FinishBlob) -> None:
        def job() -> None:
            is_intact = self.store.finish(effect.digest, effect.size_bytes)
            self.post(BlobFinished(effect.digest, is_intact))

        self._guarded(effect.digest, job)

    def _collect(self, effect: Collect) -> None:
        self._guarded(b"", lambda: self.store.collect(effect.manifests))

    def _guarded(self, digest: bytes, job: Callable[[], None]) -> None:
        """On the worker; a disk that refuses is told."""

        def guarded() -> None:
            try:
                job()
            except OSError as error:
                self.post(StoreFailed(digest, f"the disk does not take the bundle: {error}"))

        self.worker(guarded)

    def _isolate(self, effect: Isolate) -> None:
        self.worker(lambda: self.hosts[effect.unit].isolate(effect))

    def _write_segment(self, effect: SpoolWrite) -> None:
        try:
            spool_files.write(self.store.disk, effect.name, effect.data)
        except OSError as error:
            self.post(SpoolFailed(effect.name, effect.data))
            self._notice_disk(error)

    def _read_segment(self, effect: SpoolRead) -> None:
        self.post(SegmentRead(effect.name, spool_files.read(self.store.disk, effect.name)))


DOERS: Final[Mapping[type[Effect], Callable[..., None]]] = {
    Persist: lambda it, effect: record_file.save(it.store.disk, effect.record),
    Survey: Runtime._survey,
    KeepChunk: Runtime._keep_chunk,
    KeepBlob: Runtime._keep_blob,
    FinishBlob: Runtime._finish_blob,
    Collect: Runtime._collect,
    Isolate: Runtime._isolate,
    Publish: lambda it, effect: it.link.publish(effect.topic, effect.payload, effect.is_retained),
    PublishOnce: lambda it, effect: it.link.publish_once(effect.topic, effect.payload),
    Subscribe: lambda it, effect: it.link.subscribe(effect.topics),
    Unsubscribe: lambda it, effect: it.link.unsubscribe(effect.topics),
    SpoolWrite: Runtime._write_segment,
    SpoolRead: Runtime._read_segment,
    SpoolDrop: lambda it, effect: it.store.disk.unlink(f"spool/{effect.name}"),
    Say: lambda _it, effect: LOG.log(LEVELS[effect.severity], "%s: %s", effect.unit, effect.text),
    Ask: lambda it, effect: it.answers.ask(effect),
    Configure: lambda it, effect: it.answers.configure(effect),
}
