"""The watch loop on the audit log: exact restarts, replays equal to the live state, alarms neither lost nor doubled."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from node import audit
from node.config import Config
from node.queries import Queries
from node.schema import baselines, watch_states
from node.store import Store
from node.watch import course as courses
from node.watch import serve as loop
from node.watch.watcher import replay
from tests.conftest import Clock
from tests.watching import FAMILY, PER_DAY, Traffic, accepted, config, run, usual, watching


@pytest.fixture
def traffic(store: Store, clock: Clock) -> Traffic:
    return Traffic(store, clock)


def _states(store: Store) -> dict[str, tuple[int, str]]:
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(watch_states)).all()
    return {row.family: (row.seq, row.state) for row in rows}


def _replayed(store: Store, settings: Config, sources: Any = None) -> dict[str, str]:
    with store.engine.connect() as connection:
        upto = connection.execute(sa.select(watch_states.c.seq).where(watch_states.c.family == "*")).scalar_one()
        again = replay(connection, settings.watch.site, upto, sources)
    return again.states(set(again.courses))


def _events(store: Store, type_: str) -> list[audit.Event]:
    with store.engine.connect() as connection:
        return [event for event in audit.read(connection) if event.type == type_]


def test_a_change_is_seen_once_and_a_replay_of_the_log_gives_the_live_state_to_the_bit(
    store: Store, queries: Queries, traffic: Traffic
) -> None:
    settings = config()
    traffic.add(list(usual(400, 1)))
    watch = watching(store, settings)
    run(watch)
    [before] = queries.watch_states()
    assert before["state"]["baseline"] == 0 and before["state"]["units"] == 400
    key = accepted(store, settings)
    traffic.add(list(usual(120, 2)))
    run(watch)
    assert queries.alarms() == []
    # A new process, in the middle of the stream; then a new scanner with brighter images.
    watch = watching(store, settings)
    new = traffic.add(list(usual(60, 3, device="C", shift=2.0)))
    while watch.read_on():
        watch = watching(store, settings)  # a restart after each batch
    found = {alarm["channel"]: alarm for alarm in queries.alarms(open_only=True)}
    assert {"device.ManufacturerModelName", "pixels.mean"} <= set(found)
    story = found["pixels.mean"]["story"]
    assert story["since_study"] in new[:15] and set(story["examples"]) <= set(new)
    assert story["own"]["found"] and story["own"]["after"]["mean"] > 1
    assert {one["device"] for one in story["devices"]} == {"C"}
    [notice] = [event for event in _events(store, "notice") if event.body["what"] == "notice"]
    assert notice.body["value"] == "C" and notice.body["study_uid"] == new[0]
    opened = _events(store, "alarm.opened")
    assert len(opened) == len(found) == len({event.body["channel"] for event in opened})
    live = {family: text for family, (_, text) in _states(store).items() if family != "*"}
    assert live == _replayed(store, settings)
    # The replay is of this log: from one study less comes another state.
    state = courses.Course.from_json(json.loads(live[FAMILY]))
    assert state.baseline == key and state.frozen and state.units == 180
    assert json.dumps(state.to_json(), sort_keys=True, separators=(",", ":")) == live[FAMILY]
    assert queries.verify()[1] is None


def test_states_that_were_counted_otherwise_are_counted_anew_from_the_log(
    store: Store, queries: Queries, traffic: Traffic
) -> None:
    settings = config()
    traffic.add(list(usual(400, 1)))
    accepted(store, settings)
    traffic.add(list(usual(40, 3, device="C", shift=2.0)))
    run(watching(store, settings))
    opened = len(_events(store, "alarm.opened"))
    left = _states(store)
    with store.engine.begin() as connection:  # as a former version left them
        for family, (_, text) in left.items():
            old = json.loads(text) | ({"arithmetic": 1} if family == "*" else {"units": 7, "parts": {}})
            connection.execute(
                watch_states.update().where(watch_states.c.family == family).values(state=json.dumps(old))
            )
    traffic.add(list(usual(1, 4)))
    run(watching(store, settings))
    live = {family: text for family, (_, text) in _states(store).items() if family != "*"}
    assert live == _replayed(store, settings)
    assert len(_events(store, "alarm.opened")) == opened > 0, "what was told is not told again"


def test_what_a_device_says_of_itself_for_the_first_time_is_told_once(
    store: Store, queries: Queries, traffic: Traffic
) -> None:
    settings = config()
    before = [{**one, "device.StationName": None} for one in usual(400, 1)]
    traffic.add(before)
    accepted(store, settings)
    watch = watching(store, settings)
    later = list(usual(6, 2))
    news = [{"device.StationName": None}, {"device.StationName": "ROOM1"}, {"device.StationName": "ROOM2"},
            {"device.FilterType": "1"}, {"device.FilterType": None}, {"pixels.new": 1.0}]  # fmt: skip
    uids = traffic.add([{**one, **more} for one, more in zip(later, news, strict=True)])
    while watch.read_on():
        watch = watching(store, settings)
    told = [(event.body["channel"], event.body["value"], event.body["study_uid"]) for event in _events(store, "notice")]
    assert told == [("device.StationName", "ROOM1", uids[1]), ("device.FilterType", "1", uids[3])]
    assert queries.alarms() == []


def test_a_person_clears_a_false_alarm_and_a_new_baseline_clears_all(
    store: Store, queries: Queries, traffic: Traffic
) -> None:
    settings = config()
    traffic.add(list(usual(400, 1)))
    accepted(store, settings)
    watch = watching(store, settings)
    traffic.add(list(usual(40, 3, device="C", shift=2.0)))
    run(watch)
    keys = {alarm["channel"]: alarm["id"] for alarm in queries.alarms(open_only=True)}
    pixels, device = keys["pixels.mean"], keys["device.ManufacturerModelName"]
    store.acknowledge_alarm(pixels, "Dr A", "I look")
    store.resolve_alarm(pixels, "Dr A", "a phantom day", "false-alarm")
    store.resolve_alarm(device, "Dr A", "the new scanner", "accepted-change")
    run(watch)
    states = {alarm["id"]: alarm["state"] for alarm in queries.alarms()}
    assert states[pixels] == "cleared" and states[device] == "resolved", "an accepted change waits for its baseline"
    accepted(store, settings)
    run(watch)
    assert queries.alarms(open_only=True) == []
    assert {event.body["was"] for event in _events(store, "alarm.cleared")} >= {"resolved"}
    with store.engine.connect() as connection:
        kept = list(connection.execute(sa.select(baselines.c.state).order_by(baselines.c.id)).scalars())
    assert kept == ["retired", "accepted"]
    live = {family: text for family, (_, text) in _states(store).items() if family != "*"}
    assert live == _replayed(store, settings)


def test_several_studies_of_one_patient_on_a_day_are_one_unit(store: Store, queries: Queries, traffic: Traffic) -> None:
    watch = watching(store, config())
    traffic.add(list(usual(5, 1)), patient="same")
    traffic.add(list(usual(5, 2)))
    run(watch)
    [found] = queries.watch_states()
    assert found["state"]["units"] in (6, 7), "one of the first five, or one on each side of midnight"
    traffic.clock.tick(86400)
    traffic.add(list(usual(2, 1)), patient="same")
    traffic.add([{}], what="failed", patient="other")
    traffic.clock.now -= 86400 / PER_DAY  # within the same day
    traffic.add(list(usual(1, 4)), patient="other")
    run(watch)
    after = queries.watch_states()[0]["state"]["units"]
    assert after == found["state"]["units"] + 3, "the patient on another day, a failed job, and a result after it"


class Broken(Exception):
    pass


def test_what_breaks_before_the_commit_of_an_alarm_loses_and_doubles_nothing(
    store: Store, queries: Queries, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(webhook="http://127.0.0.1:9/")
    traffic.add(list(usual(400, 1)))
    accepted(store, settings)
    watch = watching(store, settings)
    run(watch)
    before = _states(store)
    traffic.add(list(usual(30, 3, device="C", shift=2.0)))
    real = Store._open

    def breaks(self: Store, *given: Any) -> bool:
        real(self, *given)
        raise Broken

    monkeypatch.setattr(Store, "_open", breaks)
    for _ in range(2):
        with pytest.raises(Broken):
            run(watch)
        assert _states(store) == before and queries.alarms() == []
    monkeypatch.setattr(Store, "_open", real)
    run(watch)
    opened = _events(store, "alarm.opened")
    assert len(opened) == len(queries.alarms()) == len({one.body["channel"] for one in opened}) > 0
    told = [message for message in store.due_messages(100) if message.body["event"] == "alarm.opened"]
    assert len(told) == len(opened)
    live = {family: text for family, (_, text) in _states(store).items() if family != "*"}
    assert live == _replayed(store, settings)


def test_two_loops_at_once_cannot_both_keep_a_step(store: Store, traffic: Traffic) -> None:
    settings = config()
    first, second = watching(store, settings), watching(store, settings)
    traffic.add(list(usual(10, 1)))
    run(first)
    kept = _states(store)
    traffic.add(list(usual(3, 2)))
    with store.engine.connect() as connection:
        second.watcher.load(connection)
        taken = second.watcher.take(connection)
        assert taken is not None
        step = second._step(connection, 0, taken)
    assert not store.save_watch(step), "it begins where the log was read long ago"
    assert _states(store) == kept


def test_a_log_that_cannot_be_read_on_does_not_keep_messages_and_limits_waiting(
    store: Store, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    around, stop = list[str](), threading.Event()

    def breaks(_: Any) -> bool:
        raise Broken

    def looks(_: Any) -> None:
        around.append("looked")
        stop.set()

    monkeypatch.setattr(loop.Watch, "read_on", breaks)
    monkeypatch.setattr(loop.Watch, "look_around", looks)
    monkeypatch.setattr(loop, "_AFTER_FAILURE", 0.0)
    loop.serve(config(), store, queries, stop, {})
    assert around == ["looked"]
