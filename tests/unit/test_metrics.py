"""/metrics and /healthz over a database in which things happened; on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from node import audit, tallying
from node.config import Config
from node.queries import Queries
from node.readings import Readings
from node.spool import Spool
from node.store import Store
from node.store import tallies as tallies_module
from node.web.health import Checks
from node.web.metrics import COUNTERS, HISTOGRAMS, NodeCollector, registry
from tests import watching
from tests.conftest import Arrivals, Clock
from tests.house import House
from tests.web import samples

LOOPS = ("receive", "close", "work", "send", "web")
GiB = 2**30


@pytest.fixture
def house(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock) -> House:
    return House(store, queries, spool, arrivals, clock)


class Watched:
    """The numbers of a store's node, with one peer that gets results."""

    def __init__(self, store: Store, disk: tuple[int, int] = (100 * GiB, 40 * GiB)) -> None:
        peer = {"name": "pacs", "ae-title": "PACS", "host": "127.0.0.1", "port": 104}
        route = {"name": "chest", "pipelines": ("ct-lung",), "send-to": ("pacs",)}
        config = Config(peer=(peer,), route=(route,))
        self.store, self.disk, self.now = store, disk, 0.0
        readings = Readings(store.engine, store.clock)
        self.collector = NodeCollector(config, readings, LOOPS, lambda: self.disk, lambda: self.now)
        self.registry = registry(self.collector)
        self.checks = Checks(config, readings, LOOPS, lambda: self.disk)

    def scrape(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        while self.store.tally():
            pass
        return samples(generate_latest(self.registry))

    def one(self, name: str, **labels: str) -> float:
        return self.scrape()[f"overread_{name}"][tuple(sorted(labels.items()))]


def test_a_study_s_way_shows_in_the_counters(house: House, clock: Clock) -> None:
    watched = Watched(house.store)
    house.receive("1.2.3", 1, 2)
    house.close()
    clock.tick(4)
    job = house.job()
    clock.tick(12)
    house.done(job)
    clock.tick(30)
    house.deliver()
    assert watched.one("studies_received_total") == 1
    assert watched.one("instances_received_total", peer="modality") == 2
    assert watched.one("received_bytes_total", peer="modality") == 2000
    assert watched.one("route_jobs_total", route="chest", pipeline="ct-lung") == 1
    assert watched.one("jobs_finished_total", pipeline="ct-lung", outcome="done") == 1
    assert watched.one("deliveries_finished_total", peer="pacs", outcome="delivered") == 1
    assert watched.one("jobs", state="done") == 1 and watched.one("jobs", state="due") == 0
    assert watched.one("deliveries", peer="pacs", state="delivered") == 1
    buckets = watched.scrape()["overread_job_duration_seconds_bucket"]
    assert buckets[(("le", "10"), ("pipeline", "ct-lung"))] == 0
    assert buckets[(("le", "20"), ("pipeline", "ct-lung"))] == buckets[(("le", "+Inf"), ("pipeline", "ct-lung"))] == 1
    assert watched.one("job_duration_seconds_sum", pipeline="ct-lung") == pytest.approx(12, abs=0.01)
    assert watched.one("turnaround_seconds_sum", pipeline="ct-lung") == pytest.approx(46, abs=0.01)
    assert watched.one("spool_bytes", kind="received") == 2000 and watched.one("spool_bytes", kind="results") == 500


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_age_of_a_queue_is_that_of_its_oldest(house: House, clock: Clock) -> None:
    watched = Watched(house.store)
    assert watched.one("queue_age_seconds", queue="jobs") == 0
    house.receive("1.2.3", 1)
    house.close()
    clock.tick(100)
    assert watched.one("queue_age_seconds", queue="jobs") == 100
    house.done(house.job())
    clock.tick(7)
    assert watched.one("queue_age_seconds", queue="jobs") == 0
    assert watched.one("queue_age_seconds", queue="deliveries") == 7


def test_how_near_each_channel_is_to_an_alarm_shows(store: Store, clock: Clock) -> None:
    watched, settings = Watched(store), watching.config()
    traffic, loop = watching.Traffic(store, clock), watching.watching(store, settings)
    traffic.add(list(watching.usual(400, 1)))
    watching.run(loop)
    assert watched.scrape().get("overread_watch_statistic_ratio", {}) == {}, "no baseline"
    watching.accepted(store, settings)
    traffic.add(list(watching.usual(30, 3, shift=2.0)))
    watching.run(loop)
    of = {"pipeline": "cxr-triage", "model": watching.FAMILY.split("|")[1]}
    assert watched.one("watch_statistic_ratio", channel="pixels.mean", **of) >= 1
    assert 0 <= watched.one("watch_statistic_ratio", channel="acquisition.KVP", **of) < 0.5
    assert 0 <= watched.one("watch_statistic_ratio", channel="service.seconds", **of) < 0.5
    clock.tick(31 * 86400)
    assert watched.scrape().get("overread_watch_statistic_ratio", {}) == {}, "a model that ran long ago"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counters_stay_after_a_purge_and_a_restart_and_count_nothing_twice(house: House, clock: Clock) -> None:
    house.over()
    before = {
        name: values for name, values in Watched(house.store).scrape().items() if name.endswith(("_total", "_count"))
    }
    clock.tick(100 * 86400)
    assert house.went(house.purge())
    after = Watched(house.store).scrape()
    for name, values in before.items():
        for labels, value in values.items():
            assert after[name][labels] >= value, name
    assert after["overread_instances_received_total"] == before["overread_instances_received_total"]
    assert Watched(house.store).one("spool_bytes", kind="received") == 0


def test_a_log_that_was_cut_takes_nothing_from_the_counters(house: House) -> None:
    house.over()
    watched = Watched(house.store)
    before = watched.one("audit_events_total", type="instance.received")
    with house.store.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER IF EXISTS events_no_delete")
            names = connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type='trigger' AND tbl_name='events'"
            )
            for (name,) in names.all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER ALL")
        connection.exec_driver_sql("DELETE FROM events WHERE seq < 5")
    house.receive("1.2.4", 7)
    assert watched.one("audit_events_total", type="instance.received") == before + 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_backlog_of_a_log_is_counted_in_parts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies_module, "AT_ONCE", 3)
    house.over()
    watched = Watched(house.store)
    total = sum(watched.scrape()["overread_audit_events_total"].values())
    assert total == len(house.queries.events()) > 6


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_refusals_count_as_often_as_they_happened(store: Store) -> None:
    store.refuse("association", "X", "OVERREAD", "10.0.0.3", "no such peer", count=41)
    watched = Watched(store)
    assert watched.one("associations_refused_total") == 41
    assert watched.one("instances_refused_total") == 0  # there from the start, so that the first one is an increase


def test_a_peer_is_up_until_it_is_told_away_and_again_when_the_node_starts(store: Store) -> None:
    watched = Watched(store)
    assert watched.one("peer_up", peer="pacs") == 1
    store.note("peer.away", "send", "peer/pacs", {"reason": "no answer"})
    assert watched.one("peer_up", peer="pacs") == 0 and watched.one("peer_outages_total", peer="pacs") == 1
    store.note("peer.back", "send", "peer/pacs", {"seconds": 1})
    assert watched.one("peer_up", peer="pacs") == 1
    store.note("peer.away", "send", "peer/pacs", {"reason": "no answer"})
    store.note("node.started", "node", "node", {"version": "1", "config": "x", "pid": 1})
    assert watched.one("peer_up", peer="pacs") == 1


def _all_start(store: Store) -> None:
    store.note("node.started", "node", "node", {"version": "1", "config": "x", "pid": 1})
    for name in LOOPS:
        store.note("loop.started", "node", f"loop/{name}", {"ended_before": 0})


def test_health_wants_every_loop_since_the_last_start(store: Store) -> None:
    watched = Watched(store)
    assert watched.checks.reasons() == [f"loop {name} does not run" for name in LOOPS]
    _all_start(store)
    assert watched.checks.reasons() == [] and watched.one("loop_up", loop="work") == 1
    store.note("loop.ended", "node", "loop/work", {"reason": "SIGKILL", "again_after": 0.2})
    assert watched.checks.reasons() == ["loop work does not run"]
    assert watched.one("loop_up", loop="work") == 0 and watched.one("loop_restarts_total", loop="work") == 1
    store.note("loop.started", "node", "loop/work", {"ended_before": 1})
    assert watched.checks.reasons() == []
    store.note("node.started", "node", "node", {"version": "1", "config": "x", "pid": 2})
    assert len(watched.checks.reasons()) == len(LOOPS)


def test_health_wants_room_on_the_disk(sqlite: str) -> None:
    store = Store(sqlite)
    _all_start(store)
    watched = Watched(store, (100 * GiB, 14 * GiB))
    assert watched.checks.reasons() == ["the disk is 86% full, over the high watermark of 85%"]
    watched.disk = (100 * GiB, 1 * GiB)
    assert watched.checks.reasons()[0].startswith("the disk has 1.0 GiB free, less than min-free-disk")
    watched.disk = (100 * GiB, 16 * GiB)
    assert watched.checks.reasons() == []


def test_a_database_that_is_away_shows_and_breaks_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'none' / 'x.db'}")
    watched = Watched(store)
    assert watched.checks.reasons() == ["the database does not answer"]
    found = samples(generate_latest(watched.registry))
    assert found["overread_up"] == {(): 0.0} and found["overread_spool_free_bytes"] == {(): 40.0 * GiB}
    assert "overread_jobs" not in found


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_sum_over_the_spool_is_not_taken_at_each_scrape(house: House) -> None:
    watched = Watched(house.store)
    house.receive("1.2.3", 1)
    assert watched.one("spool_bytes", kind="received") == 1000
    house.receive("1.2.3", 2)
    watched.now = 59
    assert watched.one("spool_bytes", kind="received") == 1000
    watched.now = 61
    assert watched.one("spool_bytes", kind="received") == 2000


def _bodies() -> dict[str, Any]:
    body = {"peer": "p", "size": 1, "pipeline": "x", "routes": ["r"], "revision": 1, "count": 2}
    return {type_: body for type_ in audit.TYPES}


def test_every_tally_has_its_metric_with_the_same_labels() -> None:
    made: dict[str, set[tuple[str, ...]]] = {}
    for type_, body in _bodies().items():
        for (name, labels), _ in tallying.of_event(type_, "peer/p" if type_.startswith("peer") else "loop/l", body):
            made.setdefault(name, set()).add(tuple(label for label, _ in labels))
    assert made == {name: {labels} for name, (_, labels) in COUNTERS.items()}
    assert set(HISTOGRAMS) == set(tallying.BUCKETS)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_label_holds_what_a_caller_chose(house: House) -> None:
    house.store.refuse("association", "SECRET", "SECRET", "10.9.8.7", "SECRET")
    house.receive("1.2.3", 1)
    page = generate_latest(Watched(house.store).registry).decode()
    for private in ("SECRET", "10.9.8.7", "1.2.3", house.store.patient_digest("P1")):
        assert private not in page


def test_two_that_count_at_once_count_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.over()
    other = Store(house.store.engine.url.render_as_string(hide_password=False), house.clock)
    original, done = tallies_module._durations, []

    def meanwhile(*given: Any) -> Any:
        if not done:
            done.append(0)
            done[0] = other.tally()
        return original(*given)

    monkeypatch.setattr(tallies_module, "_durations", meanwhile)
    watched = Watched(house.store)
    assert sum(watched.scrape()["overread_audit_events_total"].values()) == len(house.queries.events())
    other.dispose()
