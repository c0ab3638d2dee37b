"""The close loop: decides on evidence that a study is complete, asks the routes, creates the jobs.

Evidence, in this order: a storage commitment request names all of it; the associations that sent it have ended
and a quiet time has passed; or the longest wait is over. The reason is stored with the study.
"""

from __future__ import annotations

import threading
from typing import Any

from node import logs
from node.errors import TryAgain
from node.plans import plan_of
from node.queries import OpenStudy, Queries, StoredInstance
from node.routes import Plan, Routes
from node.spool import Spool
from node.store import NewJob, Store

log = logs.get(__name__)
POLL = 0.1  # seconds between two looks
SETTLE = 1.0  # seconds after the last instance that a commitment request waits: some modalities ask after each image


def evidence(study: OpenStudy, quiet_time: float, longest_wait: float, now: float) -> str | None:
    """Why the study is complete, or None. Times in seconds."""
    quiet = now - study.last_received_at
    if study.commitment_by is not None and quiet >= min(SETTLE, quiet_time):
        return f"storage commitment asked for by {study.commitment_by}"
    if study.open_associations == 0 and quiet >= quiet_time:
        ended = "lost with the listener" if study.last_association == "lost" else study.last_association or "ended"
        return f"association {ended}, then quiet for {quiet_time:g} s"
    if now - study.first_received_at >= longest_wait:
        return f"longest wait of {longest_wait:g} s is over ({study.open_associations} associations still open)"
    return None


def serve(store: Store, queries: Queries, spool: Spool, routes: Routes, stop: threading.Event) -> None:
    """Look at open studies until `stop` is set."""
    close = Close(store, queries, spool, routes)
    while not stop.wait(POLL):
        try:
            open_studies = queries.open_studies()
            close.forget_all_but(open_studies)
        except TryAgain as error:
            log.warning("close waits", reason=error.reason)
            continue
        for study in open_studies:
            try:
                close.look(study)
            except TryAgain as error:
                log.warning("close waits", reason=error.reason)
            except Exception as error:  # noqa: BLE001  one study that cannot be read must not hold up the others
                close.give_up(study, error)


class Close:
    """One look at one study; keeps the plan of a study that waits, so that headers are read once per change."""

    def __init__(self, store: Store, queries: Queries, spool: Spool, routes: Routes) -> None:
        self._store = store
        self._queries = queries
        self._spool = spool
        self._routes = routes
        self._plans: dict[int, tuple[float, Plan, list[StoredInstance]]] = {}

    def look(self, study: OpenStudy) -> bool:
        """Close the study if it is complete; True when it was closed."""
        now = self._store.clock()
        if now - study.last_received_at < self._routes.shortest_quiet_time and now - study.first_received_at < 1:
            return False
        known = self._plans.get(study.id)
        if known is None or known[0] != study.last_received_at:
            instances = self._queries.stored_instances(study.id)
            plan = plan_of(instances, self._routes, self._spool)
            known = self._plans[study.id] = (study.last_received_at, plan, instances)
        _, plan, instances = known
        reason = evidence(study, plan.quiet_time, plan.longest_wait, now)
        if reason is None:
            return False
        jobs = [NewJob(pipeline, routes, peers, priority) for pipeline, routes, peers, priority in plan.jobs]
        told: dict[str, Any] = {
            "instances": len(instances),
            "series": len({one.series_uid for one in instances}),
            "routes": {answer.route: answer.reason for answer in plan.answers},
        }
        if len({one.patient_digest for one in instances}) > 1:
            # Results made from two persons' images could be shown on the wrong one: nothing runs, a person must look.
            jobs, told["refused"] = [], "the study's instances name more than one PatientID; no pipeline runs on it"
            log.error("study mixes patients", study=study.study_uid)
        elif gone := self._queries.purged(study.id):
            # A result from a part of a study would look like one from all of it.
            jobs, told["refused"] = [], (
                f"{gone} of its {gone + len(instances)} instances are purged; no pipeline runs on the rest: "
                "send the whole study again"
            )
            log.warning("study came back in part", study=study.study_uid, purged=gone, instances=len(instances))
        elif not jobs:
            told["refused"] = "no route takes this study"
        closed = self._store.close_study(study.id, study.last_received_at, reason, jobs, told)
        if closed:
            self._plans.pop(study.id, None)
            log.info("study closed", study=study.study_uid, revision=study.revision, reason=reason,
                     instances=len(instances), jobs=[job.pipeline for job in jobs])  # fmt: skip
        return closed

    def give_up(self, study: OpenStudy, error: Exception) -> None:
        """A study whose headers break our reading is closed without jobs, with the reason."""
        log.error("study cannot be read", study=study.study_uid, error=type(error).__name__, where=logs.where(error))
        told = {"refused": f"its headers cannot be read ({type(error).__name__}); no pipeline runs on it"}
        try:
            self._store.close_study(study.id, study.last_received_at, "headers cannot be read", [], told)
        except TryAgain as away:
            log.warning("close waits", reason=away.reason)

    def forget_all_but(self, open_studies: list[OpenStudy]) -> None:
        """Drop the plans of studies that are no longer open."""
        alive = {study.id for study in open_studies}
        self._plans = {key: plan for key, plan in self._plans.items() if key in alive}
