"""ct-lung around a stand-in model that knows where the lungs are: what it chooses, measures, says and leaves out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.base import Executed, Unsuitable, execute, maker_of
from pipelines.ct_lung import ACCEPTS, CtLung
from pipelines.examples import AXIAL, ct_study, write_stack
from pipelines.match import Match
from pipelines.study import Study
from tests import builders

SHAPE, SPACING = (24, 40, 48), (4.0, 5.0, 6.0)
LEFT_HU, RIGHT_HU = -800, -860


def chest(left: bool = True, right: bool = True, margin: int = 3) -> np.ndarray:
    """A block of tissue with two boxes of lung on the canonical axes; `margin`: slices without lung at either end."""
    hu = np.full(SHAPE, 40, np.int16)
    inside = slice(margin, SHAPE[0] - margin)
    if left:
        hu[inside, 10:30, 28:40] = LEFT_HU
        hu[inside, 10:20, 28:40] = LEFT_HU - 20
    if right:
        hu[inside, 8:30, 6:20] = RIGHT_HU
    return hu


class Knows:
    """A model for `chest`: what is dark is lung, left of the middle is the right lung."""

    card = SimpleNamespace(
        name="ct-lung",
        version="0.1",
        digest="ab" * 32,
        calibration={"method": "none"},
        metrics={},
        limitations=("None.",),
    )

    def predict(self, volume: np.ndarray, spacing: tuple[float, float, float]) -> Mapping[str, np.ndarray]:
        assert volume.flags.c_contiguous
        assert spacing == pytest.approx(SPACING)
        dark = volume < -500
        probability = np.zeros((2, *volume.shape), np.float16)
        middle = volume.shape[2] // 2
        probability[0, :, :, middle:] = dark[:, :, middle:] * 0.9
        probability[1, :, :, :middle] = dark[:, :, :middle] * 0.8
        return {"probability": probability}


def run(folder: Path, study: Study | None = None) -> Executed:
    pipeline = CtLung(Knows())
    maker = maker_of(pipeline, "0.1.0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    study = study or Study.from_folder(folder)
    return execute(pipeline, study, pipeline.select(study), maker)


def made(executed: Executed) -> dict[str, list[Dataset]]:
    return {one.name: [released.dataset() for released in one.kept] for one in executed.made}


def told(dataset: Dataset) -> str:
    """All the text of a report, one line for each content item."""
    values = [str(dataset.get("TextValue", "")), *(told(item) for item in dataset.get("ContentSequence", ()))]
    return "\n".join(value for value in values if value)


def numbers(dataset: Dataset) -> list[tuple[str, float, str]]:
    """(concept, value, unit) of every NUM item of a report."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            found.append((item.ConceptNameCodeSequence[0].CodeMeaning, float(value.NumericValue),
                          value.MeasurementUnitsCodeSequence[0].CodeValue))  # fmt: skip
        found += numbers(item)
    return found


def segment_frames(seg: Dataset) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(segment number, mask, position in LPS mm) of every frame of a segmentation."""
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    found = []
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        holder = group if "SegmentIdentificationSequence" in group else seg.SharedFunctionalGroupsSequence[0]
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found.append((number, frame, np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)))
    return found


def test_report_volumes_equal_the_masks_of_the_segmentation_and_the_truth(tmp_path: Path) -> None:
    ct_study(chest(), SPACING, tmp_path)
    results = made(run(tmp_path))
    assert list(results) == ["segmentation", "report", "heatmap"]
    voxel = np.prod(SPACING) / 1000
    frames = segment_frames(results["segmentation"][0])
    masks = [sum(int(mask.sum()) for number, mask, _ in frames if number == segment) * voxel for segment in (1, 2)]
    volumes = [value for name, value, unit in numbers(results["report"][0]) if name == "Volume" and unit == "ml"]
    assert volumes == pytest.approx(masks, abs=0.05)
    assert volumes == pytest.approx([18 * 20 * 12 * voxel, 18 * 22 * 14 * voxel], abs=0.05)


def test_density_is_that_of_the_voxels_under_the_mask(tmp_path: Path) -> None:
    ct_study(chest(), SPACING, tmp_path)
    found = run(tmp_path).findings
    assert found["left"] == {"volume_ml": pytest.approx(518.4), "mean_hu": LEFT_HU - 10, "sd_hu": 10.0}
    assert found["right"]["mean_hu"] == RIGHT_HU
    assert found["right"]["sd_hu"] == 0.0


@pytest.mark.parametrize("flips", [(1, 1, 1), (1, -1, -1), (-1, 1, 1), (-1, -1, -1), (1, -1, 1), (1, 1, -1)])
def test_the_left_lung_lies_on_the_patients_left_in_every_axial_orientation(
    tmp_path: Path, flips: tuple[int, ...]
) -> None:
    hu = chest()[tuple(slice(None, None, flip) for flip in flips)]
    toward = np.array(AXIAL) * np.array(SPACING)[:, None]
    ends = (np.array(flips) < 0) * (np.array(SHAPE) - 1)
    write_stack(hu, list(np.array(flips)[:, None] * toward), ends @ toward, tmp_path, "turned", None, 1)
    seg = made(run(tmp_path))["segmentation"][0]
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    along_row = np.array(orientation[:3], dtype=float)
    for number, mask, position in segment_frames(seg):
        column = np.nonzero(mask)[1].mean()
        left = position[0] + along_row[0] * column * SPACING[2]  # LPS: x grows toward the patient's left
        middle = (SHAPE[2] - 1) / 2 * SPACING[2]
        name = seg.SegmentSequence[number - 1].SegmentLabel
        assert (left > middle) == (name == "Left lung")
        assert 2.5 * SPACING[0] < position[2] < (SHAPE[0] - 3.5) * SPACING[0]


def test_without_lung_the_report_says_so_and_nothing_else_is_made(tmp_path: Path) -> None:
    ct_study(chest(left=False, right=False), SPACING, tmp_path)
    executed = run(tmp_path)
    results = made(executed)
    assert list(results) == ["report"]
    assert "No aerated lung found in this series: left 0 ml, right 0 ml." in told(results["report"][0])
    assert numbers(results["report"][0]) == []
    assert executed.findings["left"]["volume_ml"] == executed.findings["right"]["volume_ml"] == 0.0


def test_a_missing_lung_leaves_one_segment_numbered_one_and_is_said(tmp_path: Path) -> None:
    ct_study(chest(left=False), SPACING, tmp_path)
    results = made(run(tmp_path))
    segments = results["segmentation"][0].SegmentSequence
    assert [(one.SegmentNumber, one.SegmentLabel) for one in segments] == [(1, "Right lung")]
    assert "Left lung: no aerated lung found (0 ml)" in told(results["report"][0])


def test_a_few_stray_voxels_are_not_measured_as_a_lung(tmp_path: Path) -> None:
    hu = chest(left=False)
    hu[10, 20:24, 30:36] = LEFT_HU  # 24 voxels of 0.12 ml
    ct_study(hu, SPACING, tmp_path)
    executed = run(tmp_path)
    assert executed.findings["left"]["volume_ml"] == 0.0
    assert {number for number, _, _ in segment_frames(made(executed)["segmentation"][0])} == {1}


@pytest.mark.parametrize(("margin", "flip", "cut"), [(3, 1, ""), (0, 1, "top and bottom"), (0, -1, "top and bottom")])
def test_lung_that_reaches_the_end_of_the_scan_is_said(tmp_path: Path, margin: int, flip: int, cut: str) -> None:
    steps = list(np.array(AXIAL) * np.array([flip * SPACING[0], *SPACING[1:]])[:, None])
    write_stack(chest(margin=margin), steps, (0, 0, 0), tmp_path, "cut", None, 1)
    executed = run(tmp_path)
    assert executed.findings["cut_off"] == cut
    assert ("The scan cuts the lung off at the top and bottom" in told(made(executed)["report"][0])) == bool(cut)


@pytest.mark.parametrize(("flip", "end"), [(1, "bottom"), (-1, "top")])
def test_top_and_bottom_are_the_patients_whatever_the_order_of_slices(tmp_path: Path, flip: int, end: str) -> None:
    hu = chest(margin=0)
    hu[-5:] = 40  # no lung in the last slices that are written
    steps = list(np.array(AXIAL) * np.array([flip * SPACING[0], *SPACING[1:]])[:, None])
    write_stack(hu, steps, (0, 0, 0), tmp_path, "ends", None, 1)
    assert run(tmp_path).findings["cut_off"] == end


def test_the_same_lung_has_one_tracking_uid_in_segmentation_and_report(tmp_path: Path) -> None:
    ct_study(chest(), SPACING, tmp_path)
    results = made(run(tmp_path))
    tracked = {one.TrackingUID for one in results["segmentation"][0].SegmentSequence}

    def uids(dataset: Dataset) -> set[str]:
        own = {dataset.UID} if "UID" in dataset and dataset.ConceptNameCodeSequence[0].CodeValue == "112040" else set()
        return own.union(*(uids(item) for item in dataset.get("ContentSequence", ())))

    assert uids(results["report"][0]) == tracked
    assert len(tracked) == 2


def test_the_key_slice_is_where_the_lung_is_largest(tmp_path: Path) -> None:
    hu = chest()
    hu[9, 10:34, 28:42] = LEFT_HU
    paths = ct_study(hu, SPACING, tmp_path)
    report = made(run(tmp_path))["report"][0]

    def regions(dataset: Dataset) -> list[Dataset]:
        own = [dataset] if dataset.get("ValueType") == "SCOORD" else []
        return own + [one for item in dataset.get("ContentSequence", ()) for one in regions(item)]

    left, right = regions(report)
    study = Study.from_files(paths)
    by_uid = {one.SOPInstanceUID: one.header.InstanceNumber for one in study.instances}
    assert by_uid[left.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID] == 10
    columns, rows = np.array(left.GraphicData).reshape(-1, 2).T
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (28, 42, 10, 34)
    assert right.GraphicType == "POLYLINE"


def test_findings_and_features_are_plain_data_without_the_patient(tmp_path: Path) -> None:
    ct_study(chest(), SPACING, tmp_path, PatientName="Someone^Real", PatientID="4711", ContrastBolusAgent="Dr Someone")
    executed = run(tmp_path)
    text = json.dumps({"findings": executed.findings, "features": executed.features}, allow_nan=False)
    assert "Someone" not in text
    assert "4711" not in text
    told = executed.features
    assert told["acquisition.KVP"] == 120.0
    assert told["device.StationName"] is None
    assert told["output.Left lung.volume"] == pytest.approx(518.4)
    assert told["uncertainty.mean-probability"] == pytest.approx(0.842, abs=0.01)
    assert 0 < told["uncertainty.entropy"] < 1  # type: ignore[operator]
    assert (told["output.Left lung.count"], told["output.Left lung.empty"], told["completeness.cut-off"]) == (1, 0, "no")
    assert told["embedding"] is None, "the stand-in has none"


def test_a_lung_that_is_not_there_is_empty_for_monitoring(tmp_path: Path) -> None:
    ct_study(chest(left=False), SPACING, tmp_path)
    told = run(tmp_path).features
    assert {name: told[f"output.Left lung.{name}"] for name in ("empty", "volume", "count", "mean")} == {
        "empty": 1.0, "volume": 0.0, "count": 0.0, "mean": None,
    }  # fmt: skip
    assert told["output.Right lung.empty"] == 0.0


def test_an_enhanced_multi_frame_image_gives_the_same_result_with_frame_numbers(tmp_path: Path) -> None:
    paths = ct_study(chest(), SPACING, tmp_path / "single")
    (tmp_path / "enhanced").mkdir()
    builders.enhanced(paths, tmp_path / "enhanced" / "one.dcm", order=[*range(12, 24), *range(12)])
    executed, single = run(tmp_path / "enhanced"), run(tmp_path / "single")
    assert executed.findings == single.findings
    seg, report, heat = (made(executed)[name] for name in ("segmentation", "report", "heatmap"))
    frames = [
        source.ReferencedFrameNumber
        for group in seg[0].PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for source in derivation.SourceImageSequence
    ]
    assert sorted(set(frames)) == [*range(1, 10), *range(16, 25)]  # slices 3 to 20, as frames in the order of the file
    assert len(heat) == 18
    assert len(numbers(report[0])) == 6


def test_what_it_accepts_survives_as_plain_data() -> None:
    assert Match.from_dict(json.loads(json.dumps(ACCEPTS.to_dict()))) == ACCEPTS


def several(tmp_path: Path, *series: tuple[int, dict[str, object]]) -> Study:
    """One study of several axial series: (SeriesNumber, what differs: count, step, other attributes)."""
    for number, differs in series:
        attributes = dict(differs)
        count, step = attributes.pop("count", 60), attributes.pop("step", 5.0)
        hu = np.zeros((count, 4, 4), np.int16)
        ct_study(hu, (step, 80.0, 80.0), tmp_path, seed="several", SeriesNumber=number, **attributes)
    return Study.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("others", "best"),
    [
        ([(2, {}), (3, {"count": 120, "step": 2.5})], 3),  # thinner
        ([(2, {"count": 100, "step": 1.25}), (3, {"count": 200, "step": 0.625})], 2),  # thin enough: no need for more
        ([(2, {"count": 100, "step": 1.25, "ConvolutionKernel": "LUNG"}), (3, {"count": 100, "step": 1.25})], 3),
        (
            [(2, {"count": 100, "step": 1.25, "ConvolutionKernel": ["Br64f", "3"]}), (3, {"count": 100, "step": 1.25})],
            3,
        ),
        ([(2, {}), (3, {"count": 24, "step": 1.25})], 2),  # a thin part of the chest does not stand for the whole
        ([(2, {"count": 100, "step": 1.25, "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}), (3, {})], 3),
        ([(7, {}), (4, {})], 4),  # equals: the lower number
        ([(2, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}), (3, {"count": 20})], 3),
        ([(2, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]}), (3, {})], 3),
        ([(2, {"count": 100, "step": 1.25, "RescaleType": "MGML"}), (3, {})], 3),
    ],
)
def test_the_best_of_several_series_is_chosen_whatever_their_order(
    tmp_path: Path, others: list[tuple[int, dict[str, object]]], best: int
) -> None:
    study = several(tmp_path, *others)
    turned = Study(study.StudyInstanceUID, study.series[::-1])
    assert {int(CtLung(Knows()).select(one).get("SeriesNumber")) for one in (study, turned)} == {best}


def test_an_unsuitable_study_gets_a_reason_for_each_series_in_one_line_without_the_patient(tmp_path: Path) -> None:
    name = {"PatientName": "Someone^Real"}
    study = several(
        tmp_path,
        (1, {"count": 1, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], **name}),
        (2, {"count": 3, **name}),
        (3, {"count": 3, **name}),
        (4, {"Modality": "MR", **name}),
        (5, {"step": 12.0, **name}),
    )
    with pytest.raises(Unsuitable) as refused:
        CtLung(Knows()).select(study)
    assert refused.value.reason == (
        "no series fits: series 1: ImageType says LOCALIZER; has 1 slice, at least 20 are wanted"
        " | series 2, 3: has 3 slices, at least 20 are wanted | series 4: Modality is MR, wanted CT"
        " | series 5: slices are 12 mm apart, at most 10 mm are taken"
    )


def test_a_coronal_series_is_not_axial(tmp_path: Path) -> None:
    steps = [5 * np.array(AXIAL[1]), -5 * np.array(AXIAL[0]), 5 * np.array(AXIAL[2])]
    write_stack(np.zeros((30, 8, 8), np.int16), steps, (0, 0, 0), tmp_path, "coronal", None, 1)
    with pytest.raises(Unsuitable, match=r"series 1: is coronal, wanted axial"):
        CtLung(Knows()).select(Study.from_folder(tmp_path))


def test_a_study_without_series_is_unsuitable() -> None:
    with pytest.raises(Unsuitable, match="the study has none"):
        CtLung(Knows()).select(Study("1.2.3", ()))


@pytest.mark.parametrize(
    ("folder", "reasons"),
    [
        ("o06-ct-fruit-study-adit1001", ("Modality is SR", "has 2 slices", "has 3 slices", "ImageType says LOCALIZER")),
        ("o07-mr-brain-tumour-pyradiomics", ("Modality is MR",)),
        ("o11-odd-geometry/philips-phantom-tilt", ("has 3 slices",)),
        ("o15-mr-brain-t1-fnndsc", ("Modality is MR",)),
    ],
)
def test_real_studies_of_other_kinds_are_refused_for_the_right_reason(
    real_data: Path, folder: str, reasons: tuple[str, ...]
) -> None:
    with pytest.raises(Unsuitable) as refused:
        CtLung(Knows()).select(Study.from_folder(real_data / folder))
    assert all(reason in refused.value.reason for reason in reasons), refused.value.reason


@pytest.mark.parametrize(
    "folder", ["o01-ct-chest-lidc0314", "o02-ct-abdomen-crlm1004", "o04-ct-abdpelvis-3mm-totalseg"]
)
def test_real_axial_studies_are_taken(real_data: Path, folder: str) -> None:
    study = Study.from_folder(real_data / folder)
    assert CtLung(Knows()).select(study) is study.series[0]
