"""Whether a result still stands for its study as it is now, and which earlier result a new one replaces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.clearance import refused
from node.schema import deliveries, instances, jobs, output_instances, outputs, studies


@dataclass(frozen=True)
class Standing:
    """How a job's results stand to their study now."""

    revision: int  # the study's newest
    superseded: str | None  # why they are not to be sent any more, for a person
    late: tuple[str, ...] = ()  # spool paths of the current instances that came after the job's revision


def standing(connection: sa.Connection, job_id: int) -> Standing:
    """See Standing. Superseded is what a later revision's result replaces, and what was made of instances that came
    again with other content since; of other late instances only their headers tell (node.release)."""
    job = connection.execute(
        sa.select(jobs.c.study_id, jobs.c.pipeline, jobs.c.revision, jobs.c.series_uid, studies.c.revision.label("now"))
        .join(studies, studies.c.id == jobs.c.study_id).where(jobs.c.id == job_id)
    ).one()  # fmt: skip
    if job.now == job.revision:
        return Standing(job.now, None)
    later = connection.execute(
        sa.select(jobs.c.revision).where(
            jobs.c.study_id == job.study_id, jobs.c.pipeline == job.pipeline, jobs.c.revision > job.revision,
            sa.exists().where(outputs.c.job_id == jobs.c.id),
        ).order_by(jobs.c.revision.desc()).limit(1)
    ).scalar()  # fmt: skip
    if later is not None:
        return Standing(job.now, f"superseded: the result of revision {later} replaces it")
    here = (instances.c.study_id == job.study_id) & (instances.c.ours == 0)
    new = instances.alias()
    again = sa.exists().where(
        new.c.study_id == job.study_id, new.c.sop_uid == instances.c.sop_uid, new.c.revision > job.revision
    )
    changed = sa.select(instances.c.id).where(here, instances.c.revision <= job.revision, again)
    if job.series_uid is not None:  # what its pipeline read; without one it is about the study as a whole
        changed = changed.where(instances.c.series_uid == job.series_uid)
    if connection.execute(changed.limit(1)).first() is not None:
        reason = f"superseded: what it was made of came again with other content (revision {job.now})"
        return Standing(job.now, reason)
    late = connection.execute(
        sa.select(instances.c.path).where(here, instances.c.current == 1, instances.c.revision > job.revision)
        .order_by(instances.c.id)
    ).scalars()  # fmt: skip
    return Standing(job.now, None, tuple(late))


def former_result(connection: sa.Connection, study_id: int, pipeline: str, before: int) -> dict[str, Any] | None:
    """The newest done job of a pipeline on an earlier revision than `before` whose result stands: what a new one is
    compared with. One that was to be sent nowhere does not stand, nor one of which every delivery was withdrawn, unless
    a person rejected it: the same result is not to come again.

    Keys: revision, series_uid, input_digest, model (mapping), withdrawn (whether any delivery was), outputs: [{name,
    sop_class, series_uid, sop_uids}], those that a new result replaces: of the newest one that a peer may have.
    """
    done = connection.execute(
        sa.select(jobs)
        .where(jobs.c.study_id == study_id, jobs.c.pipeline == pipeline, jobs.c.state == "done",
               jobs.c.revision < before)
        .order_by(jobs.c.revision.desc())
    ).all()  # fmt: skip
    found: dict[str, Any] | None = None
    for job in done:
        going = set(json.loads(job.release or "{}").values())
        if going and going <= {"shadow", "off"}:
            continue
        made = connection.execute(sa.select(outputs).where(outputs.c.job_id == job.id).order_by(outputs.c.id)).all()
        states = connection.execute(
            sa.select(deliveries.c.state).where(deliveries.c.output_id.in_([one.id for one in made]))
        ).scalars().all()  # fmt: skip
        rejected = refused(connection, job.id) is not None
        if states and set(states) == {"withdrawn"} and not rejected:
            continue
        found = found or {
            "revision": job.revision, "series_uid": job.series_uid, "input_digest": job.input_digest,
            "model": json.loads(job.model or "{}"), "withdrawn": "withdrawn" in states and not rejected, "outputs": [],
        }  # fmt: skip
        if states and set(states) <= {"withdrawn", "held"}:
            continue  # no peer has it
        told = []
        for output in made:
            uids = connection.execute(
                sa.select(output_instances.c.sop_uid)
                .where(output_instances.c.output_id == output.id).order_by(output_instances.c.id)
            ).scalars()  # fmt: skip
            told.append({"name": output.name, "sop_class": output.sop_class, "series_uid": output.series_uid,
                         "sop_uids": list(uids)})  # fmt: skip
        return {**found, "outputs": told}
    return found


def our_series(connection: sa.Connection, study_id: int) -> frozenset[str]:
    """SeriesInstanceUIDs of results of ours in a study: those that we made, and those that came to us."""
    study_uid = sa.select(studies.c.study_uid).where(studies.c.id == study_id).scalar_subquery()
    made = sa.select(outputs.c.series_uid).join(jobs, jobs.c.id == outputs.c.job_id).where(jobs.c.study_id == study_id)
    came = sa.select(instances.c.series_uid).where(instances.c.study_uid == study_uid, instances.c.ours == 1)
    return frozenset(connection.execute(sa.union(made, came)).scalars())
