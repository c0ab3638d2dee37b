"""What every part of the store shares: the engine, the write transaction, the clock and the salt."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from node import schema
from node.errors import TryAgain

_WRITER_LOCK = 7108253  # PostgreSQL advisory lock, see `_write`


def new_id(inserted: sa.CursorResult[Any]) -> int:
    """The key that an INSERT of one row made."""
    key = inserted.inserted_primary_key
    assert key is not None
    return int(key[0])


class Base:
    """An engine and the one way to write with it. `clock` gives seconds since the epoch."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self.engine = schema.make_engine(url)
        self.clock = clock

    def dispose(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction with the write lock held from its first statement; TryAgain when the database is away.

        SQLite has one writer by nature (BEGIN IMMEDIATE); on PostgreSQL an advisory lock makes it the same, so
        that both behave alike: what a method read is still true when it writes, and the event chain cannot fork.
        """
        with self._away("does not take the write"), self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield connection

    def _any(self, query: sa.Select[Any]) -> bool:
        """Whether a query finds a row, without the write lock: loops that look often must not hold up the listener."""
        with (
            self._away("does not answer"),
            self.engine.connect().execution_options(reading=True) as connection,
        ):
            return connection.execute(query.limit(1)).first() is not None

    @contextmanager
    def _away(self, what: str) -> Iterator[None]:
        try:
            yield
        # InternalError: a server that takes no writes for the moment, such as a stand-by that has not taken over yet.
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            cause = type(error.orig).__name__ if isinstance(error, exc.DBAPIError) else "time-out"
            raise TryAgain(f"the database {what} ({cause})") from error

    @cached_property
    def salt(self) -> bytes:
        """The node's secret for patient digests; made by the first migration."""
        with self._write() as connection:
            value = connection.execute(
                sa.select(schema.secrets.c.value).where(schema.secrets.c.name == "salt")
            ).scalar_one()
        return bytes.fromhex(value)

    def patient_digest(self, patient_id: str, issuer: str = "") -> str:
        """HMAC-SHA256 of PatientID and its issuer: tells patients apart without naming them. Hex, 32 characters."""
        text = f"{patient_id.strip()}\x1f{issuer.strip()}".encode("utf-8", "surrogateescape")
        return hmac.new(self.salt, text, hashlib.sha256).hexdigest()[:32]
