from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.outputs.capture import patient_orientation
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.overlay import FREE_ROWS
from pipelines.outputs.placement import corners
from tests.results import MAKER, ORIENTATIONS, Case, bytes_of, case, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("heatmap")))


@pytest.fixture(scope="module")
def made(one: Case) -> list[Dataset]:
    return one.made()["heatmap"]


def numbers(values: object) -> np.ndarray:
    return np.array([float(value) for value in values])  # type: ignore[attr-defined]


def test_only_slices_with_signal_are_drawn_in_the_order_of_the_volume(one: Case, made: list[Dataset]) -> None:
    with_signal = np.flatnonzero(one.masks.any(axis=(1, 2)))
    assert [dataset.SourceImageSequence[0].ReferencedSOPInstanceUID for dataset in made] == [
        one.volume.instances[index].SOPInstanceUID for index in with_signal]  # fmt: skip
    assert [dataset.InstanceNumber for dataset in made] == list(range(1, len(with_signal) + 1))


@pytest.mark.parametrize("steps", ORIENTATIONS)
def test_a_slice_drawn_finer_covers_exactly_its_source_slice(tmp_path: Path, steps: str) -> None:
    one = case(written(tmp_path, steps))
    headers = {instance.SOPInstanceUID: instance.header for instance in one.study.instances}
    for dataset in one.made()["heatmap"]:
        assert dataset.Rows == dataset.pixel_array.shape[0] == 10 * 48 and dataset.Columns == 10 * 56
        source = headers[dataset.SourceImageSequence[0].ReferencedSOPInstanceUID]
        found, wanted = (corners(numbers(each.ImagePositionPatient), numbers(each.ImageOrientationPatient),
                                 numbers(each.PixelSpacing), each.Rows, each.Columns) for each in (dataset, source))  # fmt: skip
        assert np.abs(found - wanted).max() < 0.01


def test_colour_is_laid_where_the_values_are_and_nowhere_else(one: Case, made: list[Dataset]) -> None:
    index = int((one.masks == 1).sum(axis=(1, 2)).argmax())
    uid = one.volume.instances[index].SOPInstanceUID
    (dataset,) = [each for each in made if each.SourceImageSequence[0].ReferencedSOPInstanceUID == uid]
    pixels = dataset.pixel_array[5::10, 5::10].astype(int)
    coloured = np.ptp(pixels, axis=2) > 12
    middle = np.s_[10:38, :44]  # away from the captions and the scale
    assert np.array_equal(coloured[middle], one.masks[index][middle] > 0)


def test_a_matrix_of_512_is_drawn_as_it_is_on_the_planes_as_they_are(tmp_path: Path) -> None:
    one = case(written(tmp_path, shape=(3, 512, 512)))
    (first, *_) = one.made()["heatmap"]
    source = one.volume.instances[1].header
    assert (first.Rows, first.Columns) == (512, 512)
    assert first.ImagePositionPatient == source.ImagePositionPatient and first.PixelSpacing == source.PixelSpacing


def test_nothing_is_burned_into_the_rows_where_viewers_draw(one: Case) -> None:
    dark = case(one.study)
    voxels = np.full_like(dark.volume.voxels, -2000)  # black in the window, so that every mark shows
    object.__setattr__(dark.volume, "voxels", voxels)
    for dataset in dark.heatmap.to_dicom(dark.study, MAKER):
        assert not dataset.pixel_array[:FREE_ROWS].any()
        assert dataset.pixel_array[FREE_ROWS : FREE_ROWS + 30].max() > 200  # the warning
        assert dataset.pixel_array[-60:].max() > 200  # model, method, source


def test_captions_of_two_slices_differ_because_each_names_its_own_source(one: Case, made: list[Dataset]) -> None:
    first, last = made[0].pixel_array, made[-1].pixel_array
    assert not np.array_equal(first[-14:], last[-14:])


def test_it_says_that_it_is_derived_burned_in_and_from_where(made: list[Dataset]) -> None:
    dataset = made[0]
    assert (
        dataset.Modality == "OT" and dataset.ConversionType == "WSD" and dataset.ImageType == ["DERIVED", "SECONDARY"]
    )
    assert dataset.BurnedInAnnotation == "YES" and dataset.RecognizableVisualFeatures == "NO"
    assert "NOT FOR DIAGNOSTIC USE" in dataset.DerivationDescription
    source = dataset.SourceImageSequence[0]
    assert source.SpatialLocationsPreserved == "YES" and source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert dataset.SeriesNumber == 9003 and dataset.LossyImageCompression == "00"


def test_a_lossy_source_makes_a_result_that_says_so(tmp_path: Path) -> None:
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    one = case(written(tmp_path, **lossy))
    dataset = one.made()["heatmap"][0]
    assert dataset.LossyImageCompression == "01" and float(dataset.LossyImageCompressionRatio) == 12.5


def test_a_body_part_that_may_have_a_side_comes_with_laterality(tmp_path: Path) -> None:
    without = case(written(tmp_path / "a", BodyPartExamined="")).made()["heatmap"][0]
    assert "BodyPartExamined" not in without and "Laterality" in without
    assert "Laterality" not in case(written(tmp_path / "b")).made()["heatmap"][0]


def test_values_of_eight_bits_are_drawn_like_their_fractions(one: Case) -> None:
    eight = Heatmap(one.volume, {label: np.round(values.astype(np.float32) * 255).astype(np.uint8)
                                 for label, values in one.heatmap.probability.items()}, "Softmax probability",
                                 window=one.heatmap.window)  # fmt: skip
    for first, second in zip(eight.to_dicom(one.study, MAKER), one.heatmap.to_dicom(one.study, MAKER), strict=True):
        assert np.abs(first.pixel_array.astype(int) - second.pixel_array).max() <= 2


def test_no_signal_makes_no_series(one: Case) -> None:
    nothing = Heatmap(one.volume, {"x": np.zeros(one.masks.shape, np.float16)}, "p")
    assert list(nothing.to_dicom(one.study, MAKER)) == []


def test_values_on_another_grid_are_refused(one: Case) -> None:
    with pytest.raises(ValueError, match="class x"):
        list(Heatmap(one.volume, {"x": np.zeros((1, 2, 3), np.float16)}, "p").to_dicom(one.study, MAKER))


def test_a_rerun_gives_the_same_bytes(one: Case, made: list[Dataset]) -> None:
    assert bytes_of(made) == bytes_of(one.made()["heatmap"])


@pytest.mark.parametrize(("cosines", "letters"), [
    ((1, 0, 0, 0, 1, 0), ["L", "P"]), ((-1, 0, 0, 0, -1, 0), ["R", "A"]), ((0, 1, 0, 0, 0, -1), ["P", "F"]),
    ((0.9, 0.436, 0, -0.436, 0.9, 0), ["LP", "PR"]),
])  # fmt: skip
def test_patient_orientation_names_the_directions_of_rows_and_columns(
    cosines: tuple[float, ...], letters: list[str]
) -> None:
    assert patient_orientation(list(cosines)) == letters
