"""The audit log: append-only, hash-chained events, written in the same transaction as the change they record.

Row: seq, at (UTC), type, actor, object, canonical JSON body, prev_hash and
hash = SHA-256(prev_hash || canonical JSON of the other columns). Bodies never hold patient data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node.schema import events

GENESIS = "0" * 64
_CHAIN_LOCK = 7108252  # PostgreSQL advisory lock: one writer of the chain at a time

# Every event type there is, with what it means; docs/glossary.md lists them and a test compares.
TYPES: Mapping[str, str] = {
    "node.started": "the node started; body: version, configuration digest",
    "node.draining": "the node was told to stop: nothing new begins, what runs may finish; body: seconds",
    "node.stopped": "the node stopped; body: whether everything had ended by itself",
    "loop.started": "one of the node's processes is ready; body: how often it ended before",
    "loop.ended": "one of the node's processes ended by itself and is started again",
    "association.opened": "a peer was admitted",
    "association.ended": "it released or aborted, or was lost",
    "association.refused": "a caller was not admitted; body: why",
    "association.burst": "alarm: an address was refused again and again within a minute; body: address, count, why",
    "instance.received": "an instance was stored and acknowledged",
    "instance.repeated": "the same instance came again with the same bytes",
    "instance.changed": "the same SOP Instance UID came again with other bytes: the newest counts",
    "instance.refused": "an instance was answered with a failure status; body: status, reason",
    "study.reopened": "an instance came after the study was closed: a new revision",
    "study.closed": "the study was called complete; body: reason, instances, and each route's answer",
    "study.purged": "its received files were deleted, rows and log stay; body: reason, instances, bytes, since when",
    "results.purged": "files of results were deleted, rows and log stay; body: reason, instances, bytes, since when",
    "job.created": "a pipeline is to run on a study revision",
    "job.claimed": "a worker took the job",
    "job.done": "its outputs are stored; body: model, digests, timings, findings",
    "job.skipped": "the pipeline does not take this study; body: reason",
    "job.retried": "it will be tried again; body: reason",
    "job.failed": "given up until a person looks; body: reason",
    "delivery.claimed": "an output is being sent to a peer",
    "delivery.delivered": "the peer stored every instance; body: each answer",
    "delivery.retried": "it will be tried again; body: reason",
    "delivery.failed": "given up until a person looks; body: reason",
    "delivery.withdrawn": "it is not sent: the study has changed; body: reason, how many instances are there already",
    "delivery.asked": "the peer was asked for storage commitment; body: transaction UID, instances, which time",
    "delivery.unasked": "the peer could not say whether it keeps it; body: reason, whether it is asked again",
    "delivery.unanswered": "no answer to a storage commitment request came in time; body: whether it is asked again",
    "delivery.committed": "the peer keeps every instance; body: whether storage commitment or a C-FIND says so",
    "commitment.asked": "a peer asked for storage commitment; body: transaction UID, instances",
    "commitment.repeated": "a peer asked again under the same transaction UID: it is answered again",
    "commitment.reported": "the peer was told which instances we hold; body: how many committed, failed by reason",
    "commitment.retried": "the answer to a storage commitment request will be tried again; body: reason",
    "commitment.failed": "the answer to a storage commitment request was given up; body: reason",
    "commitment.refused": "a storage commitment request or answer got a failure status; body: status, reason",
    "clock.stepped": "the system's clock was set; due times and leases went along; body: seconds, backwards negative",
    "peer.away": "alarm: a peer takes no association, or stores nothing; what is for it waits; body: reason",
    "peer.back": "it is well again, and what waits for it is due at once; body: seconds that it was away",
    "web.refused": "the web port refused requests for want of a token or right; body: address, path, why, count",
    "spool.swept": "files without a row were removed",
    "spool.missing": "alarm: files of which a row speaks are not there; body: how many, the first of them",
    "spool.full": "alarm: the disk is over the high watermark and nothing more may go; body: free bytes, what is held",
}

# Built once: they run for every instance that is received.
_END = sa.select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)
_INSERT = events.insert()


@dataclass(frozen=True)
class Event:
    """One row of the log."""

    seq: int
    at: str
    type: str
    actor: str
    object: str
    body: Mapping[str, Any]
    prev_hash: str
    hash: str


def append(connection: sa.Connection, at: float, type_: str, actor: str, object_: str, body: Mapping[str, Any]) -> None:
    """Append one event inside the caller's transaction. `at`: seconds since the epoch.

    `object_` names what it is about: `study/<StudyInstanceUID>`, `peer/<name>`, `node`, ...
    """
    append_all(connection, at, [(type_, actor, object_, body)])


def append_all(connection: sa.Connection, at: float, new: Sequence[tuple[str, str, str, Mapping[str, Any]]]) -> None:
    """Append several events (type, actor, object, body) with one look at the chain's end."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    last = connection.execute(_END).first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    rows = []
    for type_, actor, object_, body in new:
        if type_ not in TYPES:
            raise ValueError(f"{type_!r} is not an event type; add it to node.audit.TYPES")
        seq += 1
        text = canonical(body)
        own = _hash(previous, seq, when, type_, actor, object_, text)
        rows.append({"seq": seq, "at": when, "type": type_, "actor": actor, "object": object_, "body": text,
                     "prev_hash": previous, "hash": own})  # fmt: skip
        previous = own
    if rows:
        connection.execute(_INSERT, rows)


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys, no spaces, plain UTF-8: the same body always gives the same text."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def verify(connection: sa.Connection) -> tuple[int, str | None]:
    """Walk the whole chain. Return how many events hold, and a line about the first that does not (None: all hold)."""
    previous, expected = GENESIS, 1
    for row in connection.execute(sa.select(events).order_by(events.c.seq)).yield_per(5000):
        if row.seq != expected:
            return expected - 1, f"event {expected} is missing: the next row is {row.seq}"
        if row.prev_hash != previous:
            return expected - 1, f"event {row.seq} does not follow from the event before it"
        if row.hash != _hash(previous, row.seq, row.at, row.type, row.actor, row.object, row.body):
            return expected - 1, f"event {row.seq} ({row.type}, {row.at}) was changed after it was written"
        previous, expected = row.hash, expected + 1
    return expected - 1, None


def read(connection: sa.Connection, object_: str | None = None, after: int = 0) -> Iterator[Event]:
    """The events about one object (all when None), oldest first, with seq > `after`."""
    query = sa.select(events).where(events.c.seq > after).order_by(events.c.seq)
    if object_ is not None:
        query = query.where(events.c.object == object_)
    for row in connection.execute(query):
        yield Event(row.seq, row.at, row.type, row.actor, row.object, json.loads(row.body), row.prev_hash, row.hash)


def _hash(previous: str, seq: int, at: str, type_: str, actor: str, object_: str, body: str) -> str:
    text = json.dumps([seq, at, type_, actor, object_, body], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous + text).encode("utf-8", "surrogatepass")).hexdigest()
