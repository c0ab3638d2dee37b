"""Reviews: a human's verdict on a result, which releases or withdraws what is held, in one transaction."""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa

from node import audit, clearance, faults, modes
from node.errors import GiveUp
from node.modes import Mode
from node.schema import deliveries, jobs, output_instances, outputs, reviews, studies
from node.standing import standing
from node.store.deliveries import ROW, Deliveries
from node.store.nouns import Review
from node.store.releases import actor_of, signed
from pipelines.base import quoted

VERDICTS = ("accepted", "rejected", "changed")

_RESULT = (
    sa.select(outputs.c.job_id, outputs.c.name, jobs.c.pipeline, jobs.c.revision, studies.c.study_uid)
    .join(output_instances, output_instances.c.output_id == outputs.c.id)
    .join(jobs, jobs.c.id == outputs.c.job_id)
    .join(studies, studies.c.id == jobs.c.study_id)
    .order_by(jobs.c.id.desc())
    .limit(1)
)


class Reviews(Deliveries):
    """What people say of results: by a command, over the web, or read back from DICOM."""

    def add_review(self, sop_uid: str, verdict: str, by: str, why: str, source: str, at: float) -> Review:
        """Record a verdict (one of VERDICTS) on the result that `sop_uid`, one of our output objects, belongs to.

        The verdict is on the whole result of its job. Accepted: what is held is due, unless the study has changed
        since; then it is withdrawn. Rejected or changed (a person made another in its place): what is held or due is
        withdrawn, and what is being sent is stopped. What a peer already has stays there. The same verdict said again
        (same object, person, source and `at`, seconds since the epoch) changes nothing.

        Raises GiveUp with one line when the UID is none of our outputs, the verdict is none, the name or the reason is
        missing, or a route sends nothing at all.
        """
        name, reason = signed(by, why)
        if verdict not in VERDICTS:
            raise GiveUp(f"{quoted(verdict)!r} is no verdict; there are: {', '.join(VERDICTS)}")
        with self._write() as connection:
            of = connection.execute(_RESULT.where(output_instances.c.sop_uid == sop_uid)).first()
            if of is None:
                raise GiveUp(f"{quoted(sop_uid)} is none of our outputs; `overread show STUDY --json` lists them")
            said = {"sop_uid": sop_uid, "verdict": verdict, "given_by": name, "source": source, "at": at}
            known = connection.execute(sa.select(reviews).filter_by(**said)).first()
            if known is not None:
                return Review(known.id, of.job_id, of.study_uid, sop_uid, verdict, name, known.why, source, at)
            row = connection.execute(
                reviews.insert().values(job_id=of.job_id, why=reason, recorded_at=self.clock(), **said)
            )
            faults.point("review.recording")
            here = (outputs.c.job_id == of.job_id) & deliveries.c.state.in_(("held", "due"))
            waiting = list(connection.execute(ROW.where(here).order_by(deliveries.c.id)))
            outcome, told = self._outcome(connection, of.job_id, verdict, name, waiting)
            body = {"job": of.job_id, "output": of.name, "pipeline": of.pipeline, "revision": of.revision,
                    "why": reason, "by": name, "outcome": outcome, **{k: said[k] for k in ("sop_uid", "verdict",
                    "source", "at")}}  # fmt: skip
            audit.append(connection, self.clock(), "review.given", actor_of(name), f"study/{of.study_uid}", body)
            if outcome == "released":
                self._let_go(connection, of.job_id, name, waiting)
            elif outcome == "withdrawn":
                for one in waiting:
                    self._move_delivery(connection, one, "withdrawn", told, {"accepted_by": None}, actor=actor_of(name))
            faults.point("review.releasing")
        faults.point("review.released")
        key = cast(Any, row.inserted_primary_key)[0]
        return Review(int(key), of.job_id, of.study_uid, sop_uid, verdict, name, reason, source, at, outcome, told)

    @staticmethod
    def _outcome(
        connection: sa.Connection, job_id: int, verdict: str, by: str, waiting: list[sa.Row[Any]]
    ) -> tuple[str, str]:  # fmt: skip
        """What a verdict does to what waits, and why that is withdrawn, for a person."""
        if verdict != "accepted":
            return ("withdrawn" if waiting else "recorded"), f"{verdict} by {by}"
        held = [one for one in waiting if one.state == "held"]
        if not held:
            return "recorded", ""
        superseded = standing(connection, job_id).superseded
        if superseded is not None:
            return "withdrawn", superseded
        stored = clearance.stored_modes(connection)
        for one in held:
            asked: dict[str, Mode] = dict.fromkeys(clearance.routes_of(one.routes, one.job_routes), "live")
            mode = modes.for_peer(asked, stored)
            if mode in ("off", "shadow"):
                why = clearance.said(modes.in_force(asked, stored), mode)
                raise GiveUp(f"{why}; set it to review or live first with `overread route mode`")
        return "released", ""

    def _let_go(self, connection: sa.Connection, job_id: int, by: str, waiting: list[sa.Row[Any]]) -> None:
        """What is held is due; what is not sent yet for another reason is not held any more later."""
        of_job = deliveries.c.output_id.in_(sa.select(outputs.c.id).where(outputs.c.job_id == job_id))
        over = deliveries.c.state.in_(("delivered", "committed", "withdrawn"))
        connection.execute(deliveries.update().where(of_job, sa.not_(over)).values(accepted_by=by))
        values = {"due_at": self.clock(), "attempts": 0}
        for one in waiting:
            if one.state == "held":
                self._move_delivery(connection, one, "due", None, values, {"by": by}, actor_of(by))
