from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.close import Close, evidence
from node.config import Config
from node.counting import Counting
from node.part10 import file_head
from node.queries import OpenStudy, Queries
from node.routes import Plan, Routes
from node.sections import Node, Peer, Route
from node.spool import Spool
from node.store import Store
from tests.conftest import Arrivals, Clock
from tests.senders import CT, EXPLICIT, encode

STUDY = OpenStudy(
    1, "1.2.3", 1, first_received_at=100, last_received_at=110, open_associations=0, last_association="released"
)


def _plan(**changes: Any) -> Plan:
    return dataclasses.replace(Plan((), quiet_time=5, longest_wait=60, answers=()), **changes)


@pytest.mark.parametrize(
    ("open_associations", "now", "reason"),
    [
        (0, 114.9, None),
        (0, 115, "association released, then quiet for 5 s"),
        (1, 115, None),
        (1, 159.9, None),
        (1, 160, "longest wait of 60 s is over (1 associations still open)"),
    ],
)
def test_a_study_is_complete_on_evidence(open_associations: int, now: float, reason: str | None) -> None:
    study = dataclasses.replace(STUDY, open_associations=open_associations)
    assert evidence(study, _plan(), 3, (), now) == reason


@pytest.mark.parametrize(("now", "quiet_time", "complete"), [(110.9, 5, False), (111, 5, True), (110.2, 0.2, True)])
def test_a_storage_commitment_request_takes_the_place_of_the_quiet_time(
    now: float, quiet_time: float, complete: bool
) -> None:
    study = dataclasses.replace(STUDY, open_associations=1, commitment_by="modality")
    reason = evidence(study, _plan(quiet_time=quiet_time), 3, (), now)
    assert reason == ("storage commitment asked for by modality" if complete else None)


@pytest.fixture
def close(store: Store, queries: Queries, spool: Spool) -> Close:
    pacs = Peer(name="pacs", ae_title="PACS", host="h", port=1)
    route = Route(name="chest", match={"Modality": "CT"}, pipelines=("ct-lung",), send_to=("pacs",))
    config = Config(node=Node(), peer=(pacs,), route=(route,))
    return Close(store, queries, spool, Routes(config, ["ct-lung"]), Counting(config))


def _file(spool: Spool, number: int, modality: str = "CT") -> str:
    dataset = Dataset()
    dataset.Modality, dataset.SOPInstanceUID = modality, f"1.2.3.1.{number}"
    path: Path = spool.incoming / "x"
    path.write_bytes(file_head(CT, dataset.SOPInstanceUID, EXPLICIT, "SENDER") + encode(dataset))
    return spool.put(path, "1.2.3", f"{number:064x}")


def _look(close: Close, queries: Queries) -> bool:
    return [close.look(study) for study in queries.open_studies()] == [True]


def test_a_study_waits_for_the_association_and_the_quiet_then_gets_its_job(
    close: Close, arrivals: Arrivals, queries: Queries, spool: Spool, clock: Clock
) -> None:
    arrivals.add(1, path=_file(spool, 1))
    clock.tick(100)
    assert not _look(close, queries)
    arrivals.store.end_association(arrivals.association, "released")
    assert _look(close, queries)
    study = queries.study("1.2.3")
    assert study is not None
    assert (study["state"], study["reason"]) == ("ready", "association released, then quiet for 5 s")
    assert [(job["pipeline"], job["peers"]) for job in study["jobs"]] == [("ct-lung", ["pacs"])]


def test_an_instance_that_comes_while_we_wait_starts_the_quiet_time_again(
    close: Close, arrivals: Arrivals, queries: Queries, spool: Spool, clock: Clock
) -> None:
    arrivals.add(1, path=_file(spool, 1))
    arrivals.store.end_association(arrivals.association, "released")
    clock.tick(4)
    arrivals.add(2, path=_file(spool, 2))
    clock.tick(4)
    assert not _look(close, queries)
    clock.tick(1.1)
    assert _look(close, queries)


def test_a_study_that_no_route_takes_is_closed_with_every_routes_reason(
    close: Close, arrivals: Arrivals, queries: Queries, spool: Spool, clock: Clock
) -> None:
    arrivals.add(1, path=_file(spool, 1, "US"), modality="US")
    arrivals.store.end_association(arrivals.association, "released")
    clock.tick(6)
    assert _look(close, queries)
    [closed] = [event for event in queries.events("study/1.2.3") if event.type == "study.closed"]
    assert closed.body["refused"] == "no route takes this study"
    assert closed.body["routes"] == {"chest": "no series matches; the nearest: Modality is 'US', wanted CT"}


def test_nothing_runs_on_a_study_that_mixes_two_patients(
    close: Close, arrivals: Arrivals, queries: Queries, spool: Spool, clock: Clock
) -> None:
    arrivals.add(1, path=_file(spool, 1))
    arrivals.add(2, path=_file(spool, 2), patient_digest=arrivals.store.patient_digest("P2"))
    arrivals.store.end_association(arrivals.association, "released")
    clock.tick(6)
    assert _look(close, queries)
    study = queries.study("1.2.3")
    assert study is not None and study["jobs"] == []
    [closed] = [event for event in queries.events("study/1.2.3") if event.type == "study.closed"]
    assert "more than one PatientID" in closed.body["refused"]


def test_a_study_whose_file_is_gone_is_closed_with_that_reason(
    close: Close, arrivals: Arrivals, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1, path="studies/gone.dcm")
    arrivals.store.end_association(arrivals.association, "released")
    clock.tick(6)
    [study] = queries.open_studies()
    with pytest.raises(FileNotFoundError) as caught:
        close.look(study)
    close.give_up(study, caught.value)
    [closed] = [event for event in queries.events("study/1.2.3") if event.type == "study.closed"]
    assert "cannot be read (FileNotFoundError)" in closed.body["refused"]
