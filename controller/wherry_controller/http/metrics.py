"""Prometheus exposition: the service's own counters and the newest figures per model version.

Labels come from enrolled names, pushed versions and fixed reason codes only, so that no device
can make labels without end.
"""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlite_utils import Database
from wherry_protocol import sketch
from wherry_protocol.sketch import upper_edge_ns

from wherry_controller.core.windows import Window
from wherry_controller.fleet import targets
from wherry_controller.store import events, meta, outbox, performance
from wherry_controller.store import rollouts as kept
from wherry_controller.writer import Counters

CONTENT_TYPE = CONTENT_TYPE_LATEST
RECENT_S = 900.0
EDGES_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LABELS = ("model", "version", "slot")


def render(db: Database, counters: Counters, is_link_up: bool) -> bytes:
    """The whole page. Windows of the last 15 minutes are summed over devices."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fleet(db, counters, is_link_up))
    return generate_latest(registry)


class _Fleet:
    def __init__(self, db: Database, counters: Counters, is_link_up: bool) -> None:
        self._db = db
        self._counters = counters
        self._is_link_up = is_link_up

    def collect(self) -> Iterator[Metric]:
        yield from self._service()
        yield from self._units()
        yield from self._models()

    def _service(self) -> Iterator[Metric]:
        counters = self._counters
        for name, value, text in (
            ("messages", counters.messages, "messages taken in from the broker"),
            ("batches", counters.batches, "transactions of messages"),
            ("commands", counters.commands, "commands of operators"),
            ("published", counters.published, "outbox messages acknowledged by the broker"),
            ("busy_seconds", counters.busy_s, "time that the writer was busy"),
            ("store_errors", counters.store_errors, "times that the store could not write"),
        ):
            yield CounterMetricFamily(f"wherry_{name}", text, value=value)
        dropped = CounterMetricFamily("wherry_dropped", "messages not believed", labels=["reason"])
        for reason, count, _, _ in events.dropped(self._db):
            dropped.add_metric([reason], count)
        yield dropped
        is_stopped = meta.get(self._db, "stop.is_stopped") == "1"
        for name, value, text in (
            ("link_up", float(self._is_link_up), "1 while the broker is connected"),
            ("stopped", float(is_stopped), "1 while the fleet is stopped"),
            ("outbox_due", outbox.due_count(self._db), "messages still to be published"),
            ("rollouts_open", len(kept.open_ones(self._db)), "rollouts that can touch devices"),
        ):
            yield GaugeMetricFamily(f"wherry_{name}", text, value=value)

    def _units(self) -> Iterator[Metric]:
        by_health: defaultdict[str, int] = defaultdict(int)
        served: defaultdict[tuple[str, str], int] = defaultdict(int)
        for facts in targets.facts(self._db):
            by_health[facts.health] += 1
            for model, version in facts.versions.items():
                served[model, version] += 1
        health = GaugeMetricFamily("wherry_units", "units by health", labels=["health"])
        for name, count in sorted(by_health.items()):
            health.add_metric([name], count)
        yield health
        serving = GaugeMetricFamily(
            "wherry_units_serving", "units that serve a version", labels=["model", "version"]
        )
        for (model, version), count in sorted(served.items()):
            serving.add_metric([model, version], count)
        yield serving

    def _models(self) -> Iterator[Metric]:
        newest_s = float(meta.get(self._db, "time.told_s", "0"))
        groups: defaultdict[tuple[str, str, str], list[Window]] = defaultdict(list)
        for row in performance.windows(self._db, since_s=newest_s - RECENT_S):
            groups[row.model, row.version, row.slot].append(row)
        inferences = GaugeMetricFamily(
            "wherry_inferences_recent", "inferences, last 15 minutes", labels=LABELS
        )
        errors = GaugeMetricFamily("wherry_errors_recent", "errors, last 15 minutes", labels=LABELS)
        energy = GaugeMetricFamily(
            "wherry_energy_joules_mean", "energy per inference", labels=(*LABELS, "source")
        )
        latency = HistogramMetricFamily(
            "wherry_latency_recent_seconds", "latency, last 15 minutes", labels=LABELS
        )
        for key, rows in sorted(groups.items()):
            inferences.add_metric(key, sum(row.inferences for row in rows))
            errors.add_metric(key, sum(row.errors for row in rows))
            counted = sum(row.energy_count for row in rows)
            if counted:
                mean_j = sum(row.energy_sum_uj for row in rows) / counted / 1e6
                energy.add_metric((*key, rows[-1].energy_source), mean_j)
            _add_latency(latency, key, rows)
        yield from (inferences, errors, energy, latency)


def _add_latency(
    family: HistogramMetricFamily, key: tuple[str, str, str], rows: list[Window]
) -> None:
    """Cumulative counts at fixed edges; a sketch bucket counts where its upper edge falls."""
    whole = sketch.merge(sketch.from_bytes(row.sketch) for row in rows)
    buckets = []
    for edge_s in EDGES_S:
        edge_ns = edge_s * 1e9
        count = sum(n for b, n in whole.buckets.items() if upper_edge_ns(b) <= edge_ns)
        buckets.append((repr(edge_s), float(count)))
    buckets.append(("+Inf", float(whole.count)))
    family.add_metric(key, buckets, whole.sum_ns / 1e9)
