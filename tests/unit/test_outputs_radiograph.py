"""Heatmaps on radiographs: one picture for each class, without a place in the patient, in the shape of the source."""

from __future__ import annotations

import copy
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs.check import Gate
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.overlay import averaged, ends_of, highest, reduction, stretch
from pipelines.radiograph import Radiograph
from pipelines.study import Study
from tests.results import MAKER, case, radiograph, written


def spots(image: Radiograph) -> dict[str, np.ndarray]:
    """A spot in the upper left quarter, one in the lower right, and nothing."""
    rows, columns = image.voxels.shape[1:]
    maps = {label: np.zeros(image.voxels.shape, np.float32) for label in ("Nodule", "Effusion", "Fracture")}
    maps["Nodule"][0, rows // 4 : rows // 4 + 40, columns // 4 : columns // 4 + 40] = 0.9
    maps["Effusion"][0, rows // 2 : rows // 2 + 40, columns // 2 : columns // 2 + 40] = 0.8
    return maps


def made(study: Study, **options: object) -> list[Dataset]:
    """The heatmap's objects, through the gate, written and read."""
    image = Radiograph.from_instance(study.instances[0])
    heatmap, gate = Heatmap(image, spots(image), "Grad-CAM", **options), Gate(study, MAKER)
    released = [gate.release("heatmap", number, dataset) for number, dataset in
                enumerate(heatmap.to_dicom(study, MAKER), 1)]  # fmt: skip
    return [pydicom.dcmread(BytesIO(one.content)) for one in released]


def coloured(dataset: Dataset) -> np.ndarray:
    """Where colour lies, away from captions and the scale: bool, the picture's left four fifths."""
    pixels = dataset.pixel_array.astype(int)
    shown = np.ptp(pixels, axis=2) > 12
    shown[:90] = shown[-120:] = False
    return shown[:, : dataset.Columns * 4 // 5]


def test_each_class_with_signal_has_a_picture_of_its_own(tmp_path: Path) -> None:
    first, second = made(radiograph(tmp_path))
    assert "Grad-CAM of Nodule" in first.DerivationDescription
    assert "Grad-CAM of Effusion" in second.DerivationDescription
    assert coloured(first)[175:215, 150:190].all() and not coloured(first)[350:390, 300:340].any()
    assert coloured(second)[350:390, 300:340].all() and not coloured(second)[175:215, 150:190].any()
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert not np.array_equal(first.pixel_array[-60:], second.pixel_array[-60:])  # the caption names the class


def test_one_picture_shows_all_classes_where_that_is_wanted(tmp_path: Path) -> None:
    (only,) = made(radiograph(tmp_path), each=False)
    assert coloured(only)[175:215, 150:190].all() and coloured(only)[350:390, 300:340].all()


def test_slices_too_can_have_a_picture_for_each_class(tmp_path: Path) -> None:
    one = case(written(tmp_path, shape=(6, 24, 28)))
    apart = Heatmap(one.volume, one.heatmap.probability, "p", each=True).to_dicom(one.study, MAKER)
    gate = Gate(one.study, MAKER)
    for number, dataset in enumerate(apart, 1):
        gate.release("heatmap", number, dataset)
    assert len(apart) == sum(int((one.masks == number).any(axis=(1, 2)).sum()) for number in (1, 2))


def test_nothing_says_where_it_lies_and_the_orientation_is_that_of_the_source(tmp_path: Path) -> None:
    first, _ = made(radiograph(tmp_path / "a"))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing",
                    "PositionReferenceIndicator"):  # fmt: skip
        assert keyword not in first
    assert first.PatientOrientation == ["L", "F"] and first.ImagerPixelSpacing == [0.2, 0.2]
    without, _ = made(radiograph(tmp_path / "b", PatientOrientation=None))
    assert "PatientOrientation" in without and not without.PatientOrientation  # Type 2C
    half, _ = made(radiograph(tmp_path / "c", PatientOrientation="LA"))  # of the rows alone: it tells no side
    assert not half.PatientOrientation


def test_pixel_spacing_is_there_only_where_the_source_has_it_with_its_calibration(tmp_path: Path) -> None:
    said = {"PixelSpacing": ["0.1", "0.15"], "PixelSpacingCalibrationType": "GEOMETRY",
            "PixelSpacingCalibrationDescription": "at 10 cm"}  # fmt: skip
    calibrated, _ = made(radiograph(tmp_path / "a", shape=(240, 300), **said))
    assert calibrated.Rows == 480 and calibrated.PixelSpacing == [0.05, 0.075]
    assert calibrated.ImagerPixelSpacing == [0.1, 0.1]
    assert calibrated.PixelSpacingCalibrationType == "GEOMETRY"
    assert calibrated.SourceImageSequence[0].SpatialLocationsPreserved == "NO"  # drawn at another size
    nothing, _ = made(radiograph(tmp_path / "b", ImagerPixelSpacing=None))
    assert "PixelSpacing" not in nothing and "ImagerPixelSpacing" not in nothing
    assert nothing.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    zero, _ = made(
        radiograph(tmp_path / "c", PixelSpacing=["0", "0"], ImagerPixelSpacing=None, PixelAspectRatio=[4, 3])
    )
    assert "PixelSpacing" not in zero and zero.PixelAspectRatio == [4, 3]


def test_a_large_radiograph_is_drawn_coarser_and_as_large_in_millimetres(tmp_path: Path) -> None:
    first, _ = made(radiograph(tmp_path, shape=(4001, 3500), ImagerPixelSpacing=["0.1", "0.1"]))
    assert (first.Rows, first.Columns) == (1334, 1167)
    assert first.ImagerPixelSpacing == pytest.approx([0.3, 0.3])
    shown = coloured(first)
    assert shown[340:343, 300:303].all() and 13**2 <= shown.sum() <= 15**2  # 40 x 40 pixels, by three


def test_a_paired_body_part_keeps_the_side_of_the_image(tmp_path: Path) -> None:
    breast, _ = made(radiograph(tmp_path / "a", BodyPartExamined="BREAST", ImageLaterality="L"))
    assert breast.Laterality == "L"
    unknown, _ = made(radiograph(tmp_path / "b", BodyPartExamined="HAND", ImageLaterality="U"))
    assert "Laterality" in unknown and not unknown.Laterality
    chest, _ = made(radiograph(tmp_path / "c", ImageLaterality="U"))
    assert "Laterality" not in chest


def test_without_a_window_the_image_is_shown_from_its_first_to_its_last_percentile(tmp_path: Path) -> None:
    first, _ = made(radiograph(tmp_path))
    grey = first.pixel_array[:, 5, 0].astype(int)
    assert grey[4] == 0 and 120 < grey[350] < 135
    dark, _ = made(radiograph(tmp_path / "b"), window=(20000.0, 10.0))
    assert not dark.pixel_array[300, :100].any()


def test_percentiles_blocks_and_reduction() -> None:
    image = np.arange(10000, dtype=np.float32).reshape(1, 100, 100)
    low, high = ends_of(image)
    assert low == pytest.approx(99.99) and high == pytest.approx(9899.01)
    shown = stretch(np.array([low - 5, low, low + (high - low) * 0.4, high, high + 5]), low, high)
    assert shown.tolist() == [0, 0, 102, 255, 255]
    mostly = np.zeros((1, 50, 50))
    mostly[0, 0, 0] = 3
    assert ends_of(mostly) == (0, 3)
    assert not stretch(np.full(3, 7.0), 7, 7).any()
    block = np.array([[0, 2, 4], [2, 4, 8]])
    assert averaged(block, 2).tolist() == [[2, 6]] and highest(block, 2).tolist() == [[4, 8]]
    sizes = ((1600, 1200), (1601, 1200), (4000, 4000), (4000, 600), (300, 5000))
    assert [reduction(*size) for size in sizes] == [1, 2, 3, 1, 1]


def cropped(dataset: Dataset) -> None:
    dataset.Rows -= 2
    dataset.PixelData = dataset.PixelData[: dataset.Rows * dataset.Columns * 3]


BROKEN = {
    "of another shape": (cropped, "have not the shape"),
    "turned": (lambda dataset: setattr(dataset, "PatientOrientation", ["R", "F"]), "PatientOrientation is not that"),
    "of another size": (lambda dataset: setattr(dataset, "ImagerPixelSpacing", [0.21, 0.2]), "makes it 147.0 mm"),
    "calibrated by us": (lambda dataset: setattr(dataset, "PixelSpacing", [0.2, 0.2]), "the source has none"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_a_picture(tmp_path: Path, what: str) -> None:
    study = radiograph(tmp_path)
    image = Radiograph.from_instance(study.instances[0])
    dataset = copy.deepcopy(Heatmap(image, spots(image), "Grad-CAM").to_dicom(study, MAKER)[0])
    break_it, said = BROKEN[what]
    break_it(dataset)
    with pytest.raises(InvalidOutput, match=said):
        Gate(study, MAKER).release("heatmap", 1, dataset)


def test_the_gate_refuses_a_slice_that_has_lost_its_place(tmp_path: Path) -> None:
    one = case(written(tmp_path, shape=(6, 24, 28)))
    dataset = copy.deepcopy(one.heatmap.to_dicom(one.study, MAKER)[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        del dataset[keyword]
    with pytest.raises(InvalidOutput, match="ImagePositionPatient is missing"):
        Gate(one.study, MAKER).release("heatmap", 1, dataset)


REAL = ("dog-thorax-dx", "nih-00027426_000-nofinding-dx", "nih-cxr-nofinding", "rsna-cxr-pa",
        "rsna-cxr-pa-fake-monochrome1", "wg04-thorax-RG1_J2KI")  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_radiographs_pass_the_gate(real_data: Path, name: str) -> None:
    study = Study.from_files([real_data / "o08-cr-dx" / f"{name}.dcm"])
    first, second = made(study)
    assert max(first.Rows, first.Columns) <= 1600 and min(first.Rows, first.Columns) >= 480
    assert first.PatientID == second.PatientID == study.instances[0].header.PatientID
    grey = np.ptp(first.pixel_array[100:-150], axis=2) == 0
    assert grey.mean() > 0.8 and first.pixel_array[100:-150][grey].std() > 20  # the image is there, and is not flat
