"""How we talk to the database: durable commits, and no wait without an end."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

# Seconds that a transaction waits for one that holds it up, or for a server's answer. Senders commonly give up after
# 30: they must hear before that that we cannot take an instance now.
LOCK_WAIT = 15.0
metadata = sa.MetaData()  # of all tables, which node.schema and what it names declare
IDLE_LIMIT = 60.0  # seconds after which a server ends a transaction of a process of ours that has stopped in it


def make_engine(url: str) -> sa.Engine:
    """An engine whose commits are durable: SQLite in WAL mode with synchronous=FULL, or PostgreSQL.

    On SQLite a transaction takes the write lock at its begin (BEGIN IMMEDIATE), so that what it read still
    holds when it writes; connections with the execution option `reading` do not.
    """
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_timeout": LOCK_WAIT, "max_overflow": 27}
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": LOCK_WAIT, "check_same_thread": False}
    else:  # a server that is switched off does not say so
        options["connect_args"] = {
            "connect_timeout": max(2, round(LOCK_WAIT)), "tcp_user_timeout": round(LOCK_WAIT * 1000),
            "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
        }  # fmt: skip
    engine = sa.create_engine(url, **options)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def set_pragmas(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # we begin transactions ourselves, see below
            wait = f"busy_timeout={round(LOCK_WAIT * 1000)}"
            for pragma in (wait, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            reading = connection.get_execution_options().get("reading", False)
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    else:

        @sa.event.listens_for(engine, "connect")
        def set_limits(connection: Any, _record: Any) -> None:
            limits = {"lock_timeout": LOCK_WAIT, "idle_in_transaction_session_timeout": IDLE_LIMIT}
            with connection.cursor() as cursor:
                for name, seconds in limits.items():
                    cursor.execute(f"SET {name} = {round(seconds * 1000)}")
            connection.commit()

    return engine
