"""What is purged and what is not, on SQLite and on PostgreSQL, with real files in the spool."""

from __future__ import annotations

import threading

import pytest

from node import purging
from node.commitment import Reference
from node.config import Config
from node.errors import IllegalMove, TryAgain
from node.purging import FULL, Purge
from node.queries import Queries
from node.retention import DAY, KINDS
from node.sections import Keep
from node.spool import Spool
from node.store import Answer, Store
from node.sweeping import missing, sweep
from tests.conftest import Arrivals, Clock
from tests.house import CT, House


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
    assert list(missing(house.spool, house.inventory)) == []
    assert (len(sweep(house.spool, house.inventory, 1.0, 1.0)), house.files()) == (2, 1)


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
    assert {
        one.kind for kind in KINDS for one in house.inventory.piles(kind, house.clock(), Keep(), house.clock())
    } == {"results"}
