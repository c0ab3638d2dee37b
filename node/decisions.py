"""What people have decided about routes, results and versions, and what they may decide next: to read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from node import clearance, comparison
from node.comparison import Comparison
from node.errors import GiveUp
from node.queries import Queries
from node.schema import deliveries, jobs, output_instances, outputs, studies
from pipelines.base import quoted


class Decisions(Queries):
    """The read side for people who decide."""

    def route_modes(self) -> dict[str, dict[str, Any]]:
        """See node.clearance.route_rows."""
        with self._read() as connection:
            return clearance.route_rows(connection)

    def held(self) -> list[dict[str, Any]]:
        """See node.clearance.held."""
        with self._read() as connection:
            return clearance.held(connection)

    def compare(
        self, old: str, new: str, pipeline: str | None = None, begin: float | None = None, end: float | None = None
    ) -> Comparison:
        """See node.comparison.compare."""
        with self._read() as connection:
            return comparison.compare(connection, old, new, pipeline, begin, end)

    def read_by_both(self, pipeline: str, old: str, new: str) -> int:
        """How many studies two versions of a pipeline's model have both read."""
        with self._read() as connection:
            return comparison.read_by_both(connection, pipeline, old, new)

    def output_of(self, what: str) -> str:
        """The SOP Instance UID of an output of what a person means: itself, or the first one of job/ID, or of the only
        result of a study that is held, or else of its only one. Raises GiveUp where there is none or more than one."""
        made = (
            sa.select(output_instances.c.sop_uid, jobs.c.id)
            .join(outputs, outputs.c.id == output_instances.c.output_id)
            .join(jobs, jobs.c.id == outputs.c.job_id)
            .join(studies, studies.c.id == jobs.c.study_id)
            .order_by(output_instances.c.id)
        )
        noun, _, key = what.partition("/")
        of_study = made.where(studies.c.study_uid == what, jobs.c.peers != "[]")
        waits = sa.select(deliveries.c.output_id).where(deliveries.c.state == "held")
        choices = [made.where(jobs.c.id == int(key)).limit(1)] if noun == "job" and key.isdigit() else [
            made.where(output_instances.c.sop_uid == what).limit(1), of_study.where(outputs.c.id.in_(waits)), of_study
        ]  # fmt: skip
        with self._read() as connection:
            for choice in choices:
                found: dict[int, str] = {}
                for row in connection.execute(choice):
                    found.setdefault(row.id, row.sop_uid)
                if len(found) > 1:
                    jobs_of = ", ".join(f"job/{one}" for one in found)
                    raise GiveUp(f"{quoted(what)} has several results: name one of {jobs_of}")
                if found:
                    return next(iter(found.values()))
        raise GiveUp(f"{quoted(what)} is neither a job with outputs, nor a study with a result, nor an output of ours; "
                     "`overread review list` has what is held")  # fmt: skip
