"""Closing a study: its jobs come into being in the same commit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit, faults, persons, states
from node.persons import Person
from node.schema import jobs, studies
from node.store.base import Base
from node.store.nouns import NewJob


class Studies(Base):
    """What the close loop and start-up write."""

    def close_study(
        self, study_id: int, last_received_at: float, reason: str, new_jobs: Sequence[NewJob], told: Mapping[str, Any],
        found: Sequence[Person] = (),
    ) -> bool:  # fmt: skip
        """Call a study complete and create its jobs; `told` goes into the event (counts, each route's answer). `found`:
        who its headers say the patient is, which is kept beside the log; the event has their digests.

        False, and nothing changed, when an instance arrived since the caller looked (`last_received_at`).
        """
        now = self.clock()
        digested = [(self.patient_digest(one.patient_id, one.issuer), one) for one in found]
        with self._write() as connection:
            row = connection.execute(sa.select(studies).where(studies.c.id == study_id)).one()
            if row.state != "receiving" or row.last_received_at != last_received_at:
                return False
            connection.execute(
                studies.update()
                .where(studies.c.id == study_id)
                .values(state=states.move("study", row.state, "ready"), closed_at=now, reason=reason)
            )
            about = f"study/{row.study_uid}"
            persons.remember(connection, row.study_uid, digested, now)
            if digested:
                told = {**told, "patients": sorted({digest for digest, _ in digested})}
            events: list[tuple[str, str, str, dict[str, Any]]] = [
                ("study.closed", "close", about, {"revision": row.revision, "reason": reason, **told})
            ]
            for job in new_jobs:
                connection.execute(
                    jobs.insert().values(
                        study_id=study_id, revision=row.revision, pipeline=job.pipeline, routes=json.dumps(job.routes),
                        peers=json.dumps(job.peers), state="due", priority=job.priority, attempts=0, due_at=now,
                        created_at=now,
                    )
                )  # fmt: skip
                events.append(
                    ("job.created", "close", about, {"pipeline": job.pipeline, "revision": row.revision,
                     "routes": list(job.routes), "peers": list(job.peers), "priority": job.priority})
                )  # fmt: skip
            audit.append_all(connection, now, events)
            faults.point("close.committing")
        return True

    def note(self, type_: str, actor: str, object_: str, body: Mapping[str, Any]) -> None:
        """Append one event that changes no other row (start, stop, sweep, ...)."""
        with self._write() as connection:
            audit.append(connection, self.clock(), type_, actor, object_, body)
