"""Tree heads of the log: signed with their event, purged with the events under them; how far a reader has got it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import audit, faults
from node.proof import restored, standing
from node.proof.heads import Head
from node.schema import events, heads, patients, places
from node.store.base import Base

Sign = Callable[[int, int, bytes], Head]
"""(size, milliseconds since the epoch, root) -> the head; see node.proof.heads.Signer.sign."""

_AT_ONCE = 20_000  # events that are purged in one transaction, or as many as are under one head


class Heads(Base):
    """What the keep loop writes about the log itself."""

    def sign_head(self, sign: Sign, after_events: int, after_seconds: float) -> Head | None:
        """Sign a head when so many events, or so much time, came since the last one; None when it is not due.

        What came since is checked first: raises audit.Broken, and nothing is signed.
        """
        with self._away("does not answer"), self.engine.connect().execution_options(reading=True) as connection:
            if not self._due(connection, after_events, after_seconds):
                return None
            found = standing.now(connection)  # outside the write: a long log must not hold up the listener
        size, root = found.tree.size, found.tree.root()
        head = sign(size, round(self.clock() * 1000), root)
        with self._write() as connection:
            before = standing.last(connection)
            if before is not None and before.size >= size:
                return None  # another process has signed meanwhile
            connection.execute(heads.insert().values(
                size=size, timestamp=head.timestamp, root=head.root, key=head.key, signature=head.signature,
                peaks=json.dumps([peak.hex() for peak in found.tree.peaks]), last_hash=found.last_hash,
            ))  # fmt: skip
            body = {"size": size, "root": head.root, "key": head.key, "signature": head.signature}
            audit.append(connection, self.clock(), "audit.head", "keep", "audit", body)
            faults.point("keep.head-signing")
        return head

    def _due(self, connection: sa.Connection, after_events: int, after_seconds: float) -> bool:
        before = standing.last(connection)
        size = 0 if before is None else before.size
        if (connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0) - size >= after_events:
            return True
        if before is None:
            first = connection.execute(sa.select(events.c.at).order_by(events.c.seq).limit(1)).scalar()
            since = self.clock() if first is None else datetime.fromisoformat(first).timestamp()
        else:
            since = before.timestamp / 1000
        if self.clock() - since < after_seconds:
            return False
        # The event of the last head alone is no news: an idle node would sign for ever.
        news = sa.select(events.c.seq).where(events.c.seq > size, events.c.type != "audit.head").limit(1)
        return connection.execute(news).first() is not None

    def purge_log(self, before: float) -> int:
        """Remove events that are older than `before` (seconds since the epoch), up to a head under which all are, and
        what stands beside the log since before then. Return how many events went: some at a time, so that nobody waits
        long for the database; call again until it is 0.

        The log is checked up to that head first: raises audit.Broken, and nothing goes.
        """
        oldest_kept = datetime.fromtimestamp(before, UTC).isoformat(timespec="microseconds")
        with self._write() as connection:
            connection.execute(patients.delete().where(patients.c.at < before))
            begin = standing.taken_up(standing.last(connection, purged=True))
            former = begin.tree.size
            row = _may_go(connection, former, oldest_kept)
            if row is None:
                return 0
            again = restored.to_carry(connection, row.size)
            if again is None:
                return 0
            for event in again:  # what goes on to be missing is said again, and goes under a head first
                audit.append(connection, self.clock(), event.type, event.actor, event.object, event.body)
            if again:
                return 0
            _hold(connection, begin, row)
            connection.execute(heads.update().where(heads.c.size == row.size).values(purged_at=self.clock()))
            connection.execute(events.delete().where(events.c.seq <= row.size))
            body = {"size": row.size, "root": row.root, "last_hash": row.last_hash, "before": oldest_kept}
            audit.append(connection, self.clock(), "audit.purged", "keep", "audit", body)
            faults.point("keep.log-purging")
        return int(row.size - former)

    def place(self, reader: str) -> int:
        """The number of the last event that a reader has got; 0: none."""
        with self._away("does not answer"), self.engine.connect().execution_options(reading=True) as connection:
            found = connection.execute(sa.select(places.c.seq).where(places.c.reader == reader)).scalar()
        return int(found or 0)

    def set_place(self, reader: str, seq: int) -> None:
        """A reader has the log up to an event."""
        with self._write() as connection:
            changed = connection.execute(places.update().where(places.c.reader == reader).values(seq=seq))
            if not changed.rowcount:
                connection.execute(places.insert().values(reader=reader, seq=seq))


def _may_go(connection: sa.Connection, former: int, oldest_kept: str) -> sa.Row[Any] | None:
    """The row of the head up to which events may go now; `former`: as many are gone."""
    kept = sa.select(sa.func.min(events.c.seq)).where(events.c.at >= oldest_kept)
    first_kept = connection.execute(kept).scalar()
    limit = first_kept - 1 if first_kept is not None else 2**31 - 1
    read = connection.execute(sa.select(sa.func.min(places.c.seq))).scalar()  # nobody's unread events go
    limit = limit if read is None else min(limit, read)
    over = sa.select(heads).where(heads.c.size <= limit, heads.c.size > former)
    some = over.where(heads.c.size <= former + _AT_ONCE).order_by(heads.c.size.desc()).limit(1)
    return connection.execute(some).first() or connection.execute(over.order_by(heads.c.size).limit(1)).first()


def _hold(connection: sa.Connection, begin: standing.Standing, row: sa.Row[Any]) -> None:
    """Whether the events under a head are those that it was signed for. Raises audit.Broken."""
    found = standing.onward(connection, begin, row.size)
    if (found.tree.size, found.tree.root().hex(), found.last_hash) != (row.size, row.root, row.last_hash):
        raise audit.Broken(row.size, f"the events under the head of {row.size} are not those that it was signed for")
