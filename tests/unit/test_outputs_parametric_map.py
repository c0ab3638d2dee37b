from __future__ import annotations

import copy
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs import reading
from pipelines.outputs.check import Gate
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.parametric_map import ParametricMap
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


def smooth(one: Case) -> Heatmap:
    """Two classes of fractions that no eighth of a byte could hold."""
    rng = np.random.default_rng(7)
    values = {label: (rng.random(one.masks.shape, np.float32) * (one.masks == number)) for number, label in
              ((1, "Left lung"), (2, "Right lung"))}  # fmt: skip
    return Heatmap(one.volume, values, "Softmax probability")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("maps")))


@pytest.fixture(scope="module")
def made(one: Case) -> list[Dataset]:
    return released(ParametricMap(smooth(one)), one.study)


def test_each_class_has_its_values_in_percent_from_its_first_to_its_last_slice(one: Case, made: list[Dataset]) -> None:
    for dataset, (label, values) in zip(made, smooth(one).probability.items(), strict=True):
        with_signal = np.flatnonzero((values >= 0.05).any(axis=(1, 2)))
        shown = values[with_signal[0] : with_signal[-1] + 1]
        assert dataset.NumberOfFrames == len(shown) and dataset.FloatPixelData == (shown * np.float32(100)).tobytes()
        mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert mapping.LUTLabel == label and mapping.LUTExplanation == f"Softmax probability of {label}"
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "%"
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Probability"
        assert dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].WindowWidth == 100
    assert [dataset.InstanceNumber for dataset in made] == [1, 2] and made[0].SeriesNumber == 9006


@pytest.mark.parametrize("steps", [*ORIENTATIONS, "enhanced"])
def test_values_lie_on_the_slices_that_they_come_from(tmp_path: Path, steps: str) -> None:
    order = tuple(int(index) for index in np.random.default_rng(4).permutation(24))
    one = case(enhanced(tmp_path, order) if steps == "enhanced" else written(tmp_path, steps))
    heatmap = smooth(one)
    for dataset, values in zip(released(ParametricMap(heatmap), one.study), heatmap.probability.values(), strict=True):
        for picture in reading.pictures(dataset):
            index = places(one.volume).index(picture.source)
            assert np.abs(picture.corners - source_corners(one.volume, index)).max() < 0.01
            assert np.array_equal(picture.pixels, values[index] * np.float32(100))


def test_planes_are_said_in_the_sources_own_decimal_strings(one: Case, made: list[Dataset]) -> None:
    headers = {instance.SOPInstanceUID: instance.header for instance in one.study.instances}
    dataset = pydicom.dcmread(BytesIO(bytes_of(made)[0]))
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = headers[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert [one.original_string for one in position] == [one.original_string for one in source.ImagePositionPatient]


def test_halves_and_bytes_are_percent_too(one: Case) -> None:
    halves = released(ParametricMap(one.heatmap), one.study)[0]
    assert halves.pixel_array.max() == pytest.approx(float(np.float16(0.9)) * 100, abs=1e-4)
    eight = Heatmap(one.volume, {"x": np.full(one.masks.shape, 51, np.uint8)}, "p")
    (dataset,) = released(ParametricMap(eight), one.study)
    assert dataset.NumberOfFrames == 24 and np.allclose(dataset.pixel_array, 20, atol=1e-5)


def test_beyond_a_size_a_further_object_of_the_class_is_begun(one: Case, made: list[Dataset]) -> None:
    parts = released(ParametricMap(smooth(one), most_bytes=6 * 48 * 56 * 4), one.study)
    left = [part for part in parts if "Left" in part.DerivationDescription]
    assert len(left) > 1 and np.array_equal(np.concatenate([part.pixel_array for part in left]), made[0].pixel_array)
    assert len({part.SOPInstanceUID for part in parts}) == len(parts)
    assert len({part.DimensionOrganizationSequence[0].DimensionOrganizationUID for part in parts}) == len(parts)


def test_no_signal_no_frame_of_reference_or_no_place_make_none(one: Case, tmp_path: Path) -> None:
    nothing = Heatmap(one.volume, {"x": np.zeros(one.masks.shape, np.float16)}, "p")
    assert list(ParametricMap(nothing).to_dicom(one.study, MAKER)) == []
    without = case(written(tmp_path / "a", change=lambda dataset, index: dataset.pop("FrameOfReferenceUID", None)))
    assert list(ParametricMap(without.heatmap).to_dicom(without.study, MAKER)) == []
    study = radiograph(tmp_path / "b")
    image = Radiograph.from_instance(study.instances[0])
    flat = Heatmap(image, {"x": np.ones(image.voxels.shape, np.float32)}, "p")
    assert list(ParametricMap(flat).to_dicom(study, MAKER)) == []


def test_values_on_another_grid_are_refused(one: Case) -> None:
    with pytest.raises(ValueError, match="class x"):
        ParametricMap(Heatmap(one.volume, {"x": np.ones((1, 2, 3), np.float16)}, "p")).to_dicom(one.study, MAKER)


def test_a_rerun_gives_the_same_bytes_and_the_gate_writes_what_pydicom_writes(one: Case) -> None:
    first, second = (list(ParametricMap(smooth(one)).to_dicom(one.study, MAKER)) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)
    gate = Gate(one.study, MAKER)
    assert [gate.release("parametric-map", number, each).content for number, each in enumerate(first, 1)] == bytes_of(
        second
    )


def moved(dataset: Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    x, y, z = position.ImagePositionPatient
    position.ImagePositionPatient = [x, y, float(z) + 0.02]


def no_unit(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence


BROKEN = {
    "0.02 mm off": (moved, "frame 3 lies 0.020 mm off"),
    "with values missing": (lambda one: setattr(one, "FloatPixelData", one.FloatPixelData[:-4]), "FloatPixelData has"),
    "without a unit": (no_unit, "MeasurementUnitsCodeSequence"),
    "without values": (lambda one: one.pop("FloatPixelData"), "FloatPixelData"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_an_object(one: Case, what: str) -> None:
    dataset = copy.deepcopy(ParametricMap(smooth(one)).to_dicom(one.study, MAKER)[0])
    break_it, said = BROKEN[what]
    break_it(dataset)
    with pytest.raises(InvalidOutput, match=said):
        Gate(one.study, MAKER).release("parametric-map", 1, dataset)
