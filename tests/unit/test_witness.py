"""Heads are signed when they are due, survive a crash at every step, and events go only when their time is over."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from node import config as configuration
from node.config import Config
from node.errors import ConfigError
from node.proof.heads import FILE, PUBLIC, open_signer, read_heads, read_keys
from node.proof.merkle import Tree, nodes_of
from node.queries import Queries
from node.report.compose import compose
from node.report.month import period
from node.retention import DAY
from node.store import Store
from node.store import heads as store_heads
from node.witness import Witness
from tests.conftest import Clock

LIMITS = {"events": 10, "seconds": 3600}


def _config(tmp_path: Path, **audit: object) -> Config:
    return Config(node={"spool": tmp_path / "spool"}, audit={**LIMITS, **audit})


def _note(store: Store, count: int = 1) -> None:
    for _ in range(count):
        store.note("spool.swept", "node", "node", {})


def _prove(config: Config, queries: Queries) -> tuple[int, str | None]:
    heads, wrong = read_heads(config.heads_folder / FILE)
    assert wrong is None
    verdict = queries.prove({"file": heads}, read_keys(config.heads_folder / PUBLIC))
    return verdict.heads, verdict.broken


# RFC 6962, 2.1: the tree of n leaves splits at the largest power of two below n.
def _by_the_book(leaves: list[bytes]) -> bytes:
    from hashlib import sha256

    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _by_the_book(leaves[:split]) + _by_the_book(leaves[split:])).digest()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_the_tree_is_that_of_rfc_6962_also_when_it_is_taken_up_again(size: int) -> None:
    leaves = [bytes([number]) * 3 for number in range(size)]
    tree = Tree()
    for part in (leaves[: size // 3], leaves[size // 3 : size // 2], leaves[size // 2 :]):
        tree.add(nodes_of(part))
        tree = Tree(tree.size, tree.peaks)
    assert (tree.size, tree.root()) == (size, _by_the_book(leaves))


def test_the_tree_gives_the_known_roots_of_certificate_transparency() -> None:
    tree = Tree()
    tree.add(nodes_of([b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43", bytes(range(0x50, 0x58)), bytes(range(0x60, 0x70))]))
    assert tree.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_head_is_signed_after_so_many_events_or_so_long_and_not_for_itself(store: Store, queries: Queries, clock: Clock, tmp_path: Path) -> None:
    witness = Witness(_config(tmp_path), store)
    _note(store, 9)
    witness.look()
    assert queries.heads() == []
    _note(store)
    witness.look()
    assert [head.size for head in queries.heads()] == [10]
    clock.tick(3601)
    witness.look()
    assert [head.size for head in queries.heads()] == [10], "nothing but its own event came since"
    _note(store)
    witness.look()
    assert [head.size for head in queries.heads()] == [10, 12]
    assert _prove(_config(tmp_path), queries) == (2, None)


def test_what_a_crash_left_out_of_the_file_is_added_at_the_next_look(store: Store, queries: Queries, tmp_path: Path) -> None:
    config = _config(tmp_path)
    signer = open_signer(config.signing_key, config.heads_folder)
    _note(store, 10)
    store.sign_head(signer.sign, 10, 3600)  # and the process dies before the file
    file = config.heads_folder / FILE
    assert not file.exists()
    Witness(config, store).look()
    assert [head.size for head in read_heads(file)[0]] == [10]
    _note(store, 10)
    store.sign_head(signer.sign, 10, 3600)
    second = queries.heads()[1]
    with file.open("a") as opened:
        opened.write(second.line()[:100])  # and in the middle of its line
    Witness(config, store).look()
    assert _prove(config, queries) == (2, None), "the beginning of the line that follows counts as nothing"


def test_the_key_is_made_for_its_owner_alone_and_a_new_one_does_not_replace_the_old(tmp_path: Path) -> None:
    config = _config(tmp_path)
    first = open_signer(config.signing_key, config.heads_folder)
    assert first.made and config.signing_key.stat().st_mode & 0o777 == 0o600
    config.signing_key.unlink()
    second = open_signer(config.signing_key, config.heads_folder)
    keys = read_keys(config.heads_folder / PUBLIC)
    assert list(keys) == [first.fingerprint, second.fingerprint]
    assert second.sign(1, 1, bytes(32)).holds(keys) and first.sign(1, 1, bytes(32)).holds(keys)


def test_a_key_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    config = _config(tmp_path)
    config.signing_key.parent.mkdir()
    config.signing_key.write_text("hello")
    with pytest.raises(ConfigError, match=r"audit\.key: .*no private key in PEM"):
        open_signer(config.signing_key, config.heads_folder)
    config.signing_key.unlink()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        open_signer(config.signing_key, tmp_path / "file" / "heads")


def test_heads_that_cannot_be_written_are_an_alarm_and_are_written_later(store: Store, queries: Queries, tmp_path: Path) -> None:
    config = _config(tmp_path)
    witness = Witness(config, store)
    _note(store, 10)
    (config.heads_folder / FILE).mkdir(parents=True)
    witness.look()
    assert "cannot be written" in next(e.body["reason"] for e in queries.events("audit") if e.type == "audit.broken")
    (config.heads_folder / FILE).rmdir()
    witness.look()
    assert _prove(config, queries) == (1, None)


@pytest.mark.parametrize("days", [0, 100, 182.9])
def test_a_retention_under_six_months_is_refused(tmp_path: Path, days: float) -> None:
    (tmp_path / "overread.toml").write_text(f"[audit]\nretention = {days}\n")
    with pytest.raises(ConfigError, match="183 days at least"):
        configuration.load(tmp_path / "overread.toml")


def test_events_over_their_retention_go_in_whole_heads_and_the_rest_still_holds(
    store: Store, queries: Queries, clock: Clock, tmp_path: Path
) -> None:
    config = _config(tmp_path, retention=200)
    witness = Witness(config, store)
    for _ in range(4):
        _note(store, 10)
        witness.look()
        clock.tick(60 * DAY)
    assert [head.size for head in queries.heads()] == [10, 21, 32, 43]
    witness.look()
    assert len(queries.events()) == 35, "the first ten are 240 days old, all others 180 at most"
    [purged] = [event for event in queries.events("audit") if event.type == "audit.purged"]
    assert purged.body["size"] == 10
    assert _prove(config, queries) == (4, None)
    _note(store, 10)
    clock.tick(61 * DAY)
    witness.look()
    assert _prove(config, queries) == (5, None) and queries.events()[0].seq == 22
    with store.engine.connect() as connection:
        report = compose(connection, period("2027-02", clock()), "OVERREAD", clock())
    assert [one.value for one in report.figures if one.title == "Audit log"] == ["holds"], "what is purged is not missing"
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE seq = 22")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE heads SET purged_at = NULL WHERE size = 10")


def test_a_long_log_is_purged_some_events_at_a_time(
    store: Store, queries: Queries, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_heads, "_AT_ONCE", 25)
    witness = Witness(_config(tmp_path), store)
    for count in (10, 10, 10, 40, 10):
        _note(store, count)
        witness.look()
    sizes = [head.size for head in queries.heads()]
    assert sizes == [10, 21, 32, 73, 84]
    clock.tick(3000 * DAY)
    gone = [store.purge_log(clock() - 200 * DAY) for _ in range(5)]
    assert gone == [21, 11, 41, 11, 0], "as many as 25, or those under one head"
    assert _prove(_config(tmp_path), queries)[1] is None


def test_a_young_log_that_was_purged_by_hand_does_not_hold(store: Store, queries: Queries, clock: Clock, tmp_path: Path) -> None:
    """The triggers would let it: who marks a head as purged may delete what is under it, and can write the event too."""
    config = _config(tmp_path)
    _note(store, 10)
    Witness(config, store).look()
    clock.tick(100 * DAY)
    assert store.purge_log(clock() - 50 * DAY) == 10
    assert _prove(config, queries)[1] == "events 1 to 10 are gone, and not because their retention was over"


def test_events_that_a_reader_has_not_got_yet_are_not_purged(store: Store, queries: Queries, clock: Clock, tmp_path: Path) -> None:
    _note(store, 10)
    Witness(_config(tmp_path), store).look()
    clock.tick(3000 * DAY)
    store.set_place("syslog", 5)
    assert store.purge_log(clock() - 200 * DAY) == 0
    store.set_place("syslog", 11)
    assert store.purge_log(clock() - 200 * DAY) == 10
    assert store.place("syslog") == 11 and store.place("nobody") == 0
