"""/metrics: the node in numbers, in the text format of Prometheus. All of it is read from the database at each scrape:
the node is several processes, and none of them counts for the others."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from node import __version__, states
from node.config import Config
from node.errors import TryAgain
from node.readings import Readings
from node.tallying import BUCKETS, INFINITE, SUM

# Each counter that is kept in `tallies`: what it counts, and its labels. A test holds it to node.tallying.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "audit_events": ("Events written to the audit log", ("type",)),
    "instances_received": ("Instances stored and acknowledged", ("peer",)),
    "received_bytes": ("Bytes of instances stored and acknowledged", ("peer",)),
    "instances_repeated": ("Instances that came again with the same bytes", ("peer",)),
    "instances_refused": ("Instances answered with a failure status", ()),
    "associations_opened": ("Associations admitted", ()),
    "associations_refused": ("Callers that were not admitted", ()),
    "studies_closed": ("Study revisions called complete", ()),
    "studies_purged": ("Studies whose received files were deleted", ()),
    "route_jobs": ("Jobs that a route asked for", ("pipeline", "route")),
    "jobs_finished": ("Jobs that ended", ("outcome", "pipeline")),
    "job_retries": ("Attempts at a job that are made again", ("pipeline",)),
    "deliveries_finished": ("Deliveries that ended or were committed", ("outcome", "peer")),
    "delivery_retries": ("Attempts at a delivery that are made again", ("peer",)),
    "peer_outages": ("Times that a peer was found to be away", ("peer",)),
    "loop_restarts": ("Times that one of the node's processes ended by itself", ("loop",)),
    "web_refusals": ("Requests to the web port refused for want of a token or right", ()),
}
HISTOGRAMS: Mapping[str, str] = {
    "job_duration_seconds": "Seconds that a job's last attempt ran",
    "turnaround_seconds": "Seconds from a study's first instance to the delivery of an output",
}
_SHARE = 100  # the sum over the whole spool is taken again after that many times its own duration, and a minute


class NodeCollector(Collector):
    """Reads the node's numbers when it is asked. `disk`: size and free bytes of the spool's file system."""

    def __init__(
        self, config: Config, readings: Readings, loops: Sequence[str], disk: Callable[[], tuple[int, int]],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._config = config
        self._readings = readings
        self._loops = loops
        self._disk = disk
        self._timer = timer
        self._spool: Mapping[str, int] = {}
        self._spool_until = float("-inf")

    def describe(self) -> list[Metric]:
        """Nothing: asking would read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric. A database that does not answer leaves `overread_up` 0 and what can be told without it."""
        yield _gauge("build_info", "The version that runs", {(__version__, platform.python_version()): 1.0},
                     "version", "python")  # fmt: skip
        began = self._timer()
        try:
            found = [*self._kept(), *self._now()]
        except TryAgain:
            found = []
        yield _gauge("up", "Whether the database answers", {(): float(bool(found))})
        yield from found
        try:
            total, free = self._disk()
        except OSError:
            total, free = 0, 0
        yield _gauge("spool_size_bytes", "Size of the spool's file system", {(): total})
        yield _gauge("spool_free_bytes", "What is free there", {(): free})
        yield _gauge("spool_high_watermark_ratio", "Share of it in use from which on the oldest files go",
                     {(): self._config.keep.high_watermark})  # fmt: skip
        yield _gauge("spool_min_free_bytes", "Free bytes below which instances are refused",
                     {(): self._config.node.min_free_disk})  # fmt: skip
        yield _gauge("scrape_seconds", "Seconds that these numbers took to read", {(): self._timer() - began})

    def _kept(self) -> Iterator[Metric]:
        values: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        spread: dict[str, dict[str, dict[str, float]]] = {name: defaultdict(dict) for name in HISTOGRAMS}
        for name, labels, value in self._readings.tallies():
            if name in COUNTERS:
                values[name][tuple(labels[label] for label in COUNTERS[name][1])] = value
            elif name in HISTOGRAMS:
                spread[name][labels["pipeline"]][labels["le"]] = value
        for name, (says, label_names) in COUNTERS.items():
            family = CounterMetricFamily(f"overread_{name}", says, labels=label_names)
            for key, value in (values[name] or ({} if label_names else {(): 0.0})).items():
                family.add_metric(key, value)
            yield family
        for name, says in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"overread_{name}", says, labels=["pipeline"])
            for pipeline, counts in spread[name].items():
                histogram.add_metric([pipeline], _cumulated(name, counts), counts.get(SUM, 0.0))
            yield histogram

    def _now(self) -> Iterator[Metric]:
        readings = self._readings
        studies = readings.studies()
        received = CounterMetricFamily("overread_studies_received", "Studies of which instances came")
        received.add_metric([], sum(studies.values()))
        yield received
        yield _gauge("studies", "Studies by state", _all_states("study", studies), "state")
        yield _gauge("jobs", "Jobs by state", _all_states("job", readings.jobs()), "state")
        sent = readings.deliveries()
        names = sorted({name for route in self._config.routes for name in route.send_to} | {peer for peer, _ in sent})
        yield _gauge("deliveries", "Deliveries by peer and state",
                     {(peer, state): sent.get((peer, state), 0) for peer in names for state in states.DELIVERY},
                     "peer", "state")  # fmt: skip
        ages = {(name,): age for name, age in readings.queue_ages().items()}
        yield _gauge("queue_age_seconds", "Seconds since the oldest unfinished job or delivery was made", ages, "queue")
        yield _gauge("associations_open", "Associations that have not ended", {(): readings.open_associations()})
        lives = readings.loops(self._loops)
        yield _gauge("loop_up", "Whether a process of the node runs", {(n,): float(up) for n, up in lives.items()},
                     "loop")  # fmt: skip
        reached = {name for route in self._config.routes for name in route.send_to}
        well = readings.peers(sorted(reached))
        yield _gauge("peer_up", "Whether a peer that gets results was well when it was last called",
                     {(name,): float(up) for name, up in well.items()}, "peer")  # fmt: skip
        yield _gauge("alarms_open", "Alarms of monitoring that are not over", readings.open_alarms(),
                     "pipeline", "model", "channel", "kind", "state")  # fmt: skip
        yield _gauge("watch_statistic_ratio", "Evidence of a channel by what an alarm takes", readings.standings(),
                     "pipeline", "model", "channel")  # fmt: skip
        yield _gauge("spool_bytes", "Bytes of files in the spool, as rows tell", self._spool_bytes(), "kind")

    def _spool_bytes(self) -> Mapping[tuple[str, ...], float]:
        began = self._timer()
        if began >= self._spool_until:
            self._spool = self._readings.spool_bytes()
            took = self._timer() - began
            self._spool_until = began + max(60.0, _SHARE * took)
        return {(kind,): size for kind, size in self._spool.items()}


def registry(collector: Collector) -> CollectorRegistry:
    """A registry of its own with that collector: none of the library's process-wide metrics."""
    own = CollectorRegistry(auto_describe=False)
    own.register(collector)
    return own


def _gauge(name: str, says: str, values: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"overread_{name}", says, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _all_states(noun: str, counts: Mapping[str, int]) -> Mapping[tuple[str, ...], float]:
    """With a 0 where nothing is: a series that appears only with its first value has no increase to alarm about."""
    return {(state,): counts.get(state, 0) for state in states.TABLES[noun]}


def _cumulated(name: str, counts: Mapping[str, float]) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: each holds those below it, too."""
    found, total = [], 0.0
    for bound in (*(f"{bound:g}" for bound in BUCKETS[name]), INFINITE):
        total += counts.get(bound, 0.0)
        found.append((bound, total))
    return found
