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
from sqlalchemy import exc

from node.schema import events

GENESIS = "0" * 64
_PAGE = 4096  # events that are read at once
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
    "study.closed": "the study was called complete; body: reason, instances, each route's answer, patients (digests)",
    "study.purged": "its received files were deleted, rows and log stay; body: reason, instances, bytes, since when",
    "results.purged": "files of results were deleted, rows and log stay; body: reason, instances, bytes, since when",
    "job.created": "a pipeline is to run on a study revision",
    "job.claimed": "a worker took the job",
    "job.done": "its outputs are stored; body: model, digests, timings, findings, acquisition, what it was made with",
    "job.skipped": "the pipeline does not take this study; body: reason, model, what it was made with",
    "job.retried": "it will be tried again; body: reason",
    "job.failed": "given up until a person looks; body: reason, and as far as known model and what it was made with",
    "delivery.claimed": "an output is being sent to a peer",
    "delivery.delivered": "the peer stored every instance; body: each answer",
    "delivery.retried": "it will be tried again; body: reason",
    "delivery.failed": "given up until a person looks; body: reason",
    "delivery.withdrawn": "not sent: the study changed, or a person said no; body: reason, how many are there already",
    "delivery.held": "it waits until a person accepts it, by the mode of its route; body: reason",
    "delivery.released": "a person accepted what was held: it is due; body: who",
    "delivery.asked": "the peer was asked for storage commitment; body: transaction UID, instances, which time",
    "delivery.unasked": "the peer could not say whether it keeps it; body: reason, whether it is asked again",
    "delivery.unanswered": "no answer to a storage commitment request came in time; body: whether it is asked again",
    "delivery.committed": "the peer keeps every instance; body: whether storage commitment or a C-FIND says so",
    "review.given": "a person's verdict on a result; body: job, SOP Instance UID, verdict, source, by, what came of it",
    "route.mode": "a route's release mode was set; body: mode, the one before, by, why, how much is newly held",
    "model.promoted": "a person made a version of a pipeline's model live; body: version, what it replaces, by, why",
    "commitment.asked": "a peer asked for storage commitment; body: transaction UID, instances",
    "commitment.repeated": "a peer asked again under the same transaction UID: it is answered again",
    "commitment.reported": "the peer was told which instances we hold; body: how many committed, failed by reason",
    "commitment.retried": "the answer to a storage commitment request will be tried again; body: reason",
    "commitment.failed": "the answer to a storage commitment request was given up; body: reason",
    "commitment.refused": "a storage commitment request or answer got a failure status; body: status, reason",
    "audit.restored": "the database is an older copy of itself; body: by, why, the heads of the lost events",
    "audit.head": "a tree head of the log was signed; body: size, root, key, signature, those before this event",
    "audit.broken": "alarm: the log does not hold; body: the first thing that does not",
    "audit.verified": "somebody had the log verified; body: events, heads, the first that does not hold, by whom",
    "audit.exported": "events were written out of the log; body: format, how many, which, by whom",
    "audit.purged": "events over the retention time were removed, up to a head; body: size, root, hash of the last one",
    "audit.sending": "events go to the syslog receiver again, or do not; body: the last one that it has, reason",
    "patient.erased": "who a patient is was erased beside the log; body: digest, rows, studies, by whom, why",
    "node.configured": "the configuration is another one than at the last start; body: digests of both",
    "model.installed": "a model version is on the shelf that was not; body: name, version, digest",
    "model.retired": "a model version is no longer on the shelf; body: name, version, digest",
    "golden.recorded": "the first run of a model version on its pipeline's example is the golden record; body: model",
    "golden.accepted": "a person made a later run the golden record; body: what moved, reason",
    "golden.passed": "a run of the golden set gave what is on record; body: model, software",
    "golden.mismatch": "alarm: a run of the golden set did not; body: what moved by how much, software then and now",
    "label.added": "what was reported of a finding; body: finding, value, source, whether it is the first of the study",
    "label.withdrawn": "what a source said of a finding does not hold; body: finding, source, the value before",
    "document.read": "a received report or key object selection was read for labels and reviews; body: how many",
    "message.refused": "a caller or message of HL7 was refused; body: address, answer, reason, count",
    "clock.stepped": "the system's clock was set; due times and leases went along; body: seconds, backwards negative",
    "peer.away": "alarm: a peer takes no association, or stores nothing; what is for it waits; body: reason",
    "peer.back": "it is well again, and what waits for it is due at once; body: seconds that it was away",
    "notice": "a fact that monitoring saw: a new category, or evidence on its way to an alarm; body: channel, what",
    "alarm.opened": "an alarm was raised; body: channel, episode, what it says, since when, example studies",
    "alarm.acknowledged": "a person has seen an alarm; body: by, why",
    "alarm.resolved": "a person said what an alarm was; body: by, why, resolution",
    "alarm.cleared": "an alarm is over; body: why, the state in which it was",
    "alarm.escalated": "nobody had acknowledged an alarm in time; body: hours, which time",
    "alarm.muted": "nobody is told of an alarm's channel for a while; body: by, why, until when",
    "alarm.stopped": "the stop-rule was applied to an alarm; body: policy, routes, what was done",
    "baseline.proposed": "a baseline was built from stored features; body: digest, studies",
    "baseline.accepted": "a person said what is normal; body: digest, by, why, which one it replaces",
    "baseline.grown": "later studies joined a baseline; body: version, digest",
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


class Broken(Exception):
    """An event that does not hold: its number, and a line that says why."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.seq = seq
        self.reason = reason


def walk(
    connection: sa.Connection, after: int = 0, previous: str = GENESIS, until: int | None = None
) -> Iterator[list[bytes]]:
    """The hashes (32 bytes each) of the events with after < seq <= until, in order, in batches, each computed anew and
    held against its row. `previous`: the hash of the event before them. Raises Broken, after what holds before it."""
    quote, sha256 = json.encoder.encode_basestring, hashlib.sha256
    for rows in _rows(connection, after, until):
        found: list[bytes] = []
        for seq, at, type_, actor, object_, body, prev_hash, hash_ in rows:
            try:  # the text of `_hash`, put together by hand: it is made for every event there ever was
                text = f"{previous}[{seq},{quote(at)},{quote(type_)},{quote(actor)},{quote(object_)},{quote(body)}]"
            except TypeError:  # no text: SQLite keeps bytes in any column
                text = ""
            own = sha256(text.encode("utf-8", "surrogatepass"))
            after += 1
            if hash_ != own.hexdigest() or prev_hash != previous or seq != after:
                yield found
                raise _broken(after, seq, prev_hash != previous, f"({type_}, {at})")
            found.append(own.digest())
            previous = hash_
        yield found


def _rows(connection: sa.Connection, after: int, until: int | None) -> Iterator[Sequence[Any]]:
    """Rows in pages, as the driver gives them: SQLAlchemy's own would take as long as the hashes."""
    limit = "" if until is None else f" AND seq <= {until:d}"
    while True:
        result = connection.exec_driver_sql(
            f"SELECT seq, at, type, actor, object, body, prev_hash, hash FROM events WHERE seq > {after:d}{limit} "
            f"ORDER BY seq LIMIT {_PAGE}"
        )
        try:
            found = result.cursor.fetchall()
        except connection.dialect.loaded_dbapi.OperationalError as error:  # as SQLAlchemy would have said it
            raise exc.OperationalError("SELECT", None, error) from error
        if not found:
            return
        yield found
        after = found[-1][0]


def _broken(expected: int, seq: int, apart: bool, what: str) -> Broken:
    if seq != expected:
        return Broken(expected, f"event {expected} is missing: the next row is {seq}")
    if apart:
        return Broken(seq, f"event {seq} does not follow from the event before it")
    return Broken(seq, f"event {seq} {what} was changed after it was written")


def read(connection: sa.Connection, object_: str | None = None, after: int = 0) -> Iterator[Event]:
    """The events about one object (all when None), oldest first, with seq > `after`."""
    query = sa.select(events).where(events.c.seq > after).order_by(events.c.seq)
    if object_ is not None:
        query = query.where(events.c.object == object_)
    yield from map(as_event, connection.execute(query))


def as_event(row: sa.Row[Any]) -> Event:
    """A row of the table as an event."""
    return Event(row.seq, row.at, row.type, row.actor, row.object, json.loads(row.body), row.prev_hash, row.hash)


def _hash(previous: str, seq: int, at: str, type_: str, actor: str, object_: str, body: str) -> str:
    text = json.dumps([seq, at, type_, actor, object_, body], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous + text).encode("utf-8", "surrogatepass")).hexdigest()
