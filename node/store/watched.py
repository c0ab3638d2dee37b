"""Features of a job as rows, and those that only the store knows: how long it waited, how often it was tried."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from node.schema import features

Values = Mapping[str, float | str | None]
_ON_RECORD = ("device.", "acquisition.")  # features that the log keeps as they are


def put(connection: sa.Connection, job_id: int, watched: Values) -> dict[str, Any]:
    """Store a job's features, in place of those of an earlier end of the same job (a person may ask for a failed one
    again). A number that is none (NaN) is missing. Return what the log keeps of them: those that say on what device and
    how the images were made, and one digest for all (see `digest`)."""
    connection.execute(features.delete().where(features.c.job_id == job_id))
    rows = [_row(job_id, name, value) for name, value in watched.items()]
    if rows:
        connection.execute(features.insert(), rows)
    kept = {row["name"]: row["number"] if row["text"] is None else row["text"] for row in rows}
    acquisition = {name: value for name, value in kept.items() if name.startswith(_ON_RECORD)}
    told: dict[str, Any] = {"features": digest(kept)}
    return told | {"acquisition": acquisition} if acquisition else told


def digest(values: Values) -> str:
    """SHA-256 (hex) of features as the rows hold them: JSON with sorted names and no spaces, a missing one as null."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def service(row: sa.Row[Any], state: str, now: float, cause: str) -> Values:
    """What the row of a job that ends now tells. `cause`: why it failed, as one word."""
    started = now if row.started_at is None else row.started_at
    return {
        "service.wait": max(0.0, started - row.created_at), "service.attempts": float(row.attempts),
        "service.seconds": max(0.0, now - started), "service.failed": float(state == "failed"),
        "service.failure": (cause or "defect") if state == "failed" else None,
    }  # fmt: skip


def _row(job_id: int, name: str, value: float | str | None) -> dict[str, Any]:
    if value is None or isinstance(value, str):
        return {"job_id": job_id, "name": name, "text": value, "number": None}
    number = float(value)
    return {"job_id": job_id, "name": name, "text": None, "number": number if math.isfinite(number) else None}
