"""What we asked of peers: whether they keep a delivery, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit
from node.commitment import Reference, Report
from node.errors import IllegalMove
from node.schema import answers, askings, deliveries, jobs, output_instances, outputs, studies
from node.store.deliveries import ROW, Deliveries
from node.store.nouns import Asking

_ASKING = (
    sa.select(askings, deliveries.c.output_id, outputs.c.name, outputs.c.sop_class, studies.c.study_uid)
    .join(deliveries, deliveries.c.id == askings.c.delivery_id)
    .join(outputs, outputs.c.id == deliveries.c.output_id)
    .join(jobs, jobs.c.id == outputs.c.job_id)
    .join(studies, studies.c.id == jobs.c.study_id)
)


class Askings(Deliveries):
    """Written by the send loop, which asks, and by the listener where the answer comes on another association."""

    def claim_asking(self, worker: str, peer: str, lease: float) -> Asking | None:
        """Take the next storage commitment request that is due for one peer."""
        now = self.clock()
        claimable = ((askings.c.state == "due") & (askings.c.due_at <= now)) | (
            (askings.c.state == "asking") & (askings.c.lease_until < now)
        )
        if not self._any(sa.select(askings.c.id).where(claimable, askings.c.peer == peer)):
            return None
        with self._write() as connection:
            row = connection.execute(
                _ASKING.where(claimable, askings.c.peer == peer).order_by(askings.c.due_at, askings.c.id).limit(1)
            ).first()
            if row is None:
                return None
            attempts = row.attempts + 1
            _set(connection, row.id, "asking", attempts=attempts, worker=worker, lease_until=now + lease)
            references = _references(connection, row)
        return Asking(row.id, row.study_uid, row.name, peer, row.transaction_uid, references, attempts, worker)

    def release_askings(self, worker: str) -> int:
        """Give back what `worker` was asking when it died (called when it starts again). Return how many."""
        with self._write() as connection:
            changed = connection.execute(
                askings.update().where(askings.c.state == "asking", askings.c.worker == worker)
                .values(state="due", worker=None, lease_until=None, due_at=self.clock())
            )  # fmt: skip
        return int(changed.rowcount)

    def asked(self, asking: Asking, until: float) -> None:
        """The peer took the request; its answer is waited for until then. No change when the answer is here already."""
        with self._write() as connection:
            self._asking_event(connection, asking, "delivery.asked", {"instances": len(asking.references)})
            if self._asking_is_ours(connection, asking):
                _set(connection, asking.id, "asked", due_at=until, reason=None)

    def retry_asking(self, asking: Asking, reason: str, due_at: float) -> None:
        """The peer could not be asked: due again at `due_at` (seconds since the epoch)."""
        with self._write() as connection:
            if self._asking_is_ours(connection, asking):
                _set(connection, asking.id, "due", due_at=due_at, reason=reason)
                self._asking_event(connection, asking, "delivery.unasked", {"reason": reason, "again": True})

    def give_up_asking(self, asking: Asking, reason: str) -> None:
        """The peer does not take the request: the delivery stays delivered."""
        with self._write() as connection:
            if self._asking_is_ours(connection, asking):
                _set(connection, asking.id, "unasked", finished_at=self.clock(), reason=reason)
                self._asking_event(connection, asking, "delivery.unasked", {"reason": reason, "again": False})

    def end_waiting(self, peer: str, most: int) -> list[tuple[str, str, bool]]:
        """Requests without an answer in time: (study, output, whether it is asked again: `most` times at most)."""
        over = (askings.c.state == "asked") & (askings.c.due_at <= self.clock()) & (askings.c.peer == peer)
        if not self._any(sa.select(askings.c.id).where(over)):
            return []
        ended = []
        with self._write() as connection:
            for row in connection.execute(_ASKING.where(over).order_by(askings.c.id)).all():
                _set(connection, row.id, "unanswered", finished_at=self.clock())
                times = _times(connection, row.delivery_id)
                again = times < most
                body = {"output": row.name, "peer": peer, "transaction_uid": row.transaction_uid, "times": times,
                        "again": again}  # fmt: skip
                about = f"study/{row.study_uid}"
                audit.append(connection, self.clock(), "delivery.unanswered", "send", about, body)
                if again:
                    self._plan_asking(connection, row.delivery_id, peer)
                ended.append((row.study_uid, row.name, again))
        return ended

    def take_report(self, peer: str, report: Report, most: int, again_at: float, actor: str) -> str | None:
        """A peer's answer. Return what it means for the delivery, None when we never asked under that transaction UID.

        "committed"; "due": what the peer does not keep is sent again at `again_at` (seconds since the epoch);
        "failed": it was asked `most` times; "same": the answer is here already, or it is about a former sending.
        """
        with self._write() as connection:
            row = connection.execute(
                _ASKING.where(askings.c.peer == peer, askings.c.transaction_uid == report.transaction_uid)
            ).first()
            if row is None:
                return None
            delivery = connection.execute(ROW.where(deliveries.c.id == row.delivery_id)).one()
            if row.state == "answered":
                return "same"
            lost = _lost(_references(connection, row), report)
            told = ", ".join(f"{count} x {why}" for why, count in Counter(_why(why) for why in lost.values()).items())
            _set(connection, row.id, "answered", finished_at=self.clock(), reason=told or None)
            if delivery.state != "delivered" or row.created_at < delivery.finished_at:
                return "same"
            body = {"transaction_uid": report.transaction_uid, "instances": len(_references(connection, row))}
            if not lost:
                self._move_delivery(connection, delivery, "committed", None, {}, body, actor)
                state = "committed"
            else:
                reason = f"{peer} does not keep {len(lost)} of {body['instances']} instances: {told}"
                state = "due" if _times(connection, row.delivery_id) < most else "failed"
                if delivery.purged_at is not None:
                    state, reason = "failed", f"{reason}; our files of them are purged"
                _unstore(connection, row.delivery_id, lost)
                values = {"due_at": again_at, "attempts": 0} if state == "due" else {}
                self._move_delivery(connection, delivery, state, reason, values, body, actor)
            # Whatever else was to be asked about this sending is answered by this.
            connection.execute(
                askings.update().where(
                    askings.c.delivery_id == row.delivery_id, askings.c.state.in_(("due", "asking", "asked"))
                ).values(state="answered", worker=None, lease_until=None, reason="answered under another request")
            )  # fmt: skip
        return state

    def _asking_is_ours(self, connection: sa.Connection, asking: Asking) -> bool:
        """False when the peer's answer was quicker; IllegalMove when another worker took the request over."""
        row = connection.execute(sa.select(askings).where(askings.c.id == asking.id)).one()
        if row.state == "answered":
            return False
        if row.state != "asking" or row.worker != asking.worker:
            raise IllegalMove(f"asking {asking.id} is {row.state}: {asking.worker} lost its lease")
        return True

    def _asking_event(self, connection: sa.Connection, asking: Asking, type_: str, body: Mapping[str, Any]) -> None:
        told = {"output": asking.output, "peer": asking.peer, "transaction_uid": asking.transaction_uid,
                "attempt": asking.attempts, **body}  # fmt: skip
        audit.append(connection, self.clock(), type_, "send", f"study/{asking.study_uid}", told)


def _set(connection: sa.Connection, key: int, state: str, **values: Any) -> None:
    values = {"worker": None, "lease_until": None, **values, "state": state}
    connection.execute(askings.update().where(askings.c.id == key).values(values))


def _references(connection: sa.Connection, row: sa.Row[Any]) -> tuple[Reference, ...]:
    """The instances of the delivery that `row`, one of _ASKING, is about."""
    uids = connection.execute(
        sa.select(output_instances.c.sop_uid)
        .where(output_instances.c.output_id == row.output_id).order_by(output_instances.c.id)
    ).scalars()  # fmt: skip
    return tuple(Reference(row.sop_class, uid) for uid in uids)


def _times(connection: sa.Connection, delivery_id: int) -> int:
    counted = sa.select(sa.func.count()).where(askings.c.delivery_id == delivery_id, askings.c.counts == 1)
    return int(connection.execute(counted).scalar_one())


def _lost(references: Sequence[Reference], report: Report) -> dict[str, int | None]:
    """SOP Instance UID -> Failure Reason of what the peer does not keep; None: the answer does not name it."""
    kept = {one.sop_uid for one in report.committed}
    reasons = {one.sop_uid: why for one, why in report.failed}
    return {one.sop_uid: reasons.get(one.sop_uid) for one in references if one.sop_uid not in kept}


def _unstore(connection: sa.Connection, delivery_id: int, lost: Mapping[str, int | None]) -> None:
    connection.execute(
        answers.update()
        .where(answers.c.delivery_id == delivery_id, answers.c.sop_uid == sa.bindparam("uid"))
        .values(stored=0, status=sa.bindparam("why"), reason="storage commitment: the peer does not keep it"),
        [{"uid": uid, "why": why} for uid, why in lost.items()],
    )


def _why(reason: int | None) -> str:
    return "not named in the answer" if reason is None else f"0x{reason:04X}"
