"""Who the patients are stands beside the log: found by accession and PatientID, erased without the log noticing."""

from __future__ import annotations

import pytest

from node.errors import GiveUp
from node.persons import Person, of_headers
from node.queries import Queries
from node.store import Store
from tests.conftest import Arrivals, Clock

ANNA = Person("P1", "HOSPITAL", "Muster^Anna", "A-17", "20260101")


def _close(store: Store, queries: Queries, arrivals: Arrivals, study: str, *persons: Person) -> None:
    arrivals.add(1, study=study)
    one = queries.open_studies()[0]
    assert store.close_study(one.id, one.last_received_at, "enough", [], {}, persons)


def test_a_closed_study_is_found_by_accession_and_patient_and_its_events_name_neither(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    _close(store, queries, arrivals, "1.2.3", ANNA)
    clock.tick(1)
    _close(store, queries, arrivals, "1.2.4", Person("P1", "HOSPITAL", "Muster^Anna", "A-18"), Person("P1", "HOSPITAL", "Muster^Anna", "A-19"))
    _close(store, queries, arrivals, "1.2.5", Person("P2"))
    assert queries.studies_of_accession(" A-17 ") == ["1.2.3"]
    assert queries.studies_of_accession("A-18") == queries.studies_of_accession("A-19") == ["1.2.4"]
    assert queries.studies_of_accession("") == queries.studies_of_accession("A-1%") == []
    assert queries.studies_of_patient("P1") == ["1.2.3", "1.2.4"] and queries.studies_of_patient("") == []
    [closed] = [event for event in queries.events("study/1.2.3") if event.type == "study.closed"]
    assert closed.body["patients"] == [store.patient_digest("P1", "HOSPITAL")]
    text = str(queries.events())
    assert not any(word in text for word in ("Muster", "A-17", "'P1'", "HOSPITAL", "20260101")) and "Muster" not in repr(ANNA)


def test_a_study_that_is_closed_again_with_another_name_has_one_row(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    _close(store, queries, arrivals, "1.2.3", ANNA)
    store.remember_patient("1.2.3", [Person("P1", "HOSPITAL", "Muster^Anne", "A-17", "20260101")])
    assert queries.persons() == 1
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("select name from patients").scalars().all() == ["Muster^Anne"]


def test_an_erased_patient_is_gone_and_the_log_holds(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    _close(store, queries, arrivals, "1.2.3", ANNA)
    _close(store, queries, arrivals, "1.2.4", Person("P2", "", "Other", "B-1"))
    assert store.erase_patient("P1", "Dr. Who", "asked for by letter 12") == 1
    assert queries.studies_of_accession("A-17") == [] and queries.studies_of_accession("B-1") == ["1.2.4"]
    digest = store.patient_digest("P1", "HOSPITAL")
    [event] = queries.events(f"patient/{digest}")
    assert event.type == "patient.erased" and event.body == {
        "digest": digest, "rows": 1, "studies": ["1.2.3"], "by": "Dr. Who", "why": "asked for by letter 12",
    }  # fmt: skip
    assert queries.verify()[1] is None
    for nobody in ("P1", "", "P%"):
        with pytest.raises(GiveUp):
            store.erase_patient(nobody, "x", "y")


def test_headers_give_each_person_once_with_texts_that_a_database_takes() -> None:
    headers = [
        {"PatientID": ("P1",), "PatientName": ("Muster^Anna",), "AccessionNumber": (" A-17 ",)},
        {"PatientID": ("P1",), "PatientName": ("Muster^Anna",), "AccessionNumber": ("A-17",)},
        {"PatientID": ("a\0b",), "IssuerOfPatientID": ("x" * 5000,)},
        {},
    ]  # fmt: skip
    first, second, third = of_headers(headers)
    assert (first.patient_id, first.name, first.accession) == ("P1", "Muster^Anna", "A-17")
    assert second.patient_id == "ab" and len(second.issuer) == 1024 and third == Person("")
