"""The send loop with a peer whose answers the test writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node import peers, send
from node.config import Config
from node.errors import TryAgain
from node.queries import Queries
from node.sections import Node, Peer, Route, Send
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock

FILES = tuple(OutputFile(f"1.9.{number}", f"results/{number}", "d", 1) for number in range(3))
PACS = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
ROUTE = Route(name="r", pipelines=("ct-lung",), send_to=("pacs", "archive"))
CONFIG = Config(node=Node(), send=Send(attempts=2, retry_after=10), peer=(PACS, PACS.model_copy(update={"name": "archive"})),
                route=(ROUTE,))  # fmt: skip


class Pacs:
    """Answers by number of the instance: a status, or an exception that breaks the association there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: dict[str, int | Exception] = {}
        self.sent: list[str] = []
        monkeypatch.setattr(peers, "store", self.store)

    def store(self, _config: Config, _peer: Peer, files: Sequence[Path]) -> Iterator[peers.Answer]:
        for path in files:
            uid = f"1.9.{path.name}"
            says = self.says.get(uid, 0)
            if isinstance(says, Exception):
                raise says
            self.sent.append(uid)
            final, stored = says in (0, 0xB000, 0xC000), says in (0, 0xB000)
            yield peers.Answer(path, uid, says, f"status 0x{says:04X}", stored, final)


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> Pacs:
    return Pacs(monkeypatch)


@pytest.fixture(autouse=True)
def due(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("heatmap", "1.9", "1.2", FILES)], JobResult("s", "d", {}, {}, {}))


def _deliver(store: Store, spool: Spool) -> None:
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    send.deliver(CONFIG, PACS, store, spool, delivery)


def _delivery(queries: Queries) -> dict[str, Any]:
    study = queries.study("1.2.3")
    assert study is not None
    return dict(study["jobs"][0]["outputs"][0]["deliveries"][0])


def test_a_delivery_is_done_when_the_peer_stored_every_instance(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs
) -> None:
    pacs.says = {"1.9.1": 0xB000}
    _deliver(store, spool)
    assert (_delivery(queries)["state"], _delivery(queries)["answers"]) == ("delivered", {"0x0000": 2, "0xB000": 1})


def test_a_peer_that_is_away_is_tried_again_with_a_pause_and_then_given_up(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs, clock: Clock
) -> None:
    pacs.says = {"1.9.0": TryAgain("pacs does not answer")}
    _deliver(store, spool)
    assert _delivery(queries)["state"] == "due" and clock() < _delivery(queries)["due_at"] <= clock() + 10
    clock.tick(11)
    _deliver(store, spool)
    assert (_delivery(queries)["state"], _delivery(queries)["reason"]) == (
        "failed",
        "pacs does not answer (2 attempts)",
    )


def test_an_association_that_breaks_in_the_middle_goes_on_where_it_broke(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs, clock: Clock
) -> None:
    pacs.says = {"1.9.2": TryAgain("aborted")}
    _deliver(store, spool)
    pacs.says, pacs.sent = {}, []
    clock.tick(11)
    _deliver(store, spool)
    assert pacs.sent == ["1.9.2"] and _delivery(queries)["state"] == "delivered"


def test_a_busy_peer_is_asked_again_for_the_refused_instance_alone(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs, clock: Clock
) -> None:
    pacs.says = {"1.9.1": 0xA700}
    _deliver(store, spool)
    assert _delivery(queries)["state"] == "due"
    pacs.says, pacs.sent = {}, []
    clock.tick(11)
    _deliver(store, spool)
    assert pacs.sent == ["1.9.1"] and _delivery(queries)["state"] == "delivered"


def test_a_peer_that_refuses_for_good_fails_the_delivery_but_keeps_its_answers(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs
) -> None:
    pacs.says = {"1.9.1": 0xC000}
    _deliver(store, spool)
    assert _delivery(queries)["state"] == "failed" and "0xC000" in _delivery(queries)["reason"]
    assert _delivery(queries)["answers"] == {"0x0000": 2, "0xC000": 1}


def test_a_dead_peer_holds_up_nobody_else(store: Store, spool: Spool, queries: Queries, arrivals: Arrivals, pacs: Pacs,
                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    arrivals.add(1, study="5.5")
    arrivals.close(queries, peers=("archive", "pacs"))
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("report", "1.7", "1.2", FILES)], JobResult("s", "d", {}, {}, {}))
    stuck = threading.Event()

    def per_peer(config: Config, peer: Peer, files: Sequence[Path]) -> Iterator[peers.Answer]:
        if peer.name == "pacs":
            stuck.wait(30)
        yield from pacs.store(config, peer, files)

    monkeypatch.setattr(peers, "store", per_peer)
    stop = threading.Event()
    loop = threading.Thread(target=send.serve, args=(CONFIG, store, spool, stop, "s"))
    loop.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and queries.counts()["deliveries"] != {"delivered": 1, "due": 1, "sending": 1}:
        time.sleep(0.05)
    delivered_beside_it = queries.counts()["deliveries"]
    stop.set()
    stuck.set()
    loop.join(20)
    assert delivered_beside_it.get("delivered") == 1 and delivered_beside_it.get("sending") == 1


def test_a_stop_finishes_the_object_under_way_and_the_rest_waits_without_losing_an_attempt(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs
) -> None:
    stop = threading.Event()
    stop.set()
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    send.deliver(CONFIG, PACS, store, spool, delivery, stop)
    assert pacs.sent == ["1.9.0"]
    waits = _delivery(queries)
    assert (waits["state"], waits["attempts"], waits["reason"]) == ("due", 0, "the node is stopping")
    _deliver(store, spool)
    assert pacs.sent == ["1.9.0", "1.9.1", "1.9.2"] and _delivery(queries)["state"] == "delivered"


def test_a_stop_after_the_last_object_changes_nothing(
    store: Store, spool: Spool, queries: Queries, pacs: Pacs
) -> None:
    class AfterTheLast(threading.Event):
        def is_set(self) -> bool:
            return len(pacs.sent) == 3

    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    send.deliver(CONFIG, PACS, store, spool, delivery, AfterTheLast())
    assert _delivery(queries)["state"] == "delivered"
