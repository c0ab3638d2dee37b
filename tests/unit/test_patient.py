"""When two objects say that they are of different patients."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pipelines.patient import contradictions, disagreement, patient_of
from pipelines.study import NotAStudy, Study, read_patient
from tests import builders

DOE = {"PatientID": "1", "PatientName": "Doe^John", "PatientBirthDate": "19700101", "PatientSex": "M"}


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({}, ()), ({"PatientName": "DOE^JOHN^^^"}, ()), ({"PatientName": "Doe  John"}, ()), ({"PatientSex": None}, ()),
        ({"PatientName": "Doe^John=Doe^J"}, ()), ({"PatientName": "=山田^太郎"}, ("PatientName",)),
        ({"PatientName": "Doe^Jane"}, ("PatientName",)), ({"PatientID": "2"}, ("PatientID",)),
        ({"PatientBirthDate": "19700102", "PatientSex": "F"}, ("PatientBirthDate", "PatientSex")),
        ({"IssuerOfPatientID": "HOSPITAL"}, ()),
    ],
)  # fmt: skip
def test_what_both_say_and_say_differently_is_a_contradiction(
    changes: dict[str, str | None], differing: tuple[str, ...]
) -> None:
    other = {keyword: value for keyword, value in (DOE | changes).items() if value is not None}
    assert contradictions(DOE, other) == contradictions(other, DOE) == differing
    assert disagreement([DOE, DOE, other]) == differing


def test_the_same_number_of_two_issuers_is_two_patients() -> None:
    one, other = DOE | {"IssuerOfPatientID": "A"}, DOE | {"IssuerOfPatientID": "B"}
    assert disagreement([DOE, one, other]) == ("IssuerOfPatientID",)


def test_a_name_is_compared_group_by_group_in_its_own_character_set() -> None:
    made = Dataset()
    made.SpecificCharacterSet, made.PatientName = "ISO_IR 192", "Yamada^Tarou=山田^太郎"
    alone = {"PatientName": "YAMADA^TAROU"}
    assert contradictions(patient_of(made), alone) == ()
    assert contradictions(patient_of(made), {"PatientName": "Yamada^Tarou=山田^花子"}) == ("PatientName",)


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"])
def test_nothing_is_made_of_a_study_that_names_two_patients(tmp_path: Path, keyword: str) -> None:
    values = {"PatientBirthDate": ("19700101", "19800101"), "PatientSex": ("M", "F")}
    ours, theirs = values.get(keyword, ("SECRET1", "SECRET2"))
    paths = builders.axial(tmp_path, **{keyword: ours})
    builders.rewritten(paths[2], **{keyword: theirs})
    with pytest.raises(NotAStudy) as caught:
        Study.from_files(paths)
    assert f"more than one patient ({keyword} differ)" in str(caught.value) and "SECRET" not in str(caught.value)


def test_the_patient_of_a_file_is_read_without_the_rest_and_a_broken_file_is_told(tmp_path: Path) -> None:
    path, *_ = builders.axial(tmp_path, PatientName="Doe^John", PatientID="1", PatientBirthDate="19700101")
    assert read_patient(path) == DOE | {"PatientSex": "O"}
    with pytest.raises(NotAStudy, match="cannot be read"):
        read_patient(tmp_path / "none.dcm")
