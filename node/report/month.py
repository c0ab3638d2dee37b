"""What happened in a month, read from the database once: the parts of the report count in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from node.audit import Event
from node.errors import ConfigError
from node.schema import deliveries, events, features, instances, jobs, metadata, outputs, studies

SUBGROUPS = ("patient.sex", "patient.age-band")
DEVICE = ("device.Manufacturer", "device.ManufacturerModelName")
# Of the log: what was changed by people or machines, and what went wrong; not what each study does.
TOLD = ("node.started", "node.configured", "node.stopped", "clock.stepped", "loop.ended", "model.", "route.",
        "baseline.", "alarm.", "audit.", "notice", "golden.", "peer.away", "spool.full", "spool.missing",
        "patient.erased", "association.burst", "web.refused")  # fmt: skip


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


@dataclass(frozen=True)
class JobRow:
    """A job that ended in the month, or is still to end and was made in it."""

    study_uid: str
    pipeline: str
    state: str
    reason: str | None
    routes: tuple[str, ...]
    model: str  # name and version
    received: float
    closed: float | None
    created: float
    finished: float | None
    newest: bool  # it ran on the study as it is now: only then do the times of the study belong to it
    features: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Manufacturer and model name as the images say, or "not said"."""
        return " ".join(str(self.features[name]) for name in DEVICE if self.features.get(name)) or "not said"

    def findings(self) -> Mapping[str, tuple[float | None, bool | None]]:
        """Finding -> calibrated probability and decision, as they were stored at inference."""
        found: dict[str, tuple[float | None, bool | None]] = {}
        for name in self.features:
            parts = name.split(".")
            if parts[0] == "output" and parts[-1] == "p" and len(parts) > 2:
                finding = ".".join(parts[1:-1])
                positive = self.features.get(f"output.{finding}.positive")
                found[finding] = (self.features[name], None if positive is None else bool(positive))
        return found


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
    told: tuple[Event, ...]
    labels: Mapping[str, Mapping[str, bool]]  # StudyInstanceUID: finding: what was reported
    reviews: tuple[Mapping[str, Any], ...]
    alarms: tuple[Mapping[str, Any], ...]
    has: frozenset[str]  # which of labels, reviews, alarms this node keeps at all


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
    at = sa.func.coalesce
    since, until = (datetime.fromtimestamp(t, UTC).isoformat(timespec="microseconds") for t in (when.start, when.end))
    within = (events.c.at >= since) & (events.c.at < until)
    counts = connection.execute(sa.select(events.c.type, sa.func.count()).where(within).group_by(events.c.type))
    chosen = sa.or_(*(events.c.type.startswith(name) for name in TOLD))
    told = connection.execute(sa.select(events).where(within, chosen).order_by(events.c.seq)).all()
    return Month(
        when, tuple(begun), {(row[0], row[1]): (row[2], row[3], int(row[4])) for row in came},
        tuple(_jobs(connection, when, at)), tuple(_deliveries(connection, when)),
        {type_: count for type_, count in counts},
        tuple(Event(r.seq, r.at, r.type, r.actor, r.object, json.loads(r.body), r.prev_hash, r.hash) for r in told),
        _labels(connection), tuple(_rows(connection, "reviews", "at", when)), tuple(_alarms(connection, when)),
        frozenset(name for name in ("labels", "reviews", "alarms") if name in metadata.tables),
    )  # fmt: skip


def _jobs(connection: sa.Connection, when: Period, at: Any) -> list[JobRow]:
    moment = at(jobs.c.finished_at, jobs.c.created_at)
    within = (moment >= when.start) & (moment < when.end)
    said: dict[int, dict[str, Any]] = defaultdict(dict)
    wanted = features.c.name.in_((*SUBGROUPS, *DEVICE)) | features.c.name.startswith("output.")
    query = sa.select(features).join(jobs, jobs.c.id == features.c.job_id).where(within, wanted)
    for row in connection.execute(query):
        said[row.job_id][row.name] = row.number if row.text is None else row.text
    query = sa.select(jobs, studies.c.study_uid, studies.c.first_received_at, studies.c.closed_at,
                      studies.c.revision.label("newest")).join(studies, studies.c.id == jobs.c.study_id)  # fmt: skip
    return [
        JobRow(row.study_uid, row.pipeline, row.state, row.reason, tuple(json.loads(row.routes)), _model(row.model),
               row.first_received_at, row.closed_at, row.created_at, row.finished_at, row.newest == row.revision,
               said.get(row.id, {}))
        for row in connection.execute(query.where(within).order_by(jobs.c.id))
    ]  # fmt: skip


def _model(text: str | None) -> str:
    told = json.loads(text) if text else {}
    return f"{told.get('name', '?')} {told.get('version', '')}".strip() if told else "none"


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


def _labels(connection: sa.Connection) -> Mapping[str, Mapping[str, bool]]:
    table = metadata.tables.get("labels")
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    if table is not None:
        query = sa.select(table.c.study_uid, table.c.finding, table.c.value).where(table.c.replaced_at.is_(None))
        for study_uid, finding, value in connection.execute(query.order_by(table.c.id)):
            found[study_uid][finding.lower()] = bool(value)
    return found


def _alarms(connection: sa.Connection, when: Period) -> Sequence[Mapping[str, Any]]:
    """Those that were opened in the month, and those that were open in it."""
    table = metadata.tables.get("alarms")
    if table is None:
        return []
    over = sa.func.coalesce(table.c.cleared_at, when.end)
    query = sa.select(table).where(table.c.opened_at < when.end, over >= when.start).order_by(table.c.id)
    return [dict(row._mapping) for row in connection.execute(query)]


def _rows(connection: sa.Connection, name: str, column: str, when: Period) -> Sequence[Mapping[str, Any]]:
    table = metadata.tables.get(name)
    if table is None:
        return []
    query = sa.select(table).where(table.c[column] >= when.start, table.c[column] < when.end)
    return [dict(row._mapping) for row in connection.execute(query)]
