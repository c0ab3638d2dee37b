"""Deliveries: claim, finish, retry, fail; the peer's answer is kept for each instance."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit, faults, states
from node.errors import IllegalMove
from node.schema import answers, askings, deliveries, jobs, output_instances, outputs, studies
from node.store.base import Base
from node.store.nouns import Answer, Delivery, OutputFile

ROW = (
    sa.select(
        deliveries,
        outputs.c.name,
        outputs.c.job_id,
        jobs.c.pipeline,
        jobs.c.revision,
        jobs.c.purged_at,
        jobs.c.routes.label("job_routes"),
        studies.c.study_uid,
    )
    .join(outputs, outputs.c.id == deliveries.c.output_id)
    .join(jobs, jobs.c.id == outputs.c.job_id)
    .join(studies, studies.c.id == jobs.c.study_id)
)


class Deliveries(Base):
    """What the send loop writes."""

    def claim_delivery(self, worker: str, peer: str, lease: float, last: Collection[int] = ()) -> Delivery | None:
        """Take the next delivery for one peer, with the files that it has not stored yet; `last`: ids of those before
        which all others go."""
        now = self.clock()
        claimable = ((deliveries.c.state == "due") & (deliveries.c.due_at <= now)) | (
            (deliveries.c.state == "sending") & (deliveries.c.lease_until < now)
        )
        if not self._any(sa.select(deliveries.c.id).where(claimable, deliveries.c.peer == peer)):
            return None
        with self._write() as connection:
            row = connection.execute(
                ROW.where(claimable, deliveries.c.peer == peer)
                .order_by(sa.case((deliveries.c.id.in_(last), 1), else_=0), deliveries.c.priority.desc(),
                          deliveries.c.due_at, deliveries.c.id)
                .limit(1)
            ).first()  # fmt: skip
            if row is None:
                return None
            before = states.move("delivery", "sending", "due") if row.state == "sending" else row.state
            connection.execute(
                deliveries.update().where(deliveries.c.id == row.id)
                .values(state=states.move("delivery", before, "sending"), worker=worker, lease_until=now + lease,
                        started_at=now, attempts=row.attempts + 1)
            )  # fmt: skip
            said = sa.select(answers.c.sop_uid).where(answers.c.delivery_id == row.id)
            # What was tried before goes last: it may be what breaks the association each time.
            tried = sa.case((output_instances.c.sop_uid.in_(said), 1), else_=0)
            files = connection.execute(
                sa.select(output_instances)
                .where(output_instances.c.output_id == row.output_id,
                       output_instances.c.sop_uid.not_in(said.where(answers.c.stored == 1)))
                .order_by(tried, output_instances.c.id)
            ).all()  # fmt: skip
            body = {"output": row.name, "pipeline": row.pipeline, "revision": row.revision, "peer": peer,
                    "attempt": row.attempts + 1, "instances": len(files)}  # fmt: skip
            audit.append(connection, now, "delivery.claimed", "send", f"study/{row.study_uid}", body)
            faults.point("send.claiming")
        sent = tuple(OutputFile(f.sop_uid, f.path, f.digest, f.size) for f in files)
        return Delivery(row.id, row.study_uid, row.name, peer, row.attempts + 1, worker, sent, row.job_id)

    def hasten_deliveries(self, peer: str) -> int:
        """A peer is back: what waits for it waits no longer. Return how many."""
        waits = (deliveries.c.state == "due") & (deliveries.c.peer == peer) & (deliveries.c.due_at > self.clock())
        if not self._any(sa.select(deliveries.c.id).where(waits)):
            return 0
        with self._write() as connection:
            changed = connection.execute(deliveries.update().where(waits).values(due_at=self.clock()))
        return int(changed.rowcount)

    def release_deliveries(self, worker: str, reason: str, after: float = 0) -> int:
        """Give back what `worker` was sending when it died (called when it starts again), due in `after` seconds.
        Return how many."""
        with self._write() as connection:
            rows = connection.execute(ROW.where(deliveries.c.state == "sending", deliveries.c.worker == worker)).all()
            for row in rows:
                self._move_delivery(connection, row, "due", reason, {"due_at": self.clock() + after})
        return len(rows)

    def finish_delivery(self, delivery: Delivery, said: Sequence[Answer], ask: bool = False) -> None:
        """Every instance is stored at the peer. `ask`: it is to be asked for storage commitment."""
        self._settle_delivery(delivery, "delivered", None, said, {}, ask)

    def retry_delivery(
        self, delivery: Delivery, said: Sequence[Answer], reason: str, due_at: float | None, attempts: int | None = None
    ) -> None:
        """Back to due at `due_at` (seconds since the epoch; None: it keeps its place); what was stored is not sent
        again. `attempts`: how many count so far, where this one does not."""
        values = {"due_at": due_at, "attempts": attempts}
        given = {name: value for name, value in values.items() if value is not None}
        self._settle_delivery(delivery, "due", reason, said, given)

    def fail_delivery(self, delivery: Delivery, said: Sequence[Answer], reason: str) -> None:
        """Given up until a person looks."""
        self._settle_delivery(delivery, "failed", reason, said, {})

    def withdraw_delivery(self, delivery: Delivery, reason: str) -> None:
        """The study has changed since the result was made: it is not sent, or not any further."""
        self._settle_delivery(delivery, "withdrawn", reason, (), {})

    def hold_delivery(self, delivery: Delivery, reason: str) -> None:
        """Its route must not send it by now: it waits for a person."""
        self._settle_delivery(delivery, "held", reason, (), {"accepted_by": None})

    def reset_delivery(self, delivery_id: int, actor: str) -> None:
        """A person asks for a failed delivery again. IllegalMove when it did not fail."""
        with self._write() as connection:
            row = connection.execute(ROW.where(deliveries.c.id == delivery_id)).first()
            if row is None:
                raise IllegalMove(f"delivery/{delivery_id}: no such delivery; `overread status` lists them")
            if row.state != "failed":
                raise IllegalMove(f"delivery/{delivery_id} is {row.state}: only a failed one can be tried again")
            if row.purged_at is not None:
                raise IllegalMove(f"delivery/{delivery_id}: its files are purged; send the whole study again")
            values = {"due_at": self.clock(), "attempts": 0}
            connection.execute(askings.update().where(askings.c.delivery_id == delivery_id).values(counts=0))
            self._move_delivery(connection, row, "due", "asked for by a person", values, actor=actor)

    def _settle_delivery(
        self, delivery: Delivery, state: str, reason: str | None, said: Sequence[Answer], values: Mapping[str, Any],
        ask: bool = False,
    ) -> None:  # fmt: skip
        with self._write() as connection:
            row = connection.execute(ROW.where(deliveries.c.id == delivery.id)).one()
            if row.state != "sending" or row.worker != delivery.worker:
                owner = row.worker or "nobody"
                raise IllegalMove(f"delivery {delivery.id} is {row.state}: {delivery.worker} lost its lease to {owner}")
            now = self.clock()
            if said:
                connection.execute(
                    answers.delete()
                    .where(answers.c.delivery_id == delivery.id, answers.c.sop_uid == sa.bindparam("uid")),
                    [{"uid": one.sop_uid} for one in said],
                )  # fmt: skip
                connection.execute(
                    answers.insert(),
                    [{"delivery_id": delivery.id, "sop_uid": one.sop_uid, "stored": int(one.stored),
                      "status": one.status, "reason": one.reason, "at": now} for one in said],
                )  # fmt: skip
            told = [{"sop_uid": a.sop_uid, "status": a.status, "stored": a.stored} for a in said]
            self._move_delivery(connection, row, state, reason, values, {"answers": told})
            if ask:
                self._plan_asking(connection, delivery.id, delivery.peer)
            faults.point("send.finishing")

    def _plan_asking(self, connection: sa.Connection, delivery_id: int, peer: str) -> None:
        """A storage commitment request about a delivery is due, under a transaction UID of its own (PS3.5, B.2)."""
        now = self.clock()
        connection.execute(
            askings.insert().values(
                delivery_id=delivery_id, peer=peer, transaction_uid=f"2.25.{uuid.uuid4().int}", state="due", attempts=0,
                due_at=now, created_at=now, counts=1,
            )
        )  # fmt: skip

    def _move_delivery(
        self, connection: sa.Connection, row: sa.Row[Any], state: str, reason: str | None, values: Mapping[str, Any],
        body: Mapping[str, Any] | None = None, actor: str = "send",
    ) -> None:  # fmt: skip
        now = self.clock()
        finished = None if state in ("due", "held") else now
        connection.execute(
            deliveries.update().where(deliveries.c.id == row.id)
            .values(state=states.move("delivery", row.state, state), reason=reason, finished_at=finished,
                    lease_until=None, worker=None, **values)
        )  # fmt: skip
        told: dict[str, Any] = {"output": row.name, "pipeline": row.pipeline, "revision": row.revision,
                                "peer": row.peer, "attempt": row.attempts, **(body or {})}  # fmt: skip
        if reason is not None:
            told["reason"] = reason
        if state == "withdrawn":
            there = sa.select(sa.func.count()).where(answers.c.delivery_id == row.id, answers.c.stored == 1)
            told["already_there"] = connection.execute(there).scalar_one()
        again = "delivery.released" if row.state == "held" else "delivery.retried"
        type_ = again if state == "due" else f"delivery.{state}"
        audit.append(connection, now, type_, actor, f"study/{row.study_uid}", told)
