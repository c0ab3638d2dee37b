"""Whether a result may go out as things stand: the modes that were set for routes, and what people said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from node import modes
from node.modes import Mode
from node.schema import deliveries, jobs, outputs, promotions, reviews, route_modes, studies


@dataclass(frozen=True)
class Clearance:
    """What decides about one delivery, beside the configuration."""

    routes: tuple[str, ...]  # that want it
    stored: Mapping[str, Mode]  # what was set for routes
    accepted_by: str | None
    refused: str | None  # why it must not go, for a person: the newest verdict on its result


def stored_modes(connection: sa.Connection) -> dict[str, Mode]:
    """Route -> the mode that was set for it, for the routes for which one was."""
    return {row.route: cast(Mode, row.mode) for row in connection.execute(sa.select(route_modes))}


def routes_of(own: str | None, of_job: str) -> tuple[str, ...]:
    """The routes that want a delivery: those that its row names, or else those of its job's row."""
    return tuple(json.loads(own or of_job))


def clearance(connection: sa.Connection, delivery_id: int) -> Clearance:
    """See Clearance."""
    row = connection.execute(
        sa.select(deliveries.c.routes, deliveries.c.accepted_by, jobs.c.routes.label("job_routes"), jobs.c.id)
        .join(outputs, outputs.c.id == deliveries.c.output_id).join(jobs, jobs.c.id == outputs.c.job_id)
        .where(deliveries.c.id == delivery_id)
    ).one()  # fmt: skip
    return Clearance(
        routes_of(row.routes, row.job_routes), stored_modes(connection), row.accepted_by, refused(connection, row.id)
    )


def refused(connection: sa.Connection, job_id: int) -> str | None:
    """Why a result must not go out by the newest verdict on it, for a person; None when that accepts it, or there is
    none. Not the reviewer's words: they stand with the verdict."""
    last = connection.execute(
        sa.select(reviews).where(reviews.c.job_id == job_id).order_by(reviews.c.id.desc()).limit(1)
    ).first()
    return None if last is None or last.verdict == "accepted" else f"{last.verdict} by {last.given_by}"


def why_held(found: Clearance, configured: Mapping[str, Mode]) -> str | None:
    """Why a delivery has to be held as things stand, for a person; None when it may go. `configured`: route -> mode; a
    route that is not there any more holds nothing up by itself."""
    asked: dict[str, Mode] = {route: configured.get(route, "live") for route in found.routes}
    mode = modes.for_peer(asked, found.stored)
    if mode == "live" or (mode == "review" and found.accepted_by is not None):
        return None
    return said(modes.in_force(asked, found.stored), mode)


def said(of: Mapping[str, Mode], mode: Mode) -> str:
    """In words, which of some routes have a mode and what follows."""
    names = ", ".join(route for route, one in of.items() if one == mode)
    return f"route {names} is {'off' if mode == 'off' else f'in {mode}'}: {modes.SAYS[mode]}"


def promoted(connection: sa.Connection) -> dict[str, str]:
    """Pipeline -> the version of its model that a person made live."""
    return {row.pipeline: row.version for row in connection.execute(sa.select(promotions))}


def route_rows(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """Route -> mode, set_by, why, at, of what was set."""
    return {row.route: dict(row._mapping) for row in connection.execute(sa.select(route_modes))}


def held(connection: sa.Connection) -> list[dict[str, Any]]:
    """The results that wait for a person, oldest first: study_uid, job_id, revision, pipeline, since (seconds), reason,
    deliveries (how many), peers, routes."""
    rows = connection.execute(
        sa.select(
            deliveries.c.peer, deliveries.c.routes, deliveries.c.reason, deliveries.c.created_at, outputs.c.job_id,
            jobs.c.routes.label("job_routes"), jobs.c.pipeline, jobs.c.revision, studies.c.study_uid,
        )
        .join(outputs, outputs.c.id == deliveries.c.output_id)
        .join(jobs, jobs.c.id == outputs.c.job_id)
        .join(studies, studies.c.id == jobs.c.study_id)
        .where(deliveries.c.state == "held")
        .order_by(deliveries.c.created_at, deliveries.c.id)
    ).all()  # fmt: skip
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row.job_id, {
            "study_uid": row.study_uid, "job_id": row.job_id, "revision": row.revision, "pipeline": row.pipeline,
            "since": row.created_at, "reason": row.reason, "deliveries": 0, "peers": [], "routes": [],
        })  # fmt: skip
        one["deliveries"] += 1
        one["peers"] = list(dict.fromkeys([*one["peers"], row.peer]))
        one["routes"] = list(dict.fromkeys([*one["routes"], *routes_of(row.routes, row.job_routes)]))
    return list(found.values())


def reviewed(connection: sa.Connection, job_ids: list[int]) -> list[dict[str, Any]]:
    """The verdicts on the results of some jobs, oldest first."""
    rows = connection.execute(sa.select(reviews).where(reviews.c.job_id.in_(job_ids)).order_by(reviews.c.id))
    return [dict(row._mapping) for row in rows]
