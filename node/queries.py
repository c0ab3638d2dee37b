"""Every read of the database; nothing here changes a row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from node import answered, clearance, holding, schema, standing
from node.commitment import Reference
from node.errors import TryAgain
from node.modes import Mode
from node.schema import (
    associations,
    deliveries,
    features,
    instances,
    jobs,
    output_instances,
    outputs,
    studies,
)
from node.watch_queries import WatchQueries


@dataclass(frozen=True)
class OpenStudy:
    """A study revision that is still being received."""

    id: int
    study_uid: str
    revision: int
    first_received_at: float
    last_received_at: float
    open_associations: int  # that sent instances of it and have not ended
    last_association: str | None  # how the last one that ended did: released, aborted, lost
    commitment_by: str | None = None  # the peer whose storage commitment request covers it


@dataclass(frozen=True)
class StoredInstance:
    """A current instance of a study."""

    series_uid: str
    sop_uid: str
    sop_class: str
    modality: str
    path: str
    digest: str
    patient_digest: str
    peer: str


class Queries(WatchQueries):
    """The read side of the database at `url`; safe to share between threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def dispose(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self.engine.connect().execution_options(reading=True) as connection:
                yield connection
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            raise TryAgain("the database does not answer") from error

    # -- close ---------------------------------------------------------------------------------------------

    def open_studies(self) -> list[OpenStudy]:
        """Studies in state receiving, oldest first, with the associations that concern them."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(studies).where(studies.c.state == "receiving").order_by(studies.c.first_received_at)
            ).all()
            found = []
            for row in rows:
                sent = connection.execute(
                    sa.select(associations.c.id, associations.c.ended, associations.c.ended_at)
                    .where(associations.c.id.in_(
                        sa.select(instances.c.association_id).where(instances.c.study_id == row.id).distinct()))
                    .order_by(associations.c.ended_at)
                ).all()  # fmt: skip
                ended = [a.ended for a in sent if a.ended is not None]
                found.append(
                    OpenStudy(row.id, row.study_uid, row.revision, row.first_received_at, row.last_received_at,
                              sum(a.ended is None for a in sent), ended[-1] if ended else None,
                              holding.asked_for_by(connection, row.id, row.first_received_at))
                )  # fmt: skip
        return found

    def stored_instances(self, study_id: int) -> list[StoredInstance]:
        """The current instances of a study that are not purged, without our own results, in order of arrival."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(instances)
                .where(instances.c.study_id == study_id, instances.c.current == 1, instances.c.ours == 0,
                       instances.c.purged_at.is_(None))
                .order_by(instances.c.id)
            ).all()  # fmt: skip
        return [
            StoredInstance(r.series_uid, r.sop_uid, r.sop_class, r.modality, r.path, r.digest, r.patient_digest, r.peer)
            for r in rows
        ]

    def our_series(self, study_id: int) -> frozenset[str]:
        """See node.standing.our_series."""
        with self._read() as connection:
            return standing.our_series(connection, study_id)

    def not_held(self, references: Sequence[Reference], path: Callable[[str], Path]) -> Mapping[Reference, int]:
        """See node.holding.failures."""
        with self._read() as connection:
            return holding.failures(connection, references, path)

    def purged(self, study_id: int) -> int:
        """See node.holding.purged."""
        with self._read() as connection:
            return holding.purged(connection, study_id)

    # -- work ----------------------------------------------------------------------------------------------

    def current_revision(self, study_id: int) -> int:
        """The study's newest revision: a job of an older one need not run."""
        with self._read() as connection:
            return int(connection.execute(sa.select(studies.c.revision).where(studies.c.id == study_id)).scalar_one())

    def former_result(self, study_id: int, pipeline: str, before: int) -> dict[str, Any] | None:
        """See node.standing.former_result."""
        with self._read() as connection:
            return standing.former_result(connection, study_id, pipeline, before)

    # -- send ----------------------------------------------------------------------------------------------

    def standing(self, job_id: int) -> standing.Standing:
        """See node.standing.standing."""
        with self._read() as connection:
            return standing.standing(connection, job_id)

    def clearance(self, delivery_id: int) -> clearance.Clearance:
        """See node.clearance."""
        with self._read() as connection:
            return clearance.clearance(connection, delivery_id)

    def stored_modes(self) -> dict[str, Mode]:
        """See node.clearance.stored_modes."""
        with self._read() as connection:
            return clearance.stored_modes(connection)

    def promoted(self) -> dict[str, str]:
        """See node.clearance.promoted."""
        with self._read() as connection:
            return clearance.promoted(connection)

    # -- people --------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """How many studies, jobs and deliveries stand in each state."""
        with self._read() as connection:
            return {
                noun: {
                    state: count
                    for state, count in connection.execute(
                        sa.select(table.c.state, sa.func.count()).group_by(table.c.state).order_by(table.c.state)
                    )
                }
                for noun, table in (("studies", studies), ("jobs", jobs), ("deliveries", deliveries))
            }

    def recent_studies(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest studies with their jobs and deliveries, for `overread status`."""
        with self._read() as connection:
            uids = (
                connection.execute(
                    sa.select(studies.c.study_uid).order_by(studies.c.last_received_at.desc()).limit(limit)
                )
                .scalars()
                .all()
            )
        return [found for uid in uids if (found := self.study(uid)) is not None]

    def study(self, study_uid: str) -> dict[str, Any] | None:
        """One study as plain data: its row, instance counts, jobs, outputs and deliveries; None when unknown."""
        with self._read() as connection:
            row = connection.execute(sa.select(studies).where(studies.c.study_uid == study_uid)).first()
            if row is None:
                return None
            shown: dict[str, Any] = dict(row._mapping)
            shown["instances"] = connection.execute(
                sa.select(sa.func.count()).where(instances.c.study_id == row.id, instances.c.current == 1)
            ).scalar_one()
            shown["purged"] = holding.purged(connection, row.id)
            shown["jobs"] = [
                self._job(connection, job)
                for job in connection.execute(
                    sa.select(jobs).where(jobs.c.study_id == row.id).order_by(jobs.c.id)
                ).all()
            ]
        return shown

    @staticmethod
    def _job(connection: sa.Connection, job: sa.Row[Any]) -> dict[str, Any]:
        shown: dict[str, Any] = dict(job._mapping)
        for key in ("routes", "peers", "model", "timings"):
            shown[key] = json.loads(shown[key]) if shown[key] else None
        shown["features"] = {
            f.name: f.number if f.text is None else f.text
            for f in connection.execute(
                sa.select(features).where(features.c.job_id == job.id).order_by(features.c.name)
            )
        }
        shown["outputs"] = []
        for output in connection.execute(
            sa.select(outputs).where(outputs.c.job_id == job.id).order_by(outputs.c.id)
        ).all():
            files = connection.execute(
                sa.select(output_instances)
                .where(output_instances.c.output_id == output.id)
                .order_by(output_instances.c.id)
            ).all()
            sent = []
            for delivery in connection.execute(
                sa.select(deliveries).where(deliveries.c.output_id == output.id).order_by(deliveries.c.id)
            ).all():
                sent.append(dict(delivery._mapping) | answered.of_delivery(connection, delivery.id))
            shown["outputs"].append(
                dict(output._mapping) | {"files": [dict(f._mapping) for f in files], "deliveries": sent}
            )
        return shown

    def find_studies(self, prefix: str) -> list[str]:
        """StudyInstanceUIDs that start with `prefix`, at most 20."""
        with self._read() as connection:
            return list(connection.execute(
                sa.select(studies.c.study_uid).where(studies.c.study_uid.startswith(prefix, autoescape=True)).limit(20)
            ).scalars())  # fmt: skip

    def failed(self) -> dict[str, list[int]]:
        """Ids of the jobs and deliveries that wait for a person; not those whose files are purged."""
        job = sa.select(jobs.c.id).join(studies, studies.c.id == jobs.c.study_id)
        job = job.where(jobs.c.state == "failed", studies.c.state != "purged")
        delivery = (
            sa.select(deliveries.c.id)
            .join(outputs, outputs.c.id == deliveries.c.output_id).join(jobs, jobs.c.id == outputs.c.job_id)
            .where(deliveries.c.state == "failed", jobs.c.purged_at.is_(None))
        )  # fmt: skip
        with self._read() as connection:
            return {
                "jobs": list(connection.execute(job).scalars()),
                "deliveries": list(connection.execute(delivery).scalars()),
            }

    # -- housekeeping --------------------------------------------------------------------------------------

    def schema_version(self) -> str:
        """The Alembic revision of the database, or 'empty'."""
        with self._read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return "empty"
            return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


def input_digest(digests: list[str]) -> str:
    """One digest for a set of instances, whatever their order. Hex SHA-256."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def open_queries(url: str) -> Queries:
    """Queries on an engine of their own."""
    return Queries(schema.make_engine(url))
