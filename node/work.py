"""The work loop: claims a job, runs it on the runner, stores outputs and deliveries. It renews the job's lease while
the runner computes, and ends a job that runs past its limit."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, TimeoutError

from node import clearance, faults, logs, modes, retry, variants
from node.ahead import LookAhead
from node.config import Config
from node.errors import GiveUp, IllegalMove, TryAgain
from node.golden import Golden
from node.modes import Mode
from node.queries import Queries
from node.runners.base import Outcome, Request, Runner, RunnerBroken, RunnerDied, files_of
from node.spool import Spool
from node.store import Job, Store
from pipelines.outputs.profiles import STANDARD, Form, Profile, forms_for

log = logs.get(__name__)
POLL = 0.1  # seconds between two looks
_LONGEST_PAUSE = 60.0  # seconds between two attempts while the disk is full or no model process starts
_STOPPING = "the node is stopping"
_TOO_LONG = "over the time limit"


class Work:
    """One worker: one runner, one job at a time."""

    def __init__(
        self,
        config: Config,
        store: Store,
        queries: Queries,
        spool: Spool,
        runner: Runner,
        worker: str,
        ahead: LookAhead | None = None,
        timer: Callable[[], float] = time.monotonic,
        golden: Golden | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._queries = queries
        self._spool = spool
        self._runner = runner
        self._worker = worker
        self._ahead = ahead
        self._golden = golden
        self._timer = timer  # how long a job runs must not depend on who sets the clock
        self._held = 0  # jobs in a row that found no room on the disk, or no model process

    def serve(self, stop: threading.Event) -> None:
        """Run jobs until `stop` is set. The runner is started by the caller."""
        released = False
        while not stop.is_set():
            try:
                if not released:
                    self._store.release_jobs(self._worker, "the worker stopped in the middle")
                    released = True
                if self._golden is not None:  # before a patient's job: it may hold back what comes of that
                    self._golden.look()
                job = self._store.claim_job(self._worker, self._config.work.lease)
                if job is None:
                    self._look_ahead()
                    stop.wait(POLL)
                else:
                    self.run(job, stop)
                    if self._held:
                        stop.wait(retry.backoff(self._held, self._config.work.retry_after, _LONGEST_PAUSE))
            except (TryAgain, IllegalMove) as error:
                log.warning("work waits", reason=str(error))
                released = False
                stop.wait(2)
            except Exception as error:  # noqa: BLE001  the loop's one broad except: a defect must not stop the worker
                log.error("work failed", error=type(error).__name__, where=logs.where(error))
                released = False  # the claimed row goes back to due
                stop.wait(5)

    def _look_ahead(self) -> None:
        try:
            if self._ahead is not None:
                self._ahead.look()
        except (TryAgain, GiveUp, OSError) as error:  # it only saves time; the job itself meets and tells the fault
            log.debug("not looked ahead", error=type(error).__name__)

    def run(self, job: Job, stop: threading.Event) -> None:
        """Run one claimed job and settle its row."""
        faults.point("work.claimed")
        newest = self._queries.current_revision(job.study_id)
        if newest > job.revision:
            reason = f"superseded: revision {newest} of the study has come"
            self._store.skip_job(job, reason, features={"completeness.why": "superseded"})
            return
        if job.attempts > self._config.work.attempts:
            reason = f"given up: the worker or its model process died in {job.attempts - 1} attempts"
            self._store.fail_job(job, reason, cause="died")
            return
        off = self._off(job)
        if off is not None:
            self._store.skip_job(job, off)
            return
        variant = variants.live(job.pipeline, self._queries.promoted())
        instances = self._queries.stored_instances(job.study_id)
        request = Request(
            study_uid=job.study_uid, revision=job.revision, pipeline=job.pipeline, variant=variant,
            created_at=job.created_at,
            files=files_of(instances, self._spool), spool=self._spool.root,
            former=self._queries.former_result(job.study_id, job.pipeline, job.revision),
            forms=forms_for(self._gets(peer) for peer in job.peers),
            say_unsuitable=any(one.say_unsuitable for one in self._config.routes if one.name in job.routes),
        )  # fmt: skip
        log.info("job runs", study=job.study_uid, pipeline=job.pipeline, revision=job.revision, attempt=job.attempts)
        running = self._runner.run(request)
        faults.point("work.running")
        outcome = self._wait(job, running, stop)
        faults.point("work.outcome")
        self._held = self._held + 1 if outcome.word == "held" else 0
        # What is computed is not computed again only because the database is away for the moment.
        retry.until_taken(
            lambda: self._settle(job, outcome), stop,
            lambda away: log.warning("an outcome waits for the database", study=job.study_uid, reason=away.reason),
        )  # fmt: skip
        faults.point("work.finished")

    def _wait(self, job: Job, future: Future[Outcome], stop: threading.Event) -> Outcome:
        started = renewed = self._timer()
        give_back_at: float | None = None  # once the node is stopping
        while True:
            try:
                return future.result(timeout=0.5)
            except TimeoutError:
                now = self._timer()
                if not future.running():
                    started = now  # a new model process is still loading, which is not the job's time
                if stop.is_set() and give_back_at is None:
                    give_back_at = time.monotonic() + self._config.node.stop_grace
                if give_back_at is not None and time.monotonic() >= give_back_at:
                    self._runner.kill(_STOPPING)
                elif now - started > self._config.work.time_limit:
                    self._runner.kill(f"{_TOO_LONG} of {self._config.work.time_limit:g} s")
                elif now - renewed > self._config.work.lease / 3:
                    renewed = now
                    self._renew(job)
            except RunnerDied as error:
                # A job that the stop ended is not to blame; one that dies meanwhile may be.
                cause = "time-limit" if str(error).startswith(_TOO_LONG) else "died"
                return Outcome("stopped" if str(error) == _STOPPING else "retry", str(error), cause=cause)
            except RunnerBroken as error:
                return Outcome("stopped" if stop.is_set() else "held", str(error))

    def _renew(self, job: Job) -> None:
        try:
            if not self._store.renew_job(job, self._config.work.lease):
                self._runner.kill("another worker took the job")
        except TryAgain as error:
            log.warning("lease not renewed", reason=error.reason)

    def _off(self, job: Job) -> str | None:
        """Why a job need not run: every route that asked for it is off by now."""
        configured = self._configured(job.routes)
        stored = self._queries.stored_modes()
        off = modes.for_peer(configured, stored) == "off" and bool(configured)
        return clearance.said(modes.in_force(configured, stored), "off") if off else None

    def _configured(self, routes: Collection[str]) -> dict[str, Mode]:
        """Route -> mode by the configuration; one that it does not have any more is live, unless set otherwise."""
        known = {one.name: one.mode for one in self._config.routes}
        return {name: known.get(name, "live") for name in routes}

    def _wants(self, job: Job, peer: str) -> dict[str, Mode]:
        """The routes that want a job's results at a peer, with their modes; all of the job's when none says so."""
        sending = {one.name for one in self._config.routes if peer in one.send_to}
        return self._configured([name for name in job.routes if name in sending] or job.routes)

    def _takes(self, peer: str, form: Form | None) -> bool:
        return self._gets(peer).takes(form)

    def _gets(self, peer: str) -> Profile:
        # A peer that the configuration no longer has keeps its deliveries, which wait until somebody decides.
        return next((one.gets for one in self._config.peers if one.name == peer), STANDARD)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        wants = functools.partial(self._wants, job)
        if outcome.word == "done":
            assert outcome.result is not None
            if not self._store.finish_job(job, outcome.outputs, outcome.result, self._takes, wants):
                log.warning("result not released", study=job.study_uid, pipeline=job.pipeline, revision=job.revision)
                return
            log.info("job done", study=job.study_uid, pipeline=job.pipeline, outputs=[o.name for o in outcome.outputs])
        elif outcome.word == "skipped":
            self._store.skip_job(
                job, outcome.reason, outcome.outputs, self._takes, wants, outcome.features, outcome.known
            )
            log.info("job skipped", study=job.study_uid, pipeline=job.pipeline, reason=outcome.reason)
        elif outcome.word in ("stopped", "held"):
            self._store.retry_job(job, outcome.reason, self._store.clock(), counts=False)
            if outcome.word == "held":
                log.error("job waits, and so do all others", study=job.study_uid, pipeline=job.pipeline,
                          reason=outcome.reason)  # fmt: skip
        elif outcome.word == "retry" and job.attempts < self._config.work.attempts:
            pause = retry.backoff(job.attempts, self._config.work.retry_after)
            self._store.retry_job(job, outcome.reason, self._store.clock() + pause)
            log.warning("job waits", study=job.study_uid, pipeline=job.pipeline, reason=outcome.reason)
        else:
            reason = outcome.reason if outcome.word == "failed" else f"{outcome.reason} ({job.attempts} attempts)"
            self._store.fail_job(job, reason, outcome.features, outcome.cause, outcome.known)
            log.error("job failed", study=job.study_uid, pipeline=job.pipeline, reason=reason, job=job.id)
