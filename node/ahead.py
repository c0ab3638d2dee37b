"""Looks ahead: while a study waits out its quiet time, an idle runner may read it already."""

from __future__ import annotations

from node import variants
from node.plans import plan_of
from node.queries import Queries
from node.routes import Routes
from node.runners.base import Ahead, Runner, files_of
from node.spool import Spool


class LookAhead:
    """Tells a runner of the study that will probably be next."""

    def __init__(self, queries: Queries, spool: Spool, routes: Routes, runner: Runner) -> None:
        self._queries = queries
        self._spool = spool
        self._routes = routes
        self._runner = runner
        self._told: tuple[int, float] | None = None

    def look(self) -> None:
        """Tell the runner of the oldest study whose associations have ended, once for each time it changes. Raises
        TryAgain."""
        study = next((one for one in self._queries.open_studies() if not one.open_associations), None)
        if study is None or self._told == (study.id, study.last_received_at):
            return
        self._told = study.id, study.last_received_at
        instances = self._queries.stored_instances(study.id)
        plan = plan_of(instances, self._routes, self._spool)
        if plan.jobs:
            promoted = self._queries.promoted()
            names = tuple(variants.live(job[0], promoted) for job in plan.jobs)
            self._runner.prepare(Ahead(files_of(instances, self._spool), names))
