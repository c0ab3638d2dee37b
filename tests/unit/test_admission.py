"""Who may talk to us, what the refused are told, and that refusals cannot flood anything."""

from __future__ import annotations

import re
import socket
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node.config import Config
from node.errors import TryAgain
from node.receive.admission import Allowlist, Refusals, how_to_admit, printable
from node.receive.book import Book
from node.sections import Peer
from node.store import Store
from tests.peers import Listening, listening
from tests.senders import OFFER, Sender, instance

VERIFICATION = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path) as running:
        yield running


def peer(**changes: object) -> Peer:
    return Peer(**{"name": "pacs", "ae-title": "PACS", "host": "192.0.2.7", "port": 104, **changes})


@pytest.mark.parametrize(
    ("addresses", "address", "admitted"),
    [
        ((), "192.0.2.7", True),
        ((), "192.0.2.8", False),
        (("10.1.0.0/16",), "10.1.200.3", True),
        (("10.1.0.0/16",), "192.0.2.7", False),  # named networks replace the host
        (("2001:db8::/32",), "2001:db8::17", True),
        (("10.1.0.0/16",), "::ffff:10.1.2.3", True),  # IPv4 that came in on a dual-stack socket
        (("fe80::/10",), "fe80::1%eth0", True),
    ],
)
def test_a_peer_calls_from_its_host_or_from_its_networks(addresses, address, admitted):
    allowlist = Allowlist([peer(addresses=addresses)])
    assert (allowlist.find("PACS", address) is not None) is admitted
    assert allowlist.knows_address(address) is admitted


def test_the_title_and_the_address_must_belong_to_the_same_peer():
    allowlist = Allowlist([peer(), peer(name="ct", **{"ae-title": "CT1", "host": "192.0.2.9"})])
    assert allowlist.find("CT1", "192.0.2.7") is None
    assert allowlist.find("CT1 ", "192.0.2.9").name == "ct"
    assert allowlist.find("ct1", "192.0.2.9") is None


def test_a_host_name_is_resolved_and_one_without_an_address_admits_nobody():
    assert Allowlist([peer(host="localhost")]).knows_address("127.0.0.1")
    assert not Allowlist([peer(host="no-such-host.invalid")]).knows_address("127.0.0.1")


def test_without_peers_everybody_is_refused_and_told_in_one_line_how_to_get_in(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.peers.SENDERS", ())
    with capture_logs() as lines, listening(tmp_path) as node:
        with pytest.raises(TryAgain, match=r"rejects the association.*[Cc]alling AE title"):
            Sender(node.port, ae_title="NEW PACS")
        (event,) = node.events("association.refused")
    assert (event["calling_ae"], event["address"]) == ("NEW PACS", "127.0.0.1")
    (line,) = [line for line in lines if line["event"] == "association refused"]
    assert "[[peer]]" in line["hint"] and "\n" not in line["hint"]
    assert node.instances() == []


def test_the_line_that_tells_how_to_get_in_is_a_peer_once_it_is_in_the_file():
    line = how_to_admit('EVIL"\n]]', "192.0.2.7").partition("   (")[0]
    toml = re.sub(r", (?=[a-z-]+ = )", "\n", line.replace("[[peer]] ", "[[peer]]\n"))
    (made,) = Config(**tomllib.loads(toml)).peers
    assert Allowlist([made]).knows_address("192.0.2.7")


def test_who_calls_us_by_another_title_is_refused(node):
    with pytest.raises(TryAgain, match=r"[Cc]alled AE title"):
        Sender(node.port, called="OTHER")
    assert "OVERREAD" in node.events("association.refused")[0]["reason"]


def test_a_peer_that_may_only_echo_gets_no_storage(tmp_path):
    with listening(tmp_path, may=["echo"]) as node, Sender(node.port, [OFFER, VERIFICATION]) as sender:
        assert not sender.takes(OFFER)
        assert sender.echo(VERIFICATION) == 0


def test_a_full_house_refuses_for_now_and_admits_again_when_one_leaves(tmp_path):
    with listening(tmp_path, max_associations=2) as node:
        first, second = Sender(node.port), Sender(node.port)
        with pytest.raises(TryAgain, match=r"[Ll]ocal limit exceeded"):
            Sender(node.port)
        assert "max-associations" in node.events("association.refused")[0]["reason"]
        first.__exit__(None, None, None)
        with Sender(node.port) as third:
            assert third.send(instance())[0] == 0
        second.__exit__(None, None, None)


def test_one_address_cannot_take_all_places(tmp_path):
    with (
        listening(tmp_path, max_associations_per_address=1) as node,
        Sender(node.port),
        pytest.raises(TryAgain, match=r"[Ll]ocal limit exceeded"),
    ):
        Sender(node.port)


def test_a_database_that_is_away_at_the_door_refuses_for_now(tmp_path, monkeypatch):
    with listening(tmp_path) as node:

        def away(*_: object) -> int:
            raise TryAgain("the database does not take the write")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "open_association", away)
            with pytest.raises(TryAgain, match=r"[Tt]emporary congestion"):
                Sender(node.port)
        with Sender(node.port) as sender:
            assert sender.send(instance())[0] == 0


def test_an_end_that_the_database_did_not_take_is_written_down_later(tmp_path, monkeypatch):
    with listening(tmp_path) as node:
        with monkeypatch.context() as patch, Sender(node.port):

            def away(*_: object) -> None:
                raise TryAgain("the database does not take the write")

            patch.setattr(Store, "end_association", away)
        deadline = time.monotonic() + 5
        while node.rows("select ended from associations") != [{"ended": "released"}]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_burst_of_refusals_is_one_line_and_one_event_and_then_a_number(node):
    for _ in range(40):
        with pytest.raises(TryAgain):
            Sender(node.port, ae_title="STRANGER")
    assert [event["count"] for event in node.events("association.refused")] == [1]


def test_connections_that_are_no_associations_are_told_of_once(node):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(100)[:1] == b"\x07", "an A-ABORT"
    (event,) = node.events("association.refused")
    assert "unknown PDU type" in event["reason"] and event["address"] == "127.0.0.1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_not_told_is_told_as_a_number_a_minute_later():
    told: list[tuple] = []
    clock = Clock()
    refusals = Refusals(lambda *said: told.append(said), clock)
    for _ in range(100):
        refusals.refuse("association", "A", "B", "192.0.2.1", "unknown")
    clock.now = 61
    refusals.refuse("association", "A", "B", "192.0.2.1", "unknown")
    assert [said[5] for said in told] == [1, 100]


def test_a_burst_under_changing_names_is_bounded_too_and_ends_in_one_line():
    told: list[tuple] = []
    clock = Clock()
    refusals = Refusals(lambda *said: told.append(said), clock, most=30)
    for number in range(5000):
        refusals.refuse("association", f"A{number}", "B", "192.0.2.1", "unknown")
    assert len(told) == 30 and len(refusals._told) <= 1024
    clock.now = 61
    with capture_logs() as lines:
        refusals.refuse("association", "LAST", "B", "192.0.2.1", "unknown")
    assert len(told) == 31 and lines[0]["dropped"] == 4970


def test_a_refusal_is_in_the_log_and_is_written_down_when_the_database_is_back():
    away, written, book = [True], [], Book()

    def tell(*said: object) -> None:
        if away:
            raise TryAgain("the database does not take the write")
        written.append(said[4])

    with capture_logs() as lines:
        refusals = Refusals(lambda *said: book.enter(lambda: tell(*said), said[-1], keep=False))
        for reason in ("first", "second"):
            refusals.refuse("association", "A", "B", "192.0.2.1", reason, later=reason == "second")
    assert [line["event"] for line in lines] == ["association refused", "not on record yet", "association refused"]
    assert not written
    away.clear()
    book.write()
    assert written == ["first", "second"]
    refusals.refuse("association", "A", "B", "192.0.2.1", "third")
    assert written == ["first", "second", "third"]


def test_received_text_cannot_break_a_log_line():
    assert printable('A"\n\x1b[31m\\ü') == "A???[31m??"
    assert len(printable("A" * 500)) == 16


def test_one_peer_cannot_take_more_places_than_its_own_limit(tmp_path):
    with listening(tmp_path, each={"max-associations": 1}) as node:
        with Sender(node.port):
            with pytest.raises(TryAgain, match=r"[Ll]ocal limit exceeded"):
                Sender(node.port)
            with Sender(node.port, ae_title="STORESCU") as other:
                assert other.send(instance())[0] == 0
        assert "its max-associations" in node.events("association.refused")[0]["reason"]
        with Sender(node.port) as again:
            assert again.send(instance(2))[0] == 0


def test_of_two_peers_with_one_title_the_certificate_says_which_it_is():
    named = peer(name="named", **{"certificate-names": ["A", "sha256:" + "0F:" * 31 + "0f"]})
    allowlist = Allowlist([named, peer(name="any")])
    assert allowlist.find("PACS", "192.0.2.7", frozenset({"a"})).name == "named"
    assert allowlist.find("PACS", "192.0.2.7", frozenset({"sha256:" + "0f" * 32})).name == "named"
    assert allowlist.find("PACS", "192.0.2.7", frozenset({"b"})).name == "any"
    assert allowlist.find("PACS", "192.0.2.7").name == "any"
    assert Allowlist([named]).find("PACS", "192.0.2.7") is None
    assert Allowlist([named]).wanted("PACS", "192.0.2.7")[0] == "a"
