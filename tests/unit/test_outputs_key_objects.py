from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.outputs import origin
from pipelines.outputs.key_objects import KeyObjects
from pipelines.outputs.placement import content_items
from tests import documents
from tests.documents import NAMES, released
from tests.results import Case, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("key objects")))


def images(made: Dataset) -> list[Dataset]:
    return [item.ReferencedSOPSequence[0] for item in content_items(made) if item.ValueType == "IMAGE"]


def description(made: Dataset) -> str:
    (item,) = (
        item
        for item in content_items(made)
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    )
    return str(item.TextValue)


def test_the_key_images_of_the_findings_are_of_interest_each_once(one: Case) -> None:
    (made,) = released(KeyObjects(one.report), one.study)
    assert made.Modality == "KO" and made.ConceptNameCodeSequence[0].CodeValue == "113000"
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    frames = {finding.key.frame for finding in one.report.findings if finding.key}
    wanted = [one.volume.instances[frame].SOPInstanceUID for frame in sorted(frames)]
    assert [item.ReferencedSOPInstanceUID for item in images(made)] == wanted
    assert not any("ReferencedFrameNumber" in item for item in images(made))
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == one.study.StudyInstanceUID
    assert series.SeriesInstanceUID == one.study.series[0].SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == wanted


def test_findings_on_two_images_are_told_apart(one: Case) -> None:
    masks = np.where(one.masks == 1, 1, 0).astype(np.uint8)
    masks[2, 4:8, 4:8] = 2
    other = case(one.study, masks)
    (made,) = released(KeyObjects(other.report), one.study)
    assert len(images(made)) == 2
    lines = description(made).splitlines()
    assert lines[0] == "AI result, not for primary diagnosis. ct-lung 2.1.0"
    assert lines[1].startswith(
        f"Image {other.volume.instances[2].get('InstanceNumber')}: Right lung, aerated: Volume 0.12 ml"
    )
    assert "Attenuation Coefficient (Mean)" in lines[2] and lines[2].startswith("Image ")


def test_nothing_found_has_no_key_images(one: Case) -> None:
    assert len(KeyObjects(case(one.study, np.zeros_like(one.masks)).report).to_dicom(one.study, documents.MAKER)) == 0


def test_a_frame_of_an_enhanced_image_is_named_by_its_number(tmp_path: Path) -> None:
    found = case(enhanced(tmp_path, tuple(reversed(range(24)))))
    (made,) = released(KeyObjects(found.report), found.study)
    frames = sorted({finding.key.frame for finding in found.report.findings if finding.key})
    assert [item.ReferencedFrameNumber for item in images(made)] == [
        found.volume.frame_numbers[frame] for frame in frames
    ]
    assert f"frame {24 - frames[0]}: " in description(made)


def test_a_radiograph_is_named(tmp_path: Path) -> None:
    study = documents.radiograph_study(tmp_path)
    (made,) = released(KeyObjects(documents.radiograph_report(study)), study)
    assert [item.ReferencedSOPInstanceUID for item in images(made)] == [study.instances[0].SOPInstanceUID]
    assert description(made).endswith("Image 1: Opacity: Probability 0.9; Finding Present")


def test_a_request_of_the_source_is_named_and_none_is_invented(tmp_path: Path, one: Case) -> None:
    asked, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CT1", "99LOCAL", "CT chest"
    asked.RequestedProcedureID, asked.ScheduledProcedureStepID = "RP7", "SPS1"
    asked.RequestedProcedureCodeSequence = [code]
    found = case(written(tmp_path, shape=(8, 16, 16), RequestAttributesSequence=[asked], AccessionNumber="A1"))
    (made,) = released(KeyObjects(found.report), found.study)
    (request,) = made.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP7", "A1")
    assert (
        request.StudyInstanceUID == found.study.StudyInstanceUID
        and request.RequestedProcedureCodeSequence[0].CodeValue == "CT1"
    )
    for keyword in (
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "ReferencedStudySequence",
    ):
        assert keyword in request  # Type 2
    (without,) = released(KeyObjects(one.report), one.study)
    assert "ReferencedRequestSequence" not in without


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives_and_our_words_are_readable(tmp_path: Path, kind: str) -> None:
    found = case(documents.named(tmp_path, kind))
    (made,) = released(KeyObjects(found.report), found.study)
    documents.assert_of_its_patient(made, found.study)


def test_what_the_source_lacks_is_empty(tmp_path: Path) -> None:
    def take_away(dataset: Dataset, index: int) -> None:
        for keyword in (*origin.TYPE_2, "SpecificCharacterSet", "StudyDescription", "InstanceNumber"):
            dataset.pop(keyword, None)

    found = case(written(tmp_path, shape=(8, 16, 16), change=take_away))
    (made,) = released(KeyObjects(found.report), found.study)
    assert all(keyword in made and not made.get(keyword) for keyword in origin.TYPE_2)
    assert "Image: Left lung" in description(made)
