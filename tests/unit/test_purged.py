"""A purged study that is asked about, comes back, or is wanted again."""

from __future__ import annotations

from typing import Any

import pytest

from node.close import Close
from node.commitment import Reference, Report
from node.config import Config
from node.counting import Counting
from node.queries import Queries
from node.retention import DAY
from node.routes import Routes
from node.spool import Spool
from node.store import Store
from tests.builders import bare
from tests.conftest import Arrivals, Clock
from tests.house import CT, House


@pytest.fixture
def house(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock) -> House:
    return House(store, queries, spool, arrivals, clock)


def test_who_asks_about_purged_instances_is_told_that_they_are_not_there(house: House) -> None:
    house.over()
    held = Reference(CT, "1.2.3.1.1")
    assert house.queries.not_held([held], house.spool.path) == {}
    [path, _] = sorted(house.inventory.known_paths("1.2.3"))[:2]
    content = house.spool.path(path).read_bytes()
    house.clock.tick(40 * DAY)
    house.went(house.purge())
    house.spool.path(path).write_bytes(content)  # as when we were killed between the rows and the files
    assert house.queries.not_held([held], house.spool.path) == {held: 0x0112}


def test_a_purged_instance_that_comes_again_is_kept_and_its_file_is_not_deleted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.over()
    house.clock.tick(40 * DAY)
    purge = house.purge()
    path = house.spool.incoming / "y"
    mark = house.store.purge
    put = ""

    def comes_again(*arguments: Any) -> Any:
        """The sender repeats an instance after the rows are marked, before the files are deleted."""
        nonlocal put
        gone = mark(*arguments)
        path.write_bytes(bare(1000, 1))
        put = house.spool.put(path, "1.2.3", f"{1:064x}")
        return gone

    monkeypatch.setattr(house.store, "purge", comes_again)
    assert [one.pile.kind for one in purge.run()] == ["study"]
    assert house.files() == 2 and house.spool.path(put).exists(), "the other instance is gone, this one just came"
    assert house.store.add_instances([house.arrivals.one(1, path=put)]) == ["late"]
    assert house.state() == "receiving" and put in house.inventory.known_paths("1.2.3")


def test_a_study_that_comes_back_in_part_runs_nothing_and_whole_runs_again(house: House) -> None:
    route = {"name": "all", "pipelines": ["ct-lung"]}
    config = Config(route=[route])
    close = Close(house.store, house.queries, house.spool, Routes(config, ["ct-lung"]), Counting(config))

    def look() -> dict[str, Any]:
        house.store.end_association(house.arrivals.association, "released")
        house.clock.tick(60)
        assert [close.look(study) for study in house.queries.open_studies()] == [True]
        return dict([e for e in house.queries.events("study/1.2.3") if e.type == "study.closed"][-1].body)

    house.over()
    house.clock.tick(40 * DAY)
    house.went(house.purge())
    assert house.receive("1.2.3", 3) == ["late"]
    told = look()
    assert (
        told["refused"] == "2 of its 3 instances are purged; no pipeline runs on the rest: send the whole study again"
    )
    assert house.store.claim_job("w", 30) is None
    assert house.receive("1.2.3", 1) == ["late"]
    assert look()["refused"].startswith("1 of its 3 instances are purged")
    assert house.receive("1.2.3", 2, 3) == ["late", "same"]
    assert "refused" not in look()
    job = house.store.claim_job("w", 30)
    assert job is not None and job.revision == 4
    assert len(house.queries.stored_instances(job.study_id)) == 3


def test_other_bytes_under_a_purged_uid_are_told_as_such(house: House) -> None:
    house.over()
    house.clock.tick(40 * DAY)
    house.went(house.purge())
    assert house.receive("1.2.3", 1, digest="f" * 64) == ["changed"]
    reopened = [event for event in house.queries.events("study/1.2.3") if event.type == "study.reopened"]
    assert reopened[-1].body == {
        "revision": 2, "reason": "the same SOP Instance UID came with other bytes, and after the study was purged"
    }  # fmt: skip


def test_what_a_peer_lost_after_we_purged_it_fails_with_that_reason(house: House) -> None:
    house.over()
    house.clock.tick(100 * DAY)
    assert ("results", "1.2.3") in house.went(house.purge())
    with house.store._write() as connection:  # the peer answers a request that we had given up
        house.store._plan_asking(connection, 1, "pacs")
    asking = house.store.claim_asking("s", "pacs", 30)
    assert asking is not None
    report = Report(asking.transaction_uid, (), ((Reference(CT, "1.2.3.9"), 0x0112),))
    assert house.store.take_report("pacs", report, 3, house.clock(), "send") == "failed"
    assert "our files of them are purged" in house.queries.events("study/1.2.3")[-1].body["reason"]
