"""What lies in the spool, by its rows: files of a study, and the piles that retention looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from node import retention
from node.queries import Queries
from node.retention import Pile
from node.schema import events, instances, jobs, output_instances, outputs, studies
from node.sections import Keep


@dataclass(frozen=True)
class LiveFile:
    """A file that should lie in the spool. `digest`: hex SHA-256, of the whole file of a result, of the dataset as it
    was received else."""

    path: str
    digest: str
    size: int  # bytes
    result: bool


class Inventory(Queries):
    """Reads for housekeeping; nothing here changes a row."""

    def is_new(self) -> bool:
        """Whether no node ever wrote to this database."""
        with self._read() as connection:
            return connection.execute(sa.select(events.c.seq).limit(1)).first() is None

    def study_uids(self) -> set[str]:
        """The StudyInstanceUID of all of which the spool should hold a file."""
        returned = sa.select(instances.c.study_uid).where(
            instances.c.ours == sa.literal_column("1"), instances.c.purged_at.is_(None)
        )
        made = (
            sa.select(jobs.c.id).join(outputs, outputs.c.job_id == jobs.c.id)
            .where(jobs.c.study_id == studies.c.id, jobs.c.purged_at.is_(None)).exists()
        )  # fmt: skip
        here = sa.select(studies.c.study_uid).where(sa.or_(studies.c.state != "purged", made))
        with self._read() as connection:
            return set(connection.execute(here).scalars()) | set(connection.execute(returned).scalars())

    def live_files(self, study_uid: str) -> Iterator[LiveFile]:
        """The files of a study that are not purged: received, superseded and returned instances, and results."""
        study = sa.select(studies.c.id).where(studies.c.study_uid == study_uid).scalar_subquery()
        returned = sa.and_(instances.c.ours == sa.literal_column("1"), instances.c.study_uid == study_uid)
        received = [instances.c.path, instances.c.digest, instances.c.size]
        with self._read() as connection:
            for condition in (instances.c.study_id == study, returned):
                for row in connection.execute(sa.select(*received).where(condition, instances.c.purged_at.is_(None))):
                    yield LiveFile(row.path, row.digest, row.size, False)
            made = (
                sa.select(output_instances.c.path, output_instances.c.digest, output_instances.c.size)
                .join(outputs, outputs.c.id == output_instances.c.output_id)
                .join(jobs, jobs.c.id == outputs.c.job_id)
                .where(jobs.c.study_id == study, jobs.c.purged_at.is_(None))
            )
            for row in connection.execute(made):
                yield LiveFile(row.path, row.digest, row.size, True)

    def known_paths(self, study_uid: str) -> set[str]:
        """Every spool path of a study that a row names and that is not purged."""
        return {one.path for one in self.live_files(study_uid)}

    def piles(
        self, kind: str, before: float, keep: Keep, now: float, held: bool = False, limit: int | None = None
    ) -> list[Pile]:
        """See node.retention.find."""
        with self._read() as connection:
            return retention.find(connection, kind, before, keep, now, held=held, limit=limit)
