from __future__ import annotations

import copy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs import reading
from pipelines.outputs.check import Gate
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.multi_frame import MultiFrameHeatmap
from pipelines.radiograph import Radiograph
from tests.results import (
    MAKER,
    ORIENTATIONS,
    Case,
    bytes_of,
    case,
    enhanced,
    places,
    radiograph,
    released,
    source_corners,
    written,
)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("multi-frame")))


@pytest.fixture(scope="module")
def made(one: Case) -> Dataset:
    (dataset,) = released(MultiFrameHeatmap(one.heatmap), one.study)
    return dataset


def test_its_frames_are_the_pictures_of_the_series(one: Case, made: Dataset) -> None:
    series = [dataset.pixel_array for dataset in one.heatmap.to_dicom(one.study, MAKER)]
    assert made.NumberOfFrames == len(series)
    assert np.array_equal(made.pixel_array, np.stack(series))


def test_it_counts_pages_and_belongs_to_no_time(made: Dataset) -> None:
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7.4"
    assert made.FrameIncrementPointer == 0x00182001
    assert made.PageNumberVector == list(range(1, made.NumberOfFrames + 1))
    assert made.BurnedInAnnotation == "YES" and made.SeriesNumber == 9004
    assert "ImagePositionPatient" not in made and made.PatientOrientation == ["L", "P"]


@pytest.mark.parametrize("steps", [*ORIENTATIONS, "enhanced"])
def test_every_frame_lies_on_the_slice_that_it_names(tmp_path: Path, steps: str) -> None:
    order = tuple(range(24))[::-1]
    one = case(enhanced(tmp_path, order) if steps == "enhanced" else written(tmp_path, steps))
    (made,) = released(MultiFrameHeatmap(one.heatmap), one.study)
    known = places(one.volume)
    shown = []
    for picture in reading.pictures(made):
        index = known.index(picture.source)
        assert np.abs(picture.corners - source_corners(one.volume, index)).max() < 0.01
        shown.append(index)
    assert shown == np.flatnonzero(one.masks.any(axis=(1, 2))).tolist()


def test_beyond_a_size_a_further_object_is_begun(one: Case, made: Dataset) -> None:
    parts = released(MultiFrameHeatmap(one.heatmap, most_bytes=7 * 480 * 560 * 3), one.study)
    assert [part.NumberOfFrames for part in parts] == [7, 7, made.NumberOfFrames - 14]
    assert np.array_equal(np.concatenate([part.pixel_array for part in parts]), made.pixel_array)
    assert len({part.SOPInstanceUID for part in parts}) == 3 and len({part.SeriesInstanceUID for part in parts}) == 1
    assert parts[1].PageNumberVector == list(range(1, 8))
    rest = MultiFrameHeatmap(one.heatmap, most_bytes=1)
    assert len(rest.to_dicom(one.study, MAKER)) == made.NumberOfFrames


def test_pixels_are_in_memory_once(tmp_path: Path) -> None:
    one = case(written(tmp_path, shape=(30, 512, 512)))
    (dataset,) = MultiFrameHeatmap(one.heatmap).to_dicom(one.study, MAKER)  # fonts and tables are there
    size = len(dataset.PixelData)
    tracemalloc.start()
    objects = MultiFrameHeatmap(one.heatmap).to_dicom(one.study, MAKER)
    Gate(one.study, MAKER).release("heatmap-multi-frame", 1, objects[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 15_000_000 and peak < 1.6 * size


def test_a_radiograph_has_a_page_for_each_class(tmp_path: Path) -> None:
    study = radiograph(tmp_path)
    image = Radiograph.from_instance(study.instances[0])
    spot = np.zeros(image.voxels.shape, np.float32)
    spot[0, 200:250, 200:250] = 0.9
    heatmap = Heatmap(image, {"a": spot, "b": spot[:, ::-1]}, "Grad-CAM")
    (dataset,) = released(MultiFrameHeatmap(heatmap), study)
    assert dataset.NumberOfFrames == 2 and "PerFrameFunctionalGroupsSequence" not in dataset
    assert "Grad-CAM of a, b" in dataset.DerivationDescription
    assert dataset.PatientOrientation == ["L", "F"] and dataset.ImagerPixelSpacing == [0.2, 0.2]
    assert all(picture.corners is None for picture in reading.pictures(dataset))


def test_slices_without_a_frame_of_reference_make_none(tmp_path: Path) -> None:
    def take_away(dataset: Dataset, index: int) -> None:
        dataset.pop("FrameOfReferenceUID", None)

    one = case(written(tmp_path, change=take_away))
    assert list(MultiFrameHeatmap(one.heatmap).to_dicom(one.study, MAKER)) == []


def test_no_signal_makes_none(one: Case) -> None:
    nothing = Heatmap(one.volume, {"x": np.zeros(one.masks.shape, np.float16)}, "p")
    assert list(MultiFrameHeatmap(nothing).to_dicom(one.study, MAKER)) == []


def test_a_rerun_gives_the_same_bytes(one: Case) -> None:
    first, second = (list(MultiFrameHeatmap(one.heatmap).to_dicom(one.study, MAKER)) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)


def moved(dataset: Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [x, y, float(z) + 0.02]


BROKEN = {
    "0.02 mm off": (moved, "frame 3 lies 0.020 mm off"),
    "without planes": (lambda one: one.pop("PerFrameFunctionalGroupsSequence"), "FunctionalGroupsSequence is missing"),
    "with a source missing": (lambda one: one.SourceImageSequence.pop(), "SourceImageSequence names"),
    "with a plane missing": (lambda one: one.PerFrameFunctionalGroupsSequence.pop(), "places"),
    "with its pages unnumbered": (lambda one: one.pop("PageNumberVector"), "PageNumberVector"),
    "with a frame missing": (lambda one: setattr(one, "PixelData", one.PixelData[:-1000]), "PixelData has"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_an_object(one: Case, what: str) -> None:
    dataset = copy.deepcopy(MultiFrameHeatmap(one.heatmap).to_dicom(one.study, MAKER)[0])
    break_it, said = BROKEN[what]
    break_it(dataset)
    with pytest.raises(InvalidOutput, match=said):
        Gate(one.study, MAKER).release("heatmap-multi-frame", 1, dataset)
