"""From the audit log's events, in their order, to observations: what each job left among its features."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.schema import events, features, instances, jobs, studies
from node.watch.observation import Observation
from pipelines import registry

JOBS = ("job.done", "job.skipped", "job.failed")
PATIENT = "unit.patient"  # in `seen`: the digest of the patient, which tells what counts as one unit
DAY = 86400.0
_AT_ONCE = 400  # events that are looked up together
# How the reason of a job begins of which nothing is to be seen: another revision of its study made it void, or brought
# nothing that the pipeline reads, so that the study was observed before.
_NOTHING_NEW = ("superseded", "unchanged")

Source = Callable[[sa.Connection, Event], list[Observation]]
Families = dict[str, tuple[str, str, str]]
"""Pipeline -> family of its last done job: where a job that failed or was skipped belongs, which has no model."""


def family_of(pipeline: str, model: Mapping[str, Any], site: str) -> tuple[str, str, str]:
    """(pipeline; name, version and digest of the model, and version of the pipeline's code; site). A candidate,
    PIPELINE@VERSION, belongs to what ran."""
    digest, code = str(model.get("digest", ""))[:12], model.get("pipeline_version")
    told = (model.get("name", ""), model.get("version", ""), digest, registry.joined(None, code))
    return registry.split(pipeline)[0], " ".join(str(one) for one in told if one), site


def key_of(family: tuple[str, str, str]) -> str:
    """A family as tables and commands name it: pipeline|model|site."""
    return "|".join(part.replace("|", "/") for part in family)


def day_of(at: float) -> int:
    """The day (UTC) of a time, counted from the epoch."""
    return int(at // DAY)


def read(
    connection: sa.Connection, after: int, types: Sequence[str], limit: int | None = None, upto: int | None = None,
    object_: str | None = None,
) -> list[Event]:  # fmt: skip
    """Events of some types, of all objects or one, with after < seq <= upto, oldest first, at most `limit`."""
    query = sa.select(events).where(events.c.seq > after, events.c.type.in_(types)).order_by(events.c.seq).limit(limit)
    if upto is not None:
        query = query.where(events.c.seq <= upto)
    if object_ is not None:
        query = query.where(events.c.object == object_)
    return [
        Event(row.seq, row.at, row.type, row.actor, row.object, json.loads(row.body), row.prev_hash, row.hash)
        for row in connection.execute(query)
    ]


def of_events(
    connection: sa.Connection, found: Sequence[Event], site: str, last: Families, sources: Mapping[str, Source]
) -> dict[int, list[Observation]]:
    """What each of these events (oldest first) observed, by its seq. `last` is brought up to date."""
    of_jobs = _jobs(connection, [event for event in found if event.type in JOBS])
    told: dict[int, list[Observation]] = {}
    for event in found:
        if event.type in JOBS:
            row = of_jobs.get(_key(event))
            family = _family(connection, event, site, last)
            if row is None or family is None or str(event.body.get("reason", "")).startswith(_NOTHING_NEW):
                continue
            # A failed job may run again, and then has other features: only what the event says stays true.
            known = {"service.failed": 1.0} if event.type == "job.failed" else row["features"]
            # And its patient is another unit than that of a result that comes later on the same day.
            patient = f"{row['patient'][:11]}!" if event.type == "job.failed" else row["patient"]
            seen = {**known, PATIENT: patient}
            told[event.seq] = [Observation(event.seq, seconds(event), family, _study(event), seen)]
        if event.type in sources:
            told.setdefault(event.seq, []).extend(
                replace(one, family=(one.family[0], one.family[1], site))
                for one in sources[event.type](connection, event)
            )
    return told


def observations(
    connection: sa.Connection, after_seq: int, site: str = "", upto: int | None = None,
    sources: Mapping[str, Source] | None = None,
) -> Iterator[Observation]:  # fmt: skip
    """Every observation of the log with after_seq < seq <= upto, in the log's order. `sources`: what labels and reviews
    give, by the event's type."""
    last: Families = {}
    sources = sources or {}
    while found := read(connection, after_seq, (*JOBS, *sources), _AT_ONCE, upto):
        told = of_events(connection, found, site, last, sources)
        for event in found:
            yield from told.get(event.seq, ())
        after_seq = found[-1].seq


class Units:
    """What counts as one unit: the first study of a patient on a day (UTC), of one family. Others of the same patient
    and day are left out, since they would tell the same thing again."""

    def __init__(self, day: int = -1, patients: Iterable[str] = ()) -> None:
        self.day = day
        self.patients = set(patients)

    def counts(self, observation: Observation) -> bool:
        """Whether it is a unit. Labels and reviews, which have no patient here, are none."""
        patient = observation.seen.get(PATIENT)
        if patient is None:
            return False
        day = day_of(observation.at)
        if day != self.day:
            self.day, self.patients = day, set()
        short = str(patient)[:12]
        if short in self.patients:
            return False
        self.patients.add(short)
        return True


def seconds(event: Event) -> float:
    """When it was, since the epoch."""
    return datetime.fromisoformat(event.at).timestamp()


def _study(event: Event) -> str:
    return event.object.removeprefix("study/")


def _key(event: Event) -> tuple[str, int, str]:
    return _study(event), int(event.body["revision"]), str(event.body["pipeline"])


def _family(connection: sa.Connection, event: Event, site: str, last: Families) -> tuple[str, str, str] | None:
    pipeline = str(event.body["pipeline"])
    if event.type == "job.done":
        last[pipeline] = family_of(pipeline, event.body.get("model", {}), site)
    elif pipeline not in last:
        model = last_model(connection, pipeline, event.seq)
        if model is None:
            return None  # it never ran yet: there is nothing to belong to
        last[pipeline] = family_of(pipeline, model, site)
    return last[pipeline]


def last_model(connection: sa.Connection, pipeline: str, before: int | None = None) -> Mapping[str, Any] | None:
    """The model of the last done job of a pipeline or variant, before an event or of all; None: it never ran."""
    of_pipeline = events.c.body.contains(f'"pipeline":"{pipeline}"', autoescape=True)
    query = sa.select(events.c.body).where(events.c.type == "job.done", of_pipeline).order_by(events.c.seq.desc())
    if before is not None:
        query = query.where(events.c.seq < before)
    for text in connection.execute(query).scalars():
        body = json.loads(text)
        if body.get("pipeline") == pipeline:
            return dict(body.get("model", {}))
    return None


def _jobs(connection: sa.Connection, found: Sequence[Event]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """(study, revision, pipeline) -> {patient, features}."""
    wanted = sorted({_study(event) for event in found})
    patient = (
        sa.select(instances.c.patient_digest).where(instances.c.study_id == studies.c.id, instances.c.ours == 0)
        .order_by(instances.c.id).limit(1).correlate(studies).scalar_subquery()
    )  # fmt: skip
    rows = connection.execute(
        sa.select(jobs.c.id, studies.c.study_uid, jobs.c.revision, jobs.c.pipeline, patient.label("patient"))
        .join(studies, studies.c.id == jobs.c.study_id).where(studies.c.study_uid.in_(wanted))
    ).all()  # fmt: skip
    by_id: dict[int, dict[str, Any]] = {
        row.id: {"patient": row.patient or row.study_uid, "features": {}} for row in rows
    }
    values = connection.execute(sa.select(features).where(features.c.job_id.in_(list(by_id))).order_by(features.c.name))
    for one in values:
        by_id[one.job_id]["features"][one.name] = _value(one.name, one.number, one.text)
    return {(row.study_uid, row.revision, row.pipeline): by_id[row.id] for row in rows}


def _value(name: str, number: float | None, text: str | None) -> Any:
    if name == "embedding" and text is not None:
        return [float(one) for one in json.loads(text)]
    return number if text is None else text
