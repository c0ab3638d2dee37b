"""Upgrades from the first released schema, filled with a node's data, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from node import audit, schema
from node.commitment import Reference, Request
from node.inventory import Inventory
from node.queries import Queries
from node.retention import DAY
from node.sections import Keep
from node.store import Answer, JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
# What the node of schema 0001 wrote: a study that is done and delivered, one with a failed job, one that is open.
AT = 1_800_000_000.0
STUDY = "insert into studies values ({id}, '1.2.{id}', 1, '{state}', {at}, {at}, {closed}, {reason})"
INSTANCE = (
    "insert into instances values ({id}, {study}, '1.2.{study}', '1.2.{study}.1', '1.2.{study}.1.{id}', "
    "'1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'CT', 'patient', '{id:064x}', 1000, 'studies/{study}/{id}.dcm', "
    "1, 1, 'modality', {at}, 1, 0)"
)
JOB = (
    "insert into jobs values ({id}, {study}, 1, 'ct-lung', '[\"ct\"]', '[\"pacs\"]', '{state}', 0, 1, {at}, null, null, {at}, "
    "{at}, {at}, null, '1.2.{study}.1', 'digest', '{{\"name\": \"m\"}}', '{{}}')"
)
OTHERS = (
    "insert into associations values (1, 'MODALITY', 'OVERREAD', '10.0.0.1', {at}, {at}, 'released')",
    "insert into features values (1, 'ml', 3.5, null)",
    "insert into outputs values (1, 1, 'report', '1.2.1.8', '1.2.840.10008.5.1.4.1.1.88.34')",
    "insert into output_instances values (1, 1, '1.2.1.9', 'results/1/9.dcm', 'd', 500)",
    "insert into deliveries values (1, 1, 'pacs', 'delivered', 0, 1, {at}, null, null, {at}, {at}, {at}, null)",
    "insert into answers values (1, '1.2.1.9', 1, 0, null, {at})",
)


def _fill(connection: sa.Connection) -> None:
    others = [statement.format(at=AT) for statement in OTHERS]
    statements = others[:1]
    for study, state in ((1, "ready"), (2, "ready"), (3, "receiving")):
        closed = (AT, "'quiet'") if state == "ready" else ("null", "null")
        statements.append(STUDY.format(id=study, state=state, at=AT, closed=closed[0], reason=closed[1]))
        statements += [INSTANCE.format(id=10 * study + number, study=study, at=AT) for number in (1, 2)]
    statements += [JOB.format(id=1, study=1, state="done", at=AT), JOB.format(id=2, study=2, state="failed", at=AT)]
    for statement in (*statements, *others[1:]):
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":  # as the sequences stand when the rows were written by the node
        for table in ("associations", "studies", "instances", "jobs", "outputs", "output_instances", "deliveries"):
            connection.exec_driver_sql(f"select setval('{table}_id_seq', 1000)")
    audit.append(connection, AT, "study.closed", "close", "study/1.2.1", {"revision": 1})
    audit.append(connection, AT, "job.done", "work", "study/1.2.1", {"pipeline": "ct-lung"})


@pytest.fixture(params=["sqlite", "postgresql"])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the first schema with a node's data in it."""
    url = f"sqlite:///{tmp_path / 'old.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    schema.upgrade(url, "0001")
    engine = schema.make_engine(url)
    with engine.begin() as connection:
        _fill(connection)
    engine.dispose()
    yield url


def _rows(store: Store, table: str) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.exec_driver_sql(f"select * from {table} order by 1").mappings()]


def test_a_database_of_the_first_version_is_upgraded_and_loses_nothing(first: str) -> None:
    old = Store(first)
    before = {table: _rows(old, table) for table in
              ("secrets", "associations", "studies", "instances", "jobs", "outputs", "deliveries", "answers", "events")}  # fmt: skip
    schema.upgrade(first)
    assert Queries(old.engine).schema_version() == schema.newest_version()
    for table, rows in before.items():
        assert [{key: row[key] for key in rows[0]} for row in _rows(old, table)] == rows
    assert Queries(old.engine).verify() == (2, None)
    schema.upgrade(first)  # a second start changes nothing
    old.dispose()


def test_the_node_works_on_what_an_earlier_version_left(first: str) -> None:
    schema.upgrade(first)
    clock = Clock()
    clock.now = AT + 60
    store = Store(first, clock)
    queries = Queries(store.engine)
    shown = queries.study("1.2.1")
    assert shown is not None and shown["jobs"][0]["outputs"][0]["deliveries"][0]["answers"] == {"0x0000": 1}
    # The open study is closed, runs and is delivered; the failed job of the other one is tried again.
    assert [study.study_uid for study in queries.open_studies()] == ["1.2.3"]
    arrivals = Arrivals(store)
    assert arrivals.add(3, study="1.2.3") == ["new"]
    named = tuple(Reference(CT, f"1.2.3.1.{number}") for number in (31, 32, 3))
    assert store.add_commitment("modality", Request("2.25.1", named), clock() + DAY) is not None
    arrivals.close(queries)
    store.reset_job(2, "user/x")
    for uid in ("1.2.2", "1.2.3"):
        job = store.claim_job("w", 30)
        assert job is not None
        files = (OutputFile(f"{uid}.9", f"results/{uid}", "d", 1),)
        store.finish_job(job, [NewOutput("report", f"{uid}.8", "1.2", files)], JobResult("s", "d", {}, {}, {}))
        delivery = store.claim_delivery("s", "pacs", 30)
        assert delivery is not None
        store.finish_delivery(delivery, [Answer(f"{uid}.9", True, 0)])
    assert arrivals.add(4, study="1.2.1") == ["late"]
    clock.tick(40 * DAY)
    promised = store.claim_commitment("send", "modality", 30)
    assert promised is not None
    store.finish_commitment(promised, {})
    piles = Inventory(store.engine).piles("study", clock() - DAY, Keep(), clock())
    assert [pile.study_uid for pile in piles] == ["1.2.2"], "one is open, one is promised"
    assert all(store.purge(pile, clock() - DAY, Keep(), "test", "keep") for pile in piles)
    count, broken = queries.verify()
    assert broken is None and count > 10
    assert json.loads(_rows(store, "events")[-1]["body"])["reason"] == "test"
    store.dispose()


def test_a_database_of_a_newer_version_is_refused_in_one_line(first: str) -> None:
    schema.upgrade(first)
    store = Store(first)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    with pytest.raises(schema.Unreachable, match="written by a newer one"):
        schema.upgrade(first)
    store.dispose()


def test_nothing_may_change_an_event_after_the_upgrade(first: str) -> None:
    schema.upgrade(first)
    store = Store(first)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM events"))
    store.dispose()


def test_the_migrated_schema_is_the_declared_one(database: str) -> None:
    engine = schema.make_engine(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_difference_between_declared_and_migrated_schema_would_be_seen(sqlite: str) -> None:
    engine = schema.make_engine(sqlite)
    with engine.begin() as connection:
        connection.exec_driver_sql("drop index studies_by_state")
    with engine.connect() as connection:
        [difference] = compare_metadata(MigrationContext.configure(connection), schema.metadata)
        assert difference[0] == "add_index"
    engine.dispose()
