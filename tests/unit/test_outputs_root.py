from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs.placement import content_items
from pipelines.outputs.root import ResultReference, Root
from pipelines.study import Replaced, Study
from tests import documents
from tests.documents import NAMES, released
from tests.results import MAKER, Case, case, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("root")))


def results(one: Case) -> list[ResultReference]:
    return [
        ResultReference(
            name, objects[0].SOPClassUID, objects[0].SeriesInstanceUID, tuple(each.SOPInstanceUID for each in objects)
        )
        for name, objects in one.made().items()
    ]


def test_every_object_of_the_run_is_named_once_and_listed_as_evidence(one: Case) -> None:
    named = results(one)
    (made,) = released(Root(one.volume, named), one.study, outputs=[each.name for each in named])
    assert (
        made.ConceptNameCodeSequence[0].CodeValue == "126000"
        and made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    )
    lists = [item for item in made.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "113030"]
    assert len(lists) == 3
    for result, listed in zip(named, lists, strict=True):
        kind = "COMPOSITE" if result.name == "report" else "IMAGE"
        uids = [
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for item in listed.ContentSequence
            if item.ValueType == kind
        ]
        assert tuple(uids) == result.SOPInstanceUIDs
        assert listed.ContentSequence[0].TextValue.startswith(f"{result.name}: ")
    assert len(named[2].SOPInstanceUIDs) > 5
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    by_series = {item.SeriesInstanceUID: {each.ReferencedSOPInstanceUID for each in item.ReferencedSOPSequence}
                 for item in study.ReferencedSeriesSequence}  # fmt: skip
    assert by_series[one.study.series[0].SeriesInstanceUID] == {each.SOPInstanceUID for each in one.study.instances}
    for result in named:
        assert by_series[result.SeriesInstanceUID] == set(result.SOPInstanceUIDs)


def test_the_warning_and_the_flags_are_there(one: Case) -> None:
    (made,) = released(Root(one.volume, results(one)), one.study)
    assert (made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    texts = [str(item.TextValue) for item in content_items(made) if item.ValueType == "TEXT"]
    assert "AI result, not for primary diagnosis. ct-lung 2.1.0" in texts
    assert "segmentation: Segmentation, 1 object" in texts


@pytest.mark.parametrize(("class_uid", "kind"), [
    ("1.2.840.10008.5.1.4.1.1.88.59", "COMPOSITE"), ("1.2.840.10008.5.1.4.1.1.11.1", "COMPOSITE"),
    ("1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"), ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
    ("1.2.840.10008.5.1.4.1.1.66.5", "COMPOSITE"), ("1.2.840.10008.5.1.4.1.1.30", "IMAGE"),
    ("1.2.840.10008.5.1.4.1.1.66.7", "IMAGE"),
])  # fmt: skip
def test_images_and_other_objects_are_named_as_what_they_are(one: Case, class_uid: str, kind: str) -> None:
    result = ResultReference(
        "report", class_uid, MAKER.uid(one.study, "report", "series"), (MAKER.uid(one.study, "report"),)
    )
    (made,) = released(Root(one.volume, [result]), one.study)
    assert [item.ValueType for item in content_items(made) if "ReferencedSOPSequence" in item] == [kind]


def test_no_results_no_root_and_a_result_without_objects_is_refused(one: Case) -> None:
    assert len(Root(one.volume, []).to_dicom(one.study, MAKER)) == 0
    with pytest.raises(ValueError, match="result heatmap names no object"):
        Root(one.volume, [ResultReference("heatmap", "1.2", "1.3", ())]).to_dicom(one.study, MAKER)


def test_the_gate_refuses_a_result_that_is_none_of_the_run(one: Case) -> None:
    foreign = ResultReference("heatmap", "1.2.840.10008.5.1.4.1.1.7", "2.25.8", ("2.25.9",))
    with pytest.raises(InvalidOutput, match="does not hold"):
        released(Root(one.volume, [foreign]), one.study)
    own = ResultReference("second-report", "1.2.840.10008.5.1.4.1.1.88.34", MAKER.uid(one.study, "second-report", "series"),
                          (MAKER.uid(one.study, "second-report"),))  # fmt: skip
    with pytest.raises(InvalidOutput, match="does not hold"):
        released(Root(one.volume, [own]), one.study)
    assert released(Root(one.volume, [own]), one.study, outputs=["second-report", "root"])


def test_a_later_revision_names_its_own_predecessor(one: Case) -> None:
    earlier = (Replaced("root", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.77", "2.25.78"),
               Replaced("report", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.79", "2.25.80"))  # fmt: skip
    later = Study(one.study.StudyInstanceUID, one.study.series, 2, earlier)
    (made,) = released(Root(one.volume, results(case(later))), later)
    (series,) = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence] == ["2.25.77"]
    first = Study(one.study.StudyInstanceUID, one.study.series, 2, earlier[1:])
    (made,) = released(Root(one.volume, results(case(first))), first)
    assert "PredecessorDocumentsSequence" not in made


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives(tmp_path: Path, kind: str) -> None:
    found = case(documents.named(tmp_path, kind))
    (made,) = released(Root(found.volume, results(found)), found.study)
    documents.assert_of_its_patient(made, found.study)


def test_a_radiograph_has_a_root_too(tmp_path: Path) -> None:
    study = documents.radiograph_study(tmp_path)
    report = documents.radiograph_report(study)
    result = ResultReference(
        "report", "1.2.840.10008.5.1.4.1.1.88.34", MAKER.uid(study, "report", "series"), (MAKER.uid(study, "report"),)
    )
    (made,) = released(Root(report.volume, [result], report.procedure), study)
    (procedure,) = (item for item in made.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121058")
    assert procedure.ConceptCodeSequence[0].CodeValue == "43468-8"
    assert isinstance(made, Dataset)
