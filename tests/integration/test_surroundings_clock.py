"""The system's clock is set, forwards or backwards: nothing waits for ever, nothing ends or closes early."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from node import clock as clocks
from node import close as closing
from node.commitment import Report
from node.config import Config
from node.counting import Counting
from node.errors import TryAgain
from node.queries import Queries
from node.routes import Routes
from node.sections import Node, Route
from node.sections import Work as WorkSettings
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from node.supervisor import Supervisor
from node.work import Work
from tests.conftest import Arrivals, Clock
from tests.nodes import wait_until
from tests.senders import instance, write
from tests.steered import Steered

HOUR = 3600.0
BOTH = pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["backwards", "forwards"])


def test_a_step_is_told_once_and_small_differences_never() -> None:
    wall, even = Clock(), Clock()
    steps = clocks.Steps(wall, even)
    told = []
    for of_wall, of_even in ((5, 5), (0.9, 0), (-0.9, 0), (HOUR, 1), (7, 7), (-HOUR, 0), (0, 0)):
        wall.tick(of_wall)
        even.tick(of_even)
        told.append(steps.look())
    assert told == [0, 0, 0, pytest.approx(HOUR - 1), 0, pytest.approx(-HOUR), 0]


@BOTH
def test_what_is_due_and_who_holds_it_go_along_with_the_clock(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock, step: float
) -> None:
    for number in range(3):
        arrivals.add(1, study=f"1.2.{number}")
        arrivals.close(queries, peers=("pacs", "archive", "far"))
    done = store.claim_job("a", 30)
    assert done is not None
    files = (OutputFile("1.9.1", "results/1", "d", 1),)
    store.finish_job(done, [NewOutput("report", "1.9", "1.2", files)], JobResult("s", "d", {}, {}, {}))
    held, later = store.claim_job("a", 30), store.claim_job("b", 30)
    sending, waits = store.claim_delivery("a", "pacs", 30), store.claim_delivery("a", "archive", 30)
    assert held and later and sending and waits
    store.retry_job(later, "later", clock() + 10)
    store.retry_delivery(waits, [], "later", clock() + 10)
    clock.tick(step)
    store.follow_clock(step)

    assert store.claim_delivery("b", "far", 30) is not None, "due is due"
    assert store.claim_job("c", 30) is None, "neither a lease nor a pause is over"
    assert store.claim_delivery("c", "pacs", 30) is None and store.claim_delivery("c", "archive", 30) is None
    clock.tick(11)
    assert (store.claim_job("c", 30) or later).study_uid == later.study_uid
    assert store.claim_delivery("c", "archive", 30) is not None
    assert store.claim_job("c", 30) is None
    clock.tick(20)
    taken = store.claim_job("d", 30)
    assert taken is not None and taken.id == held.id, "the lease is over when it would have been"
    assert [event.body for event in queries.events("node") if event.type == "clock.stepped"] == [{"seconds": step}]
    assert queries.verify()[1] is None


@pytest.fixture
def close(store: Store, queries: Queries, spool: Spool) -> closing.Close:
    route = Route(name="ct", pipelines=("ct-lung",), quiet_time=5, longest_wait=60)
    config = Config(node=Node(), route=(route,))
    return closing.Close(store, queries, spool, Routes(config, ["ct-lung"]), Counting(config))


def _arrive(arrivals: Arrivals, spool: Spool, folder: Path) -> None:
    made = write(folder, instance(1))
    arrivals.add(1, path=spool.put(made, "1.2.3", "a" * 64), study="1.2.3")


@BOTH
def test_a_study_is_closed_neither_earlier_nor_later_when_the_clock_is_set(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock, close: closing.Close, step: float
) -> None:
    _arrive(arrivals, spool, spool.incoming)
    clock.tick(2)
    clock.tick(step)
    store.follow_clock(step)
    [study] = queries.open_studies()
    assert study.last_received_at == clock() - 2
    assert not close.look(study), "its association is open"
    store.end_association(arrivals.association, "released")
    assert not close.look(queries.open_studies()[0]), "it is not quiet for long enough"
    clock.tick(3)
    assert close.look(queries.open_studies()[0])
    shown = queries.study("1.2.3")
    assert shown is not None and shown["reason"] == "association released, then quiet for 5 s"


def test_the_close_loop_decides_nothing_while_times_go_along_with_the_clock(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _arrive(arrivals, spool, spool.incoming)
    stepped = threading.Event()

    def look(_: object) -> float:
        if clock() > 1_800_000_000 and not stepped.is_set():
            stepped.set()  # the supervisor sees it too, a little later
            threading.Timer(0.5, store.follow_clock, (HOUR,)).start()
            return HOUR
        return 0.0

    monkeypatch.setattr(clocks.Steps, "look", look)
    route = Route(name="ct", pipelines=("ct-lung",), longest_wait=60)
    config = Config(node=Node(), route=(route,))
    routes = Routes(config, ["ct-lung"])
    stop = threading.Event()
    loop = threading.Thread(target=closing.serve, args=(store, queries, spool, routes, Counting(config), stop))
    loop.start()
    try:
        clock.tick(HOUR)  # the longest wait is over, by the clock on the wall
        assert stepped.wait(20)
        time.sleep(3.5)
        assert queries.open_studies(), "it is not closed early"
        clock.tick(61)
        wait_until(lambda: not queries.open_studies(), 20, "it is closed in its time")
    finally:
        stop.set()
        loop.join(20)


@BOTH
def test_a_running_job_keeps_its_time_limit_and_its_lease_when_the_clock_is_set(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock, step: float
) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    runner, steady = Steered(), Clock()
    runner.ends = [None]
    config = Config(work=WorkSettings(time_limit=60, lease=30))
    work = Work(config, store, queries, spool, runner, "w", timer=steady)
    job = store.claim_job("w", 30)
    assert job is not None
    thread = threading.Thread(target=work.run, args=(job, threading.Event()))
    thread.start()
    clock.tick(step)
    time.sleep(1.2)
    assert not runner.killed, "an hour on the wall is no hour of work"
    steady.tick(61)
    thread.join(20)
    assert runner.killed == ["over the time limit of 60 s"] and not thread.is_alive()


def test_a_clock_that_was_set_backwards_while_the_node_was_off_is_noticed_at_the_start(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    assert store.mend_times() == 0
    clock.tick(-365 * 24 * HOUR)
    assert store.claim_job("w", 30) is None
    assert store.mend_times() == pytest.approx(-365 * 24 * HOUR)
    assert store.claim_job("w", 30) is not None
    assert store.mend_times() == 0


def test_times_go_along_when_the_database_is_back(sqlite: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(sqlite, clock)
    supervisor = Supervisor(Config(), Path("x"), lambda facts: None)
    wall, even, asked = Clock(), Clock(), []
    supervisor._steps = clocks.Steps(wall, even)

    def follow(step: float) -> None:
        asked.append(step)
        if len(asked) < 3:
            raise TryAgain("the database does not take the write")

    monkeypatch.setattr(store, "follow_clock", follow)
    for step in (0, -10, 30, 0, 0):
        wall.tick(step)
        supervisor._follow_clock(store)
    assert asked == [-10, 20, 20]
    store.dispose()


def test_an_answer_about_commitment_counts_although_the_clock_went_back(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    made = NewOutput("report", "1.9", "1.2", (OutputFile("1.9.1", "results/1", "d", 1),))
    store.finish_job(job, [made], JobResult("s", "d", {}, {}, {}))
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    store.finish_delivery(delivery, [], ask=True)
    asking = store.claim_asking("s", "pacs", 30)
    assert asking is not None
    store.asked(asking, clock() + 60)
    clock.tick(-HOUR)
    store.follow_clock(-HOUR)
    clock.tick(61)
    store.end_waiting("pacs", 3)  # no answer: it is asked again, by the new time
    again = store.claim_asking("s", "pacs", 30)
    assert again is not None
    report = Report(again.transaction_uid, again.references, ())
    assert store.take_report("pacs", report, 3, clock(), "send") == "committed"
