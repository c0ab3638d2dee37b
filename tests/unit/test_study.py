"""Study > Series > Instance from headers: what is one study, what is none, and what a bad header does."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pydicom
import pytest

from pipelines.base import Unsuitable
from pipelines.study import NotAStudy, Study, is_dicom
from tests import builders
from tests.builders import rewritten


def test_files_become_one_study_of_two_series_in_the_order_given(tmp_path: Path) -> None:
    first = builders.axial(tmp_path / "a", SeriesNumber=2)
    second = builders.axial(tmp_path / "b", SeriesNumber=3)
    study = Study.from_files([*first, *second])
    assert [len(series.instances) for series in study.series] == [6, 6]
    assert [one.path for one in study.instances] == [*first, *second]
    assert {one.get("SeriesNumber") for one in study.series} == {2, 3}


def test_headers_hold_no_pixels(tmp_path: Path) -> None:
    study = Study.from_files(builders.axial(tmp_path))
    assert all("PixelData" not in one.header for one in study.instances)


def test_a_digest_is_that_of_the_file_and_a_known_one_is_not_computed_again(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    (first, *_) = Study.from_files(paths).instances
    assert first.digest == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert Study.from_files({paths[0]: "known"}).instances[0].digest == "known"


def test_the_digests_of_series_and_study_do_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    one, other = Study.from_files(paths), Study.from_files(builders.shuffled(paths))
    assert one.digest == other.digest and one.series[0].digest == other.series[0].digest
    assert Study.from_files(paths[1:]).digest != one.digest


def test_a_study_cannot_be_changed(tmp_path: Path) -> None:
    study = Study.from_files(builders.axial(tmp_path))
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.revision = 2  # type: ignore[misc]


def test_a_folder_is_searched_deeply_and_what_is_not_dicom_is_counted(tmp_path: Path) -> None:
    builders.axial(tmp_path / "deep" / "deeper")
    (tmp_path / "readme.txt").write_text("not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    study = Study.from_folder(tmp_path)
    assert len(study.instances) == 6 and study.skipped_files == 3


def test_two_studies_in_one_folder_are_refused_without_naming_a_patient(tmp_path: Path) -> None:
    builders.axial(tmp_path / "one")
    builders.ct_study(builders.voxels(), builders.SPACING, tmp_path / "two", "another", PatientName="Private^Name")
    with pytest.raises(NotAStudy, match="2 studies found") as caught:
        Study.from_folder(tmp_path)
    assert "Private" not in str(caught.value) and "PHANTOM" not in str(caught.value)


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAStudy, match="no DICOM file found"):
        Study.from_folder(tmp_path)
    with pytest.raises(NotAStudy, match="no such folder"):
        Study.from_folder(tmp_path / "absent")


def test_a_file_that_belongs_to_no_study_is_named_beside_those_that_do(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    rewritten(paths[2], StudyInstanceUID=None)
    with pytest.raises(NotAStudy, match=f"{paths[2].name}: it has no StudyInstanceUID"):
        Study.from_files(paths)


def test_a_file_without_preamble_is_read_if_it_has_a_uid(tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path)
    content = path.read_bytes()
    bare = tmp_path / "bare.dcm"
    dataset = pydicom.dcmread(path)
    pydicom.dcmwrite(bare, dataset, enforce_file_format=False)
    bare.write_bytes(content[132:])
    assert is_dicom(bare)
    assert Study.from_files([bare]).instances[0].SOPInstanceUID == dataset.SOPInstanceUID


def test_an_attribute_whose_value_cannot_be_read_counts_as_absent(tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path, KVP="120")
    content = path.read_bytes()
    at = content.index(b"\x18\x00\x60\x00DS")  # KVP with its VR: 0x55 0x17 is none
    path.write_bytes(content[: at + 4] + b"\x55\x17" + content[at + 6 :])
    (instance,) = Study.from_files([path]).instances
    assert instance.get("KVP") is None
    assert instance.get("Modality") == "CT"


def test_a_value_of_the_wrong_length_counts_as_absent_and_is_not_quoted(tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path)
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x10\x00US\x02\x00")  # Rows with three bytes of an US, which has two
    path.write_bytes(content[: at + 6] + b"\x03\x00" + content[at + 8 : at + 10] + b"\x00" + content[at + 10 :])
    (instance,) = Study.from_files([path]).instances
    assert instance.get("Rows") is None


def test_a_damaged_deflated_file_is_refused_without_quoting_it(tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path, PatientName="Private^Name")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    content = bytearray(path.read_bytes())
    content[400:600] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(NotAStudy, match="its header cannot be read") as caught:
        Study.from_files([path])
    assert caught.value.__cause__ is None and "Private" not in str(caught.value)


def test_values_that_are_not_valid_are_not_quoted_in_warnings(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    (path, *_) = builders.axial(tmp_path)
    content = path.read_bytes()
    changed = content.replace(b"20260102", b"Private!").replace(b"PHANTOM-test", b"Private#Name")
    assert changed != content
    path.write_bytes(changed)
    (instance,) = Study.from_files([path]).instances
    assert instance.get("StudyDate") == "Private!"
    assert "Private" not in caplog.text + " ".join(str(one.message) for one in recwarn)


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "GB18030", "ISO_IR 999"])
def test_any_character_set_is_read_and_an_unknown_one_harms_nothing(charset: str, tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen")
    content = path.read_bytes()
    assert content.count(b"ISO_IR 192") == 1
    padded = charset.encode().ljust(10)
    path.write_bytes(content.replace(b"ISO_IR 192", padded[:10]))
    (instance,) = Study.from_files([path]).instances
    assert instance.get("Modality") == "CT" and str(instance.get("PatientName"))


def test_an_empty_value_counts_as_absent(tmp_path: Path) -> None:
    (path, *_) = builders.axial(tmp_path)
    (instance,) = Study.from_files([rewritten(path, KVP="")]).instances
    assert instance.get("KVP", "none") == "none"


def test_values_lists_each_distinct_value_once(tmp_path: Path) -> None:
    paths = builders.axial(tmp_path)
    rewritten(paths[1], ConvolutionKernel="LUNG")
    assert builders.series_of(paths).values("ConvolutionKernel") == {"STANDARD", "LUNG"}


def test_a_reason_is_one_line_whatever_it_quotes() -> None:
    assert Unsuitable("Modality is C\nT\r\n, wanted CT").reason == "Modality is C T , wanted CT"
