"""Deliveries: claim, finish, retry, fail; the peer's answer is kept for each instance."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit, states
from node.errors import IllegalMove
from node.schema import answers, askings, deliveries, jobs, output_instances, outputs, studies
from node.store.base import Base
from node.store.nouns import Answer, Delivery, OutputFile

ROW = (
    sa.select(deliveries, outputs.c.name, jobs.c.pipeline, jobs.c.revision, jobs.c.purged_at, studies.c.study_uid)
    .join(outputs, outputs.c.id == deliveries.c.output_id)
    .join(jobs, jobs.c.id == outputs.c.job_id)
    .join(studies, studies.c.id == jobs.c.study_id)
)


class Deliveries(Base):
    """What the send loop writes."""

    def claim_delivery(self, worker: str, peer: str, lease: float) -> Delivery | None:
        """Take the next delivery for one peer, with the files that it has not stored yet."""
        now = self.clock()
        claimable = ((deliveries.c.state == "due") & (deliveries.c.due_at <= now)) | (
            (deliveries.c.state == "sending") & (deliveries.c.lease_until < now)
        )
        if not self._any(sa.select(deliveries.c.id).where(claimable, deliveries.c.peer == peer)):
            return None
        with self._write() as connection:
            row = connection.execute(
                ROW.where(claimable, deliveries.c.peer == peer)
                .order_by(deliveries.c.priority.desc(), deliveries.c.due_at, deliveries.c.id)
                .limit(1)
            ).first()
            if row is None:
                return None
            before = states.move("delivery", "sending", "due") if row.state == "sending" else row.state
            connection.execute(
                deliveries.update().where(deliveries.c.id == row.id)
                .values(state=states.move("delivery", before, "sending"), worker=worker, lease_until=now + lease,
                        started_at=now, attempts=row.attempts + 1)
            )  # fmt: skip
            stored = sa.select(answers.c.sop_uid).where(answers.c.delivery_id == row.id, answers.c.stored == 1)
            files = connection.execute(
                sa.select(output_instances)
                .where(output_instances.c.output_id == row.output_id, output_instances.c.sop_uid.not_in(stored))
                .order_by(output_instances.c.id)
            ).all()
            body = {"output": row.name, "peer": peer, "attempt": row.attempts + 1, "instances": len(files)}
            audit.append(connection, now, "delivery.claimed", "send", f"study/{row.study_uid}", body)
        sent = tuple(OutputFile(f.sop_uid, f.path, f.digest, f.size) for f in files)
        return Delivery(row.id, row.study_uid, row.name, peer, row.attempts + 1, worker, sent)

    def release_deliveries(self, worker: str, reason: str) -> int:
        """Give back what `worker` was sending when it died (called when it starts again). Return how many."""
        with self._write() as connection:
            rows = connection.execute(ROW.where(deliveries.c.state == "sending", deliveries.c.worker == worker)).all()
            for row in rows:
                self._move_delivery(connection, row, "due", reason, {"due_at": self.clock()})
        return len(rows)

    def finish_delivery(self, delivery: Delivery, said: Sequence[Answer], ask: bool = False) -> None:
        """Every instance is stored at the peer. `ask`: it is to be asked for storage commitment."""
        self._settle_delivery(delivery, "delivered", None, said, {}, ask)

    def retry_delivery(
        self, delivery: Delivery, said: Sequence[Answer], reason: str, due_at: float, counts: bool = True
    ) -> None:
        """Back to due at `due_at` (seconds since the epoch); what was stored is not sent again. `counts` False: the
        attempt was not the peer's fault."""
        attempts = delivery.attempts if counts else delivery.attempts - 1
        self._settle_delivery(delivery, "due", reason, said, {"due_at": due_at, "attempts": attempts})

    def fail_delivery(self, delivery: Delivery, said: Sequence[Answer], reason: str) -> None:
        """Given up until a person looks."""
        self._settle_delivery(delivery, "failed", reason, said, {})

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
        finished = None if state == "due" else now
        connection.execute(
            deliveries.update().where(deliveries.c.id == row.id)
            .values(state=states.move("delivery", row.state, state), reason=reason, finished_at=finished,
                    lease_until=None, worker=None, **values)
        )  # fmt: skip
        told = {"output": row.name, "pipeline": row.pipeline, "revision": row.revision, "peer": row.peer,
                "attempt": row.attempts, **(body or {})}  # fmt: skip
        if reason is not None:
            told["reason"] = reason
        type_ = "delivery.retried" if state == "due" else f"delivery.{state}"
        audit.append(connection, now, type_, actor, f"study/{row.study_uid}", told)
