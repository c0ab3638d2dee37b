from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.outputs import codes
from pipelines.outputs.parts import Evaluation
from pipelines.outputs.placement import content_items
from pipelines.outputs.report import Report
from pipelines.study import Replaced, Study
from tests.results import MAKER, Case, bytes_of, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("report")))


@pytest.fixture(scope="module")
def made(one: Case) -> Dataset:
    return one.made()["report"][0]


def groups(report: Dataset) -> list[Dataset]:
    return [item for item in content_items(report) if name_of(item) == "125007"]


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if item.get("ConceptNameCodeSequence") else ""


def inside(item: Dataset, code: str) -> Iterator[Dataset]:
    return (child for child in content_items(item) if name_of(child) == code)


def test_it_is_a_tid_1500_report_complete_unverified_and_preliminary(made: Dataset) -> None:
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert made.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert (made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    (procedure,) = inside(made, "121058")
    assert procedure.ConceptCodeSequence[0].CodeValue == "25045-6"
    (observer,) = inside(made, "121005")
    assert observer.ConceptCodeSequence[0].CodeValue == "121007"


def test_every_measurement_group_has_a_closed_outline_on_its_key_slice(one: Case, made: Dataset) -> None:
    assert len(groups(made)) == 2
    for number, group in enumerate(groups(made), 1):
        (region,) = (item for item in content_items(group) if item.ValueType == "SCOORD")
        assert region.GraphicType == "POLYLINE" and region.GraphicData[:2] == region.GraphicData[-2:]
        key = int((one.masks == number).sum(axis=(1, 2)).argmax())
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == one.volume.instances[key].SOPInstanceUID
        points = np.array(region.GraphicData).reshape(-1, 2)
        rows, columns = np.nonzero(one.masks[key] == number)
        assert points.min(axis=0).tolist() == [columns.min() + 0.5, rows.min() + 0.5]  # pixel centres, PS3.3 C.18.6
        assert points.max(axis=0).tolist() == [columns.max() + 0.5, rows.max() + 0.5]


def test_a_region_on_an_enhanced_source_names_its_frame(tmp_path: Path) -> None:
    one = case(enhanced(tmp_path, tuple(reversed(range(24)))))
    (first, _) = groups(one.made()["report"][0])
    (region,) = (item for item in content_items(first) if item.ValueType == "SCOORD")
    key = int((one.masks == 1).sum(axis=(1, 2)).argmax())
    assert (
        region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber
        == one.volume.frame_numbers[key]
        == 24 - key
    )


def test_volumes_and_means_are_those_of_the_mask_with_their_units(one: Case, made: Dataset) -> None:
    for number, group in enumerate(groups(made), 1):
        mask = one.masks == number
        (volume,) = inside(group, "118565006")
        assert float(volume.MeasuredValueSequence[0].NumericValue) == pytest.approx(
            mask.sum() * 4 * 1.5 * 1.25 / 1000, abs=0.01
        )
        assert volume.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "ml"
        (density,) = inside(group, "112031")
        assert float(density.MeasuredValueSequence[0].NumericValue) == pytest.approx(
            one.volume.voxels[mask].mean(), abs=0.1
        )
        assert density.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
        assert next(inside(density, "121401")).ConceptCodeSequence[0].CodeValue == "373098007"  # Derivation: Mean


def test_tracking_identifiers_are_those_of_the_segmentation(one: Case, made: Dataset) -> None:
    segments = one.made()["segmentation"][0].SegmentSequence
    for segment, group in zip(segments, groups(made), strict=True):
        assert segment.TrackingUID == next(inside(group, "112040")).UID
        assert next(inside(group, "112039")).TextValue == segment.TrackingID


def test_the_algorithm_stands_on_the_group_and_not_on_the_measurements(made: Dataset) -> None:
    for group in groups(made):
        assert "111001" in [name_of(item) for item in group.ContentSequence]
        for item in content_items(group):
            if item.ValueType == "NUM":
                assert not list(inside(item, "111001"))


def test_finding_and_side_are_coded(made: Dataset) -> None:
    for group, side in zip(groups(made), ("7771000", "24028007"), strict=True):
        assert next(inside(group, "121071")).ConceptCodeSequence[0].CodeValue == "39607008"
        (site,) = inside(group, "363698007")
        assert site.ConceptCodeSequence[0].CodeValue == "39607008"
        assert next(inside(site, "272741003")).ConceptCodeSequence[0].CodeValue == side


def test_evidence_lists_every_source_image_and_the_segmentation(one: Case, made: Dataset) -> None:
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    listed = {
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert listed == {one.SOPInstanceUID for one in one.study.instances} | {MAKER.uid(one.study, "segmentation")}


def test_a_negative_result_is_said_and_not_left_out(one: Case) -> None:
    nothing = case(one.study, np.zeros_like(one.masks)).made()["report"][0]
    assert not groups(nothing) and not list(inside(nothing, "126010"))
    (said,) = inside(nothing, "C0034375")
    codes_said = [item.ConceptCodeSequence[0].CodeValue for item in said.ContentSequence if item.ValueType == "CODE"]
    assert codes_said == ["47492008", "47492008"]
    texts = [item.TextValue for item in said.ContentSequence if item.ValueType == "TEXT"]
    assert texts == ["Left lung, aerated: not seen (Left Lung)", "Right lung, aerated: not seen (Right Lung)"]


def test_one_side_missing_is_said_beside_the_measurements_of_the_other(one: Case) -> None:
    left = case(one.study, np.where(one.masks == 1, 1, 0).astype(np.uint8)).made()["report"][0]
    assert len(groups(left)) == 1
    (said,) = inside(left, "C0034375")
    assert any("Right lung, aerated: not seen" in str(item.get("TextValue")) for item in said.ContentSequence)


def test_evaluations_of_the_whole_study_are_said(one: Case) -> None:
    said = (Evaluation(codes.COMMENT, "Scanned in part"), Evaluation(codes.FINDING, codes.PRESENT))
    report = Report(one.volume, one.report.findings, said, one.segmentation).to_dicom(one.study, MAKER)[0]
    (container,) = inside(report, "C0034375")
    assert [item.ValueType for item in container.ContentSequence] == ["TEXT", "CODE"]


def test_a_report_on_a_later_revision_names_the_one_that_it_replaces(tmp_path: Path) -> None:
    study = written(tmp_path)
    earlier = Replaced("report", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.77", "2.25.78")
    other = Replaced("segmentation", "1.2.840.10008.5.1.4.1.1.66.4", "2.25.79", "2.25.80")
    later = Study(study.StudyInstanceUID, study.series, 2, (earlier, other))
    made = case(later).made()["report"][0]
    (named,) = made.PredecessorDocumentsSequence
    (series,) = named.ReferencedSeriesSequence
    assert named.StudyInstanceUID == study.StudyInstanceUID and series.SeriesInstanceUID == "2.25.78"
    assert [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence] == ["2.25.77"]
    assert made.SeriesNumber == 9022


def test_a_rerun_gives_the_same_bytes(one: Case, made: Dataset) -> None:
    assert bytes_of([made]) == bytes_of(one.made()["report"])
