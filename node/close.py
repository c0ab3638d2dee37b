"""The close loop: decides on evidence that a study is complete, asks the routes, creates the jobs.

Evidence, in this order: a storage commitment request names all of it; a peer that knows the study counts as many
instances as are here; the associations that sent it have ended and a quiet time has passed; or the longest wait is
over. The reason is stored with the study.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from node import faults, logs, variants
from node.clock import Steps, steady
from node.counting import Count, Counting
from node.document_classes import is_document
from node.errors import GiveUp, TryAgain
from node.plans import persons_of, plan_of
from node.proof.merkle import root_of
from node.queries import OpenStudy, Queries, StoredInstance
from node.routes import Plan, Routes
from node.spool import Spool
from node.store import NewJob, Store

log = logs.get(__name__)
POLL = 0.1  # seconds between two looks
_STEP_SETTLES = 2.0  # seconds after the clock was set, in which the times of rows go along with it (node.supervisor)
_NO_DISK = 600.0  # seconds that files may be out of reach before their study is given up
SETTLE = 1.0  # seconds after the last instance until other evidence counts: some modalities ask after each image
PATIENCE = 30.0  # seconds beyond the quiet time that a study waits for the count of a peer that does not answer


def settled(study: OpenStudy, quiet_time: float, now: float) -> bool:
    """Whether nothing came for a moment, so that evidence may be asked for and believed. Seconds."""
    return now - study.last_received_at >= min(SETTLE, quiet_time)


def paused(study: OpenStudy, quiet_time: float, now: float) -> bool:
    """Whether nobody seems to be sending: the associations have ended, or one is open and has long been quiet."""
    return study.open_associations == 0 or now - study.last_received_at >= quiet_time


def evidence(study: OpenStudy, plan: Plan, held: int, counts: Sequence[Count], now: float) -> str | None:
    """Why the study, of which `held` instances are here, is complete, or None. `counts`: what the peers of the plan's
    `count_from` say; `now`: seconds since the epoch."""
    quiet = now - study.last_received_at
    if "commitment" in plan.evidence and study.commitment_by is not None and settled(study, plan.quiet_time, now):
        return f"storage commitment asked for by {study.commitment_by}"
    most = max((one for one in counts if one.instances is not None), key=lambda one: one.instances or 0, default=None)
    said = all(one.about == study.last_received_at and not one.reason for one in counts)  # of all that came
    still = settled(study, plan.quiet_time, now) and paused(study, plan.quiet_time, now)
    if most is not None and most.instances == held and said and still:
        return f"all {held} instances are here that {most.peer} counts"
    behind = most is not None and (most.instances or 0) > held
    unanswered = any(one.about != study.last_received_at for one in counts) and quiet < plan.quiet_time + PATIENCE
    quietly = "quiet" in plan.evidence and study.open_associations == 0 and quiet >= plan.quiet_time
    if quietly and not behind and not unanswered:
        how = "lost with the listener" if study.last_association == "lost" else study.last_association or "ended"
        return f"association {how}, then quiet for {plan.quiet_time:g} s" + _beside(held, counts)
    if now - study.first_received_at >= plan.longest_wait:
        reason = f"longest wait of {plan.longest_wait:g} s is over ({study.open_associations} associations still open"
        return reason + (f"; holds {held} of {most.instances} that {most.peer} counts)" if behind and most else ")")
    return None


def _beside(held: int, counts: Sequence[Count]) -> str:
    """What the counts say where they do not decide."""
    told = [f"{one.peer} does not say how many there are" if one.reason
            else f"{one.peer} counts {one.instances}, here are {held}" for one in counts]  # fmt: skip
    return f" ({'; '.join(told)})" if told else ""


def serve(
    store: Store, queries: Queries, spool: Spool, routes: Routes, counting: Counting, stop: threading.Event
) -> None:
    """Look at open studies until `stop` is set."""
    close = Close(store, queries, spool, routes, counting)
    steps = Steps()
    while not stop.wait(POLL):
        if steps.look():
            stop.wait(_STEP_SETTLES)
            continue
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
            except GiveUp as error:
                close.give_up(study, error)
            except OSError as error:
                close.wait_for_disk(study, error)
            except Exception as error:  # noqa: BLE001  one study that cannot be read must not hold up the others
                close.give_up(study, error)
    counting.stop()


class Close:
    """One look at one study; keeps the plan of a study that waits, so that headers are read once per change."""

    def __init__(self, store: Store, queries: Queries, spool: Spool, routes: Routes, counting: Counting) -> None:
        self._store = store
        self._queries = queries
        self._spool = spool
        self._routes = routes
        self._counting = counting
        self._plans: dict[int, tuple[float, Plan, list[StoredInstance]]] = {}
        self._out_of_reach: dict[int, float] = {}

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
            self._out_of_reach.pop(study.id, None)
        _, plan, instances = known
        reason = evidence(study, plan, len(instances), self._counts(study, plan, now), now)
        if reason is None:
            return False
        stored = self._queries.stored_modes()
        if stored:  # they may have changed since the study was first looked at
            plan = plan_of(instances, self._routes, self._spool, stored)
        jobs = [NewJob(pipeline, routes, peers, priority) for pipeline, routes, peers, priority in plan.jobs]
        promoted = self._queries.promoted()
        live = {variants.live(job.pipeline, promoted) for job in jobs}
        beside = [one for one in plan.candidates if variants.live(one[0], promoted) not in live]
        jobs += [NewJob(name, routes, (), priority) for name, routes, priority in beside]
        told: dict[str, Any] = {
            "instances": len(instances),
            "series": len({one.series_uid for one in instances}),
            "sop_classes": Counter(one.sop_class for one in instances),
            "senders": sorted({one.peer for one in instances}),
            "root": root_of(one.sop_uid for one in instances),
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
        elif all(is_document(one.sop_class) for one in instances):
            jobs, told["refused"] = [], "only reports and key objects came; no pipeline runs on them"
        elif not jobs:
            off = any(answer.off for answer in plan.answers)
            told["refused"] = "no route that is not off takes this study" if off else "no route takes this study"
        found = persons_of(instances, self._spool)
        faults.point("close.decided")
        closed = self._store.close_study(study.id, study.last_received_at, reason, jobs, told, found)
        if closed:
            faults.point("close.committed")
            self._plans.pop(study.id, None)
            log.info("study closed", study=study.study_uid, revision=study.revision, reason=reason,
                     instances=len(instances), jobs=[job.pipeline for job in jobs])  # fmt: skip
        return closed

    def wait_for_disk(self, study: OpenStudy, error: OSError) -> None:
        """A study whose files cannot be read now waits: the disk may be away for a while, and the study is not at
        fault. One that stays so is given up."""
        since = self._out_of_reach.get(study.id)
        if since is None:
            self._out_of_reach[study.id] = steady()
            log.error("files of a study are out of reach; it waits", study=study.study_uid, reason=error.strerror)
        elif steady() - since > _NO_DISK:
            self.give_up(study, error)

    def _counts(self, study: OpenStudy, plan: Plan, now: float) -> tuple[Count, ...]:
        """What is known so far of how many instances there are; has it asked for, where that is due."""
        if plan.count_from and settled(study, plan.quiet_time, now) and paused(study, plan.quiet_time, now):
            self._counting.ask(study.id, study.study_uid, study.last_received_at, plan.count_from,
                               lambda: self._queries.our_series(study.id))  # fmt: skip
        return self._counting.of(study.id, plan.count_from)

    def give_up(self, study: OpenStudy, error: Exception) -> None:
        """A study whose headers break our reading is closed without jobs, with the reason."""
        why = error.reason if isinstance(error, GiveUp) else type(error).__name__
        log.error("study cannot be read", study=study.study_uid, error=why, where=logs.where(error))
        told = {"refused": f"its headers cannot be read ({why}); no pipeline runs on it"}
        try:
            self._store.close_study(study.id, study.last_received_at, "headers cannot be read", [], told)
        except TryAgain as away:
            log.warning("close waits", reason=away.reason)

    def forget_all_but(self, open_studies: list[OpenStudy]) -> None:
        """Drop the plans and counts of studies that are no longer open."""
        alive = {study.id for study in open_studies}
        self._out_of_reach = {key: since for key, since in self._out_of_reach.items() if key in alive}
        self._plans = {key: plan for key, plan in self._plans.items() if key in alive}
        self._counting.forget_all_but(alive)
