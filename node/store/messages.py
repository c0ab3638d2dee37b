"""Messages to people: each is a row until it is sent, so that a restart loses none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.schema import messages
from node.store.base import Base


@dataclass(frozen=True)
class Message:
    """One message through one channel. `attempts`: those that failed."""

    id: int
    via: str
    body: Mapping[str, Any]
    attempts: int


class Messages(Base):
    """What becomes of messages."""

    def due_messages(self, limit: int = 20) -> list[Message]:
        """Those whose time has come, oldest first. There is one process that sends them."""
        query = sa.select(messages).where(messages.c.state == "due", messages.c.due_at <= self.clock())
        with self._away("does not answer"), self.engine.connect().execution_options(reading=True) as connection:
            rows = connection.execute(query.order_by(messages.c.id).limit(limit)).all()
        return [Message(row.id, row.via, json.loads(row.body), row.attempts) for row in rows]

    def settle_message(self, message: Message, reason: str | None, due_at: float | None) -> None:
        """Sent (no reason), to be tried again at `due_at`, or given up (a reason and no time)."""
        state = "sent" if reason is None else "due" if due_at is not None else "failed"
        now = self.clock()
        with self._write() as connection:
            connection.execute(messages.update().where(messages.c.id == message.id).values(
                state=state, attempts=message.attempts + 1, due_at=now if due_at is None else due_at, reason=reason,
                sent_at=now if reason is None else None,
            ))  # fmt: skip
