"""When somebody sets the system's clock: what is still to come goes along with it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from node import audit
from node.clock import SMALLEST
from node.schema import askings, commitments, deliveries, events, instances, jobs, studies
from node.store.base import Base

_TO_COME = (  # (table, its states, the times that lie ahead in them)
    (jobs, ("due",), ("due_at",)),
    (jobs, ("running",), ("lease_until",)),
    (deliveries, ("due",), ("due_at",)),
    (deliveries, ("sending",), ("lease_until",)),
    (commitments, ("due",), ("due_at",)),
    (commitments, ("reporting",), ("lease_until",)),
    (askings, ("due", "asked"), ("due_at", "created_at")),
    (askings, ("asking",), ("lease_until", "created_at")),
)


class Times(Base):
    """What the supervisor writes when the clock has been set."""

    def follow_clock(self, step: float) -> None:
        """The clock was set by `step` seconds (backwards: negative). What is due, leases, and since when a study is
        received move with it; what is over keeps the time that it was told under."""
        with self._write() as connection:
            self._follow(connection, step)

    def mend_times(self) -> float:
        """At start-up: where the clock now shows less than when the last event was written, it was set backwards
        meanwhile. Return by how many seconds (negative), 0 for not at all."""
        with self._write() as connection:
            last = connection.execute(sa.select(events.c.at).order_by(events.c.seq.desc()).limit(1)).scalar()
            step = self.clock() - datetime.fromisoformat(last).timestamp() if last else 0.0
            if step > -SMALLEST:
                return 0.0
            self._follow(connection, step)
        return step

    def _follow(self, connection: sa.Connection, step: float) -> None:
        # An answer about a delivery counts only when it was asked for after the delivery: see take_report.
        asked = sa.select(askings.c.delivery_id).where(askings.c.state.in_(("due", "asking", "asked")))
        connection.execute(
            deliveries.update()
            .where(deliveries.c.state == "delivered", deliveries.c.id.in_(asked))
            .values(finished_at=deliveries.c.finished_at + step)
        )
        for table, of_states, columns in _TO_COME:
            moved = {name: table.c[name] + step for name in columns}
            connection.execute(table.update().where(table.c.state.in_(of_states)).values(moved))
        receiving = studies.c.state == "receiving"
        since = connection.execute(sa.select(sa.func.min(studies.c.first_received_at)).where(receiving)).scalar()
        if since is not None:
            # A commitment request is evidence about what came before it: all of these move together.
            connection.execute(
                commitments.update()
                .where(commitments.c.created_at >= since).values(created_at=commitments.c.created_at + step)
            )  # fmt: skip
            open_ones = sa.select(studies.c.id).where(receiving)
            connection.execute(
                instances.update().where(instances.c.study_id.in_(open_ones), instances.c.received_at >= since)
                .values(received_at=instances.c.received_at + step)
            )  # fmt: skip
            connection.execute(
                studies.update().where(receiving)
                .values(first_received_at=studies.c.first_received_at + step,
                        last_received_at=studies.c.last_received_at + step)
            )  # fmt: skip
        audit.append(connection, self.clock(), "clock.stepped", "node", "node", {"seconds": round(step, 3)})
