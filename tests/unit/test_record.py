"""What the log says of how a result was made, and that nothing is released which the log does not know."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import sqlalchemy as sa

import pipelines
from node import __version__
from node.errors import TryAgain
from node.proof.merkle import root_of
from node.queries import Queries
from node.runners import record as recording
from node.runners.record import record
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals

OUTPUT = NewOutput("report", "1.2.3.8", "1.2.840.10008.5.1.4.1.1.88.34", (OutputFile("1.2.3.9", "r/1", "d", 5),))


def test_the_record_names_the_software_and_is_in_the_event(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [OUTPUT], JobResult("s", "d", {"name": "m"}, {}, {}, record=record(64)))
    [done] = [event for event in queries.events("study/1.2.3") if event.type == "job.done"]
    told = done.body["record"]
    assert told["instances"] == 64 and told["peak_memory"] > 2**20 and told["device"]
    assert told["software"]["overread"] == __version__ and told["software"]["torch"] == importlib.metadata.version("torch")


def test_the_digest_of_the_code_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(pipelines, "__file__", str(tmp_path / "__init__.py"))
    found = set()
    for content in ("a = 1", "a = 2"):
        (tmp_path / "deep" / "one.py").write_text(content)
        found.add(recording.code_digest.__wrapped__())
    (tmp_path / "deep" / "one.py").rename(tmp_path / "deep" / "two.py")
    assert len(found | {recording.code_digest.__wrapped__()}) == 3
    assert root_of(["1.2", "1.1"]) == root_of(["1.1", "1.2"]) != root_of(["1.1"])


def test_no_result_is_released_when_the_log_does_not_take_its_event(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    with store.engine.begin() as connection:
        if store.engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        else:
            connection.exec_driver_sql("ALTER TABLE events ADD CONSTRAINT full_ CHECK (seq < 0) NOT VALID")
    with pytest.raises((TryAgain, sa.exc.DBAPIError)):
        store.finish_job(job, [OUTPUT], JobResult("s", "d", {"name": "m"}, {}, {}))
    shown = queries.study("1.2.3")
    assert shown is not None and shown["jobs"][0]["state"] == "running" and shown["jobs"][0]["outputs"] == []
    assert store.claim_delivery("send", "pacs", 30) is None
