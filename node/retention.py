"""What may be purged, and what holds it: the same SQL conditions choose it, check it again when it goes, and explain.

A *pile* is what goes at once: the received instances of a study, the results of a job, or results of ours that came
back to us for one study. Ages are seconds; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.schema import (
    askings,
    commitment_items,
    commitments,
    deliveries,
    instances,
    jobs,
    output_instances,
    outputs,
    studies,
)
from node.sections import Keep

DAY = 86400.0
HOUR = 3600.0
KINDS = ("study", "results", "returned")


@dataclass(frozen=True)
class Pile:
    """Files that go together. `key`: the row of the study, of the job, or of the first instance that came back."""

    kind: str  # one of KINDS
    key: int
    study_uid: str
    since: float  # from when on its age counts
    files: int
    bytes: int
    held: str | None  # why it may not go, whatever its age


def age_of(kind: str, keep: Keep) -> float | None:
    """From which age on a kind of pile goes by itself; None: never."""
    days = keep.studies if kind == "study" else keep.results
    return max(days, keep.at_least) * DAY if days else None


def find(
    connection: sa.Connection, kind: str, before: float, keep: Keep, now: float, key: int | None = None,
    held: bool = False, limit: int | None = None,
) -> list[Pile]:  # fmt: skip
    """Piles whose age counts from before `before`, oldest first; with `held` also those that may not go."""
    query, holds = _QUERIES[kind](keep, now)
    row_key, since = query.selected_columns["key"], query.selected_columns["since"]
    query = query.where(_inner(since) < before)
    if key is not None:
        query = query.where(_inner(row_key) == key)
    if held:
        query = query.add_columns(*(hold.label(f"hold_{at}") for at, hold in enumerate(holds.values())))
    else:
        query = query.where(*(sa.not_(hold) for hold in holds.values()))
    rows = connection.execute(query.order_by(since, row_key).limit(limit))
    return [
        Pile(kind, row.key, row.study_uid, row.since, row.files, int(row.bytes), _first(row, holds) if held else None)
        for row in rows
    ]


def _inner(column: Any) -> Any:
    """What a label stands for: a label itself cannot stand in a condition."""
    return getattr(column, "element", column)


def paths(connection: sa.Connection, pile: Pile) -> list[str]:
    """The files of a pile, relative to the spool."""
    if pile.kind == "results":
        query = sa.select(output_instances.c.path).where(_made_by(pile.key))
    else:
        query = sa.select(instances.c.path).where(*_received(pile))
    return list(connection.execute(query).scalars())


def mark(connection: sa.Connection, pile: Pile, now: float) -> None:
    """Say in the rows that the files are gone."""
    if pile.kind == "results":
        connection.execute(jobs.update().where(jobs.c.id == pile.key).values(purged_at=now))
    else:
        connection.execute(instances.update().where(*_received(pile)).values(purged_at=now))


def _received(pile: Pile) -> tuple[sa.ColumnElement[bool], ...]:
    if pile.kind == "study":
        return instances.c.study_id == pile.key, instances.c.purged_at.is_(None)
    return instances.c.study_uid == pile.study_uid, _OURS, instances.c.purged_at.is_(None)


def _made_by(job_id: int) -> sa.ColumnElement[bool]:
    return output_instances.c.output_id.in_(sa.select(outputs.c.id).where(outputs.c.job_id == job_id))


def _first(row: sa.Row[Any], holds: Mapping[str, Any]) -> str | None:
    return next((reason for at, reason in enumerate(holds) if row._mapping[f"hold_{at}"]), None)


# -- what holds a study ------------------------------------------------------------------------------------------------

_OURS = instances.c.ours == sa.literal_column("1")  # literal, so that SQLite finds the index of these few
_Holds = dict[str, sa.ColumnElement[bool]]
_Query = tuple[sa.Select[Any], _Holds]


def _unfinished(keep: Keep, now: float) -> _Holds:
    """Work on the study of the row that is not over. The reasons are for people."""
    job = jobs.alias()
    of_study = sa.select(job.c.id).where(job.c.study_id == studies.c.id).correlate(studies)
    sent = (
        sa.select(deliveries.c.id)
        .join(outputs, outputs.c.id == deliveries.c.output_id)
        .join(job, job.c.id == outputs.c.job_id)
        .where(job.c.study_id == studies.c.id, job.c.purged_at.is_(None))
        .correlate(studies)
    )
    lately = now - keep.failed * DAY
    failed_job = [job.c.state == "failed", job.c.revision == studies.c.revision]
    failed_delivery = [deliveries.c.state == "failed"]
    until = ""
    if keep.failed:
        failed_job.append(job.c.finished_at > lately)
        failed_delivery.append(deliveries.c.finished_at > lately)
        until = f" for {keep.failed:g} days"
    asked = sa.select(askings.c.id).where(
        askings.c.delivery_id == deliveries.c.id, askings.c.state.in_(("due", "asking", "asked"))
    )
    return {
        "it is being received": studies.c.state == "receiving",
        "a job is due or running": of_study.where(job.c.state.in_(("due", "running"))).exists(),
        "a delivery is due or being sent": sent.where(deliveries.c.state.in_(("due", "sending"))).exists(),
        "a delivery is held for review": sent.where(deliveries.c.state == "held").exists(),
        f"a job failed; it waits for a person{until}": of_study.where(*failed_job).exists(),
        f"a delivery failed; it waits for a person{until}": sent.where(*failed_delivery).exists(),
        "a peer has not said yet whether it keeps the results": sent.where(
            deliveries.c.state == "delivered", asked.correlate(deliveries).exists()
        ).exists(),
    }


_PROMISED = instances.alias()


def _promised(here: sa.ColumnElement[bool], keep: Keep, now: float) -> _Holds:
    """Instances that a peer was told, or may have been told, that we keep. `here`: which, a condition on _PROMISED."""
    told = sa.or_(commitments.c.state == "failed", commitment_items.c.failure.is_(None))
    words = "promised to a peer by storage commitment"
    if keep.committed:
        told = sa.and_(told, commitments.c.finished_at > now - keep.committed * DAY)
        words += f" for {keep.committed:g} days"
    promise = (
        sa.select(_PROMISED.c.id)
        .join(commitment_items, commitment_items.c.sop_uid == _PROMISED.c.sop_uid)
        .join(commitments, commitments.c.id == commitment_items.c.commitment_id)
        .where(here, _PROMISED.c.purged_at.is_(None), sa.or_(commitments.c.state.in_(("due", "reporting")), told))
    )
    return {words: promise.exists()}


# -- the kinds of pile: what they are, and all that holds them ---------------------------------------------------------


def _study(keep: Keep, now: float) -> _Query:
    kept = sa.and_(instances.c.study_id == studies.c.id, instances.c.purged_at.is_(None))
    count, size = (
        sa.select(what).where(kept).correlate(studies).scalar_subquery()
        for what in (sa.func.count(), sa.func.coalesce(sa.func.sum(instances.c.size), 0))
    )
    query = sa.select(
        studies.c.id.label("key"), studies.c.study_uid, studies.c.last_received_at.label("since"),
        count.label("files"), size.label("bytes"),
    ).where(studies.c.state.in_(("receiving", "ready")))  # fmt: skip
    return query, _unfinished(keep, now) | _promised(_PROMISED.c.study_id == studies.c.id, keep, now)


def _results(keep: Keep, now: float) -> _Query:
    query = (
        sa.select(
            jobs.c.id.label("key"), studies.c.study_uid, jobs.c.finished_at.label("since"),
            sa.func.count(output_instances.c.id).label("files"),
            sa.func.coalesce(sa.func.sum(output_instances.c.size), 0).label("bytes"),
        )
        .join(studies, studies.c.id == jobs.c.study_id)
        .join(outputs, outputs.c.job_id == jobs.c.id)
        .join(output_instances, output_instances.c.output_id == outputs.c.id)
        .where(jobs.c.purged_at.is_(None), jobs.c.finished_at.is_not(None))
        .group_by(jobs.c.id, studies.c.id)
    )  # fmt: skip
    return query, _unfinished(keep, now)


def _returned(keep: Keep, now: float) -> _Query:
    query = (
        sa.select(
            sa.func.min(instances.c.id).label("key"), instances.c.study_uid,
            sa.func.max(instances.c.received_at).label("since"), sa.func.count().label("files"),
            sa.func.sum(instances.c.size).label("bytes"),
        )
        .where(_OURS, instances.c.purged_at.is_(None))
        .group_by(instances.c.study_uid)
    ).subquery()  # fmt: skip
    here = sa.and_(_PROMISED.c.study_uid == query.c.study_uid, _PROMISED.c.ours == sa.literal_column("1"))
    return sa.select(query), _promised(here, keep, now)


_QUERIES: Mapping[str, Callable[[Keep, float], _Query]] = {
    "study": _study, "results": _results, "returned": _returned,
}  # fmt: skip
