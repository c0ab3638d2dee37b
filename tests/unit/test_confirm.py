"""The send loop's part of storage commitment: when it goes on and when it gives up, and answers that cross requests."""

from __future__ import annotations

import socket
import threading

import pytest

from node import commitment as datasets
from node import confirm, dimse, pdu_guard
from node.commitment import EXPLICIT, PUSH_MODEL, PUSH_MODEL_INSTANCE, Reference, Report, Request
from node.config import Config
from node.errors import GiveUp, TryAgain
from node.peers import commitment
from node.queries import Queries
from node.receive import negotiation
from node.sections import Node, Peer, Send
from node.spool import Spool
from node.store import Store
from tests.conftest import Arrivals, Clock

A = Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3.1.1")
PACS = Peer(name="modality", ae_title="PACS", host="127.0.0.1", port=1, may=("commit",), commitment="ask")
CONFIG = Config(node=Node(), send=Send(attempts=2, retry_after=10), peer=(PACS,))


def state(store: Store, table: str) -> tuple[str, str]:
    with store.engine.connect() as connection:
        row = connection.exec_driver_sql(f"select state, reason from {table}").one()
    return row.state, row.reason


@pytest.mark.parametrize(
    ("error", "states"),
    [(TryAgain("away"), [("due", "away"), ("failed", "away (2 attempts)")]), (GiveUp("no"), [("failed", "no")])],
    ids=["away", "refused"],
)
def test_an_answer_is_told_again_so_often_and_no_more(
    store: Store,
    spool: Spool,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    states: list[tuple[str, str]],
) -> None:
    def report(*_: object) -> None:
        raise error

    monkeypatch.setattr(commitment, "report", report)
    store.add_commitment("modality", Request("2.25.1", (A,)), clock())
    for wanted in states:
        assert confirm.step(CONFIG, PACS, store, spool, "send")
        assert state(store, "commitments") == wanted
        clock.tick(20)
    assert not confirm.step(CONFIG, PACS, store, spool, "send")


@pytest.mark.parametrize(
    ("error", "states"),
    [(TryAgain("away"), [("due", "away"), ("unasked", "away (2 attempts)")]), (GiveUp("no"), [("unasked", "no")])],
    ids=["away", "refused"],
)
def test_a_peer_is_asked_again_so_often_and_no_more(
    arrivals: Arrivals, store: Store, queries: Queries, spool: Spool, clock: Clock, monkeypatch: pytest.MonkeyPatch,
    error: Exception, states: list[tuple[str, str]],
) -> None:  # fmt: skip
    from tests.unit.test_store_commitment import CT, FILES, JobResult, NewOutput, deliver

    def ask(*_: object) -> None:
        raise error

    monkeypatch.setattr(commitment, "ask", ask)
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("heatmap", "1.9", CT, FILES)], JobResult("s", "d", {}, {}, {}))
    deliver(store)
    pacs = PACS.model_copy(update={"name": "pacs"})
    for wanted in states:
        assert confirm.step(CONFIG, pacs, store, spool, "send")
        assert state(store, "askings") == wanted
        clock.tick(20)
    assert not confirm.step(CONFIG, pacs, store, spool, "send")


def _pdu(*values: tuple[int, bytes]) -> bytes:
    """One P-DATA-TF that holds several presentation data values: (control header, data)."""
    body = b"".join((len(data) + 2).to_bytes(4, "big") + bytes((1, control)) + data for control, data in values)
    return b"\x04\0" + len(body).to_bytes(4, "big") + body


def test_an_answer_that_comes_before_the_response_and_in_one_pdu_with_it_is_taken() -> None:
    responses: list[dimse.Command] = []
    foreign = Report("2.25.404", (A,))

    def serve(server: socket.socket) -> None:
        sock, _ = server.accept()
        with sock:
            reader = pdu_guard.PduReader(sock, 65536, 5)
            _, body = reader.read(5)
            sock.sendall(negotiation.accept(negotiation.read_request(body), {"commit"}, 16384)[0])
            for _ in range(2):  # the command and the dataset of the N-ACTION
                reader.read(5)
            report = (dimse.COMMAND | dimse.LAST, dimse.event_report_request(1, PUSH_MODEL, PUSH_MODEL_INSTANCE, 1))
            action = dimse.Command(dimse.N_ACTION_RQ, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE, True, type_id=1)
            sock.sendall(_pdu(
                report, (dimse.LAST, datasets.write_report(foreign, EXPLICIT)),
                report, (dimse.LAST, datasets.write_report(Report("2.25.1", (A,)), EXPLICIT)),
                (dimse.COMMAND | dimse.LAST, dimse.response(action, 0)),
            ))  # fmt: skip
            for _ in range(2):
                (fragment,) = dimse.fragments(reader.read(5)[1])
                responses.append(dimse.read_command(fragment.data.tobytes()))

    taken: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        peer = PACS.model_copy(update={"port": server.getsockname()[1]})
        commitment.ask(
            CONFIG, peer, Request("2.25.1", (A,)), 5,
            lambda: taken.append("asked"), lambda told: taken.append(told.transaction_uid),
        )  # fmt: skip
        thread.join(10)
    assert taken == ["asked", "2.25.1"]
    assert [response.status for response in responses] == [dimse.INVALID_ARGUMENT_VALUE, dimse.SUCCESS]
