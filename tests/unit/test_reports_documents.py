"""Received reports become labels, key object selections and verified reports become reviews; each is read once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from node.close import Close
from node.config import Config
from node.counting import Counting
from node.errors import GiveUp
from node.part10 import file_head
from node.queries import Queries
from node.reports import content
from node.reports.documents import Reading
from node.routes import Routes
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock
from tests.reported import (
    ABSENT,
    EFFUSION,
    FINDING,
    INTEREST,
    KEY_OBJECTS,
    PRESENT,
    REJECTED,
    REPORT,
    document,
    item,
    key_objects,
)
from tests.senders import EXPLICIT, encode

OURS = "1.2.3.7.1"
FINDINGS = {"60046008^SCT": "effusion"}
PEER = {"name": "ris", "ae-title": "RIS", "host": "127.0.0.1", "port": 104, "may": ("store", "label", "review")}
CONFIG = Config(**{"peer": (PEER,), "documents": {"findings": FINDINGS}})


def found(made: Dataset) -> dict[str, bool]:
    return content.labels_of(content.document_of(made), FINDINGS)


def test_a_finding_is_there_when_it_is_named_and_not_when_it_is_denied() -> None:
    assert found(document(item("CODE", FINDING, EFFUSION))) == {"effusion": True}
    group = item("CONTAINER", ("125007", "DCM"), None, item("CODE", FINDING, EFFUSION), item("CODE", ("705057003", "SCT"), ABSENT))
    assert found(document(group)) == {"effusion": False}
    assert found(document(item("CODE", FINDING, EFFUSION, item("CODE", ("X", "99Y"), ABSENT)))) == {"effusion": False}
    assert found(document(group, item("CODE", FINDING, EFFUSION))) == {"effusion": True}


def test_a_finding_that_is_asked_for_is_what_the_answer_says() -> None:
    assert found(document(item("CODE", EFFUSION, PRESENT))) == {"effusion": True}
    assert found(document(item("CODE", EFFUSION, ABSENT))) == {"effusion": False}
    assert found(document(item("CODE", EFFUSION, ("82334004", "SCT")))) == {}, "indeterminate is neither"


def test_other_codes_and_free_text_say_nothing() -> None:
    assert found(document(item("CODE", ("121049", "DCM"), EFFUSION), item("CODE", FINDING, ("36118008", "SCT")))) == {}
    assert found(document(item("TEXT", FINDING, "60046008 SCT effusion"))) == {}


class House:
    """A study with a result of ours, and what its PACS stores with us afterwards."""

    def __init__(self, store: Store, queries: Queries, spool: Spool, arrivals: Arrivals) -> None:
        self.store, self.queries, self.spool, self.arrivals = store, queries, spool, arrivals
        arrivals.add(1)
        arrivals.close(queries)
        job = store.claim_job("w", 30)
        assert job is not None
        files = tuple(OutputFile(f"1.2.3.7.{number}", self._write(f"results/{number}", self.report()), "d", 1) for number in (1, 2))
        assert store.finish_job(job, [NewOutput("report", "1.2.3.7", "1.2", files)], JobResult("s", "d", {}, {}, {}))
        self.reviews: list[tuple[Any, ...]] = []
        self.reading = Reading(CONFIG, store, spool, lambda *words: self.reviews.append(words))

    @staticmethod
    def report(*more: Dataset, **changes: Any) -> Dataset:
        return document(item("CODE", FINDING, EFFUSION), item("NUM", ("118565006", "SCT"), "12.5"), *more, **changes)

    def _write(self, path: str, made: Dataset | bytes, syntax: str = EXPLICIT) -> str:
        data = made if isinstance(made, bytes) else file_head(
            made.SOPClassUID, made.SOPInstanceUID, syntax, "RIS") + encode(made, syntax)  # fmt: skip
        (self.spool.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.spool.root / path).write_bytes(data)
        return path

    def receive(self, made: Dataset, data: bytes | None = None, syntax: str = EXPLICIT, **other: Any) -> list[str]:
        name = hashlib.sha256(made.SOPInstanceUID.encode()).hexdigest()
        path = self._write(f"studies/{name}.dcm", made if data is None else data, syntax)
        return self.store.add_instances([self.arrivals.one(88, **{
            "digest": name, "sop_uid": made.SOPInstanceUID, "sop_class": made.SOPClassUID, "path": path, "peer": "ris", **other})])  # fmt: skip

    def read(self, made: Dataset, **other: Any) -> list[tuple[Any, ...]]:
        """(SOP Instance UID, verdict) of the reviews that come of it."""
        self.receive(made, **other)
        self.reading.look()
        told, self.reviews[:] = [review[:2] for review in self.reviews], []
        return told

    def labels(self) -> list[tuple[str, bool]]:
        return [(e.body["finding"], e.body["value"]) for e in self.queries.events("study/1.2.3") if e.type == "label.added"]

    def told(self) -> list[dict[str, Any]]:
        return [dict(e.body) for e in self.queries.events("study/1.2.3") if e.type == "document.read"]


@pytest.fixture
def house(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals) -> House:
    return House(store, queries, spool, arrivals)


def test_a_document_of_a_closed_study_begins_no_revision(house: House) -> None:
    assert house.receive(document()) == ["beside"] and house.receive(document(), digest="f" * 64) == ["beside"]
    study = house.queries.study("1.2.3")
    assert study is not None and (study["state"], study["revision"], study["instances"]) == ("ready", 1, 2)
    assert house.queries.open_studies() == [] and house.queries.standing(1).superseded is None
    assert house.arrivals.add(2) == ["late"]
    assert house.store.add_instances([house.arrivals.one(3, sop_class=KEY_OBJECTS)]) == ["new"], "an open one takes it in"


def test_a_study_of_documents_alone_runs_nothing(
    store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock
) -> None:
    route = {"name": "all", "pipelines": ["ct-lung"], "quiet-time": 0}
    routes = Routes(Config(**{"route": [route]}), ("ct-lung",))
    path = spool.root / "studies" / "1.dcm"
    for made in (document(), key_objects(INTEREST)):
        path.write_bytes(file_head(made.SOPClassUID, made.SOPInstanceUID, EXPLICIT, "RIS") + encode(made))
        arrivals.add(1, sop_class=made.SOPClassUID, sop_uid=made.SOPInstanceUID, path="studies/1.dcm", modality="SR")
    store.end_open_associations()
    clock.tick(700)
    assert Close(store, queries, spool, routes, Counting(Config())).look(queries.open_studies()[0])
    [closed] = [event for event in queries.events("study/1.2.3") if event.type == "study.closed"]
    assert "only reports and key objects" in closed.body["refused"] and store.claim_job("w", 30) is None


def test_a_report_is_a_label_once_and_nothing_of_the_patient_is_told(house: House) -> None:
    house.read(document(item("CODE", FINDING, EFFUSION)))
    house.reading.look()
    Reading(CONFIG, house.store, house.spool, None).look()
    assert house.labels() == [("effusion", True)] and len(house.told()) == 1
    assert "SECRET" not in str(house.queries.events()) and "Secret" not in str(house.queries.events())


@pytest.mark.parametrize(
    "made",
    [document(item("CODE", FINDING, EFFUSION), CompletionFlag="PARTIAL"), document(item("CODE", FINDING, EFFUSION), PreliminaryFlag="PRELIMINARY"),
     document(item("CODE", FINDING, EFFUSION), item("CODE", ("121005", "DCM"), ("121007", "DCM")))],
)  # fmt: skip
def test_a_report_that_is_not_final_or_made_by_a_device_is_no_label(house: House, made: Dataset) -> None:
    house.read(made)
    assert house.labels() == [] and house.told() == [{"sop_uid": "1.2.3.88", "labels": 0, "reviews": 0}]


def test_what_comes_from_peers_without_the_right_or_is_ours_is_not_read(house: House) -> None:
    house.read(document(item("CODE", FINDING, EFFUSION)), peer="modality")
    house.read(document(item("CODE", FINDING, EFFUSION), uid="1.2.3.89"), ours=True)
    house.read(document(item("CODE", FINDING, EFFUSION), uid=OURS))
    assert house.labels() == [] and [one["sop_uid"] for one in house.told()] == ["1.2.3.89"]


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (key_objects(REJECTED, OURS, "1.2.3.7.2"), "rejected"), (key_objects(INTEREST, OURS), "accepted"), (key_objects(REPORT, OURS), None),
        (key_objects(REJECTED, "1.2.3.9"), None), (document(item("CODE", FINDING, REJECTED), item("COMPOSITE", FINDING, OURS)), "rejected"),
        (House.report(follows=(OURS,)), None), (House.report(follows=(OURS,), VerificationFlag="VERIFIED"), "accepted"),
        (document(item("CODE", FINDING, EFFUSION), follows=(OURS,), VerificationFlag="VERIFIED"), "changed"),
        (document(VerificationFlag="VERIFIED"), None),
    ],
)  # fmt: skip
def test_verdicts_on_our_results(house: House, made: Dataset, verdict: str | None) -> None:
    assert house.read(made) == ([] if verdict is None else [(OURS, verdict)]), "one for each result, whatever it refers to"
    assert house.told()[0]["reviews"] == (verdict is not None)


def test_a_verified_successor_counts_also_when_it_still_says_that_we_contributed(house: House) -> None:
    assert house.read(House.report(follows=(OURS,), VerificationFlag="VERIFIED"), ours=True) == [(OURS, "accepted")]


def test_a_review_names_the_peer_the_document_and_when_it_came(house: House) -> None:
    house.receive(key_objects(REJECTED, OURS))
    house.reading.look()
    assert house.reviews == [(OURS, "rejected", "peer/ris", "document 1.2.3.59: 113001^DCM", "dicom", house.store.clock())]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"no file", "not a DICOM file"), (file_head("1.2", "1.2", EXPLICIT, "A") + b"\x08\0\x16\0SQ\0\0\xff\xff\xff", "cannot be read"),
     (file_head("1.2", "1.2", "1.2.840.10008.1.2.1.99", "A") + bytes(20), "transfer syntax"),
     (file_head("1.2", "1.2", EXPLICIT, "A") + bytes(content.LARGEST), "larger")],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_holds_up_nothing(house: House, data: bytes, reason: str) -> None:
    house.receive(document(), data)
    house.read(document(item("CODE", FINDING, EFFUSION), uid="1.2.3.90"))
    assert reason in house.told()[0]["reason"] and "studies/" not in house.told()[0]["reason"] and house.labels() == [("effusion", True)]


def test_content_without_end_is_refused() -> None:
    deep = item("CONTAINER", REPORT)
    for _ in range(content.DEEPEST):
        deep = item("CONTAINER", REPORT, None, deep)
    with pytest.raises(GiveUp, match="nested"):
        content.document_of(document(deep))
    with pytest.raises(GiveUp, match="items"):
        content.document_of(document(*[item("TEXT", FINDING, "x")] * content.MOST_ITEMS))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_break_the_reading(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    made = bytearray(encode(House.report(follows=(OURS,))))
    for _ in range(data.draw(st.integers(1, 8))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    path: Path = tmp_path_factory.getbasetemp() / "mutated.dcm"
    path.write_bytes(file_head("1.2", "1.2", EXPLICIT, "A") + made)
    try:
        content.labels_of(content.read(path), FINDINGS)
    except GiveUp as error:
        assert "\n" not in str(error)
