"""What labels and reviews tell monitoring: channels 10 (concordance), 11 (calibration) and 12 (by subgroup).

`of_label` and `of_review` are pure functions of the log up to their event: a replay sees what was seen live. A job
counts from its `job.done` on, and its features never change after it. Of a study and finding the first label counts,
of a job the first review: a study is one unit, and what was corrected later is for the statistics that people read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.schema import events, features, jobs, studies
from node.watch.observation import Observation
from node.watch.observe import family_of

# name -> feature
SUBGROUPS = {"sex": "patient.sex", "age-band": "patient.age-band", "device": "device.ManufacturerModelName"}


@dataclass(frozen=True)
class Inference:
    """What a job said. `said`: finding -> (p as stored at inference, decision), None where it has not; `groups`: name
    of a subgroup -> its value."""

    pipeline: str
    model: Mapping[str, Any]
    study_uid: str
    said: Mapping[str, tuple[float | None, bool | None]]
    groups: Mapping[str, str]

    @property
    def family(self) -> tuple[str, str, str]:
        """(pipeline, name, version and digest of the model, site). The site is whoever reads the log's."""
        return family_of(self.pipeline, self.model, "")


def of_label(connection: sa.Connection, event: Event) -> list[Observation]:
    """What `label.added` shows of each model that had read the study before.

    `concordance.FINDING` is (decision, label), `labelled.FINDING` (p, label); and both under `NAME.VALUE.` for each
    subgroup. A label that came before its result is seen with the result: see `of_job`."""
    if not event.body["first"]:
        return []
    newest: dict[tuple[str, str, str], Inference] = {}
    for one in _inferences(connection, _study(event), before=event.seq):
        newest[one.family] = one
    finding, value = str(event.body["finding"]), bool(event.body["value"])
    told = []
    for one in newest.values():
        seen = _seen(one, finding, value)
        told += [Observation(event.seq, _seconds(event), one.family, one.study_uid, seen)] if seen else []
    return told


def of_job(connection: sa.Connection, event: Event) -> list[Observation]:
    """What `job.done` shows of labels that came before it, as `of_label` gives it: only for the first result of a
    study by a model, since labels were held against it."""
    made = list(_inferences(connection, _study(event), before=event.seq + 1))
    if not made or made[-1].family in {one.family for one in made[:-1]}:
        return []
    one, seen = made[-1], dict[str, Any]()
    for label in _events(connection, _study(event), "label.added", event.seq):
        if label["first"]:
            seen |= _seen(one, str(label["finding"]), bool(label["value"]))
    return [Observation(event.seq, _seconds(event), one.family, one.study_uid, seen)] if seen else []


def of_review(connection: sa.Connection, event: Event) -> list[Observation]:
    """What `review.given` shows of the job's model. `review.rejected`: whether it was not accepted as it is; where the
    job made decisions also `review.concordance`: (whether any was positive, whether the person let that stand).

    A verdict is discordance, never ground truth: no channel of calibration is fed from it.
    """
    job = int(event.body["job"])
    for former in _events(connection, _study(event), "review.given", event.seq):
        if int(former["job"]) == job:
            return []
    found = _of_rows(connection, sa.select(jobs, studies.c.study_uid).join(studies).where(jobs.c.id == job))
    if not found:
        return []
    one, rejected = found[0], event.body["verdict"] != "accepted"
    seen: dict[str, Any] = {"review.rejected": rejected}
    decisions = [decision for _, decision in one.said.values() if decision is not None]
    if decisions:
        seen["review.concordance"] = (any(decisions), any(decisions) != rejected)
    seen |= {f"{name}.{value}.{key}": shown for key, shown in tuple(seen.items()) for name, value in one.groups.items()}
    return [Observation(event.seq, _seconds(event), one.family, one.study_uid, seen)]


def _seen(one: Inference, finding: str, value: bool) -> dict[str, Any]:
    p, decision = one.said.get(finding, (None, None))
    seen: dict[str, Any] = {}
    if decision is not None:
        seen[f"concordance.{finding}"] = (decision, value)
    if p is not None:
        seen[f"labelled.{finding}"] = (p, value)
    return seen | {f"{name}.{group}.{key}": shown for key, shown in seen.items() for name, group in one.groups.items()}


def inference(pipeline: str, model: str | None, study_uid: str, known: Mapping[str, Any]) -> Inference:
    """From a job's row and its features, name -> value."""
    said: dict[str, tuple[float | None, bool | None]] = {}
    for name, value in known.items():
        finding = finding_in(name)
        if finding is not None and value is not None:
            p, decision = said.get(finding, (None, None))
            said[finding] = (float(value), decision) if name.endswith(".p") else (p, float(value) > 0.5)
    groups = {name: str(known[feature]) for name, feature in SUBGROUPS.items() if known.get(feature) is not None}
    return Inference(pipeline, json.loads(model or "{}"), study_uid, said, groups)


def finding_in(name: str) -> str | None:
    """The finding, in small letters, of a feature that is its probability or decision; None for other features."""
    for ending in (".p", ".positive"):
        if name.startswith("output.") and name.endswith(ending) and len(name) > len("output.") + len(ending):
            return name[len("output.") : -len(ending)].lower()
    return None


def _inferences(connection: sa.Connection, study_uid: str, before: int) -> list[Inference]:
    """Of the jobs on a study that were done before an event, oldest first."""
    rows: list[Inference] = []
    for body in _events(connection, study_uid, "job.done", before):
        rows += _of_rows(connection, sa.select(jobs, studies.c.study_uid).join(studies).where(
            studies.c.study_uid == study_uid, jobs.c.revision == int(body["revision"]),
            jobs.c.pipeline == str(body["pipeline"]),
        ))  # fmt: skip
    return rows


def _of_rows(connection: sa.Connection, query: sa.Select[Any]) -> list[Inference]:
    found = []
    for row in connection.execute(query).all():
        known = {
            one.name: one.number if one.text is None else one.text
            for one in connection.execute(sa.select(features).where(features.c.job_id == row.id))
        }
        found.append(inference(row.pipeline, row.model, row.study_uid, known))
    return found


def _events(connection: sa.Connection, study_uid: str, type_: str, before: int) -> list[dict[str, Any]]:
    """Bodies of the events of one type about a study before a seq, oldest first."""
    query = sa.select(events.c.body).where(
        events.c.object == f"study/{study_uid}", events.c.type == type_, events.c.seq < before
    )
    return [json.loads(text) for text in connection.execute(query.order_by(events.c.seq)).scalars()]


def _study(event: Event) -> str:
    return event.object.removeprefix("study/")


def _seconds(event: Event) -> float:
    return datetime.fromisoformat(event.at).timestamp()
