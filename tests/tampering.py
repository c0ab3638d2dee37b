"""Somebody who owns the database and wants the audit log to say something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from node import audit
from node.schema import events

Row = dict[str, Any]


def unlock(connection: sa.Connection) -> None:
    """Drop every trigger that stands in the way."""
    if connection.dialect.name == "sqlite":
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
        for name in names:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
    else:
        for table in ("events", "heads"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")


def rewrite(connection: sa.Connection, change: Callable[[list[Row]], Sequence[Row]]) -> None:
    """Make another history: `change` gives the rows that shall be there, and all numbers and hashes are made to fit."""
    unlock(connection)
    rows = [dict(row) for row in connection.execute(sa.select(events).order_by(events.c.seq)).mappings()]
    connection.execute(events.delete())
    previous, made = audit.GENESIS, []
    for seq, row in enumerate(change(rows), 1):
        own = audit._hash(previous, seq, row["at"], row["type"], row["actor"], row["object"], row["body"])
        made.append(row | {"seq": seq, "prev_hash": previous, "hash": own})
        previous = own
    connection.execute(events.insert(), made)
