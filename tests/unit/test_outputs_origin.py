from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs import equipment, origin
from tests.results import MAKER, bytes_of, case, written

# name, character sets, as a hospital would send it
NAMES = {
    "German, Latin-1": ("Müller^Jörg^^Dr.", "ISO_IR 100"),
    "German, UTF-8": ("Größe^Änne", "ISO_IR 192"),
    "Japanese, ISO 2022": ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
    "Japanese, UTF-8": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192"),
    "Russian, ISO 8859-5": ("Люкceмбypг", "ISO_IR 144"),
    "Korean, ISO 2022": ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
}


def in_every_output(study) -> list[Dataset]:
    """One object of each output, written and read again."""
    made = case(study).made()
    return [pydicom.dcmread(BytesIO(file)) for name in made for file in bytes_of(made[name][:1])]


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives_into_every_result(tmp_path: Path, kind: str) -> None:
    name, sets = NAMES[kind]
    study = written(tmp_path, shape=(8, 16, 16), PatientName=name, SpecificCharacterSet=sets)
    results = in_every_output(study)
    assert len(results) == 3
    for result in results:
        assert str(result.PatientName) == name
        assert result.get("SpecificCharacterSet") == study.instances[0].header.get("SpecificCharacterSet")
        assert (
            result["PatientName"].value.original_string
            == study.instances[0].header["PatientName"].value.original_string
        )


def test_what_the_source_lacks_is_empty_and_nothing_is_invented(tmp_path: Path) -> None:
    def take_away(dataset: Dataset, index: int) -> None:
        for keyword in (*origin.TYPE_2, "SpecificCharacterSet", "StudyDescription", "PositionReferenceIndicator",
                        "BodyPartExamined", "SliceThickness"):  # fmt: skip
            dataset.pop(keyword, None)

    for result in in_every_output(written(tmp_path, shape=(8, 16, 16), change=take_away)):
        for keyword in origin.TYPE_2:
            assert keyword in result and not result.get(keyword)
        assert "StudyDescription" not in result and "BodyPartExamined" not in result


def test_an_empty_name_and_identity_stay_empty(tmp_path: Path) -> None:
    for result in in_every_output(written(tmp_path, shape=(8, 16, 16), PatientName="", PatientID="", StudyID="")):
        assert "PatientID" in result and result.PatientID in (None, "") and str(result.PatientName or "") == ""


def test_patient_and_study_are_taken_over_unchanged(tmp_path: Path) -> None:
    issuer, code = Dataset(), Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CT1", "99LOCAL", "CT chest"
    told = {"PatientSize": "1.81", "PatientWeight": "80.25", "PatientAge": "056Y", "IssuerOfPatientID": "Clinic",
            "StudyDescription": "CT Thorax nativ", "AccessionNumber": "A1", "ReferringPhysicianName": "Doe^Jane",
            "PatientComments": "x" * 300, "AdmissionID": "77", "ClinicalTrialSubjectID": "S 1"}  # fmt: skip
    study = written(
        tmp_path, shape=(8, 16, 16), IssuerOfPatientIDQualifiersSequence=[issuer], ProcedureCodeSequence=[code], **told
    )
    for result in in_every_output(study):
        for keyword, value in told.items():
            assert str(result.get(keyword)) == value, keyword
        assert result.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3.4"
        assert result.ProcedureCodeSequence[0].CodeValue == "CT1"


def test_optional_values_that_break_the_rules_of_their_vr_are_left_out_and_needed_ones_stay(tmp_path: Path) -> None:
    written(tmp_path, shape=(8, 16, 16), PatientSize="1.81000", PatientAge="056Y", PatientBirthDate="19600101")
    for path in tmp_path.glob("*.dcm"):  # scanners send such things; pydicom would not write them
        data = path.read_bytes()
        path.write_bytes(
            data.replace(b"1.81000 ", b"1,81 m  ").replace(b"056Y", b"56 Y").replace(b"19600101", b"1.1.1960")
        )
    study = type(written(tmp_path / "other", shape=(8, 16, 16))).from_files(sorted(tmp_path.glob("*.dcm")))
    for result in in_every_output(study):
        assert "PatientAge" not in result and "PatientSize" not in result
        assert str(result.PatientBirthDate) == "1.1.1960"


def test_private_attributes_of_unknown_vr_do_not_disturb(tmp_path: Path) -> None:
    def add(dataset: Dataset, index: int) -> None:
        block = dataset.private_block(0x0029, "VENDOR", create=True)
        block.add_new(0x10, "UN", b"\xff\xfe\x00\x01" * 5)
        dataset.add_new(0x00091002, "UN", b"\x00")

    for result in in_every_output(written(tmp_path, shape=(8, 16, 16), change=add)):
        assert not [element for element in result if element.tag.is_private]


def test_times_are_on_the_clock_of_a_source_that_states_its_offset(tmp_path: Path) -> None:
    for result in in_every_output(written(tmp_path, shape=(8, 16, 16), TimezoneOffsetFromUTC="-0430")):
        assert result.TimezoneOffsetFromUTC == "-0430"
        assert (result.ContentDate, str(result.ContentTime)[:6]) == ("20260304", "003607")
        assert result.StudyTime == "090000"


def test_no_offset_is_invented_for_a_source_that_states_none(tmp_path: Path) -> None:
    for result in in_every_output(written(tmp_path, shape=(8, 16, 16))):
        assert "TimezoneOffsetFromUTC" not in result
        when = result.ContributingEquipmentSequence[0].ContributionDateTime
        zone = timezone(timedelta(hours=int(when[-5:-2]), minutes=int(when[-2:])))
        told = datetime.strptime(when[:14], "%Y%m%d%H%M%S").replace(tzinfo=zone)
        assert told.astimezone(UTC) == MAKER.created


def test_a_frame_without_a_position_is_refused_with_the_attribute(tmp_path: Path) -> None:
    study = written(tmp_path, shape=(3, 16, 16))
    del study.instances[0].header.ImagePositionPatient
    with pytest.raises(InvalidOutput, match="ImagePositionPatient is missing"):
        origin.plane(study.instances[0], 1)


def test_positions_keep_the_decimals_of_the_source(tmp_path: Path) -> None:
    study = written(tmp_path, shape=(3, 16, 16))
    study.instances[1].header.ImagePositionPatient = ["-30.5000", "+12.25", "-2.9775e2"]
    assert origin.plane(study.instances[1], 1).ImagePositionPatient == ("-30.5000", "+12.25", "-2.9775e2")


def test_series_descriptions_fit_into_64_characters() -> None:
    long = type(MAKER)("p", "1", "m" * 60, "1.2.3", "ab" * 32, "0", MAKER.created)
    assert len(equipment.series_description(long, "segmentation")) <= 64


def test_series_numbers_of_outputs_pipelines_and_revisions_are_apart(tmp_path: Path) -> None:
    study = written(tmp_path, shape=(3, 16, 16))
    later = type(study)(study.StudyInstanceUID, study.series, 2)
    other = type(MAKER)("site-own", "1", "m", "1", "ab" * 32, "0", MAKER.created)
    numbers = [equipment.series_number(each, maker, output) for each in (study, later) for maker in (MAKER, other)
               for output in ("segmentation", "report", "heatmap")]  # fmt: skip
    assert len(set(numbers)) == 12 and numbers[:3] == [9001, 9002, 9003]


@pytest.mark.parametrize(("highest", "wanted"), [(30026, 109001), (9000, 9001), (2_147_400_000, 9001), (9001, 109001)])
def test_results_stand_after_the_images_in_lists_by_series_number(tmp_path: Path, highest: int, wanted: int) -> None:
    study = written(tmp_path, shape=(3, 16, 16), change=lambda dataset, _: setattr(dataset, "SeriesNumber", highest))
    assert equipment.series_number(study, MAKER, "segmentation") == wanted
