"""What happened in a month, read from the database once: the parts of the report count in it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node import alarms, concordance
from node.audit import Event
from node.concordance import Read
from node.errors import ConfigError
from node.schema import deliveries, events, features, instances, jobs, outputs, reviews, studies
from node.watch.observe import family_of

DEVICE = ("device.Manufacturer", "device.ManufacturerModelName")
# Of the log: what was changed by people or machines, and what went wrong; not what each study does.
TOLD = ("node.started", "node.configured", "node.stopped", "clock.stepped", "loop.ended", "model.", "route.",
        "baseline.", "alarm.", "audit.", "notice", "golden.", "peer.away", "spool.full", "spool.missing",
        "patient.erased", "association.burst", "web.refused")  # fmt: skip

REFUSALS = ("association.refused", "instance.refused", "web.refused", "message.refused")


@dataclass(frozen=True)
class Period:
    """A calendar month, UTC."""

    name: str  # 2026-10
    start: float
    end: float
    complete: bool  # whether it is over

    @property
    def days(self) -> int:
        """How many it has."""
        return round((self.end - self.start) / 86400)

    @property
    def former(self) -> Period:
        """The month before."""
        first = datetime.fromtimestamp(self.start - 86400, UTC).replace(day=1)
        return Period(first.strftime("%Y-%m"), first.timestamp(), self.start, True)


@dataclass(frozen=True)
class JobRow:
    """A job that ended in the month, or is still to end and was made in it."""

    study_uid: str
    pipeline: str
    state: str
    reason: str | None
    routes: tuple[str, ...]
    model: str  # name, version and digest, as a family has it
    received: float
    closed: float | None
    created: float
    finished: float | None
    newest: bool  # it ran on the study as it is now: only then do the times of the study belong to it
    device: str  # manufacturer and model name as the images say, or "not said"


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery that was made in the month."""

    pipeline: str
    peer: str
    state: str
    reason: str | None
    received: float
    created: float
    finished: float | None
    newest: bool


@dataclass(frozen=True)
class Month:
    """What the report counts in."""

    period: Period
    studies: tuple[float, ...]  # when each began to come
    instances: Mapping[tuple[str, str], tuple[int, int, int]]  # (peer, modality): studies, instances, bytes
    jobs: tuple[JobRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    events: Mapping[str, int]  # type: how many
    refused: Mapping[str, int]  # type: how many times, since one event may stand for several
    told: tuple[Event, ...]
    said: tuple[Read, ...]  # by each model, with what is known of it now
    reviews: tuple[tuple[str, str], ...]  # verdict, and by which way it came
    alarms: tuple[Mapping[str, Any], ...]

    @property
    def sent(self) -> list[DeliveryRow]:
        """Deliveries that arrived."""
        return [one for one in self.deliveries if one.state in ("delivered", "committed")]

    @property
    def delivered_after(self) -> list[float]:
        """Seconds from a study's first instance to each delivery of a result of its newest revision."""
        return [one.finished - one.received for one in self.sent if one.finished and one.newest]


def period(text: str, now: float) -> Period:
    """The month YYYY-MM. Raises ConfigError for what is none, or has not begun."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"--month {text}", "want YYYY-MM, such as 2026-10") from error
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    if first.timestamp() > now:
        raise ConfigError(f"--month {text}", "has not begun yet")
    return Period(first.strftime("%Y-%m"), first.timestamp(), after.timestamp(), after.timestamp() <= now)


def read(connection: sa.Connection, when: Period) -> Month:
    """All that the report needs of a month."""
    begun = connection.execute(
        sa.select(studies.c.first_received_at)
        .where(studies.c.first_received_at >= when.start, studies.c.first_received_at < when.end)
    ).scalars()  # fmt: skip
    came = connection.execute(
        sa.select(instances.c.peer, instances.c.modality, sa.func.count(sa.distinct(instances.c.study_uid)),
                  sa.func.count(), sa.func.sum(instances.c.size))
        .where(instances.c.received_at >= when.start, instances.c.received_at < when.end, instances.c.ours == 0)
        .group_by(instances.c.peer, instances.c.modality).order_by(instances.c.peer, instances.c.modality)
    )  # fmt: skip
    since, until = (datetime.fromtimestamp(t, UTC).isoformat(timespec="microseconds") for t in (when.start, when.end))
    within = (events.c.at >= since) & (events.c.at < until)
    counts = connection.execute(sa.select(events.c.type, sa.func.count()).where(within).group_by(events.c.type))
    chosen = sa.or_(*(events.c.type.startswith(name) for name in TOLD))
    told = connection.execute(sa.select(events).where(within, chosen).order_by(events.c.seq)).all()
    return Month(
        when, tuple(begun), {(row[0], row[1]): (row[2], row[3], int(row[4])) for row in came},
        tuple(_jobs(connection, when)), tuple(_deliveries(connection, when)),
        {type_: count for type_, count in counts}, _refused(connection, within),
        tuple(Event(r.seq, r.at, r.type, r.actor, r.object, json.loads(r.body), r.prev_hash, r.hash) for r in told),
        tuple(concordance.read(connection, None, when.start, when.end)), tuple(_reviews(connection, when)),
        tuple(_alarms(connection, when)),
    )  # fmt: skip


def _refused(connection: sa.Connection, within: Any) -> dict[str, int]:
    found: Counter[str] = Counter()
    query = sa.select(events.c.type, events.c.body).where(within, events.c.type.in_(REFUSALS))
    for type_, text in connection.execute(query):
        found[type_] += json.loads(text).get("count", 1)
    return dict(found)


def _jobs(connection: sa.Connection, when: Period) -> list[JobRow]:
    moment = sa.func.coalesce(jobs.c.finished_at, jobs.c.created_at)
    within = (moment >= when.start) & (moment < when.end)
    said: dict[int, dict[str, str]] = defaultdict(dict)
    query = sa.select(features).join(jobs, jobs.c.id == features.c.job_id).where(within, features.c.name.in_(DEVICE))
    for row in connection.execute(query):
        said[row.job_id][row.name] = row.text or ""
    query = sa.select(jobs, studies.c.study_uid, studies.c.first_received_at, studies.c.closed_at,
                      studies.c.revision.label("newest")).join(studies, studies.c.id == jobs.c.study_id)  # fmt: skip
    return [
        JobRow(row.study_uid, row.pipeline, row.state, row.reason, tuple(json.loads(row.routes)), _model(row.model),
               row.first_received_at, row.closed_at, row.created_at, row.finished_at, row.newest == row.revision,
               " ".join(said[row.id][name] for name in DEVICE if said[row.id].get(name)) or "not said")
        for row in connection.execute(query.where(within).order_by(jobs.c.id))
    ]  # fmt: skip


def _model(text: str | None) -> str:
    return family_of("", json.loads(text), "")[1] if text else "none"


def _deliveries(connection: sa.Connection, when: Period) -> list[DeliveryRow]:
    query = (
        sa.select(deliveries, jobs.c.pipeline, jobs.c.revision, studies.c.revision.label("newest"),
                  studies.c.first_received_at)
        .join(outputs, outputs.c.id == deliveries.c.output_id).join(jobs, jobs.c.id == outputs.c.job_id)
        .join(studies, studies.c.id == jobs.c.study_id)
        .where(deliveries.c.created_at >= when.start, deliveries.c.created_at < when.end)
    )  # fmt: skip
    return [
        DeliveryRow(row.pipeline, row.peer, row.state, row.reason, row.first_received_at, row.created_at,
                    row.finished_at, row.revision == row.newest)
        for row in connection.execute(query)
    ]  # fmt: skip


def _alarms(connection: sa.Connection, when: Period) -> list[Mapping[str, Any]]:
    """Those that were opened in the month, and those that were open in it; oldest first."""
    return [
        one for one in reversed(alarms.listed(connection, open_only=False))
        if one["opened_at"] < when.end and (one["cleared_at"] is None or one["cleared_at"] >= when.start)
    ]  # fmt: skip


def _reviews(connection: sa.Connection, when: Period) -> Iterator[tuple[str, str]]:
    query = sa.select(reviews.c.verdict, reviews.c.source).where(reviews.c.at >= when.start, reviews.c.at < when.end)
    for verdict, source in connection.execute(query.order_by(reviews.c.id)):
        yield verdict, source.split("/")[0]
