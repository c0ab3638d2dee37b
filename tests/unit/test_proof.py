"""Every way of changing the past that we could think of is found, with the exported heads also a whole new history."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import audit
from node.config import Config
from node.proof.heads import FILE, PUBLIC, Head, open_signer, read_heads, read_keys
from node.proof.verify import Verdict, verify
from node.queries import Queries
from node.store import Store
from node.witness import Witness
from tests.conftest import Clock
from tests.tampering import rewrite, unlock

EVENTS = 40  # and a head after each ten


class House:
    """A log of a node with signed heads, beside which lies a copy of them that nobody else can reach."""

    def __init__(self, store: Store, clock: Clock, folder: Path) -> None:
        self.store, self.queries, self.folder = store, Queries(store.engine), folder
        self.config = Config(node={"spool": folder / "spool"}, audit={"events": 10})
        self.witness = Witness(self.config, store)
        for number in range(EVENTS):
            clock.tick(60)
            store.note("spool.swept", "node", "node", {"number": number, "text": "ü"})
            self.witness.look()
        store.note("spool.swept", "node", "node", {"number": EVENTS})  # under no head yet
        self.file = self.config.heads_folder / FILE
        self.elsewhere = self.file.read_text()

    @contextmanager
    def tampered(self) -> Iterator[sa.Connection]:
        """A transaction that never happened."""
        with self.store.engine.connect() as connection:
            yield connection
            connection.rollback()

    def prove_on(self, connection: sa.Connection) -> Verdict:
        return verify(connection, {"elsewhere": read(self.elsewhere)}, read_keys(self.file.with_name(PUBLIC)))

    def prove(self, exported: str | None = None) -> Verdict:
        """With the heads in a text (None: those in the node's file)."""
        if exported is not None:
            self.file.write_text(exported)
        found, wrong = read_heads(self.file)
        assert wrong is None
        return self.queries.prove({"elsewhere": found}, read_keys(self.file.with_name(PUBLIC)))


@pytest.fixture
def house(store: Store, clock: Clock, tmp_path: Path) -> House:
    return House(store, clock, tmp_path)


def test_an_untouched_log_holds_with_all_its_heads(house: House) -> None:
    verdict = house.prove()
    heads = house.queries.heads()
    assert verdict.broken is None and verdict.heads == len(heads) >= 4
    assert verdict.events == EVENTS + 1 + len(heads) and verdict.signed == heads[-1].size == verdict.events - 5
    assert [head.size for head in heads] == [10, 20, 30, 40]


STATEMENTS = [
    (["UPDATE events SET body = '{}' WHERE seq = 3"], "event 3 (spool.swept"),
    (["UPDATE events SET at = '2020-01-01T00:00:00.000000+00:00' WHERE seq = 2"], "event 2 (spool.swept"),
    (["UPDATE events SET actor = 'somebody' WHERE seq = 5"], "event 5 "),
    (["UPDATE events SET object = 'study/1' WHERE seq = 5"], "event 5 "),
    (["UPDATE events SET type = 'node.started' WHERE seq = 5"], "event 5 "),
    (["UPDATE events SET hash = 'x' WHERE seq = 4"], "event 4 "),
    (["UPDATE events SET prev_hash = 'x' WHERE seq = 4"], "event 4 does not follow"),
    (["DELETE FROM events WHERE seq = 3"], "event 3 is missing"),
    (["DELETE FROM events WHERE seq <= 10"], "event 1 is missing"),
    (["DELETE FROM events WHERE seq = 1"], "event 1 is missing"),
    (["DELETE FROM events WHERE seq >= 25"], "event 25 is missing: 40 events were there"),
    (["DELETE FROM events"], "event 1 is missing: 40 events were there"),
    (["INSERT INTO events SELECT 400, at, type, actor, object, body, prev_hash, hash FROM events WHERE seq = 3"], "event 46 is missing"),
    (["INSERT INTO events SELECT 0, at, type, actor, object, body, prev_hash, hash FROM events WHERE seq = 3",
      "UPDATE events SET seq = -seq", "UPDATE events SET seq = 1 - seq"], "event 1 does not follow"),
    (["INSERT INTO events SELECT 0, at, type, actor, object, body, prev_hash, hash FROM events WHERE seq = 3"], "event 0 stands before the first one"),
    (["INSERT INTO events SELECT -7, at, type, actor, object, body, prev_hash, hash FROM events WHERE seq = 3"], "event -7 stands before the first one"),
    (["UPDATE events SET seq = 500 WHERE seq = 3", "UPDATE events SET seq = 3 WHERE seq = 4",
      "UPDATE events SET seq = 4 WHERE seq = 500"], "event 3 does not follow"),
    (["DELETE FROM heads WHERE size = 20"], "the head of 20 events is in elsewhere, but not in the database"),
    (["DELETE FROM heads"], "the head of 10 events is in elsewhere, but not in the database"),
    (["UPDATE heads SET timestamp = timestamp - 1000 WHERE size = 20"], "the head of 20 events in the database is not signed"),
    (["UPDATE heads SET root = (SELECT root FROM heads h WHERE h.size = 10) WHERE size = 20"], "the head of 20 events in the database is not signed"),
    (["UPDATE heads SET signature = 'eA==' WHERE size = 20"], "the head of 20 events in the database is not signed"),
    (["UPDATE heads SET size = 21 WHERE size = 20"], "the head of 21 events in the database is not signed"),
    (["UPDATE heads SET purged_at = 1 WHERE size = 20", "DELETE FROM events WHERE seq <= 20"], "events 1 to 20 are gone, and not because"),
]  # fmt: skip
CHANGES = [
    (lambda rows: [*rows[:4], rows[4] | {"body": '{"number":99}'}, *rows[5:]], "events 1 to 10: one of them"),
    (lambda rows: [*rows[:14], *rows[15:]], "events 11 to 20: one of them"),
    (lambda rows: [*rows[:24], rows[3], *rows[24:]], "events 21 to 30: one of them"),
    (lambda rows: [*rows[:31], rows[32], rows[31], *rows[33:]], "events 31 to 40: one of them"),
    (lambda rows: rows[:30], "event 31 is missing: 40 events were there"),
    (lambda rows: [row for row in rows if row["type"] != "audit.head"], "events 11 to 20: one of them"),
]  # fmt: skip


def test_what_was_changed_in_the_database_is_found_and_named(house: House) -> None:
    for statements, found in STATEMENTS:
        with house.tampered() as connection:
            unlock(connection)
            for statement in statements:
                connection.exec_driver_sql(statement)
            broken = house.prove_on(connection).broken
        assert broken is not None and broken.startswith(found), (statements, broken)
    assert house.prove().broken is None


def test_a_whole_new_chain_is_found_by_the_heads(house: House) -> None:
    """Edited, deleted, inserted, reordered, cut, without heads: and every number and hash made to fit."""
    for change, found in CHANGES:
        with house.tampered() as connection:
            rewrite(connection, change)
            connection.exec_driver_sql("DELETE FROM heads")
            assert list(audit.walk(connection)), "the chain alone does not tell"
            broken = house.prove_on(connection).broken
        assert broken is not None and broken.startswith(found), (found, broken)


def test_new_heads_for_a_new_chain_need_the_key(house: House, tmp_path: Path) -> None:
    """Chain, table and file all rewritten and signed again, by somebody who has every file but our copy and the key."""
    with house.store.engine.begin() as connection:
        rewrite(connection, lambda rows: [rows[0] | {"body": "{}"}, *(r for r in rows[1:] if r["type"] != "audit.head")])
        connection.exec_driver_sql("DELETE FROM heads")
    house.file.unlink()
    config = Config(node=house.config.node, audit={"events": 10, "key": tmp_path / "other.pem", "heads": tmp_path / "other"})
    Witness(config, house.store).look()
    forged = (tmp_path / "other" / FILE).read_text()
    broken = house.prove(forged).broken
    assert broken is not None and "is not signed with a key of ours" in broken
    assert "is not what it was when their head was signed" in str(house.queries.prove({"ours": read(house.elsewhere)}, None).broken)


def read(text: str) -> list[Head]:
    return [Head(**{key: value for key, value in json.loads(line).items() if key != "at"}) for line in text.splitlines()]


def test_an_older_copy_of_the_database_is_found(house: House, store: Store, clock: Clock) -> None:
    """What a copy of the database had, and what came after it is gone with its heads: consistent in itself."""
    with store.engine.begin() as connection:
        unlock(connection)
        connection.exec_driver_sql("DELETE FROM events WHERE seq > 22")
        connection.exec_driver_sql("DELETE FROM heads WHERE size > 20")
    assert house.queries.verify() == (22, None)
    broken = house.prove().broken
    assert broken is not None and broken.startswith("event 23 is missing: 40 events") and "older copy" in broken
    house.witness.look()
    [alarm] = [event for event in house.queries.events("audit") if event.type == "audit.broken"]
    assert "older copy" in alarm.body["reason"]
    house.witness.look()
    assert sum(event.type == "audit.broken" for event in house.queries.events("audit")) == 1, "an alarm is one event"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda lines: [*lines[:1], *lines[2:]], "the head of 20 events is in the database, but not in elsewhere"),
        (lambda lines: [*lines, lines[0].replace('"size":10', '"size":11')], "the head of 11 events in elsewhere is not signed"),

    ],
)  # fmt: skip
def test_a_changed_file_of_heads_is_found(house: House, change: Callable[[list[str]], list[str]], found: str) -> None:
    broken = house.prove("\n".join(change(house.elsewhere.splitlines())) + "\n").broken
    assert broken is not None and broken.startswith(found), broken


def test_a_head_holds_only_for_what_it_says(house: House) -> None:
    keys = read_keys(house.file.with_name(PUBLIC))
    [head, other, *_] = house.queries.heads()
    assert head.holds(keys) and not head.holds({})
    for changed in ({"size": 11}, {"timestamp": head.timestamp + 1}, {"root": other.root}, {"signature": other.signature}, {"key": "00"}):
        assert not dataclasses.replace(head, **changed).holds(keys), changed


def test_the_log_is_not_signed_over_a_change(house: House, store: Store, clock: Clock) -> None:
    with store.engine.begin() as connection:
        unlock(connection)
        connection.execute(sa.text("UPDATE events SET body = '{}' WHERE seq = (SELECT max(seq) FROM events)"))
    clock.tick(7200)
    house.witness.look()
    assert len(house.queries.heads()) == 4
    [alarm] = [event.body["reason"] for event in house.queries.events("audit") if event.type == "audit.broken"]
    assert alarm.startswith("event 45 ")


def test_the_signer_that_is_opened_again_is_the_same(house: House) -> None:
    again = open_signer(house.config.signing_key, house.config.heads_folder)
    assert not again.made and {head.key for head in house.queries.heads()} == {again.fingerprint}
