"""What is read of the audit log, and of who the patients are beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa

from node import audit, persons
from node.audit import Event
from node.proof import ranges, restored, standing
from node.proof.heads import Head, Keys
from node.proof.verify import Verdict, verify
from node.schema import events, instances, patients

_PAGE = 5000  # events that are read in one transaction


class LogQueries(ABC):
    """The reads of the log; Queries has them."""

    engine: sa.Engine

    @abstractmethod
    def _read(self) -> AbstractContextManager[sa.Connection]:
        """A connection that reads. Raises TryAgain."""

    def events(self, object_: str | None = None, after: int = 0) -> list[Event]:
        """The log of one object (of all when None), oldest first."""
        with self._read() as connection:
            return list(audit.read(connection, object_, after))

    def verify(self) -> tuple[int, str | None]:
        """How many events hold, and a line about the first that does not (None: all hold); with the heads in the
        database, but without any that were exported."""
        verdict = self.prove({}, None)
        return verdict.events, verdict.broken

    def prove(self, exported: Mapping[str, Sequence[Head]], keys: Keys | None, processes: int = 1) -> Verdict:
        """See node.proof.verify. Several processes look at a long log, where this one has no other use of the database
        meanwhile; what they find wrong is looked at again by one, which names it."""
        if processes > 1 and ranges.POSSIBLE and self._length() >= ranges.WORTH:
            self.engine.dispose()
            with ranges.Readers(self.engine.url, processes) as readers, self._read() as connection:
                verdict = verify(connection, exported, keys, readers.nodes)
            if verdict.broken is None:
                return verdict
        with self._read() as connection:
            return verify(connection, exported, keys)

    def _length(self) -> int:
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0)

    def lost_heads(self, exported: Sequence[Head]) -> tuple[list[Head], list[Head]]:
        """Those of the exported heads that the database should have and has not, and all that it has."""
        with self._read() as connection:
            stored = standing.heads(connection)
            there = set(stored)
            left = restored.left(exported, stored, restored.told(connection))
        return [head for head in left if head not in there], stored

    def heads(self) -> list[Head]:
        """The signed tree heads, oldest first."""
        with self._read() as connection:
            return standing.heads(connection)

    def log(
        self, after: int = 0, since: str = "", until: str = "~", types: Sequence[str] = (), most: int | None = None,
        object_: str | None = None,
    ) -> Iterator[Event]:  # fmt: skip
        """The events with seq > `after` whose time lies in since <= at < until (ISO 8601, UTC), of these types (all
        when empty) and about this object, at most `most`; in pages, so that a long log is no long transaction."""
        left = most
        while left is None or left > 0:
            page = _PAGE if left is None else min(left, _PAGE)
            query = sa.select(events).where(events.c.seq > after).order_by(events.c.seq).limit(page)
            if since or until != "~":
                query = query.where(events.c.at >= since, events.c.at < until)
            if object_ is not None:
                query = query.where(events.c.object == object_)
            if types:
                query = query.where(events.c.type.in_(types))
            with self._read() as connection:
                found = [audit.as_event(row) for row in connection.execute(query)]
            yield from found
            if len(found) < page:
                return
            after = found[-1].seq
            left = None if left is None else left - len(found)

    def association(self, key: int, before: int) -> list[Event]:
        """How an association began and ended: the newest one with that number before an event's."""
        opened = (
            sa.select(events).where(events.c.type == "association.opened", events.c.seq < before)
            .order_by(events.c.seq.desc())
        )  # fmt: skip
        with self._read() as connection:
            for row in connection.execute(opened, execution_options={"yield_per": 200}):
                event = audit.as_event(row)
                if event.body["association"] == key:
                    later = (one for one in audit.read(connection, event.object, event.seq)
                             if one.type == "association.ended" and one.body["association"] == key)  # fmt: skip
                    ended = next(later, None)
                    return [event] if ended is None else [event, ended]
                if event.body["association"] < key:
                    break
        return []

    # -- patients ------------------------------------------------------------------------------------------

    def studies_of_accession(self, accession: str) -> list[str]:
        """See node.persons.studies_of_accession."""
        with self._read() as connection:
            return persons.studies_of_accession(connection, accession)

    def studies_of_patient(self, patient_id: str) -> list[str]:
        """See node.persons.studies_of_patient."""
        with self._read() as connection:
            return persons.studies_of_patient(connection, patient_id)

    def patient_digests(self, study_uid: str) -> tuple[str, ...]:
        """By which digests the patients of a study are called, of what is there of it."""
        query = sa.select(instances.c.patient_digest).where(instances.c.study_uid == study_uid).distinct()
        with self._read() as connection:
            return tuple(sorted(connection.execute(query.limit(10)).scalars()))

    def persons(self) -> int:
        """How many rows say who a patient is."""
        with self._read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(patients)).scalar_one())
