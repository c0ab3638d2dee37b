"""What depends on the clock: silent routes, fixed limits, escalation, golden sets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from node import audit
from node.errors import GiveUp, IllegalMove
from node.queries import Queries
from node.store import NewAlarm, Step, Store
from node.watch import limits, stop_rule
from tests.conftest import Clock
from tests.watching import FAMILY, Traffic, config, run, watching

HOUR = 3600.0
DAY = 24 * HOUR
STORY = {"says": "pixels: pixels.mean: mean 0 before, 1 after", "since": 0.0}


def _alarm(channel: str = "pixels.mean", **other: Any) -> NewAlarm:
    return NewAlarm(FAMILY, channel, "limit", 7, {**STORY, **other})


# -- silence -----------------------------------------------------------------------------------------------------------


def _office_hours(rng: np.random.Generator, weeks: int, per_day: float) -> list[float]:
    """Studies on weekdays from 8 to 17 o'clock, independent of each other; from a Monday on."""
    start = 4 * DAY  # 5 January 1970 was a Monday
    found = []
    for day in range(weeks * 7):
        if day % 7 < 5:
            found += [start + day * DAY + (8 + 9 * rng.random()) * HOUR for _ in range(rng.poisson(per_day))]
    return sorted(found)


def test_a_silent_weekday_is_told_in_hours_and_a_quiet_weekend_is_none() -> None:
    arrivals = _office_hours(np.random.default_rng(1), 8, 40)
    friday = max(arrivals)
    learnt = limits.habit(arrivals, friday + 1, budget=2)
    assert learnt is not None
    monday = friday - friday % DAY + 3 * DAY
    assert learnt.expected(friday, monday + 8 * HOUR) < 0.6 * learnt.limit, "nobody works at the weekend"
    tells = learnt.tells_at(friday)
    assert monday + 9 * HOUR < tells <= monday + 14 * HOUR, "within half a working day"


def test_usual_traffic_is_called_silent_no_more_often_than_the_budget() -> None:
    false = 0
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        arrivals = _office_hours(rng, 20, 25)
        learnt = limits.habit([at for at in arrivals if at < 4 * DAY + 56 * DAY], 4 * DAY + 56 * DAY, budget=2)
        assert learnt is not None
        later = [at for at in arrivals if at >= 4 * DAY + 56 * DAY]
        false += sum(learnt.expected(one, other) >= learnt.limit for one, other in itertools.pairwise(later))
    years = 20 * 12 / 52
    assert false / years <= 2


def test_too_few_studies_say_nothing() -> None:
    assert limits.habit([DAY * one for one in range(59)], 60 * DAY, 2) is None
    assert limits.habit([HOUR * one for one in range(200)], 200 * HOUR, 2) is None


def test_a_route_goes_silent_and_its_alarm_is_over_with_the_next_study(
    store: Store, queries: Queries, clock: Clock
) -> None:
    traffic, watch = Traffic(store, clock), watching(store, config())
    traffic.add([{}] * 25 * 20)
    watch.look_at_limits()
    assert queries.alarms() == []
    clock.tick(2 * DAY)
    for _ in range(2):
        watch.look_at_limits()
    [alarm] = queries.alarms(open_only=True)
    assert (alarm["kind"], alarm["family"], alarm["channel"]) == ("silence", "route/chest", "silence")
    assert "48.0 hours" in alarm["story"]["says"]
    traffic.add([{}])
    watch.look_at_limits()
    assert queries.alarms(open_only=True) == []


def test_jobs_that_fail_one_after_the_other_are_an_alarm(store: Store, queries: Queries, clock: Clock) -> None:
    traffic, watch = Traffic(store, clock), watching(store, config(failures=3))
    traffic.add([{}, {}], what="failed")
    traffic.add([{}])
    traffic.add([{}, {}], what="failed")
    watch.look_at_limits()
    assert queries.alarms() == []
    traffic.add([{}], what="failed")
    watch.look_at_limits()
    [alarm] = queries.alarms(open_only=True)
    assert alarm["channel"] == "service.failures" and "3 jobs of cxr-triage" in alarm["story"]["says"]


# -- the life of an alarm ----------------------------------------------------------------------------------------------


def test_an_alarm_is_escalated_twice_unless_a_person_has_seen_it(store: Store, queries: Queries, clock: Clock) -> None:
    via, times = ("webhook",), (24 * HOUR, 72 * HOUR)
    for channel in ("seen", "unseen", "muted"):
        assert store.open_alarm(_alarm(channel), via)
        assert not store.open_alarm(_alarm(channel), via), "one open alarm for a channel"
    keys = {alarm["channel"]: alarm["id"] for alarm in queries.alarms()}
    store.acknowledge_alarm(keys["seen"], "Dr A", "I look")
    store.mute_alarm(keys["muted"], "Dr A", "a known cause", clock() + 100 * HOUR)
    assert [store.escalate_alarms(times, via) for _ in range(1)] == [0]
    told = []
    for _ in range(8):
        clock.tick(12 * HOUR)
        told.append(store.escalate_alarms(times, via))
    assert told == [0, 1, 0, 0, 0, 1, 0, 0]
    escalated = [event for event in queries.events(f"alarm/{keys['unseen']}") if event.type == "alarm.escalated"]
    assert [event.body["hours"] for event in escalated] == [24, 72]
    clock.tick(24 * HOUR)
    assert store.escalate_alarms(times, via) == 1, "the mute has ended"


def test_what_a_person_may_not_say(store: Store, queries: Queries, clock: Clock) -> None:
    store.open_alarm(_alarm(), ())
    [alarm] = queries.alarms()
    with pytest.raises(GiveUp, match="reason and an end"):
        store.mute_alarm(alarm["id"], "Dr A", " ", clock() + 1)
    with pytest.raises(GiveUp, match="reason and an end"):
        store.mute_alarm(alarm["id"], "Dr A", "why", clock() - 1)
    with pytest.raises(GiveUp, match="no resolution"):
        store.resolve_alarm(alarm["id"], "Dr A", "why", "whatever")
    store.resolve_alarm(alarm["id"], "Dr A", "why", "false-alarm")
    with pytest.raises(IllegalMove):
        store.acknowledge_alarm(alarm["id"], "Dr A", "late")
    with pytest.raises(GiveUp, match="no alarm 99"):
        store.acknowledge_alarm(99, "Dr A", "why")


def test_the_stop_rule_holds_the_routes_of_the_live_model_once(store: Store, queries: Queries, clock: Clock) -> None:
    settings = config(on_stop="review")
    other = FAMILY.replace("1.0", "0.9")  # of a former model: nothing that it makes can be held
    traffic = Traffic(store, clock)
    traffic.add([{}])
    new = NewAlarm(FAMILY, "labelled.nodule", "drift", 5, {**STORY, "stop": True}, stop=True)
    assert store.save_watch(Step(0, 5, "{}", happened=[new, replace(new, family=other)]))
    for _ in range(2):
        for alarm in queries.alarms(open_only=True):
            if alarm["stop"] == "due":
                stop_rule.apply(settings, store, queries, alarm)
    [event] = [event for event in queries.events("route/chest") if event.type == "route.mode"]
    assert event.body["mode"] == "review" and event.actor == "watch" and "alarm 1" in event.body["why"]
    told = [
        event.body["held"]
        for key in (1, 2)
        for event in queries.events(f"alarm/{key}")
        if event.type == "alarm.stopped"
    ]
    assert told == [["chest"], []]


def test_a_golden_set_that_does_not_hold_is_an_alarm_until_it_does(
    store: Store, queries: Queries, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell_log(type_: str) -> None:
        monkeypatch.setitem(audit.TYPES, type_, "of a golden set")  # type: ignore[index]
        with store.engine.begin() as connection:
            audit.append(connection, clock(), type_, "work", "pipeline/cxr-triage", {"moved": ["p"]})

    watch = watching(store, config(on_stop="mark"))
    for _ in range(2):
        tell_log("golden.mismatch")
        run(watch)
    [alarm] = queries.alarms(open_only=True)
    assert alarm["kind"] == "golden" and alarm["stop"] == "due" and "cxr-triage" in alarm["story"]["says"]
    watch.look_at_limits()
    assert queries.alarms(open_only=True) != [], "time alone does not clear it"
    watch.look_around()
    [alarm] = queries.alarms(open_only=True)
    assert alarm["stop"] == "done"
    tell_log("golden.passed")
    run(watch)
    assert queries.alarms(open_only=True) == []
