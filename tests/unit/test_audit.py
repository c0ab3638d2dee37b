from __future__ import annotations

import pytest
import sqlalchemy as sa

from node import audit
from node.queries import Queries
from node.store import Store


@pytest.fixture
def log(store: Store) -> sa.Engine:
    for number in range(5):
        store.note("node.started", "node", "node", {"number": number, "text": "ü"})
    with store.engine.begin() as connection:  # an attacker who owns the database drops the triggers first
        if store.engine.dialect.name == "sqlite":
            for verb in ("UPDATE", "DELETE"):
                connection.exec_driver_sql(f"DROP TRIGGER events_refuse_{verb}")
        else:
            for name in ("events_refuse", "events_refuse_delete"):
                connection.exec_driver_sql(f"DROP TRIGGER {name} ON events")
    return store.engine


def test_an_untouched_log_holds(log: sa.Engine) -> None:
    assert Queries(log).verify() == (5, None)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE events SET body = '{}' WHERE seq = 3", "event 3 (node.started"),
        ("UPDATE events SET at = '2020-01-01T00:00:00.000000+00:00' WHERE seq = 2", "event 2"),
        ("UPDATE events SET actor = 'somebody' WHERE seq = 5", "event 5"),
        ("UPDATE events SET hash = 'x' WHERE seq = 4", "event 4"),
        ("DELETE FROM events WHERE seq = 3", "event 3 is missing"),
        ("UPDATE events SET seq = 30 WHERE seq = 3", "event 3 is missing"),
    ],
)
def test_tampering_is_found_and_its_first_event_named(log: sa.Engine, statement: str, found: str) -> None:
    with log.begin() as connection:
        connection.exec_driver_sql(statement)
    _, broken = Queries(log).verify()
    assert broken is not None and broken.startswith(found)


def test_an_event_type_that_is_not_listed_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="not an event type"):
        store.note("something.else", "node", "node", {})


def test_the_same_body_always_gives_the_same_text() -> None:
    assert audit.canonical({"b": 1, "a": "ü"}) == audit.canonical({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'
