"""The running agent: every part made once, joined, started and ended."""

import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import Mapping, Set
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wherry_native.engine import ABI_VERSION, ABI_VERSION_MIN
from wherry_protocol.errors import Code, DecodeError, StateError
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.messages.enrolment import EnrolAnswer
from wherry_protocol.messages.observed import Kind, Severity
from wherry_protocol.names import SELF

from wherry_agent.config import BreakerConfig, Config, WayBackConfig
from wherry_agent.core import agent as core
from wherry_agent.core.agent import Found
from wherry_agent.core.breaker import BreakerLimits
from wherry_agent.core.effects import Ask, Configure
from wherry_agent.core.inputs import (
    Connected,
    Deferred,
    Disconnected,
    Input,
    Moment,
    Noticed,
    Received,
    Stopping,
)
from wherry_agent.core.presence import presence
from wherry_agent.core.record import AgentRecord, first_record, kept_manifests
from wherry_agent.core.state import Identity, Settings
from wherry_agent.core.sustained import SustainedLimits
from wherry_agent.shell import identity_files, record_file, spool_files, status
from wherry_agent.shell.answering import Answering, LogRing
from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.disk import FolderDisk
from wherry_agent.shell.feeds import open_feeds, samples_of
from wherry_agent.shell.http_api import HttpApi
from wherry_agent.shell.inference_door import Doors
from wherry_agent.shell.link import Acknowledge, Callbacks, MqttLink
from wherry_agent.shell.loop_host import LoopHost
from wherry_agent.shell.runtime import Answers, Host, Runtime
from wherry_agent.shell.sampler import Sampler
from wherry_agent.shell.systemd import Watchdog, notifier_from, watchdog_us_from
from wherry_agent.shell.workers import Worker
from wherry_agent.telemetry.pack import unit_base

if TYPE_CHECKING:
    from wherry_agent.gateway import McuHost

LOG = logging.getLogger(__name__)
CONNECTIONS_PER_BOOT: Final = 1 << 20
STALLED_S: Final = 30.0
HTTP_ADDRESS: Final = "http-address"


def now_us() -> int:
    """Monotonic, and counting while the device is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def moment() -> Moment:
    zone = time.localtime().tm_gmtoff
    return Moment(now_us(), random.random(), zone // 60)


class Station:
    """All parts of one agent. Raises WherryError or OSError where it cannot be set up."""

    def __init__(self, config: Config, ring: LogRing, agent_version: str) -> None:
        self._config = config
        self._lock = identity_files.lock(config.state_dir)
        answer, identity = identity_files.read_enrolment(config.state_dir)
        self._disk = FolderDisk(config.state_dir / "data", config.limits.storage_bytes_max)
        self._store = BlobStore(self._disk)
        record, self._damage = _read_record(self._disk, answer)
        self._host = LoopHost(SELF, self._store, self._post, config.limits.queue_capacity)
        self._feeds = open_feeds(config.source)
        self._host.loading = self._feeds.loading
        self._host.swapped = self._feeds.swapped
        self._sampler = Sampler(
            config, identity.org, identity.connection, self._host, now_us(), self._post
        )
        self._host.energy = self._sampler
        self._host.closing = self._sampler.closing
        self._worker = Worker("store")
        self._http = self._make_http()
        self._link = self._make_link(answer, identity, record.boot_count + 1)
        self._mcus = self._make_mcus(identity)
        self._answering = Answering(self._host, self.status, ring, self._post)
        found = Found(
            identity=_served(identity, self._mcus.keys() | {SELF}),
            settings=_settings(config, agent_version),
            record=record,
            manifests=self._store.intact_manifests(kept_manifests(record)),
            segments=spool_files.load(self._disk),
            boot_id=os.urandom(16),
            nonce=os.urandom(16),
        )
        agent, self._first_effects = core.start(found, moment())
        hosts: Mapping[str, Host] = {SELF: self._host, **self._mcus}
        self._runtime = Runtime(
            agent,
            self._store,
            self._link,
            hosts,
            moment,
            self._worker,
            Answers(self._ask, self._configure),
            beat=self._beat,
            on_bug=self._on_bug,
        )
        self._sampler.spool = self._spool_figures
        self._sampler.hardware = partial(self._class_of, SELF)
        self._sampler.is_candidate = self._is_candidate
        self._notifier = notifier_from(os.environ)
        # `_beat` ticks it, so the event loop lives whenever it is asked at all.
        self._watchdog = Watchdog(
            self._notifier,
            watchdog_us_from(os.environ),
            {"inference loops": self._host.has_worked},
        )
        self._beat_us = now_us()

    # --- making

    def _make_link(self, answer: EnrolAnswer, identity: Identity, boot_count: int) -> MqttLink:
        def will(number: int, is_online: bool) -> bytes:
            return presence(identity, number, is_online)

        return MqttLink(
            answer.broker,
            f"{identity.org}/d/{identity.connection}",
            self._config.link,
            identity.topics.presence(identity.connection),
            will,
            boot_count * CONNECTIONS_PER_BOOT,
            Callbacks(self._on_connected, self._on_disconnected, self._on_received),
        )

    def _make_http(self) -> HttpApi | None:
        if not self._config.http.enabled:
            return None
        http = HttpApi(
            self._config.http,
            Doors(
                models=self._host.models,
                serving=self._host.serving,
                infer=self._host.infer,
                is_isolated=lambda: self._host.is_isolated,
                status=self.status,
                unhealthy=self._unhealthy,
                is_silenced=self._host.is_silenced,
                defer=self._defer,
            ),
        )
        self._sampler.refused_at_door = http.refused
        return http

    def _make_mcus(self, identity: Identity) -> dict[str, "McuHost"]:
        """A host per microcontroller; the gateway's code is imported only where there is one."""
        if not self._config.unit:
            return {}
        from wherry_agent.gateway import McuHost, Surroundings

        hosts = {}
        for unit in self._config.unit:
            if unit.name not in identity.classes:
                raise StateError(
                    f"unit {unit.name!r} of the config was not enrolled; enroll again with "
                    f"--unit {unit.name}:CLASS"
                )
            around = Surroundings(
                base=unit_base(identity.org, identity.connection, unit.name),
                store=self._store,
                tell=self._post,
                hardware=partial(self._class_of, unit.name),
                samples=samples_of(self._config.source, unit.name),
            )
            hosts[unit.name] = McuHost(unit, around)
        return hosts

    def _class_of(self, unit: str) -> HardwareClass | None:
        return self._runtime.agent.identity.classes.get(unit)

    def _is_candidate(self, model: str, digest: bytes) -> bool:
        unit = self._runtime.agent.units[SELF]
        slot = unit.models[model].record.candidate if model in unit.models else None
        return slot is not None and slot.manifest_digest == digest

    # --- running

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._runtime.post(Stopping(), self._end))
        self._worker.start()
        self._runtime.carry_out(None, self._first_effects)
        if self._damage:
            damaged = Noticed(SELF, Kind.STORAGE, Severity.CRITICAL, self._damage, Code.STORAGE)
            self._runtime.post(damaged)
        if self._http is not None:
            self._http.start()
            self._say_address(self._http)
        for mcu in self._mcus.values():
            mcu.start()
        self._link.start()
        self._worker(self._say_ready)  # in order: after what the first effects load
        try:
            self._runtime.run()
        finally:
            self._close()

    def _say_ready(self) -> None:
        served = [self._host.serving(name) for name in self._host.models()]
        names = [f"{one.model} {one.version}" for one in served if one is not None]
        self._notifier.ready(f"serving {', '.join(names) or 'nothing yet'}")
        LOG.info("agent ready")

    def _say_address(self, http: HttpApi) -> None:
        """For `wherry-agent status` and for tests, where the config says port 0."""
        path = self._config.state_dir / HTTP_ADDRESS
        path.write_text(f"{http.host}:{http.port}\n")

    def _end(self) -> None:
        self._runtime.is_running = False

    def _close(self) -> None:
        self._notifier.stopping("stopping")
        if self._http is not None:
            self._http.stop()
        self._link.stop()
        self._worker.stop()
        for mcu in self._mcus.values():
            mcu.stop()
        self._host.stop()
        with contextlib.suppress(FileNotFoundError):
            (self._config.state_dir / HTTP_ADDRESS).unlink()
        self._notifier.close()
        os.close(self._lock)

    # --- what the parts tell

    def _post(self, given: Any) -> None:
        self._runtime.post(given)

    def _on_connected(self, number: int) -> None:
        self._runtime.post(Connected(number))

    def _on_disconnected(self) -> None:
        self._runtime.post(Disconnected())

    def _on_received(self, topic: str, payload: bytes, acknowledge: Acknowledge) -> None:
        self._runtime.post(Received(topic, payload), acknowledge)

    def _ask(self, question: Ask) -> None:
        if question.unit in self._mcus:
            self._mcus[question.unit].ask(question)
        else:
            self._worker(lambda: self._answering.answer(question))

    def _configure(self, effect: Configure) -> None:
        if effect.unit in self._mcus:
            self._mcus[effect.unit].configure(effect)
        else:
            self._sampler.configure(effect.telemetry)

    def _beat(self) -> None:
        self._beat_us = now_us()
        self._host.look_at_outcomes()
        self._host.look_at_shadows()
        self._sampler.tick(self._beat_us)
        self._watchdog.tick(self._beat_us)

    def _on_bug(self, given: Input, error: Exception) -> None:
        """A mistake in the core must not stop what serves: that step did not happen, and is told
        (once, or a bug in telling would never end)."""
        LOG.critical("the core failed on %s", type(given).__name__, exc_info=error)
        if not isinstance(given, Noticed):
            text = f"the agent's core failed on {type(given).__name__}: {error!r}"
            self._post(Noticed(SELF, Kind.LOG, Severity.CRITICAL, text, Code.FAILED))

    def _spool_figures(self) -> tuple[int, int]:
        reports = self._runtime.agent.reports
        return reports.spool_bytes, reports.dropped_count

    def _unhealthy(self) -> str | None:
        silent_s = (now_us() - self._beat_us) / 1e6
        return f"the event loop is silent for {silent_s:.0f} s" if silent_s > STALLED_S else None

    def _defer(self, for_s: float) -> Mapping[str, Any]:
        """The owner puts swaps off; raises StateError while the time is not known."""
        agent = self._runtime.agent
        now_s = agent.clock.now_s(now_us())
        if now_s is None:
            text = "the time is not known yet; try again when the device is connected"
            raise StateError(text, Code.TIME_UNKNOWN)
        until_s = int(now_s + for_s) if for_s else 0
        self._runtime.post(Deferred(until_s))
        return status.deferral(agent, until_s)

    def status(self) -> Mapping[str, Any]:
        """What GET /status shows."""
        known = status.describe(self._runtime.agent, now_us(), self._link.is_connected)
        mcus = {name: mcu.status() for name, mcu in self._mcus.items()}
        return {**known, **self._sampler.glance(now_us()), "microcontrollers": mcus}


def _served(identity: Identity, units: Set[str]) -> Identity:
    """Without units that were enrolled and are not in the config: nobody can act for them."""
    for name in identity.classes.keys() - units:
        LOG.warning("unit %s was enrolled but is not in the config: it is left alone", name)
    classes = {name: one for name, one in identity.classes.items() if name in units}
    return replace(identity, classes=classes)


def _settings(config: Config, agent_version: str) -> Settings:
    return Settings(
        agent_version=agent_version,
        abi_min=ABI_VERSION_MIN,
        abi_max=ABI_VERSION,
        report_hold_us=int(config.limits.spool_hold_s * 1e6),
        spool_bytes_max=config.limits.spool_bytes_max,
        events_per_minute=config.limits.events_per_minute_max,
        revisions_per_minute=config.limits.revisions_per_minute_max,
        transfer_progress_us=int(config.link.progress_s_max * 1e6),
        memory_bytes_max=config.limits.memory_bytes_max,
        breaker=_breaker_limits(config.breaker),
        sustained=_sustained_limits(config.way_back),
    )


def _breaker_limits(config: BreakerConfig) -> BreakerLimits | None:
    if not config.enabled:
        return None
    return BreakerLimits(config.failures_max, int(config.open_s * 1e6), config.successes_min)


def _sustained_limits(config: WayBackConfig) -> SustainedLimits:
    window_us = int(config.window_s * 1e6)
    return SustainedLimits(config.error_rate_max, config.samples_min, window_us, config.windows_min)


def _read_record(disk: FolderDisk, answer: EnrolAnswer) -> tuple[AgentRecord, str]:
    """The record, and a sentence where it was damaged and had to be begun anew."""
    try:
        record = record_file.load(disk)
    except DecodeError as error:
        if error.code is Code.UNSUPPORTED_FORMAT:
            raise
        disk.rename(record_file.NAME, f"{record_file.NAME}.damaged")
        return first_record(answer.roots), f"{error}; the agent begins anew"
    return (first_record(answer.roots) if record is None else record), ""
