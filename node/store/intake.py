"""Associations and received instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from node import audit, faults, states
from node.document_classes import is_document
from node.schema import associations, instances, studies
from node.store.base import Base, new_id
from node.store.nouns import Received

_Event = tuple[str, str, str, dict[str, Any]]


# Built once: these run for every instance, and building a statement costs more than running it on SQLite.
_KNOWN = sa.select(
    instances.c.id, instances.c.digest, instances.c.transfer_syntax, instances.c.purged_at
).where(
    instances.c.study_uid == sa.bindparam("b_study"),
    instances.c.sop_uid == sa.bindparam("b_sop"),
    instances.c.current == 1,
)
_STUDY = sa.select(studies).where(studies.c.study_uid == sa.bindparam("b_study"))
_TOUCH = (
    studies.update()
    .where(studies.c.id == sa.bindparam("b_id"))
    .values(revision=sa.bindparam("b_revision"), state=sa.bindparam("b_state"), closed_at=sa.bindparam("b_closed"),
            first_received_at=sa.bindparam("b_first"), last_received_at=sa.bindparam("b_last"))
)  # fmt: skip
_INSERT = instances.insert()


class Intake(Base):
    """What the listener writes."""

    def open_association(self, calling_ae: str, called_ae: str, address: str, certificate: str | None = None) -> int:
        """Record an admitted association and return its id: study completion waits for its end.

        `certificate`: whose it was, in words; None when the association came in plain text.
        """
        now = self.clock()
        with self._write() as connection:
            row = connection.execute(
                associations.insert().values(calling_ae=calling_ae, called_ae=called_ae, address=address, opened_at=now)
            )
            key = new_id(row)
            body = {"association": key, "calling_ae": calling_ae, "called_ae": called_ae, "address": address}
            body |= {} if certificate is None else {"certificate": certificate}
            audit.append(connection, now, "association.opened", "receive", f"ae/{calling_ae}", body)
        return key

    def end_association(self, association_id: int, how: str) -> None:
        """Record that an association was `released`, `aborted` or `lost`."""
        with self._write() as connection:
            self._end(connection, association_id, how)

    def end_open_associations(self) -> int:
        """At listener start-up: what a former listener left open is lost. Return how many."""
        with self._write() as connection:
            keys = (
                connection.execute(sa.select(associations.c.id).where(associations.c.ended.is_(None))).scalars().all()
            )
            for key in keys:
                self._end(connection, key, "lost")
        return len(keys)

    def _end(self, connection: sa.Connection, key: int, how: str) -> None:
        now = self.clock()
        changed = connection.execute(
            associations.update()
            .where(associations.c.id == key, associations.c.ended.is_(None))
            .values(ended=how, ended_at=now)
        )
        if changed.rowcount:
            calling = connection.execute(
                sa.select(associations.c.calling_ae).where(associations.c.id == key)
            ).scalar_one()
            audit.append(
                connection, now, "association.ended", "receive", f"ae/{calling}", {"association": key, "how": how}
            )

    def refuse(self, kind: str, calling_ae: str, called_ae: str, address: str, reason: str, count: int = 1) -> None:
        """Record a refusal of an "association", "instance" or "commitment" (`kind`); `count`: told of as one event."""
        body = {"calling_ae": calling_ae, "called_ae": called_ae, "address": address, "reason": reason, "count": count}
        with self._write() as connection:
            audit.append(connection, self.clock(), f"{kind}.refused", "receive", f"ae/{calling_ae}", body)

    def note_burst(self, address: str, count: int, reason: str) -> None:
        """Record that an address was refused `count` times in short order; `reason`: of the last one."""
        body = {"address": address, "count": count, "reason": reason}
        with self._write() as connection:
            audit.append(connection, self.clock(), "association.burst", "receive", f"address/{address}", body)

    def add_instances(self, received: Sequence[Received]) -> list[str]:
        """Commit a batch of instances whose bytes are durable; only then may they be acknowledged.

        Returns one word each: "new", "late" (the study was closed: a new revision began), "same" (nothing to
        do), "changed" (other bytes under a known UID: the newest counts, a new revision), "ours" (our own
        result: kept, but it neither makes nor reopens a study), "beside" (a report or key object selection of a closed
        study: kept with it, and nothing runs again). Raises TryAgain when the database is away.
        """
        now = self.clock()
        words: list[str] = []
        news: list[_Event] = []
        with self._write() as connection:
            for one in received:
                word, events = self._add(connection, one, now)
                words.append(word)
                news.extend(events)
            audit.append_all(connection, now, news)
            faults.point("receive.committing")
        faults.point("receive.committed")
        return words

    def _add(self, connection: sa.Connection, one: Received, now: float) -> tuple[str, list[_Event]]:
        about = f"study/{one.study_uid}"
        body: dict[str, Any] = {
            "sop_uid": one.sop_uid, "series_uid": one.series_uid, "sop_class": one.sop_class, "digest": one.digest,
            "transfer_syntax": one.transfer_syntax, "size": one.size, "peer": one.peer,
            "association": one.association_id,
        }  # fmt: skip
        known = connection.execute(_KNOWN, {"b_study": one.study_uid, "b_sop": one.sop_uid}).first()
        purged = known is not None and known.purged_at is not None  # then it comes again: its file was gone
        # The same bytes in another transfer syntax are other content: the first may have been declared wrongly.
        changed = known is not None and (known.digest, known.transfer_syntax) != (one.digest, one.transfer_syntax)
        if known and not changed and not purged:
            return "same", [("instance.repeated", "receive", about, body)]
        if known:
            connection.execute(instances.update().where(instances.c.id == known.id).values(current=0))
        if one.ours:
            self._insert(connection, one, None, 0, now)
            return "ours", [("instance.received", "receive", about, body | {"ours": True})]
        word, study_id, revision, events = self._study_for(connection, one, now, changed)
        self._insert(connection, one, study_id, revision, now)
        events.append(
            ("instance.changed" if changed else "instance.received", "receive", about, body | {"revision": revision})
        )
        return word, events

    def _study_for(
        self, connection: sa.Connection, one: Received, now: float, changed: bool
    ) -> tuple[str, int, int, list[_Event]]:
        row = connection.execute(_STUDY, {"b_study": one.study_uid}).first()
        if row is None:
            inserted = connection.execute(
                studies.insert().values(
                    study_uid=one.study_uid, revision=1, state="receiving", first_received_at=now, last_received_at=now
                )
            )
            return "new", new_id(inserted), 1, []
        if row.state == "ready" and is_document(one.sop_class):
            return "beside", int(row.id), int(row.revision), []
        events: list[_Event] = []
        values = {"b_id": row.id, "b_revision": row.revision, "b_state": row.state, "b_closed": row.closed_at,
                  "b_first": row.first_received_at, "b_last": now}  # fmt: skip
        word = "changed" if changed else "new"
        if row.state != "receiving":
            values |= {"b_state": states.move("study", row.state, "receiving"), "b_first": now, "b_closed": None}
            word = "changed" if changed else "late"
        if row.state != "receiving" or changed:
            values["b_revision"] = row.revision + 1
            why = "the same SOP Instance UID came with other bytes" if changed else "an instance came after closing"
            why += ", and after the study was purged" if row.state == "purged" else ""
            told = {"revision": row.revision + 1, "reason": why}
            events.append(("study.reopened", "receive", f"study/{one.study_uid}", told))
        connection.execute(_TOUCH, values)
        return word, int(row.id), int(values["b_revision"]), events

    @staticmethod
    def _insert(connection: sa.Connection, one: Received, study_id: int | None, revision: int, now: float) -> None:
        connection.execute(_INSERT, {
            "study_id": study_id, "study_uid": one.study_uid, "series_uid": one.series_uid, "sop_uid": one.sop_uid,
            "sop_class": one.sop_class, "transfer_syntax": one.transfer_syntax, "modality": one.modality,
            "patient_digest": one.patient_digest, "digest": one.digest, "size": one.size, "path": one.path,
            "revision": revision, "association_id": one.association_id, "peer": one.peer, "received_at": now,
            "current": 1, "ours": int(one.ours),
        })  # fmt: skip
