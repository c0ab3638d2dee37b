"""What peers asked of us: storage commitment requests and whether their answers have been told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from node import audit
from node.commitment import Reference, Request
from node.errors import IllegalMove
from node.schema import commitment_items, commitments, instances
from node.store.base import Base, new_id
from node.store.nouns import Commitment


class Commitments(Base):
    """Written by the listener, which takes the requests, and by whoever answers them."""

    def add_commitment(self, peer: str, request: Request, due_at: float) -> int | None:
        """Make a request durable, to be answered at `due_at` (seconds since the epoch); return its id.

        The same request again is answered again. None, and nothing changed, when the peer used the transaction UID
        for other instances before.
        """
        now = self.clock()
        with self._write() as connection:
            known = connection.execute(
                sa.select(commitments)
                .where(commitments.c.peer == peer, commitments.c.transaction_uid == request.transaction_uid)
            ).first()  # fmt: skip
            if known is not None:
                if set(_references(connection, known.id)) != set(request.references):
                    return None
                key, type_ = int(known.id), "commitment.repeated"
                if known.state in ("reported", "failed"):
                    _set(connection, key, "due", due_at=due_at, attempts=0, created_at=now, finished_at=None)
            else:
                type_ = "commitment.asked"
                key = new_id(connection.execute(commitments.insert().values(
                    peer=peer, transaction_uid=request.transaction_uid, state="due", attempts=0, due_at=due_at,
                    created_at=now,
                )))  # fmt: skip
                items = [(one.sop_uid, one.sop_class) for one in request.references]
                connection.execute(
                    commitment_items.insert(),
                    [{"commitment_id": key, "sop_uid": uid, "sop_class": class_} for uid, class_ in items],
                )
            body = {"peer": peer, "transaction_uid": request.transaction_uid, "instances": len(request.references)}
            _tell(connection, now, key, type_, "receive", body)
        return key

    def claim_commitment(
        self, worker: str, peer: str, lease: float, commitment_id: int | None = None
    ) -> Commitment | None:
        """Take the next request of `peer` that is to be answered; with `commitment_id` that one, before its time."""
        now = self.clock()
        claimable = ((commitments.c.state == "due") & (commitments.c.due_at <= now)) | (
            (commitments.c.state == "reporting") & (commitments.c.lease_until < now)
        )
        if commitment_id is not None:
            claimable = (commitments.c.state == "due") & (commitments.c.id == commitment_id)
        query = sa.select(commitments).where(commitments.c.peer == peer, claimable)
        if not self._any(query):
            return None
        with self._write() as connection:
            row = connection.execute(query.order_by(commitments.c.due_at, commitments.c.id).limit(1)).first()
            if row is None:
                return None
            attempts = row.attempts + 1
            _set(connection, row.id, "reporting", attempts=attempts, worker=worker, lease_until=now + lease)
            references = _references(connection, row.id)
        return Commitment(row.id, peer, row.transaction_uid, references, attempts, worker)

    def finish_commitment(self, commitment: Commitment, failed: Mapping[Reference, int]) -> None:
        """The peer has its answer; `failed`: the Failure Reason of each instance that we could not answer for."""
        with self._write() as connection:
            self._commitment_is_ours(connection, commitment)
            _set(connection, commitment.id, "reported", finished_at=self.clock(), reason=None)
            connection.execute(
                commitment_items.update().where(commitment_items.c.commitment_id == commitment.id).values(failure=None)
            )
            if failed:
                connection.execute(
                    commitment_items.update().where(
                        commitment_items.c.commitment_id == commitment.id,
                        commitment_items.c.sop_uid == sa.bindparam("uid"),
                        commitment_items.c.sop_class == sa.bindparam("class"),
                    ).values(failure=sa.bindparam("why")),
                    [{"uid": one.sop_uid, "class": one.sop_class, "why": why} for one, why in failed.items()],
                )  # fmt: skip
            reasons = Counter(f"0x{why:04X}" for why in failed.values())
            body = {"committed": len(commitment.references) - len(failed), "failed": dict(reasons)}
            self._commitment_event(connection, commitment, "commitment.reported", body)

    def retry_commitment(self, commitment: Commitment, reason: str, due_at: float, counts: bool = True) -> None:
        """The answer could not be told: due again at `due_at` (seconds since the epoch). `counts`: as an attempt."""
        attempts = commitment.attempts - (not counts)
        with self._write() as connection:
            self._commitment_is_ours(connection, commitment)
            _set(connection, commitment.id, "due", due_at=due_at, reason=reason, attempts=attempts)
            self._commitment_event(connection, commitment, "commitment.retried", {"reason": reason})

    def fail_commitment(self, commitment: Commitment, reason: str) -> None:
        """The answer is given up; the peer may ask again."""
        with self._write() as connection:
            self._commitment_is_ours(connection, commitment)
            _set(connection, commitment.id, "failed", finished_at=self.clock(), reason=reason)
            self._commitment_event(connection, commitment, "commitment.failed", {"reason": reason})

    def release_commitments(self, worker: str) -> int:
        """Give back what `worker` was answering when it died (called when it starts again). Return how many."""
        with self._write() as connection:
            changed = connection.execute(
                commitments.update()
                .where(commitments.c.state == "reporting", commitments.c.worker == worker)
                .values(state="due", worker=None, lease_until=None, due_at=self.clock())
            )
        return int(changed.rowcount)

    def _commitment_is_ours(self, connection: sa.Connection, commitment: Commitment) -> None:
        row = connection.execute(sa.select(commitments).where(commitments.c.id == commitment.id)).one()
        if row.state != "reporting" or row.worker != commitment.worker:
            raise IllegalMove(f"commitment {commitment.id} is {row.state}: {commitment.worker} lost its lease")

    def _commitment_event(
        self, connection: sa.Connection, commitment: Commitment, type_: str, body: Mapping[str, Any]
    ) -> None:
        told = {"peer": commitment.peer, "transaction_uid": commitment.transaction_uid, "attempt": commitment.attempts}
        actor = "receive" if commitment.worker.startswith("receive") else "send"
        _tell(connection, self.clock(), commitment.id, type_, actor, told | dict(body))


def _set(connection: sa.Connection, key: int, state: str, **values: Any) -> None:
    values = {"worker": None, "lease_until": None, **values, "state": state}
    connection.execute(commitments.update().where(commitments.c.id == key).values(values))


def _tell(connection: sa.Connection, at: float, key: int, type_: str, actor: str, body: Mapping[str, Any]) -> None:
    """An event for each study that the request concerns; for the peer when we hold nothing of it."""
    concerned = connection.execute(
        sa.select(instances.c.study_uid).distinct()
        .join(commitment_items, commitment_items.c.sop_uid == instances.c.sop_uid)
        .where(commitment_items.c.commitment_id == key, instances.c.current == 1).order_by(instances.c.study_uid)
    ).scalars().all()  # fmt: skip
    about = [f"study/{uid}" for uid in concerned] or [f"peer/{body['peer']}"]
    audit.append_all(connection, at, [(type_, actor, one, body) for one in about])


def _references(connection: sa.Connection, key: int) -> tuple[Reference, ...]:
    rows = connection.execute(sa.select(commitment_items).where(commitment_items.c.commitment_id == key))
    return tuple(Reference(row.sop_class, row.sop_uid) for row in rows)
