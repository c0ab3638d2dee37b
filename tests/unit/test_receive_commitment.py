"""Storage commitment on the wire: a peer asks our listener, a peer answers what we asked, and what is neither."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node import commitment, dimse
from node.commitment import EXPLICIT, IMPLICIT, PUSH_MODEL, PUSH_MODEL_INSTANCE, Reference, Report, Request
from node.errors import TryAgain
from node.peers.requestor import Requestor
from node.receive import promises
from node.sections import Node, Peer
from node.store import Store
from tests.peers import Listening, listening
from tests.senders import CT, OFFER, Sender, instance
from tests.unit.test_receive import wait_until

COMMITMENT = (PUSH_MODEL, EXPLICIT)
ALL = ("echo", "store", "commit")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path, may=ALL, each={"commitment": "ask"}) as running:
        yield running


def action(
    action_type: int = 1, sop_class: str = PUSH_MODEL, sop_uid: str = PUSH_MODEL_INSTANCE
) -> Callable[[int], bytes]:
    return lambda message_id: dimse.action_request(message_id, sop_class, sop_uid, action_type)


def event(event_type: int = 1) -> Callable[[int], bytes]:
    return lambda message_id: dimse.event_report_request(message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE, event_type)


def request(*uids: str, transaction: str = "2.25.5", syntax: str = EXPLICIT) -> bytes:
    return commitment.write_request(Request(transaction, tuple(Reference(CT, uid) for uid in uids)), syntax)


def test_who_stays_gets_the_answer_on_the_same_association(node):
    with Sender(node.port, [OFFER, COMMITMENT]) as sender:
        sender.longest_request = 10_000
        assert sender.send(instance(1))[0] == 0
        assert sender.ask(COMMITMENT, action(), request("1.2.3.9.1", "1.2.3.9.2")) == (0, "")
        assert sender.send(instance(3))[0] == 0, "what comes in between is taken"
        message = sender.wait_for_request(5)
        assert message is not None and message.command.type_id == commitment.SOME_FAILED
        assert (message.command.sop_class, message.command.sop_uid) == (PUSH_MODEL, PUSH_MODEL_INSTANCE)
        told = commitment.read_report(message.dataset, EXPLICIT)
        assert told == Report("2.25.5", (Reference(CT, "1.2.3.9.1"),), ((Reference(CT, "1.2.3.9.2"), 0x0112),))
        sender.respond(message, 0)
        assert wait_until(lambda: node.rows("select state from commitments") == [{"state": "reported"}])
        assert sender.send(instance(4))[0] == 0, "the association goes on"
    (told_event,) = node.events("commitment.reported")
    assert (told_event["committed"], told_event["failed"]) == (1, {"0x0112": 1})


@pytest.mark.parametrize("syntax", commitment.TRANSFER_SYNTAXES[:2])
def test_a_request_is_durable_before_it_is_answered_and_waits_for_the_send_loop(node, syntax):
    offer = (PUSH_MODEL, syntax)
    with Sender(node.port, [offer]) as sender:
        assert sender.ask(offer, action(), request("1.2.3.9.1", syntax=syntax))[0] == 0
        assert node.rows("select peer, transaction_uid, state, attempts from commitments") == [
            {"peer": "sender", "transaction_uid": "2.25.5", "state": "due", "attempts": 0}
        ]
    assert node.events("commitment.asked")[0]["instances"] == 1


def test_an_answer_that_the_peer_refuses_or_leaves_is_due_again(node, monkeypatch):
    monkeypatch.setattr(promises, "QUIET", 0.1)
    for number, ending in enumerate(("refuse", "leave")):
        with Sender(node.port, [COMMITMENT]) as sender:
            sender.longest_request = 10_000
            sender.ask(COMMITMENT, action(), request("1.2.3.9.1", transaction=f"2.25.{number}"))
            message = sender.wait_for_request(5)
            assert message is not None
            if ending == "refuse":
                sender.respond(message, 0x0110)
        where = f"select state, attempts from commitments where transaction_uid = '2.25.{number}'"
        assert wait_until(lambda w=where: node.rows(w) == [{"state": "due", "attempts": 1}]), ending
    assert len(node.events("commitment.retried")) == 2


def test_the_same_request_again_makes_no_second_row_and_another_under_its_uid_is_refused(node):
    with Sender(node.port, [COMMITMENT]) as sender:
        assert sender.ask(COMMITMENT, action(), request("1.2.3.9.1"))[0] == 0
        assert sender.ask(COMMITMENT, action(), request("1.2.3.9.1"))[0] == 0
        assert sender.ask(COMMITMENT, action(), request("1.2.3.9.2"))[0] == 0x0115
    assert node.rows("select count(*) as n from commitments") == [{"n": 1}]


@pytest.mark.parametrize(
    ("command", "dataset", "status"),
    [
        (action(2), request("1.2"), 0x0123),
        (action(sop_class=CT), request("1.2"), 0x0118),
        (action(sop_uid="1.2.3"), request("1.2"), 0x0112),
        (event(3), request("1.2"), 0x0113),
        (action(), b"", 0x0115),
        (action(), b"\xff" * 500, 0x0115),
        (action(), request("1.2")[:-5], 0x0115),
        (action(), request(), 0x0115),
        (action(), struct.pack("<HH2s2xL", 8, 0x1199, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 50_000, 0x0115),
        (action(), bytes(commitment.LONGEST_DATASET + 1), 0x0213),
        (event(), b"\0" * 100, 0x0115),
        (event(), request("1.2", transaction="2.25.404"), 0x0115),
        (event(2), request("1.2", transaction="../../x"), 0x0115),
    ],
    ids=["action type", "class", "instance", "event type", "empty", "noise", "cut", "no instance", "deep", "huge",
         "zeros", "unknown transaction", "no uid"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_is_no_request_is_answered_with_its_status_and_is_on_record(node, command, dataset, status):
    with Sender(node.port, [OFFER, COMMITMENT]) as sender:
        assert sender.ask(COMMITMENT, command, dataset)[0] == status
        assert sender.ask(COMMITMENT, action(), request("1.2.3.9.1"))[0] == 0, "the association goes on"
    assert node.rows("select count(*) as n from commitments") == [{"n": 1}]
    (refused,) = node.events("commitment.refused")
    assert f"0x{status:04X}" in refused["reason"]


def test_an_action_without_a_dataset_is_answered(node):
    bare = dimse.action_request(1, PUSH_MODEL, PUSH_MODEL_INSTANCE, 1)
    bare = bare.replace(struct.pack("<HHLH", 0, 0x0800, 2, 0), struct.pack("<HHLH", 0, 0x0800, 2, 0x0101))
    with Sender(node.port, [COMMITMENT]) as sender:
        sender._next_id()
        assert sender.command(bare, COMMITMENT)[0] == 0x0115


def test_an_action_on_a_storage_context_and_a_store_on_this_one_are_refused(node):
    with Sender(node.port, [OFFER, COMMITMENT]) as sender:
        assert sender.ask(OFFER, action(), request("1.2"))[0] == 0x0211
        assert sender.send(instance(), offer=COMMITMENT)[0] == 0x0122


def test_a_peer_without_the_right_is_not_offered_the_service(tmp_path):
    with listening(tmp_path, may=("echo", "store")) as node, Sender(node.port, [OFFER, COMMITMENT]) as sender:
        assert (sender.takes(OFFER), sender.takes(COMMITMENT)) == (True, False)


@pytest.mark.parametrize(
    ("may", "asks", "command", "status"),
    [(("commit",), "none", event(), 0x0124), (("echo",), "ask", action(), 0x0124), (("commit",), "none", action(), 0)],
)
def test_a_peer_may_ask_or_answer_only_what_it_has_the_right_to(tmp_path, may, asks, command, status):
    with (
        listening(tmp_path, may=may, each={"commitment": asks}) as node,
        Sender(node.port, [COMMITMENT]) as sender,
    ):
        assert sender.takes(COMMITMENT)
        assert sender.ask(COMMITMENT, command, request("1.2"))[0] == status


def test_a_database_that_is_away_is_a_failure_and_the_peer_may_ask_again(node, monkeypatch):
    def away(*_: object) -> None:
        raise TryAgain("the database does not take the write")

    with Sender(node.port, [COMMITMENT]) as sender:
        with monkeypatch.context() as patched:
            patched.setattr(Store, "add_commitment", away)
            assert sender.ask(COMMITMENT, action(), request("1.2"))[0] == 0x0110
        assert sender.ask(COMMITMENT, action(), request("1.2"))[0] == 0


def test_a_listener_that_starts_gives_back_what_a_former_one_was_answering(tmp_path):
    with listening(tmp_path, may=ALL) as node, Sender(node.port, [COMMITMENT]) as sender:
        sender.ask(COMMITMENT, action(), request("1.2.3.9.1"))
        key = node.rows("select id from commitments")[0]["id"]
        assert node.store.claim_commitment("receive", "sender", 1000, key) is not None
    with listening(tmp_path, may=ALL) as node:
        assert node.rows("select state from commitments") == [{"state": "due"}]


def test_a_response_to_nothing_is_passed_over(node):
    with Sender(node.port, [OFFER, COMMITMENT]) as sender:
        asked = dimse.read_command(event()(7))
        sender._send_command(sender._contexts[COMMITMENT], dimse.response(asked, 0))
        assert sender.send(instance())[0] == 0


def test_only_syntaxes_without_compression_are_taken_for_it(node):
    deflated, implicit = (PUSH_MODEL, "1.2.840.10008.1.2.1.99"), (PUSH_MODEL, IMPLICIT)
    with Sender(node.port, [deflated, implicit]) as sender:
        assert (sender.takes(deflated), sender.takes(implicit)) == (False, True)


@pytest.mark.parametrize(
    ("may", "asks", "taken"),
    [(("commit",), "none", False), (("echo",), "ask", True), (("commit",), "ask", True)],
)
def test_a_peer_may_call_as_scp_only_where_we_ask_it(tmp_path, may, asks, taken):
    with listening(tmp_path, may=may, each={"commitment": asks}) as node:
        us = Node(**{"ae-title": "SENDER", "acse-timeout": 5})
        there = Peer(**{"name": "node", "ae-title": "OVERREAD", "host": "127.0.0.1", "port": node.port})
        with Requestor(us, there, [COMMITMENT], as_scp=PUSH_MODEL) as association:
            assert association.takes(COMMITMENT) == taken
