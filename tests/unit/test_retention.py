"""What is purged and what is not, on SQLite and on PostgreSQL, with real files in the spool."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from node import purging
from node.close import Close
from node.commitment import Reference, Request
from node.config import Config
from node.errors import IllegalMove, TryAgain
from node.inventory import Inventory
from node.purging import FULL, Purge
from node.queries import Queries
from node.retention import DAY, KINDS
from node.routes import Routes
from node.sections import Keep
from node.spool import Spool
from node.store import Answer, Job, JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
RESULT = JobResult("s", "d", {"name": "m"}, {}, {})


class House:
    """A store, a spool and what happens in them; studies hold two instances of 1000 bytes, results one of 500."""

    def __init__(self, store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock) -> None:
        self.store, self.queries, self.spool, self.arrivals, self.clock = store, queries, spool, arrivals, clock
        self.inventory = Inventory(store.engine)

    def file(self, study: str, number: int, content: bytes | None = None) -> str:
        """A received file as old as files are that are purged, whatever the test's clock says."""
        path = self.spool.incoming / "x"
        path.write_bytes(content or bytes([number]) * 1000)
        relative = self.spool.put(path, study, f"{number:064x}")
        os.utime(self.spool.path(relative), (0, 0))
        return relative

    def receive(self, study: str, *numbers: int, **other: Any) -> list[str]:
        return [word for number in numbers
                for word in self.arrivals.add(number, study=study, path=self.file(study, number), **other)]  # fmt: skip

    def close(self, *pipelines: str) -> None:
        self.arrivals.close(self.queries, *pipelines)

    def job(self) -> Job:
        job = self.store.claim_job("w", 30)
        assert job is not None
        return job

    def done(self, job: Job) -> None:
        content = b"r" * 500
        digest = hashlib.sha256(content).hexdigest()
        path = self.spool.put_result([content], job.study_uid, f"{job.study_uid}.9", digest)
        os.utime(self.spool.path(path), (0, 0))
        made = NewOutput("report", f"{job.study_uid}.8", CT, (OutputFile(f"{job.study_uid}.9", path, digest, 500),))
        self.store.finish_job(job, [made], RESULT)

    def deliver(self) -> None:
        delivery = self.store.claim_delivery("s", "pacs", 30)
        assert delivery is not None
        self.store.finish_delivery(delivery, [Answer(one.sop_uid, True, 0) for one in delivery.files])

    def over(self, study: str = "1.2.3") -> None:
        """A study whose whole way is behind it."""
        self.receive(study, 1, 2)
        self.close()
        self.done(self.job())
        self.deliver()

    def promise(self, *uids: str, failed: tuple[str, ...] = (), transaction: str = "2.25.1", tell: bool = True) -> None:
        """A peer asks for storage commitment, and is told which of the instances we do not hold."""
        request = Request(transaction, tuple(Reference(CT, uid) for uid in (*uids, *failed)))
        assert self.store.add_commitment("modality", request, self.clock()) is not None
        if tell:
            claimed = self.store.claim_commitment("send", "modality", 30)
            assert claimed is not None
            self.store.finish_commitment(claimed, {Reference(CT, uid): 0x0112 for uid in failed})

    def purge(self, older_than: float | None = None, disk: Callable[[], tuple[int, int]] | None = None, **keep: Any) -> Purge:
        config = Config(node={"min-free-disk": 0}, keep=Keep(**keep))
        return Purge(config, self.store, self.spool, "keep", older_than, disk or (lambda: (1000, 900)))

    def went(self, purge: Purge) -> list[tuple[str, str]]:
        """What goes; a dry run before says the same, and changes nothing."""
        planned = [(one.pile.kind, one.pile.study_uid, one.reason) for one in purge.plan() if one.goes]
        went = [(one.pile.kind, one.pile.study_uid, one.reason) for one in purge.run()]
        assert sorted(planned) == sorted(went)
        return [one[:2] for one in went]

    def kept(self, purge: Purge) -> dict[str, str]:
        return {one.pile.kind: one.reason for one in purge.plan() if not one.goes}

    def files(self) -> int:
        return sum(len(self.spool.files(folder)) for folder in self.spool.folders())

    def state(self, study: str = "1.2.3") -> str:
        shown = self.queries.study(study)
        assert shown is not None
        return str(shown["state"])


@pytest.fixture
def house(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock) -> House:
    return House(store, queries, spool, arrivals, clock)


def test_files_go_by_age_and_rows_and_log_stay(house: House) -> None:
    house.over()
    house.clock.tick(29.9 * DAY)
    assert house.went(house.purge()) == []
    house.clock.tick(0.2 * DAY)
    assert house.went(house.purge()) == [("study", "1.2.3")]
    assert (house.state(), house.files()) == ("purged", 1)
    house.clock.tick(60 * DAY)
    assert house.went(house.purge()) == [("results", "1.2.3")]
    assert house.files() == 0
    shown = house.queries.study("1.2.3")
    assert shown is not None and (shown["instances"], shown["purged"]) == (2, 2)
    purged = [event for event in house.queries.events("study/1.2.3") if event.type.endswith(".purged")]
    told = [(one.type, one.actor, one.body["instances"], one.body["bytes"]) for one in purged]
    assert told == [("study.purged", "keep", 2, 2000), ("results.purged", "keep", 1, 500)]
    assert purged[0].body["reason"] == "older than 30 days" and house.queries.verify()[1] is None
    assert house.went(house.purge()) == []


def test_nothing_goes_before_its_work_is_over_and_the_dry_run_says_what_it_waits_for(house: House) -> None:
    purge = house.purge(older_than=0)

    def held() -> str:
        house.clock.tick(40 * DAY)
        assert house.went(purge) == []
        return house.kept(purge)["study"]

    house.receive("1.2.3", 1, 2)
    assert held() == "it is being received"
    house.close()
    assert held() == "a job is due or running"
    job = house.job()
    assert held() == "a job is due or running"
    house.store.retry_job(job, "out of memory", house.clock())
    house.done(house.job())
    assert held() == "a delivery is due or being sent"
    delivery = house.store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    assert held() == "a delivery is due or being sent"
    house.store.finish_delivery(delivery, [Answer("1.2.3.9", True, 0)], ask=True)
    assert held() == "a peer has not said yet whether it keeps the results"
    asking = house.store.claim_asking("s", "pacs", 30)
    assert asking is not None
    house.store.give_up_asking(asking, "it does not take the request")
    assert sorted(house.went(purge)) == [("results", "1.2.3"), ("study", "1.2.3")]


@pytest.mark.parametrize("what", ["job", "delivery"])
def test_what_failed_is_kept_longer_and_what_is_gone_waits_for_nobody(house: House, what: str) -> None:
    house.receive("1.2.3", 1, 2)
    house.close()
    job = house.job()
    if what == "job":
        house.store.fail_job(job, "it broke")
    else:
        house.done(job)
        delivery = house.store.claim_delivery("s", "pacs", 30)
        assert delivery is not None
        house.store.fail_delivery(delivery, [], "refused")
    house.clock.tick(89 * DAY)
    assert house.went(house.purge()) == []
    assert house.kept(house.purge())["study"] == f"a {what} failed; it waits for a person for 90 days"
    assert house.kept(house.purge(failed=0, studies=1))["study"] == f"a {what} failed; it waits for a person"
    house.clock.tick(2 * DAY)
    assert ("study", "1.2.3") in house.went(house.purge())
    reset = house.store.reset_job if what == "job" else house.store.reset_delivery
    with pytest.raises(IllegalMove, match="are purged; send the whole study again"):
        reset(1, "user/x")
    assert house.queries.failed() == {"jobs": [], "deliveries": []}


def test_a_promise_holds_for_its_time_and_for_ever_by_default(house: House) -> None:
    house.over()
    house.promise("1.2.3.1.1")
    house.clock.tick(400 * DAY)
    assert house.went(house.purge()) == [("results", "1.2.3")]
    assert house.kept(house.purge())["study"] == "promised to a peer by storage commitment"
    assert house.kept(house.purge(committed=401))["study"] == "promised to a peer by storage commitment for 401 days"
    assert house.went(house.purge(disk=lambda: (1000, 0))) == [], "a full disk breaks no promise"
    assert house.went(house.purge(committed=399)) == [("study", "1.2.3")]


def test_a_promise_under_way_holds_and_one_that_was_denied_does_not(house: House) -> None:
    house.over()
    house.promise(failed=("1.2.3.1.1",))
    house.promise("1.2.3.1.2", transaction="2.25.2", tell=False)
    house.clock.tick(40 * DAY)
    assert house.went(house.purge(committed=1)) == []
    claimed = house.store.claim_commitment("send", "modality", 30)
    assert claimed is not None
    assert house.went(house.purge(committed=1)) == []
    house.store.finish_commitment(claimed, {Reference(CT, "1.2.3.1.2"): 0x0112})
    assert house.went(house.purge()) == [("study", "1.2.3")]


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


def test_a_full_disk_takes_the_oldest_until_there_is_room(house: House) -> None:
    for number in range(4):
        house.over(f"1.2.{number}")
        house.clock.tick(2 * DAY)
    house.receive("1.2.9", 1, 2)
    total, short = 1_000_000, 3000
    free = int(0.25 * total) - short
    assert house.went(house.purge(disk=lambda: (total, total // 2))) == []
    went = house.went(house.purge(disk=lambda: (total, free), high_watermark=0.75))
    assert went == [("study", "1.2.0"), ("results", "1.2.0"), ("study", "1.2.1")], "2000 + 500 + 2000 bytes"
    assert house.queries.events("study/1.2.1")[-1].body["reason"] == FULL
    nearly = house.purge(disk=lambda: (total, 0), at_least=5)
    assert house.went(nearly) == [("results", "1.2.1")], "the others are younger than five days"


def test_little_free_space_counts_as_full_whatever_the_marks_say(house: House) -> None:
    config = Config(node={"min-free-disk": 1000}, keep=Keep(high_watermark=1, low_watermark=1))
    free = 1251
    purge = Purge(config, house.store, house.spool, "keep", disk=lambda: (10**6, free))
    assert purge.missing_room() == 0
    free = 1200
    assert purge.missing_room() == 301


def test_results_that_came_back_go_with_the_results(house: House) -> None:
    house.receive("7.7", 1, ours=True)
    house.clock.tick(100 * DAY)
    house.promise("7.7.1.1")
    assert house.kept(house.purge()) == {"returned": "promised to a peer by storage commitment"}
    assert house.went(house.purge(committed=50)) == []
    house.clock.tick(51 * DAY)
    assert house.went(house.purge(committed=50)) == [("returned", "7.7")]
    assert house.receive("7.7", 1, ours=True) == ["ours"]
    assert house.files() == 1


def test_an_instance_that_comes_while_it_is_decided_keeps_the_study(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.over()
    house.clock.tick(40 * DAY)
    [pile] = house.inventory.piles("study", house.clock() - DAY, Keep(), house.clock())
    house.receive("1.2.3", 3)
    assert house.store.purge(pile, house.clock() - DAY, Keep(), "test", "keep") is None
    assert (house.state(), len(house.inventory.known_paths("1.2.3"))) == ("receiving", 4)


def test_a_kill_between_rows_and_files_leaves_only_what_the_sweep_takes(house: House) -> None:
    house.over()
    house.clock.tick(40 * DAY)
    [pile] = house.inventory.piles("study", house.clock() - DAY, Keep(), house.clock())
    assert house.store.purge(pile, house.clock() - DAY, Keep(), "test", "keep")
    assert house.files() == 3 and len(house.inventory.known_paths("1.2.3")) == 1
    from node.sweeping import sweep

    found = sweep(house.spool, house.inventory, 1.0, 1.0)
    assert (len(found.swept), found.missing, house.files()) == (2, [], 1)


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
        path.write_bytes(bytes([1]) * 1000)
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
    close = Close(house.store, house.queries, house.spool, Routes(config, ["ct-lung"]))

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
    assert told["refused"] == "2 of its 3 instances are purged; no pipeline runs on the rest: send the whole study again"
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
    from node.commitment import Report

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


def test_a_back_up_holds_every_deletion(house: House) -> None:
    house.over()
    house.clock.tick(400 * DAY)
    purge = house.purge()
    with house.spool.deleting(), pytest.raises(TryAgain, match="keep.lock is held"):
        list(purge.run())
    assert house.state() == "ready" and house.files() == 3
    assert house.went(purge)


def test_by_hand_the_age_is_as_asked_but_never_below_an_hour(house: House) -> None:
    house.over()
    assert house.went(house.purge(older_than=0)) == []
    house.clock.tick(3601)
    assert house.went(house.purge(older_than=0)) == [("study", "1.2.3"), ("results", "1.2.3")]


def test_zero_days_are_for_ever(house: House) -> None:
    house.over()
    house.clock.tick(9999 * DAY)
    purge = house.purge(studies=0, results=0)
    assert house.went(purge) == [] and house.kept(purge)["study"] == "not to be purged by age (0 days)"


def test_many_piles_go_in_one_purge_and_a_stop_ends_it_after_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "_AT_ONCE", 2)
    for number in range(5):
        house.over(f"1.2.{number}")
    house.clock.tick(40 * DAY)
    stop = threading.Event()
    for _ in house.purge().run(stop.is_set):
        stop.set()
    assert [house.state(f"1.2.{number}") for number in range(5)].count("purged") == 1
    assert len(house.went(house.purge())) == 4
    assert {one.kind for kind in KINDS for one in house.inventory.piles(kind, house.clock(), Keep(), house.clock())} == {
        "results"
    }
