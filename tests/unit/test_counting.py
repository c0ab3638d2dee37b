"""What other peers count as evidence: asked beside the closing loop, believed only as far as it goes."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from node import counting
from node.close import PATIENCE, Close, evidence
from node.config import Config
from node.counting import Count, Counting
from node.errors import GiveUp, TryAgain
from node.queries import OpenStudy, Queries
from node.routes import Plan, Routes
from node.sections import Node, Peer, Route
from node.spool import Spool
from node.store import Store
from tests.conftest import Arrivals, Clock
from tests.nodes import wait_until
from tests.unit.test_close import _file

STUDY = OpenStudy(
    1, "1.2.3", 1, first_received_at=100, last_received_at=110, open_associations=0, last_association="released"
)
PLAN = Plan((), quiet_time=5, longest_wait=60, answers=(), count_from=("pacs",))
QUIET = "association released, then quiet for 5 s"


def said(instances: int | None, about: float = 110, reason: str = "", peer: str = "pacs") -> Count:
    return Count(peer, instances, reason, about)


@pytest.mark.parametrize(
    ("counts", "now", "reason"),
    [
        ([said(40)], 110.9, None), ([said(40)], 111, "all 40 instances are here that pacs counts"),
        ([said(64)], 116, None), ([said(64)], 160, "longest wait of 60 s is over (0 associations still open; holds 40 of 64 that pacs counts)"),
        ([said(64, about=105)], 116, None), ([said(40, about=105)], 116, None),
        ([said(40, about=105)], 115 + PATIENCE, QUIET + " (pacs counts 40, here are 40)"),
        ([said(30)], 114.9, None), ([said(30)], 116, QUIET + " (pacs counts 30, here are 40)"),
        ([Count("pacs")], 116, None), ([said(None, reason="away")], 116, QUIET + " (pacs does not say how many there are)"),
        ([said(64, reason="away")], 116, None), ([said(40, reason="away")], 116, QUIET + " (pacs does not say how many there are)"),
        ([said(40), said(64, peer="ct")], 116, None), ([said(40), said(12, peer="ct")], 111, "all 40 instances are here that pacs counts"),
        ([said(40), Count("ct")], 111, None), ([], 111, None), ([], 115, QUIET),
    ],
)  # fmt: skip
def test_a_count_is_evidence(counts: list[Count], now: float, reason: str | None) -> None:
    assert evidence(STUDY, PLAN, 40, counts, now) == reason


def test_an_equal_count_does_not_close_a_study_while_its_association_is_open_and_busy() -> None:
    """A PACS that passes on each image as it comes counts what we hold at any time."""
    study = dataclasses.replace(STUDY, open_associations=1)
    assert evidence(study, PLAN, 40, [said(40)], 114.9) is None
    assert evidence(study, PLAN, 40, [said(40)], 115) == "all 40 instances are here that pacs counts"


@pytest.mark.parametrize(
    ("allowed", "now", "reason"),
    [
        ({"count", "quiet"}, 116, QUIET), ({"commitment"}, 111, "storage commitment asked for by modality"),
        ({"count"}, 116, None), ({"count"}, 160, "longest wait of 60 s is over (0 associations still open)"), (set(), 160, "longest wait of 60 s is over (0 associations still open)"),
    ],
)  # fmt: skip
def test_only_the_evidence_that_is_wanted_counts(allowed: set[str], now: float, reason: str | None) -> None:
    study = dataclasses.replace(STUDY, commitment_by="modality")
    plan = dataclasses.replace(PLAN, evidence=frozenset(allowed), count_from=())
    assert evidence(study, plan, 40, [], now) == reason


# -- who is asked, and when -----------------------------------------------------------------------------------------------

PEERS = tuple(Peer(name=name, ae_title=name.upper(), host="h", port=1) for name in ("pacs", "dead"))
CONFIG = Config(peer=PEERS)


class Archives:
    """What peers answer; `asked` holds (peer, study)."""

    def __init__(self) -> None:
        self.answers: dict[str, int | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.stuck: dict[str, threading.Event] = {}

    def __call__(self, _config: Config, peer: Peer, study_uid: str, _ours: Collection[str]) -> int:
        self.asked.append((peer.name, study_uid))
        if peer.name in self.stuck:
            self.stuck[peer.name].wait(60)
        answer = self.answers.get(peer.name, 3)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def archives() -> Iterator[Archives]:
    archives = Archives()
    yield archives
    for event in archives.stuck.values():
        event.set()


@pytest.fixture
def counts(archives: Archives) -> Iterator[Counting]:
    counts = Counting(CONFIG, archives)
    yield counts
    counts.stop()


def answered(counts: Counting, study: int = 1, peer: str = "pacs") -> Callable[[], Any]:
    return lambda: (counts.of(study, [peer])[0].about >= 0 and counts.of(study, [peer])[0]) or None


def ask(counts: Counting, study: int = 1, about: float = 110, peer: str = "pacs") -> None:
    counts.ask(study, f"1.2.{study}", about, [peer], frozenset)


def test_the_same_is_asked_once_until_something_comes_or_time_passes(
    counts: Counting, archives: Archives, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(counts)
    assert wait_until(answered(counts), 20, "the answer") == said(3)
    ask(counts)
    assert len(archives.asked) == 1
    archives.answers["pacs"] = 5
    ask(counts, about=120)
    wait_until(lambda: counts.of(1, ["pacs"])[0] == said(5, about=120), 20, "the second answer")
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + counting.LONGEST_PAUSE)
    ask(counts, about=120)
    assert len(archives.asked) == 3 or wait_until(lambda: len(archives.asked) == 3, 20, "asked again")


def test_a_peer_that_does_not_answer_holds_up_only_what_it_alone_can_tell(counts: Counting, archives: Archives) -> None:
    archives.stuck["dead"] = threading.Event()
    began = time.monotonic()
    for study in range(50):
        ask(counts, study, peer="dead")
    ask(counts, 99)
    assert time.monotonic() - began < 5
    assert wait_until(answered(counts, 99), 20, "the other's answer").instances == 3
    assert counts.of(7, ["dead"]) == (Count("dead"),)
    assert archives.asked.count(("dead", "1.2.0")) == 1 and len(archives.asked) == 2, "one question at a time"


def test_a_peer_that_is_away_is_found_out_once_and_not_for_every_study(counts: Counting, archives: Archives) -> None:
    archives.answers["dead"] = TryAgain("dead cannot be reached")
    for study in range(20):
        ask(counts, study, peer="dead")
    for study in range(20):
        assert wait_until(answered(counts, study, "dead"), 20, "an answer") == said(
            None, reason="dead cannot be reached", peer="dead"
        )
    assert len(archives.asked) == 1
    ask(counts, 77, peer="dead")
    assert counts.of(77, ["dead"])[0].reason == "dead cannot be reached" and len(archives.asked) == 1


@pytest.mark.parametrize(
    "error", [GiveUp("no queries here"), ZeroDivisionError("1.2.3 SECRET")], ids=["refused", "defect"]
)
def test_what_goes_wrong_is_a_reason_and_keeps_what_was_said_before(
    counts: Counting, archives: Archives, error: Exception
) -> None:
    ask(counts)
    wait_until(answered(counts), 20, "the answer")
    archives.answers["pacs"] = error
    ask(counts, about=120)
    count = wait_until(lambda: (found := counts.of(1, ["pacs"])[0]).about == 120 and found, 20, "the failure")
    assert count.instances == 3 and count.reason and "SECRET" not in count.reason


def test_a_closed_study_is_forgotten(counts: Counting, archives: Archives) -> None:
    ask(counts)
    wait_until(answered(counts), 20, "the answer")
    counts.forget_all_but([2])
    assert counts.of(1, ["pacs"]) == (Count("pacs"),)


# -- in the closing loop ---------------------------------------------------------------------------------------------------


def test_a_study_waits_for_what_is_counted_and_closes_at_once_when_it_is_here(
    store: Store, queries: Queries, arrivals: Arrivals, spool: Spool, clock: Clock, archives: Archives
) -> None:
    modality = Peer(name="modality", ae_title="M", host="h", port=1, count_from="pacs")
    route = Route(name="chest", match={"Modality": "CT"}, pipelines=("ct-lung",))
    config = Config(node=Node(quiet_time=5, longest_wait=600), peer=(modality, *PEERS), route=(route,))
    counting_ = Counting(config, archives)
    close = Close(store, queries, spool, Routes(config, ["ct-lung"]), counting_)

    def look() -> bool:
        [study] = queries.open_studies()
        if close.look(study):
            return True
        wait_until(lambda: counting_.of(study.id, ["pacs"])[0].about == study.last_received_at, 20, "a count")
        return close.look(study)

    arrivals.add(1, path=_file(spool, 1))
    arrivals.store.end_association(arrivals.association, "released")
    clock.tick(60)
    assert not look(), "3 are counted, 1 is here"
    arrivals.add(2, 3, path=_file(spool, 2))
    clock.tick(1.5)
    assert look()
    study = queries.study("1.2.3")
    assert study is not None
    assert study["reason"] == "all 3 instances are here that pacs counts"
    counting_.stop()


def test_series_of_ours_are_told_to_whoever_counts(
    store: Store, queries: Queries, arrivals: Arrivals, tmp_path: Path
) -> None:
    from node.store import JobResult, NewOutput, OutputFile

    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    made = NewOutput("report", "1.9", "1.2", (OutputFile("1.9.1", "results/a", "d", 1),))
    store.finish_job(job, [made], JobResult("s", "d", {}, {}, {}))
    store.add_instances([arrivals.one(7, series_uid="1.8", ours=True)])
    assert queries.our_series(job.study_id) == {"1.9", "1.8"}
