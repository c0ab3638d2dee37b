"""Tallies: counters that are kept from the log, so that they survive restarts, purges and the end of old events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node import tallying
from node.schema import events, jobs, studies, tallies
from node.store.base import Base
from node.tallying import Labels, Tally

AT_ONCE = 5000  # events that one transaction counts
_SEEN = ("seen", "{}")  # the row whose value is the number of the last event that was counted


class Tallies(Base):
    """What the web process writes."""

    def tally(self) -> int:
        """Count the next events of the log, at most AT_ONCE; return how many there were. Each is counted once.

        Events are read and counted before the write lock is taken, which then is held for a few rows only.
        """
        added: dict[Tally, float] = defaultdict(float)
        with (
            self._away("does not answer"),
            self.engine.connect().execution_options(reading=True) as connection,
        ):
            seen = _value(connection, _SEEN)
            rows = connection.execute(
                sa.select(events.c.seq, events.c.at, events.c.type, events.c.object, events.c.body)
                .where(events.c.seq > (seen or 0)).order_by(events.c.seq).limit(AT_ONCE)
            ).all()  # fmt: skip
            for row in rows:
                body = json.loads(row.body)
                for tally, amount in tallying.of_event(row.type, row.object, body):
                    added[tally] += amount
                for tally, amount in _durations(connection, row, body):
                    added[tally] += amount
        if not rows:
            return 0
        with self._write() as connection:
            if _value(connection, _SEEN) != seen:  # another process counted meanwhile
                return len(rows)
            for (name, labels), amount in added.items():
                _add(connection, (name, text_of(labels)), amount)
            _add(connection, _SEEN, rows[-1].seq - (seen or 0))
        return len(rows)


def text_of(labels: Labels) -> str:
    """Labels as the table writes them."""
    return json.dumps(dict(labels), separators=(",", ":"), ensure_ascii=False)


def _durations(connection: sa.Connection, event: Any, body: dict[str, Any]) -> Iterable[tuple[Tally, float]]:
    """How long a job ran, and how long a study took from its first instance to a delivery."""
    if event.type not in (*tallying.JOB_ENDS, "delivery.delivered"):
        return
    row = connection.execute(
        sa.select(jobs.c.started_at, studies.c.first_received_at, studies.c.revision)
        .join(studies, studies.c.id == jobs.c.study_id)
        .where(studies.c.study_uid == event.object.removeprefix("study/"), jobs.c.revision == body["revision"],
               jobs.c.pipeline == body["pipeline"])
    ).first()  # fmt: skip
    if row is None:
        return
    at = datetime.fromisoformat(event.at).timestamp()
    yield from _histogram(event.type, at, row, body)


def _histogram(type_: str, at: float, row: Any, body: dict[str, Any]) -> Iterator[tuple[Tally, float]]:
    # A row that has changed since (run again, received again) began after the event: nothing can be said of that one.
    if type_ != "delivery.delivered":
        if row.started_at is not None and row.started_at <= at:
            yield from tallying.observed("job_duration_seconds", at - row.started_at, pipeline=body["pipeline"])
    elif row.revision == body["revision"] and row.first_received_at <= at:
        yield from tallying.observed("turnaround_seconds", at - row.first_received_at, pipeline=body["pipeline"])


def _value(connection: sa.Connection, key: tuple[str, str]) -> float | None:
    return connection.execute(
        sa.select(tallies.c.value).where(tallies.c.name == key[0], tallies.c.labels == key[1])
    ).scalar()  # fmt: skip


def _add(connection: sa.Connection, key: tuple[str, str], amount: float) -> None:
    changed = connection.execute(
        tallies.update().where(tallies.c.name == key[0], tallies.c.labels == key[1])
        .values(value=tallies.c.value + amount)
    )  # fmt: skip
    if not changed.rowcount:
        connection.execute(tallies.insert().values(name=key[0], labels=key[1], value=amount))
