"""What a microcontroller's statistics mean: looks, reboots, trials. Pure.

Rules:
1. Its counters begin at 0 with every boot; a boot is known by an uptime that went back. Counters
   of different boots have different keys.
2. An image on trial that does not run any more (a crash, a power cut, a watchdog) is an engine
   that died: the microcontroller has gone its own way back.
"""

from dataclasses import dataclass, replace

from wherry_protocol.sketch import Sketch
from wherry_protocol.smp import Statistics

from wherry_agent.core.inputs import Figures
from wherry_agent.gateway.bundle import McuBundle
from wherry_agent.telemetry.counters import Counters
from wherry_agent.telemetry.sampling import Look


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen last. `boot_number` is this gateway's count, from 0."""

    boot_number: int = 0
    uptime_ms: int = 0
    look: Look | None = None


def counters_of(stats: Statistics, latency: Sketch) -> Counters:
    """The firmware counts engine errors only; it knows neither deadlines nor valid ranges.

    Its own `inference_count` leaves the errors out; ours has them in.
    """
    return Counters(
        inferences=stats.inference_count + stats.error_count,
        errors=stats.error_count,
        errors_engine=stats.error_count,
        refused=stats.refused_count,
        cpu_ns=stats.sum_ns,
        cycles=stats.cycles or 0,
        latency=latency,
    )


def seen(watch: Watch, stats: Statistics, latency: Sketch, bundle: McuBundle | None) -> Watch:
    """The watch after one more look; `look` is None where what runs is no bundle of ours."""
    is_new_boot = stats.uptime_ms < watch.uptime_ms
    boot_number = watch.boot_number + is_new_boot
    next_watch = replace(watch, boot_number=boot_number, uptime_ms=stats.uptime_ms, look=None)
    if bundle is None or stats.digest != bundle.image_digest:
        return next_watch
    look = Look(
        key=f"{boot_number}/{stats.digest.hex()}",
        model=bundle.manifest.model,
        version=bundle.version,
        slot="active",
        manifest_digest=bundle.manifest_digest,
        counters=counters_of(stats, latency),
    )
    return replace(next_watch, look=look)


def dead(unit: str, bundle: McuBundle) -> Figures:
    """What the core hears when an image on trial does not run any more."""
    return Figures(
        unit=unit,
        model=bundle.manifest.model,
        manifest_digest=bundle.manifest_digest,
        good_count=0,
        error_count=0,
        latency_us_mean=0.0,
        latency_us_p95=0,
        energy_uj_mean=None,
        is_engine_dead=True,
    )
