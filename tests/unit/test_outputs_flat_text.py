from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.outputs.flat_text import FlatText
from pipelines.outputs.wording import writable
from pipelines.study import Replaced, Study
from tests import documents
from tests.documents import NAMES, SPOKEN, released
from tests.results import Case, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("flat text")))


def lines(made: Dataset) -> list[tuple[str, str]]:
    return [(item.ConceptNameCodeSequence[0].CodeValue, item.TextValue) for item in made.ContentSequence
            if item.RelationshipType == "CONTAINS"]  # fmt: skip


def test_every_line_stands_right_below_the_root_with_its_coded_name(one: Case) -> None:
    (made,) = released(FlatText(one.report), one.study)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.11" and made.Modality == "SR"
    assert (made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert all("ContentSequence" not in item for item in made.ContentSequence)
    left, right = one.report.findings
    assert lines(made) == [
        ("121106", "AI result, not for primary diagnosis"),
        ("121058", "CT unspecified body region"),
        ("111001", "ct-lung"),
        ("111003", "2.1.0 (0f0f0f0f0f0f0f0f)"),
        ("118565006", f"Left lung, aerated: Volume = {left.measurements[0].value} ml"),
        ("112031", f"Left lung, aerated: Attenuation Coefficient (Mean) = {left.measurements[1].value} HU"),
        ("118565006", f"Right lung, aerated: Volume = {right.measurements[0].value} ml"),
        ("112031", f"Right lung, aerated: Attenuation Coefficient (Mean) = {right.measurements[1].value} HU"),
    ]


def test_the_evidence_is_every_source_image(one: Case, tmp_path: Path) -> None:
    for found in (one, case(enhanced(tmp_path, tuple(range(24))))):
        (made,) = released(FlatText(found.report), found.study)
        (study,) = made.CurrentRequestedProcedureEvidenceSequence
        (series,) = study.ReferencedSeriesSequence
        listed = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
        assert sorted(listed) == sorted(each.SOPInstanceUID for each in found.study.instances)


def test_a_negative_result_is_said(one: Case) -> None:
    (made,) = released(FlatText(case(one.study, np.zeros_like(one.masks)).report), one.study)
    assert lines(made)[4:] == [("121071", "Left lung, aerated: not seen (Left Lung)"),
                               ("121071", "Right lung, aerated: not seen (Right Lung)")]  # fmt: skip


def test_a_radiograph_with_a_finding_and_a_negative_one(tmp_path: Path) -> None:
    study = documents.radiograph_study(tmp_path)
    (made,) = released(FlatText(documents.radiograph_report(study)), study)
    assert lines(made)[1] == ("121058", "XR unspecified body region")
    assert lines(made)[4:] == [
        ("122157", "Opacity: Probability = 0.9"), ("121071", "Opacity: Finding = Present"),
        ("121071", "Effusion: not seen (Right Lung)"), ("121071", "Effusion: Finding = Absent"),
    ]  # fmt: skip


def test_a_later_revision_names_the_document_that_it_replaces(one: Case) -> None:
    earlier = Replaced("report-flat", "1.2.840.10008.5.1.4.1.1.88.11", "2.25.77", "2.25.78")
    other = Replaced("report", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.79", "2.25.80")
    later = Study(one.study.StudyInstanceUID, one.study.series, 2, (earlier, other))
    (made,) = released(FlatText(one.report), later)
    (named,) = made.PredecessorDocumentsSequence
    (series,) = named.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.78"
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence] == ["2.25.77"]


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives_and_our_words_are_readable(tmp_path: Path, kind: str) -> None:
    found = case(documents.named(tmp_path, kind))
    (made,) = released(FlatText(documents.spoken(found.report)), found.study)
    documents.assert_of_its_patient(made, found.study)
    said = lines(made)[-2][1]
    told = {"ISO_IR 192": SPOKEN, "ISO_IR 100": 'Fläche >= 3 mm² - "uncertain", p ~ 0.5',
            "ISO_IR 126": 'Flache >= 3 mm² - "uncertain", p ~ 0.5'}  # fmt: skip
    assert said == told.get(str(NAMES[kind][1]), 'Flache >= 3 mm2 - "uncertain", p ~ 0.5')
    assert lines(made)[-1] == ("121071", "Finding = Present")


@pytest.mark.parametrize(("sets", "kept"), [
    ("ISO_IR 192", "ä α я – 山"), ("ISO_IR 100", "ä ? ? - ?"), ("ISO_IR 126", "a α ? - ?"), ("ISO_IR 144", "a ? я - ?"),
    (["", "ISO 2022 IR 87"], "a ? ? - ?"), (None, "a ? ? - ?"), ("GB18030", "ä α я – 山"), ("ISO_IR 999", "a ? ? - ?"),
])  # fmt: skip
def test_text_bends_to_the_character_set_of_the_source(sets: object, kept: str) -> None:
    source = Dataset()
    if sets is not None:
        source.SpecificCharacterSet = sets
    assert writable("ä α я – 山", source) == kept
