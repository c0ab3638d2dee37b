"""What each event of the log adds to the counters of /metrics. Pure: the same log always gives the same counts.

A tally is a counter's name without `overread_` and `_total`, with its labels. Labels are names of the configuration
(peers, routes, pipelines), loops, states and event types: few, and never anything that a caller chose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Labels = tuple[tuple[str, str], ...]
"""Label name and value, sorted by name."""
Tally = tuple[str, Labels]

# Upper bounds in seconds; what is longer counts under "+Inf".
BUCKETS: Mapping[str, tuple[float, ...]] = {
    "job_duration_seconds": (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
    "turnaround_seconds": (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400),
}
SUM, INFINITE = "sum", "+Inf"  # values of the label "le" beside the bounds

_BY_PEER = {"instance.received": "instances_received", "instance.changed": "instances_received",
            "instance.repeated": "instances_repeated"}  # fmt: skip
_COUNTED = {"instance.refused": "instances_refused", "association.refused": "associations_refused",
            "web.refused": "web_refusals"}  # fmt: skip
_PLAIN = {"association.opened": "associations_opened", "study.closed": "studies_closed",
          "study.purged": "studies_purged"}  # fmt: skip
JOB_ENDS = ("job.done", "job.skipped", "job.failed")
_DELIVERY_ENDS = ("delivery.delivered", "delivery.failed", "delivery.withdrawn", "delivery.committed")


def of_event(type_: str, object_: str, body: Mapping[str, Any]) -> Iterator[tuple[Tally, float]]:
    """What one event adds to which tallies, its times apart (see `observed`)."""
    noun, _, what = type_.partition(".")
    yield _tally("audit_events", type=type_), 1
    if type_ in _BY_PEER:
        yield _tally(_BY_PEER[type_], peer=body["peer"]), 1
        if type_ != "instance.repeated":
            yield _tally("received_bytes", peer=body["peer"]), body["size"]
    elif type_ in _COUNTED:
        yield _tally(_COUNTED[type_]), body.get("count", 1)
    elif type_ in _PLAIN:
        yield _tally(_PLAIN[type_]), 1
    elif type_ == "job.created":
        for route in body["routes"]:
            yield _tally("route_jobs", route=route, pipeline=body["pipeline"]), 1
    elif type_ in JOB_ENDS:
        yield _tally("jobs_finished", pipeline=body["pipeline"], outcome=what), 1
    elif type_ == "job.retried":
        yield _tally("job_retries", pipeline=body["pipeline"]), 1
    elif type_ in _DELIVERY_ENDS:
        yield _tally("deliveries_finished", peer=body["peer"], outcome=what), 1
    elif type_ == "delivery.retried":
        yield _tally("delivery_retries", peer=body["peer"]), 1
    elif type_ == "peer.away":
        yield _tally("peer_outages", peer=object_.removeprefix("peer/")), 1
    elif noun == "loop" and what == "ended":
        yield _tally("loop_restarts", loop=object_.removeprefix("loop/")), 1


def observed(name: str, seconds: float, **labels: str) -> Iterator[tuple[Tally, float]]:
    """What a duration adds to the histogram `name`: one to the bucket that it falls into, itself to the sum."""
    bound = next((f"{bound:g}" for bound in BUCKETS[name] if seconds <= bound), INFINITE)
    yield _tally(name, **labels, le=bound), 1
    yield _tally(name, **labels, le=SUM), seconds


def _tally(name: str, **labels: str) -> Tally:
    return name, tuple(sorted(labels.items()))
