"""A database that was restored from a back-up: a person puts on record what is lost, and nobody can do so silently."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from node import audit
from node.proof import ranges, restored
from node.proof.heads import FILE, open_signer, read_heads
from node.proof.verify import verify
from node.queries import Queries
from node.retention import DAY, HOUR
from node.schema import heads as heads_table
from node.store import Store
from node.telling.sentences import sentence
from node.witness import Witness
from tests.commands import Done, overread
from tests.conftest import Clock
from tests.tampering import rewrite, unlock
from tests.unit.test_proof import House

WHO = ("--by", "Dr A", "--why", "the disk broke")


@pytest.fixture
def house(store: Store, clock: Clock, tmp_path: Path) -> House:
    """Its database is as it was after 22 events; 40 were there when the last head was exported."""
    made = House(store, clock, tmp_path)
    with store.engine.begin() as connection:
        unlock(connection)
        connection.exec_driver_sql("DELETE FROM events WHERE seq > 22")
        connection.exec_driver_sql("DELETE FROM heads WHERE size > 20")
    (tmp_path / "overread.toml").write_text(
        f'[node]\nspool = "spool"\ndatabase = "{store.engine.url.render_as_string(hide_password=False)}"\n'
        "[audit]\nevents = 10\n"
    )
    return made


def _run(house: House, *words: str) -> Done:
    return overread("audit", *words, "-c", house.folder / "overread.toml")


def _alarms(house: House) -> int:
    return sum(event.type == "audit.broken" for event in house.queries.events("audit"))


def test_what_a_restore_lost_is_on_record_under_a_head_and_verification_always_tells_it(house: House) -> None:
    broken = _run(house, "verify")
    assert broken.returncode == 1 and "older copy of the database" in broken.stdout
    house.witness.look()
    assert _alarms(house) == 1
    done = _run(house, "restored", *WHO)
    assert done.returncode == 0 and done.stdout.startswith("on record: up to 20 events are lost, under 2 heads"), (
        done.stderr
    )
    [event] = [one for one in house.queries.events("audit") if one.type == "audit.restored"]
    lines = [line for line in house.elsewhere.splitlines() if json.loads(line)["size"] > 20]
    assert event.body["heads"] == [hashlib.sha256(line.encode()).hexdigest() for line in lines]
    assert (event.actor, event.body["by"], event.body["why"]) == ("user/Dr A", "Dr A", "the disk broke")
    assert (event.body["after"], event.body["until"], event.body["lost_at_most"]) == (20, 40, 20)
    assert house.queries.heads()[-1].size >= event.seq, "a head is signed over it at once"

    verified = _run(house, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "Dr A restored the database from a back-up: up to 20 events after event 20 are lost" in verified.stdout
    told = json.loads(_run(house, "verify", "--json").stdout)
    assert told["broken"] is None and [one["by"] for one in told["restored"]] == ["Dr A"]

    for _ in range(40):
        house.store.note("spool.swept", "node", "node", {})
        house.witness.look()
    assert _alarms(house) == 1, "the node's own look is content too, and exports its new heads"
    found, wrong = read_heads(house.file)
    assert wrong is None and found[-1] == house.queries.heads()[-1] and found[-1].size > 40
    assert house.prove().broken is None and "restored" in sentence(house.prove().restored[0])
    again = _run(house, "restored", *WHO)
    assert again.returncode == 1 and "nothing is lost" in again.stderr


def test_it_is_refused_where_more_is_wrong_or_the_heads_are_not_ours(house: House, tmp_path: Path) -> None:
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET body = '{}' WHERE seq = 5")
    refused = _run(house, "restored", *WHO)
    assert refused.returncode == 1 and "more is wrong than a restore explains: event 5 " in refused.stderr
    stranger = open_signer(tmp_path / "stranger.pem", tmp_path / "strange")
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text(f"{stranger.sign(99, 1, bytes(32)).line()}\n")
    refused = _run(house, "restored", *WHO, "--heads", str(foreign))
    assert refused.returncode == 1 and "not signed with a key of this node" in refused.stderr
    assert _run(house, "restored", "--by", " ", "--why", "x").returncode == 2
    assert "audit.restored" not in {event.type for event in house.queries.events()}


def test_who_has_not_the_key_cannot_explain_a_cut_away(house: House) -> None:
    """The whole chain made anew with such an event in it, and without heads or with the old ones: all is consistent."""
    found, _ = read_heads(house.file)
    for kept in (0, 20):
        with house.tampered() as connection:
            stored = [head for head in found if head.size <= kept]
            lost = [head for head in found if head.size > kept]
            said = {"type": "audit.restored", "body": audit.canonical(restored.body(lost, stored, found, "Dr A", "x"))}
            rewrite(connection, lambda rows, said=said: [*rows[:21], rows[21] | said])
            connection.execute(heads_table.delete().where(heads_table.c.size > kept))
            broken = house.prove_on(connection).broken
        assert broken is not None, kept


def test_a_changed_record_of_a_restore_is_found_as_any_other_event(house: House) -> None:
    assert _run(house, "restored", *WHO).returncode == 0
    for body in ("{}", "no JSON", '{"digest":"a","heads":[]}'):
        with house.tampered() as connection:
            unlock(connection)
            connection.execute(sa.text("UPDATE events SET body = :body WHERE type = 'audit.restored'"), {"body": body})
            broken = house.prove_on(connection).broken
        assert broken is not None and "was changed after it was written" in broken


def test_before_the_log_is_purged_the_record_is_said_again_and_goes_under_a_head(house: House, clock: Clock) -> None:
    assert _run(house, "restored", *WHO).returncode == 0
    witness = Witness(
        house.config.model_copy(update={"audit": house.config.audit.model_copy(update={"retention": 200})}), house.store
    )
    clock.tick(600 * DAY)
    for _ in range(3):  # said again; under a head; purged
        clock.tick(HOUR)
        for _ in range(12):
            house.store.note("spool.swept", "node", "node", {})
            witness.look()
    types = [event.type for event in house.queries.events("audit")]
    assert "audit.purged" in types and types.count("audit.restored") == 1 and _alarms(house) == 0
    verdict = house.prove()
    assert verdict.broken is None and verdict.purged > 22
    [said] = verdict.restored
    assert (said.seq > verdict.purged, said.body["by"], said.body["until"]) == (True, "Dr A", 40)


def test_several_processes_find_what_one_finds(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "WORTH", 10)
    monkeypatch.setattr(ranges, "_RANGE", 7)
    whole = House(store, clock, tmp_path)
    queries = Queries(store.engine)
    found, _ = read_heads(whole.config.heads_folder / FILE)
    one, many = (queries.prove({"file": found}, None, processes) for processes in (1, 2))
    assert one == many and many.broken is None and many.events == 45
    for statement in (
        "UPDATE events SET body = '{}' WHERE seq = 30",
        "DELETE FROM events WHERE seq = 21",
        "DELETE FROM events WHERE seq > 40",
    ):
        with store.engine.begin() as connection:
            unlock(connection)
            copy = connection.exec_driver_sql("SELECT * FROM events").mappings().all()
            connection.exec_driver_sql(statement)
        one, many = (queries.prove({"file": found}, None, processes) for processes in (1, 2))
        assert one == many and many.broken is not None, statement
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM events")
            connection.execute(sa.text("INSERT INTO events (seq, at, type, actor, object, body, prev_hash, hash) VALUES "
                                       "(:seq, :at, :type, :actor, :object, :body, :prev_hash, :hash)"), [dict(row) for row in copy])  # fmt: skip
    with store.engine.connect() as connection, ranges.Readers(store.engine.url, 2) as readers:
        assert verify(connection, {}, None, readers.nodes).broken is None
        with pytest.raises(audit.Broken, match="events 1 to 7"):
            next(readers.nodes(connection, 0, "f" * 64))
