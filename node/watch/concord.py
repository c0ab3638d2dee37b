"""What labels and reviews tell monitoring: channels 10 (concordance), 11 (calibration) and 12 (by subgroup).

`of_label` and `of_review` are pure functions of the log up to their event: a replay sees what was seen live. A job
counts from its `job.done` on, and its features never change after it. Of a study and finding one label counts for a
model, the first that meets its result; of a job the first review: a study is one unit, and what was corrected or
withdrawn later is for the statistics that people read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.schema import features, jobs, studies
from node.watch import observe
from node.watch.observation import Observation
from node.watch.observe import family_of

_LABELS = ("label.added", "label.withdrawn")
_REVIEWS = ("review.given",)
_DONE = ("job.done",)
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
    first: dict[tuple[str, str, str], int] = {}  # family -> the event of its first result
    newest: dict[tuple[str, str, str], Inference] = {}
    for seq, one in _inferences(connection, _study(event), before=event.seq):
        first.setdefault(one.family, seq)
        newest[one.family] = one
    finding, value = str(event.body["finding"]), bool(event.body["value"])
    former = [one for one in _events(connection, _study(event), _LABELS, event.seq) if one.body["finding"] == finding]
    told = []
    for family, one in newest.items():
        with_result = _standing([label for label in former if label.seq < first[family]])
        since = [label for label in former if label.seq > first[family] and label.type == "label.added"]
        seen = {} if with_result or since else _seen(one, finding, value)
        told += [Observation(event.seq, observe.seconds(event), family, one.study_uid, seen)] if seen else []
    return told


def _standing(said: Sequence[Event]) -> dict[str, bool]:
    """Finding -> its label once all these events of labels, in their order, have happened: of several sources the one
    that spoke first."""
    standing: dict[tuple[str, str], bool] = {}
    for event in said:
        key = str(event.body["finding"]), str(event.body["source"])
        if event.type == "label.added":
            standing[key] = bool(event.body["value"])
        else:
            standing.pop(key, None)
    found: dict[str, bool] = {}
    for (finding, _), value in standing.items():
        found.setdefault(finding, value)
    return found


def of_job(connection: sa.Connection, event: Event) -> list[Observation]:
    """What `job.done` shows of labels that came before it and stand, as `of_label` gives it: only for the first result
    of a study by a model, since labels were held against it."""
    made = [one for _, one in _inferences(connection, _study(event), before=event.seq + 1)]
    if not made or made[-1].family in {one.family for one in made[:-1]}:
        return []
    one, seen = made[-1], dict[str, Any]()
    for finding, value in _standing(_events(connection, _study(event), _LABELS, event.seq)).items():
        seen |= _seen(one, finding, value)
    return [Observation(event.seq, observe.seconds(event), one.family, one.study_uid, seen)] if seen else []


def of_review(connection: sa.Connection, event: Event) -> list[Observation]:
    """What `review.given` shows of the job's model. `review.rejected`: whether it was not accepted as it is; where the
    job made decisions also `review.concordance`: (whether any was positive, whether the person let that stand).

    A verdict is discordance, never ground truth: no channel of calibration is fed from it.
    """
    job = int(event.body["job"])
    if any(int(former.body["job"]) == job for former in _events(connection, _study(event), _REVIEWS, event.seq)):
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
    return [Observation(event.seq, observe.seconds(event), one.family, one.study_uid, seen)]


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


def _inferences(connection: sa.Connection, study_uid: str, before: int) -> list[tuple[int, Inference]]:
    """Of the jobs on a study that were done before an event, oldest first, each with its own event's number."""
    found: list[tuple[int, Inference]] = []
    for event in _events(connection, study_uid, _DONE, before):
        of_job = _of_rows(connection, sa.select(jobs, studies.c.study_uid).join(studies).where(
            studies.c.study_uid == study_uid, jobs.c.revision == int(event.body["revision"]),
            jobs.c.pipeline == str(event.body["pipeline"]),
        ))  # fmt: skip
        found += [(event.seq, one) for one in of_job]
    return found


def _of_rows(connection: sa.Connection, query: sa.Select[Any]) -> list[Inference]:
    found = []
    for row in connection.execute(query).all():
        known = {
            one.name: one.number if one.text is None else one.text
            for one in connection.execute(sa.select(features).where(features.c.job_id == row.id))
        }
        found.append(inference(row.pipeline, row.model, row.study_uid, known))
    return found


def _events(connection: sa.Connection, study_uid: str, types: Sequence[str], before: int) -> list[Event]:
    """Events of some types about a study before a seq, oldest first."""
    return observe.read(connection, 0, types, upto=before - 1, object_=f"study/{study_uid}")


def _study(event: Event) -> str:
    return event.object.removeprefix("study/")
