"""A PACS that is away, slow, full, choosy or falls over: every result gets there, or its failure is told."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node import dimse, peers, screens, send
from node.config import Config
from node.errors import Away, TryAgain
from node.pdu_guard import PduReader
from node.peers.requestor import Requestor
from node.receive import negotiation
from node.sections import Peer
from tests.nodes import wait_until
from tests.pacs import ABORT, DIE, SR, Pacs, raw, say_nothing
from tests.senders import EXPLICIT, instance, write
from tests.sending import NODE, Results

Talk = Callable[[socket.socket], None]


@pytest.fixture
def pacs() -> Pacs:
    return Pacs()


@pytest.fixture
def results(tmp_path: Path, pacs: Pacs) -> Results:
    return Results(tmp_path, {"pacs": pacs.port})


def test_after_a_long_absence_all_is_delivered_the_urgent_first_and_then_the_oldest(
    results: Results, pacs: Pacs
) -> None:
    wanted = [results.add(f"1.2.{number}", 2) for number in range(6)]
    urgent = results.add("1.2.99", 2, urgent=True)
    with results.sending():
        wait_until(lambda: len(results.events("delivery.claimed")) > 2 * results.config.send.attempts, 120, "attempts")
        assert "failed" not in results.counts() and results.events("peer.away")[0]["reason"].startswith("pacs (PACS at")
        with pacs.up():
            results.wait(delivered=7)
    assert pacs.kept == urgent + [uid for uids in wanted for uid in uids]
    assert len(results.events("peer.away")) == len(results.events("peer.back")) == 1
    assert {results.delivery(f"1.2.{number}")["attempts"] for number in range(6)} == {1}, "an absence is not their fault"


def test_a_peer_that_hangs_holds_up_nobody_else(tmp_path: Path, pacs: Pacs) -> None:
    with raw(say_nothing) as hanging, pacs.up():
        results = Results(tmp_path, {"pacs": pacs.port, "hanging": hanging, "nowhere": 1})
        for number in range(5):
            results.add(f"1.2.{number}", peers=("hanging", "nowhere", "pacs"))
        with results.sending():
            wait_until(lambda: results.counts().get("delivered") == 5, 120, "five deliveries")
            assert len(pacs.kept) == 5 and "failed" not in results.counts()


def test_each_status_has_its_outcome_and_show_tells_it(
    results: Results, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = results.add("1.2.1", 7)
    other = results.add("1.2.2", 2)
    says = dict(zip(uids, (0, 0xB000, 0xB007, 0xA900, 0xC123, 0xA700, 0), strict=True))

    def answer(uid: str) -> int:
        status = says.get(uid, 0)
        if status == 0xA700:
            says[uid] = 0  # busy once
        return status

    pacs.says = answer
    with pacs.up(), results.sending():
        results.wait(delivered=1, failed=1)
    assert sorted(pacs.kept) == sorted([uid for uid in uids if uid not in uids[3:5]] + other)
    delivery = results.delivery("1.2.1")
    assert delivery["answers"] == {"0x0000": 3, "0xB000": 1, "0xB007": 1, "0xA900": 1, "0xC123": 1}
    assert pacs.came.count(uids[0]) == 1 and pacs.came.count(uids[5]) == 2
    shown = results.queries.study("1.2.1")
    assert shown is not None
    screens.study(shown, results.queries.events("study/1.2.1"))
    told = " ".join(capsys.readouterr().out.split())
    assert "pacs refused 2 instances: 0xA900 the dataset does not match its SOP class" in told
    assert f"not stored: {uids[3]}: 0xA900" in told and f"not stored: {uids[4]}: 0xC123 cannot understand" in told


def test_an_instance_that_breaks_every_association_does_not_keep_back_the_others(
    results: Results, pacs: Pacs
) -> None:
    uids = results.add("1.2.1", 5)
    other = results.add("1.2.2", 2)
    pacs.says = lambda uid: ABORT if uid == uids[1] else 0
    with pacs.up(), results.sending():
        results.wait(delivered=1, failed=1)
    assert sorted(pacs.kept) == sorted([uid for uid in uids if uid != uids[1]] + other)
    assert all(pacs.came.count(uid) == 1 for uid in pacs.kept), "what is stored is not sent again"
    delivery = results.delivery("1.2.1")
    assert "aborted" in delivery["reason"] and "(4 attempts)" in delivery["reason"]
    assert [one["sop_uid"] for one in delivery["not_stored"]] == [uids[1]]


def test_urgent_results_that_break_the_peer_do_not_keep_back_others(results: Results, pacs: Pacs) -> None:
    bad = [uid for number in range(4) for uid in results.add(f"1.2.{number}", urgent=True)]
    good = results.add("1.2.9")
    pacs.says = lambda uid: ABORT if uid in bad else 0
    with pacs.up(), results.sending():
        wait_until(lambda: pacs.kept == good, 100, "the good one")
        wait_until(lambda: results.events("peer.away"), 100, "an alarm: nothing else is left, and nothing is stored")
        good += results.add("1.2.10")
        wait_until(lambda: pacs.kept == good, 100, "another good one")
    assert results.counts() == {"delivered": 2, "due": 4}, "whether it is them or the PACS, nobody can tell"


def test_a_pacs_that_dies_before_it_answers_gets_the_object_again_and_has_it_once(
    results: Results, pacs: Pacs
) -> None:
    [uid] = results.add("1.2.1")
    pacs.says = lambda uid: DIE if pacs.came.count(uid) < 3 else 0x0111
    with pacs.up(), results.sending():
        results.wait(delivered=1)
    assert pacs.kept == [uid] and pacs.came == [uid] * 3


@pytest.mark.parametrize("how", ["for good", "for the moment"])
def test_a_pacs_that_rejects_associations_uses_up_no_attempts(results: Results, pacs: Pacs, how: str) -> None:
    results.add("1.2.1")
    with pacs.up(), contextlib.ExitStack() as other:
        assert pacs.ae is not None
        if how == "for good":
            pacs.ae.require_calling_aet = ["SOMEBODY"]
        else:
            pacs.ae.maximum_associations = 1
            other.enter_context(Requestor(results.config.node, results.config.peer("pacs"), [(SR, EXPLICIT)]))
        with results.sending():
            wait_until(lambda: len(results.events("delivery.claimed")) > 6, 120, "attempts")
            assert results.counts().get("failed") is None
            assert "rejects the association" in results.events("delivery.retried")[0]["reason"]
            pacs.ae.require_calling_aet = []
            other.close()
            results.wait(delivered=1)


def test_a_sop_class_that_the_pacs_does_not_take_fails_alone(results: Results, pacs: Pacs) -> None:
    pacs.sop_classes = (pacs.sop_classes[0],)
    results.add("1.2.1", sop_class=SR)
    images = results.add("1.2.2", 3)
    with pacs.up(), results.sending():
        results.wait(delivered=1, failed=1)
    assert pacs.kept == images
    assert "does not take Basic Text SR Storage" in results.delivery("1.2.1")["reason"]


def test_a_slow_pacs_gets_everything_and_nothing_twice(results: Results, pacs: Pacs) -> None:
    uids = results.add("1.2.1", 3)
    pacs.seconds = 1.2  # of the two that it has
    with pacs.up(), results.sending():
        results.wait(delivered=1)
    assert pacs.came == uids


def test_a_pacs_slower_than_the_limit_is_asked_again_until_it_is_quicker(results: Results, pacs: Pacs) -> None:
    [uid] = results.add("1.2.1")
    pacs.seconds = 3
    with pacs.up(), results.sending():
        wait_until(lambda: len(results.events("delivery.retried")) == 1, 120, "a time-out")
        assert "nothing came for 2 s" in results.delivery("1.2.1")["reason"]
        pacs.seconds = 0
        results.wait(delivered=1)
    assert pacs.kept == [uid]


def test_a_full_pacs_uses_up_no_delivery_however_long_it_stays_full(results: Results, pacs: Pacs) -> None:
    wanted = [uid for number in range(4) for uid in results.add(f"1.2.{number}")]
    full = [True]
    pacs.says = lambda uid: 0xA701 if full else 0
    with pacs.up(), results.sending():
        wait_until(lambda: len(pacs.came) > 6 * results.config.send.attempts, 120, "attempts")
        assert results.counts() in ({"due": 4}, {"due": 3, "sending": 1})
        full.clear()
        results.wait(delivered=4)
    assert sorted(pacs.kept) == sorted(wanted)
    assert len(results.events("peer.away")) == len(results.events("peer.back")) == 1


def test_what_the_pacs_has_stored_is_not_sent_again_because_the_database_was_away(
    results: Results, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = results.add("1.2.1", 2)
    finish, failures = results.store.finish_delivery, []

    def away_twice(*arguments: object) -> None:
        if len(failures) < 2:
            failures.append(arguments)
            raise TryAgain("the database does not take the write")
        finish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(results.store, "finish_delivery", away_twice)
    with pacs.up(), results.sending():
        results.wait(delivered=1)
    assert pacs.came == uids and len(failures) == 2


def test_a_defect_in_sending_one_delivery_lets_the_others_go_first(
    results: Results, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.add("1.2.1", urgent=True)
    good = results.add("1.2.2")
    store = peers.store

    def breaks(config: object, peer: object, files: list[Path]) -> object:
        if b"1.2.1.6.9.1" in files[0].read_bytes():
            raise RuntimeError("a defect")
        return store(config, peer, files)  # type: ignore[arg-type]

    monkeypatch.setattr(send.peers, "store", breaks)
    with pacs.up(), results.sending():
        results.wait(due=1, delivered=1)
    assert pacs.kept == good


def trickle(sock: socket.socket) -> None:
    """A PACS that takes the association and then answers for ever, without saying anything."""
    reader = PduReader(sock, 1 << 20, 10)
    _, body = reader.read(10)
    sock.sendall(negotiation.accept(negotiation.read_request(body, None), frozenset({"store"}), 65536)[0])
    while True:
        sock.sendall(dimse.p_data_header(1, dimse.COMMAND, 0))
        time.sleep(0.1)


def drip(sock: socket.socket) -> None:
    """A PACS whose answer to the association request comes byte by byte."""
    sock.sendall(b"\x02\x00\x00\x00\x10\x00")
    while True:
        sock.sendall(b"\x00")
        time.sleep(0.2)


@pytest.mark.parametrize(("talk", "error"), [(trickle, TryAgain), (drip, Away)])
def test_an_answer_that_trickles_for_ever_ends_at_the_limit(tmp_path: Path, talk: Talk, error: type[TryAgain]) -> None:
    file = write(tmp_path, instance(1))
    with raw(talk) as port:
        peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        began = time.monotonic()
        with pytest.raises(TryAgain) as raised:
            list(peers.store(Config(node=NODE), peer, [file]))
    assert type(raised.value) is error and 1.5 < time.monotonic() - began < 15
