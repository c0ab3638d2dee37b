"""One cause, one alarm for people: alarms of one model that open together are told, listed and judged together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import schema
from node.errors import GiveUp, IllegalMove
from node.queries import Queries
from node.store import NewAlarm, Store
from node.store.watching import EPISODE
from node.watch import words
from tests.conftest import Clock
from tests.watching import FAMILY

OTHER = FAMILY.replace("1.0", "2.0")


def _open(store: Store, channel: str, family: str = FAMILY) -> None:
    assert store.open_alarm(
        NewAlarm(family, channel, "limit", 7, {"says": f"{channel} differs", "since": 0.0}), ["webhook"]
    )


def _episodes(queries: Queries) -> dict[str, int]:
    return {one["channel"]: one["episode"] for one in queries.alarms()}


def test_alarms_that_open_while_another_is_open_or_soon_after_belong_to_it(
    store: Store, queries: Queries, clock: Clock
) -> None:
    _open(store, "a")
    _open(store, "other", OTHER)
    clock.tick(30 * EPISODE)
    _open(store, "b")  # a is still open
    assert _episodes(queries) == {"a": 1, "other": 2, "b": 1}
    store.acknowledge_alarm(1, "Dr A", "I look")
    store.resolve_alarm(3, "Dr A", "a phantom", "false-alarm")
    clock.tick(30 * EPISODE)
    _open(store, "c")  # a is acknowledged, not judged
    store.resolve_alarm(1, "Dr A", "a phantom", "accepted-change", episode=True)
    clock.tick(EPISODE / 2)
    _open(store, "d")
    store.resolve_alarm(5, "Dr A", "a phantom", "false-alarm")
    clock.tick(EPISODE)
    _open(store, "e")  # a, b and c were judged, and nothing opened for a day
    assert _episodes(queries) == {"a": 1, "other": 2, "b": 1, "c": 1, "d": 1, "e": 6}
    opened = [event.body["episode"] for key in (1, 3, 6) for event in queries.events(f"alarm/{key}")
              if event.type == "alarm.opened"]  # fmt: skip
    assert opened == [1, 1, 6]


def test_the_first_message_tells_all_and_later_ones_what_they_belong_to(store: Store, clock: Clock) -> None:
    for channel in ("a", "b"):
        _open(store, channel)
    first, second = (message.body for message in store.due_messages())
    assert words.short(first).startswith("alarm 1: a differs") and "belongs" not in words.short(first)
    assert words.short(second).startswith("alarm 2: b differs") and "belongs to alarm 1" in words.short(second)
    assert "belongs to alarm 1, which opened before" in words.message(second)


def test_an_episode_is_told_again_once_and_every_alarm_of_it_is_an_event(
    store: Store, queries: Queries, clock: Clock
) -> None:
    for channel in ("a", "b", "c"):
        _open(store, channel)
    store.acknowledge_alarm(1, "Dr A", "I look")
    clock.tick(EPISODE + 1)
    assert store.escalate_alarms([EPISODE], ["email"]) == 2
    told = [message.body for message in store.due_messages() if message.via == "email"]
    assert [(one["event"], one["alarm"]) for one in told] == [("alarm.escalated", 2)]
    assert [event.type for event in queries.events("alarm/3")] == ["alarm.opened", "alarm.escalated"]


def test_a_person_judges_an_episode_at_once_and_each_alarm_has_its_event(store: Store, queries: Queries) -> None:
    for channel in ("a", "b", "c"):
        _open(store, channel)
    _open(store, "other", OTHER)
    store.acknowledge_alarm(2, "Dr A", "I look")
    assert store.acknowledge_alarm(2, "Dr B", "all of it", episode=True) == [1, 3]
    assert [one["acknowledged_by"] for one in queries.alarms()] == [None, "Dr B", "Dr A", "Dr B"]
    assert store.resolve_alarm(3, "Dr B", "the new scanner", "accepted-change", episode=True) == [1, 2, 3]
    assert {one["id"]: one["state"] for one in queries.alarms()} == {
        1: "resolved", 2: "resolved", 3: "resolved", 4: "open",
    }  # fmt: skip
    for key in (1, 2, 3):
        [event] = [one for one in queries.events(f"alarm/{key}") if one.type == "alarm.resolved"]
        assert event.body["by"] == "Dr B" and event.actor == "user/Dr B"
    with pytest.raises(IllegalMove, match="alarm 2 is resolved, and so is all of its episode"):
        store.acknowledge_alarm(2, "Dr A", "again", episode=True)
    with pytest.raises(GiveUp, match="no alarm 9"):
        store.resolve_alarm(9, "Dr A", "again", "false-alarm", episode=True)


def test_alarms_of_before_the_upgrade_are_episodes_of_their_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'overread.db'}"
    schema.upgrade(url, to="0009")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(
            "INSERT INTO alarms (family, channel, kind, state, seq, opened_at, story, escalated) "
            "VALUES (:family, 'a', 'drift', 'open', 1, 0, '{}', 0)"), {"family": FAMILY})  # fmt: skip
    engine.dispose()
    schema.upgrade(url)
    queries = Queries(sa.create_engine(url))
    assert _episodes(queries) == {"a": 1} and json.dumps(queries.watch_states()) == "[]"
    queries.dispose()
