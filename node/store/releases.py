"""Releases: under which mode a finished job's results go out, what a change of mode does to those that wait, and which
version of a model is live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node import audit, clearance, faults, modes
from node.errors import GiveUp
from node.modes import MODES, Mode
from node.schema import deliveries, jobs, outputs, promotions, route_modes
from node.store.deliveries import ROW, Deliveries
from node.store.nouns import Job
from pipelines import registry
from pipelines.base import one_line

Wants = Callable[[str], Mapping[str, Mode]]
"""Peer -> the routes that want a job's results there, each with its configured mode."""


def actor_of(by: str) -> str:
    """Who stands in the log for `by`: a person's name, or the loop that watches."""
    return by if by == "watch" else f"user/{by}"


def signed(by: str, why: str) -> tuple[str, str]:
    """A name and a reason as they are kept: one line each. Raises GiveUp where one is missing."""
    name, reason = one_line(by), one_line(why)
    if not name or not reason:
        raise GiveUp("want a name and a reason: who says so, and why")
    return name, reason


@dataclass(frozen=True)
class Going:
    """How one pipeline's results go to one peer."""

    mode: Mode
    routes: tuple[str, ...]  # that want them there
    why_held: str | None  # in words


class Releases(Deliveries):
    """What the work loop, a person or a stop-rule decides about what goes out."""

    def set_mode(self, route: str, mode: Mode, by: str, why: str) -> int:
        """Set a route's mode, which counts from now on where it is stricter than the configuration. What is due by it
        and not sent yet is held when it must not go any more; what is held stays so. Return how many are newly held.
        The mode that it has already, with nothing to hold, is no change and no event.

        `by`: a person's name, or "watch" for a stop-rule. Raises GiveUp without a name, a reason or a known mode.
        """
        return self._set_mode(route, mode, by, why, only_stricter=False) or 0

    def tighten(self, route: str, mode: Mode, by: str, why: str) -> bool:
        """As `set_mode`, but never to a looser mode than the one that was set: what a person switched off stays off.
        Return whether anything changed."""
        return self._set_mode(route, mode, by, why, only_stricter=True) is not None

    def _set_mode(self, route: str, mode: Mode, by: str, why: str, only_stricter: bool) -> int | None:
        """How many are newly held; None when nothing changed."""
        name, reason = signed(by, why)
        if mode not in MODES:
            raise GiveUp(f"{mode!r} is no release mode; there are: {', '.join(MODES)}")
        now = self.clock()
        with self._write() as connection:
            before = clearance.stored_modes(connection).get(route)
            if only_stricter and before is not None and modes.strictest((before, mode)) == before != mode:
                return None
            values = {"mode": mode, "set_by": name, "why": reason, "at": now}
            if before is None:
                connection.execute(route_modes.insert().values(route=route, **values))
            elif before != mode:
                connection.execute(route_modes.update().where(route_modes.c.route == route).values(values))
            over = self._not_to_go(connection, route)
            if before == mode and not over:
                return None
            body = {"mode": mode, "before": before, "by": name, "why": reason, "held": len(over)}
            audit.append(connection, now, "route.mode", actor_of(name), f"route/{route}", body)
            for row, why_held in over:
                self._move_delivery(connection, row, "held", why_held, {"accepted_by": None}, actor=actor_of(name))
            faults.point("review.setting")
        faults.point("review.set")
        return len(over)

    def _not_to_go(self, connection: sa.Connection, route: str) -> list[tuple[sa.Row[Any], str]]:
        """Due deliveries that a route wants and that must not go by the modes that are stored, each with the reason."""
        stored = clearance.stored_modes(connection)
        if stored[route] == "live":
            return []
        found = []
        for row in connection.execute(ROW.where(deliveries.c.state == "due").order_by(deliveries.c.id)).all():
            routes = clearance.routes_of(row.routes, row.job_routes)
            if route in routes:
                why = clearance.why_held(clearance.Clearance(routes, stored, row.accepted_by, None), {})
                found += [(row, why)] if why is not None else []
        return found

    def promote(self, pipeline: str, version: str, by: str, why: str, told: Mapping[str, Any]) -> None:
        """Make a version of a pipeline's model, or of its code, the live one: what it leaves open stays as it is.
        `told` goes into the event: what it replaces, digests. Raises GiveUp without a name or a reason."""
        name, reason = signed(by, why)
        with self._write() as connection:
            before = clearance.promoted(connection).get(pipeline)
            values = {"version": registry.over(version, before), "promoted_by": name, "why": reason, "at": self.clock()}
            if before is not None:
                connection.execute(promotions.update().where(promotions.c.pipeline == pipeline).values(values))
            else:
                connection.execute(promotions.insert().values(pipeline=pipeline, **values))
            body = {"version": version, "by": name, "why": reason, **told}
            audit.append(connection, self.clock(), "model.promoted", actor_of(name), f"pipeline/{pipeline}", body)

    # -- at the end of a job -----------------------------------------------------------------------------------

    @staticmethod
    def _going(connection: sa.Connection, job: Job, wants: Wants) -> dict[str, Going]:
        """Peer -> how the job's results go there, by the modes as they stand in this transaction."""
        stored = clearance.stored_modes(connection)
        found = {}
        for peer in job.peers:
            configured: Mapping[str, Mode] = dict(wants(peer)) or dict.fromkeys(job.routes, "live")
            mode = modes.for_peer(configured, stored)
            why = clearance.said(modes.in_force(configured, stored), mode) if mode == "review" else None
            found[peer] = Going(mode, tuple(configured), why)
        return found

    def _hold_and_replace(self, connection: sa.Connection, job: Job, going: Mapping[str, Going]) -> None:
        """Say in the log what of a finished job is held, and withdraw what is still held of the study's former
        revisions: the new result replaces it."""
        former = (
            (jobs.c.study_id == job.study_id) & (jobs.c.pipeline == job.pipeline) & (jobs.c.revision < job.revision)
        )
        reason = f"superseded: the result of revision {job.revision} replaces it"
        for row in connection.execute(ROW.where(former, deliveries.c.state == "held")).all():
            self._move_delivery(connection, row, "withdrawn", reason, {}, actor="work")
        held = ROW.where(outputs.c.job_id == job.id, deliveries.c.state == "held").order_by(deliveries.c.id)
        events = []
        for row in connection.execute(held).all():
            told = {"output": row.name, "pipeline": job.pipeline, "revision": job.revision, "peer": row.peer,
                    "routes": list(going[row.peer].routes), "reason": row.reason}  # fmt: skip
            events.append(("delivery.held", "work", f"study/{job.study_uid}", told))
        if events:
            audit.append_all(connection, self.clock(), events)


def told_of(going: Mapping[str, Going]) -> dict[str, str]:
    """Peer -> mode, for the log."""
    return {peer: one.mode for peer, one in going.items()}


def is_silent(job: Job, going: Mapping[str, Going]) -> bool:
    """Whether nobody will see a job's result: then it must not change the order of others either."""
    candidate = registry.split(job.pipeline)[1] is not None
    return candidate or (bool(going) and {one.mode for one in going.values()} <= {"shadow", "off"})
