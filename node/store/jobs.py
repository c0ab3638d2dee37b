"""Jobs: claim, renew, finish, skip, retry, fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from node import audit, faults, states
from node.errors import IllegalMove
from node.schema import deliveries, jobs, output_instances, outputs, studies
from node.store import watched
from node.store.base import new_id
from node.store.nouns import Job, JobResult, NewOutput
from node.store.releases import Going, Releases, Wants, is_silent, told_of
from pipelines.outputs.profiles import Form

Takes = Callable[[str, Form | None], bool]
"""Whether a peer takes a result in a form."""
_NONE: Mapping[str, Any] = MappingProxyType({})


class Jobs(Releases):
    """What the work loop writes."""

    def claim_job(self, worker: str, lease: float) -> Job | None:
        """Take the next job: due ones by priority and age, or one whose worker's lease (seconds) ran out.

        Of one priority those go first that were not tried yet: a study that breaks its pipeline, or lets it hang up to
        the time limit, holds up the others once and not at each attempt.
        """
        now = self.clock()
        claimable = ((jobs.c.state == "due") & (jobs.c.due_at <= now)) | (
            (jobs.c.state == "running") & (jobs.c.lease_until < now)
        )
        if not self._any(sa.select(jobs.c.id).where(claimable)):
            return None
        with self._write() as connection:
            row = connection.execute(
                sa.select(jobs, studies.c.study_uid)
                .join(studies, studies.c.id == jobs.c.study_id)
                .where(claimable)
                .order_by(jobs.c.priority.desc(), sa.case((jobs.c.attempts > 0, 1), else_=0), jobs.c.due_at, jobs.c.id)
                .limit(1)
            ).first()
            if row is None:
                return None
            before = row.state
            if before == "running":  # its worker died: back to due and claimed again, in one statement's time
                before = states.move("job", "running", "due")
            connection.execute(
                jobs.update()
                .where(jobs.c.id == row.id)
                .values(state=states.move("job", before, "running"), worker=worker, lease_until=now + lease,
                        started_at=now, attempts=row.attempts + 1)
            )  # fmt: skip
            body = {"pipeline": row.pipeline, "revision": row.revision, "attempt": row.attempts + 1, "worker": worker}
            audit.append(connection, now, "job.claimed", "work", f"study/{row.study_uid}", body)
            faults.point("work.claiming")
        return Job(
            row.id, row.study_id, row.study_uid, row.revision, row.pipeline, row.attempts + 1, row.created_at, worker,
            tuple(json.loads(row.routes)), tuple(json.loads(row.peers)),
        )  # fmt: skip

    def renew_job(self, job: Job, lease: float) -> bool:
        """Keep the lease while the job runs; False when another worker has taken it."""
        with self._write() as connection:
            changed = connection.execute(
                jobs.update()
                .where(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.worker == job.worker)
                .values(lease_until=self.clock() + lease)
            )
        return bool(changed.rowcount)

    def release_jobs(self, worker: str, reason: str) -> int:
        """Give back what `worker` was running when it died (called when it starts again). Return how many."""
        with self._write() as connection:
            rows = connection.execute(
                sa.select(jobs.c.id, jobs.c.pipeline, jobs.c.revision, jobs.c.attempts, studies.c.study_uid)
                .join(studies, studies.c.id == jobs.c.study_id)
                .where(jobs.c.state == "running", jobs.c.worker == worker)
            ).all()
            for row in rows:
                now = self.clock()
                connection.execute(
                    jobs.update().where(jobs.c.id == row.id)
                    .values(state=states.move("job", "running", "due"), due_at=now, worker=None, lease_until=None)
                )  # fmt: skip
                body = {"pipeline": row.pipeline, "revision": row.revision, "attempt": row.attempts, "reason": reason}
                audit.append(connection, now, "job.retried", "work", f"study/{row.study_uid}", body)
        return len(rows)

    def finish_job(
        self,
        job: Job,
        made: Sequence[NewOutput],
        result: JobResult,
        takes: Takes = lambda peer, form: True,
        wants: Wants = lambda peer: {},
    ) -> bool:
        """Store a done job, its outputs, features, and one delivery for each output and peer that `takes` it: due, or
        held, or none, by the modes, as they are now, of the routes that `wants` names (none: those of the job, live
        unless set otherwise). An urgent result (STAT) goes before all others, and so do the study's further jobs.

        False: the study has changed since the job began. The job is skipped, and nothing of its result is kept.
        """
        now = self.clock()
        with self._write() as connection:
            row = self._own_job(connection, job)
            if not self._released(connection, job, now):
                return False
            going = self._going(connection, job, wants)
            urgent = result.urgent and not is_silent(job, going)
            priority = max(row.priority, states.STAT) if urgent else row.priority
            if urgent:
                same = (jobs.c.study_id == row.study_id) & jobs.c.state.in_(("due", "running"))
                connection.execute(jobs.update().where(same).values(priority=priority))
            sizes = self._add_outputs(connection, job.id, made, going, takes, priority, now)
            body = {
                "series_uid": result.series_uid, "input_digest": result.input_digest, "model": dict(result.model),
                "timings": dict(result.timings), "findings": dict(result.findings), "outputs": sizes,
                "release": told_of(going),
            }  # fmt: skip
            if result.record:
                body["record"] = dict(result.record)
            if urgent:
                body["priority"] = "STAT"
            values = {
                "series_uid": result.series_uid, "input_digest": result.input_digest,
                "model": json.dumps(dict(result.model)), "timings": json.dumps(dict(result.timings)),
                "release": json.dumps(told_of(going)),
            }  # fmt: skip
            self._settle_job(connection, job, "done", now, None, body, values, result.features)
            self._hold_and_replace(connection, job, going)
        return True

    def skip_job(
        self, job: Job, reason: str, made: Sequence[NewOutput] = (), takes: Takes = lambda peer, form: True,
        wants: Wants = lambda peer: {}, features: watched.Values = _NONE, known: Mapping[str, Any] = _NONE,
    ) -> bool:  # fmt: skip
        """The pipeline does not take this study revision; `reason` is for a person. `made`: a report that says so;
        `features`: what is known of the study; `known`: what it would have been made with, for the log. False as with
        `finish_job`, where there is such a report."""
        now = self.clock()
        with self._write() as connection:
            row = self._own_job(connection, job)
            if made and not self._released(connection, job, now):
                return False
            going = self._going(connection, job, wants)
            sizes = self._add_outputs(connection, job.id, made, going, takes, row.priority, now)
            values = {"release": json.dumps(told_of(going))} if made else {}
            body = {**known, "outputs": sizes} if sizes else known
            self._settle_job(connection, job, "skipped", now, reason, body, values, features)
            if made:
                self._hold_and_replace(connection, job, going)
        return True

    def _released(self, connection: sa.Connection, job: Job, now: float) -> bool:
        """Whether the study is still the one that the job ran on: each instance that comes late, or again with other
        content (a patient's name that was corrected), makes a new revision. If not, the job is skipped."""
        newest = connection.execute(sa.select(studies.c.revision).where(studies.c.id == job.study_id)).scalar_one()
        if newest == job.revision:
            return True
        reason = f"superseded: revision {newest} of the study came while it ran; nothing of it is sent"
        self._settle_job(connection, job, "skipped", now, reason, {}, None, {"completeness.why": "superseded"})
        return False

    def fail_job(
        self, job: Job, reason: str, features: watched.Values = _NONE, cause: str = "", known: Mapping[str, Any] = _NONE
    ) -> None:
        """Given up until a person looks. `features` and `known`: see `skip_job`; `cause`: the kind of failure."""
        with self._write() as connection:
            self._own_job(connection, job)
            self._settle_job(connection, job, "failed", self.clock(), reason, known, None, features, cause)

    def retry_job(self, job: Job, reason: str, due_at: float, counts: bool = True) -> None:
        """Back to due at `due_at` (seconds since the epoch). `counts` False: the attempt was not the job's fault."""
        values = {"due_at": due_at, "attempts": job.attempts if counts else job.attempts - 1}
        with self._write() as connection:
            self._own_job(connection, job)
            self._settle_job(connection, job, "due", self.clock(), reason, {"due_at": due_at}, values)

    def reset_job(self, job_id: int, actor: str) -> None:
        """A person asks for a failed job again. IllegalMove when it did not fail."""
        with self._write() as connection:
            row = connection.execute(
                sa.select(jobs, studies.c.study_uid, studies.c.state.label("study_state"))
                .join(studies, studies.c.id == jobs.c.study_id)
                .where(jobs.c.id == job_id)
            ).first()
            if row is None:
                raise IllegalMove(f"job/{job_id}: no such job; `overread status` lists them")
            if row.state != "failed":
                raise IllegalMove(f"job/{job_id} is {row.state}: only a failed one can be tried again")
            if row.study_state == "purged":
                raise IllegalMove(f"job/{job_id}: the files of its study are purged; send the whole study again")
            now = self.clock()
            connection.execute(
                jobs.update().where(jobs.c.id == job_id)
                .values(state=states.move("job", row.state, "due"), due_at=now, attempts=0, finished_at=None)
            )  # fmt: skip
            body = {"pipeline": row.pipeline, "revision": row.revision, "attempt": 0, "reason": "asked for by a person"}
            audit.append(connection, now, "job.retried", actor, f"study/{row.study_uid}", body)

    @staticmethod
    def _own_job(connection: sa.Connection, job: Job) -> sa.Row[Any]:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one()
        if row.state != "running" or row.worker != job.worker:
            raise IllegalMove(f"job {job.id} is {row.state}: {job.worker} lost its lease to {row.worker or 'nobody'}")
        return row

    def _settle_job(
        self, connection: sa.Connection, job: Job, state: str, now: float, reason: str | None,
        body: Mapping[str, Any], values: Mapping[str, Any] | None = None, features: watched.Values = _NONE,
        cause: str = "",
    ) -> None:  # fmt: skip
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one()
        if state != "due":
            body = {**body, **watched.put(connection, job.id, {**features, **watched.service(row, state, now, cause)})}
        finished = None if state == "due" else now
        connection.execute(
            jobs.update().where(jobs.c.id == job.id)
            .values(state=states.move("job", row.state, state), reason=reason, finished_at=finished, lease_until=None,
                    worker=None, **(values or {}))
        )  # fmt: skip
        told = {"pipeline": job.pipeline, "revision": job.revision, "attempt": job.attempts, **body}
        if reason is not None:
            told["reason"] = reason
        type_ = "job.retried" if state == "due" else f"job.{state}"
        audit.append(connection, now, type_, "work", f"study/{job.study_uid}", told)
        faults.point("work.finishing")

    def _add_outputs(
        self, connection: sa.Connection, job_id: int, made: Sequence[NewOutput],
        going: Mapping[str, Going], takes: Takes, priority: int, now: float,
    ) -> dict[str, Any]:  # fmt: skip
        """The rows of outputs and of their deliveries; what the event says of them."""
        told = {}
        for output in made:
            key = self._add_output(connection, job_id, output)
            told[output.name] = {
                "sop_class": output.sop_class, "series_uid": output.series_uid, "instances": len(output.files),
                "sop_uids": [one.sop_uid for one in output.files], "digests": [one.digest for one in output.files],
            }  # fmt: skip
            if output.form is not None:
                told[output.name]["form"] = str(output.form)
            for peer, one in going.items():
                if one.mode in ("live", "review") and takes(peer, output.form):
                    connection.execute(
                        deliveries.insert().values(
                            output_id=key, peer=peer, state="due" if one.why_held is None else "held", due_at=now,
                            priority=priority, attempts=0, created_at=now, routes=json.dumps(one.routes),
                            reason=one.why_held,
                        )
                    )  # fmt: skip
        return told

    @staticmethod
    def _add_output(connection: sa.Connection, job_id: int, output: NewOutput) -> int:
        named = {"name": output.name, "series_uid": output.series_uid, "sop_class": output.sop_class}
        key = new_id(connection.execute(outputs.insert().values(job_id=job_id, **named)))
        connection.execute(output_instances.insert(), [
            {"output_id": key, "sop_uid": f.sop_uid, "path": f.path, "digest": f.digest, "size": f.size}
            for f in output.files
        ])  # fmt: skip
        return key
