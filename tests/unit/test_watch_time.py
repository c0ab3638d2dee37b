"""What depends on the clock: silent routes, fixed limits, escalation, messages that must arrive."""

from __future__ import annotations

import itertools
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_string
from email.message import Message as Mail
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from node import audit
from node.errors import GiveUp, IllegalMove
from node.queries import Queries
from node.store import NewAlarm, Step, Store
from node.watch import limits, stop_rule, tell
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


def test_the_stop_rule_holds_the_routes_of_the_pipeline_once(store: Store, queries: Queries) -> None:
    settings = config(on_stop="review")
    new = NewAlarm(FAMILY, "labelled.nodule", "drift", 5, {**STORY, "stop": True}, stop=True)
    assert store.save_watch(Step(0, 5, "{}", happened=[new]))
    held: list[tuple[str, ...]] = []
    for _ in range(2):
        for alarm in queries.alarms(open_only=True):
            if alarm["stop"] == "due":
                stop_rule.apply(settings, store, alarm, lambda *given: held.append(given))
    [(route, mode, by, why)] = held
    assert (route, mode, by) == ("chest", "review", "watch") and "alarm 1" in why
    [event] = [event for event in queries.events("alarm/1") if event.type == "alarm.stopped"]
    assert event.body["held"] == ["chest"]


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


# -- messages ----------------------------------------------------------------------------------------------------------


class Hook(HTTPServer):
    """A webhook that answers what it is told to, and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.answers: list[int] = []
        self.got: list[dict[str, Any]] = []


class _Post(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.got.append(json.loads(body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Sink(socketserver.ThreadingTCPServer):
    """A mail server (RFC 5321, as much as a sender needs) that keeps what it got."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.got: list[Mail] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        self._say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                self._say("354 go on")
                text = ""
                while (more := self.rfile.readline().decode()) != ".\r\n":
                    text += more
                self.server.got.append(message_from_string(text, policy=default))
            self._say("221 bye" if verb == "QUIT" else "250 ok")
            if verb == "QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_message_waits_for_a_webhook_that_is_away_and_arrives_once(
    store: Store, database: str, clock: Clock, hook: Hook
) -> None:
    watch = config(webhook=f"http://127.0.0.1:{hook.server_port}/x").watch
    store.open_alarm(_alarm(), watch.via)
    hook.answers = [503, 429]
    assert tell.send_due(store, watch) == 0
    assert tell.send_due(store, watch) == 0 and len(hook.answers) == 1, "it waits before it tries again"
    clock.tick(20)
    again = Store(database, clock)  # a restart loses nothing
    assert tell.send_due(again, watch) == 0 and hook.answers == []
    clock.tick(20)
    assert tell.send_due(again, watch) == 1
    clock.tick(DAY)
    assert tell.send_due(again, watch) == 0
    [got] = hook.got
    assert got["event"] == "alarm.opened" and got["story"]["says"] == STORY["says"]
    assert got["text"].startswith("alarm 1: pixels")
    again.dispose()


def test_a_webhook_that_will_never_take_it_is_not_asked_for_ever(store: Store, clock: Clock, hook: Hook) -> None:
    watch = config(webhook=f"http://127.0.0.1:{hook.server_port}/x").watch
    store.open_alarm(_alarm(), watch.via)
    hook.answers = [404]
    tell.send_due(store, watch)
    clock.tick(DAY)
    assert tell.send_due(store, watch) == 0 and hook.got == []


def test_an_alarm_comes_by_mail_with_its_story(store: Store, clock: Clock, sink: Sink) -> None:
    port = sink.server_address[1]
    watch = config(email_to=("head@clinic.example",), smtp_host="127.0.0.1", smtp_port=port).watch
    store.open_alarm(_alarm(), watch.via)
    assert tell.send_due(store, watch) == 1
    [mail] = sink.got
    assert mail["Subject"].startswith("[Overread] alarm 1: pixels: pixels.mean") and mail["To"] == "head@clinic.example"
    text = mail.get_content()  # type: ignore[attr-defined]
    assert "overread alarm ack 1" in text and "cxr-triage" in text


def test_a_mail_server_that_is_away_is_tried_again(store: Store, clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        port = taken.getsockname()[1]
        watch = config(email_to=("a@b.example",), smtp_host="127.0.0.1", smtp_port=port).watch
        store.open_alarm(_alarm(), watch.via)
        assert tell.send_due(store, watch) == 0
    clock.tick(60)
    [message] = store.due_messages()
    assert message.attempts == 1
