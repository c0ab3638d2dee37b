"""Reads what monitoring wrote: alarms, where the detectors stand, baselines."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from node.schema import alarms, baselines, watch_states
from node.watch_schema import ALL


def listed(connection: sa.Connection, open_only: bool) -> list[dict[str, Any]]:
    """Alarms as plain data, newest first; `story` as node.watch.account told it. `open_only`: those not cleared yet,
    though a person may have acknowledged or resolved them."""
    query = sa.select(alarms).order_by(alarms.c.id.desc())
    if open_only:
        query = query.where(alarms.c.cleared_at.is_(None))
    return [dict(row._mapping) | {"story": json.loads(row.story)} for row in connection.execute(query)]


def one(connection: sa.Connection, key: int) -> dict[str, Any] | None:
    """One alarm; None where there is none of that number."""
    row = connection.execute(sa.select(alarms).where(alarms.c.id == key)).first()
    return None if row is None else dict(row._mapping) | {"story": json.loads(row.story)}


def states(connection: sa.Connection) -> list[dict[str, Any]]:
    """Of each family: pipeline, model, site, seq, updated_at, and `state` as node.watch.course keeps it."""
    found = []
    for row in connection.execute(
        sa.select(watch_states).where(watch_states.c.family != ALL).order_by(watch_states.c.family)
    ):
        pipeline, model, site = row.family.split("|")
        found.append({"family": row.family, "pipeline": pipeline, "model": model, "site": site, "seq": row.seq,
                      "updated_at": row.updated_at, "state": json.loads(row.state)})  # fmt: skip
    return found


def baselines_of(connection: sa.Connection, family: str | None) -> list[dict[str, Any]]:
    """Baselines without their content, newest first; of one family or of all."""
    columns = [column for column in baselines.c if column.name != "content"]
    query = sa.select(*columns).order_by(baselines.c.id.desc())
    if family is not None:
        query = query.where(baselines.c.family == family)
    return [dict(row._mapping) | {"summary": json.loads(row.summary)} for row in connection.execute(query)]
