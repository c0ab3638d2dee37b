from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, MRImageStorage

from pipelines.base import InvalidOutput
from pipelines.outputs import reading
from pipelines.outputs.check import Gate
from pipelines.outputs.derived import DerivedSeries
from pipelines.study import Study
from pipelines.volume import Volume
from tests.results import MAKER, ORIENTATIONS, bytes_of, enhanced, places, released, source_corners, written


def volume_of(study: Study) -> Volume:
    return Volume.from_series(study.series[0])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return written(tmp_path_factory.mktemp("derived"), ScanOptions="HELICAL MODE", ContrastBolusAgent="OMNIPAQUE")


def mr(folder: Path, **attributes: object) -> Study:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.Modality, dataset.ScanningSequence, dataset.SequenceVariant = "MR", "GR", "SP"
        dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = "2300", "2.98", 1
        for keyword in ("KVP", "RescaleIntercept", "RescaleSlope", "RescaleType", "ConvolutionKernel"):
            dataset.pop(keyword, None)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return written(folder, change=change)


@pytest.mark.parametrize("steps", [*ORIENTATIONS, "enhanced"])
def test_values_lie_on_the_slices_that_they_come_from(tmp_path: Path, steps: str) -> None:
    order = tuple(int(index) for index in np.random.default_rng(4).permutation(24))
    study = enhanced(tmp_path, order) if steps == "enhanced" else written(tmp_path, steps)
    volume = volume_of(study)
    voxels = np.random.default_rng(2).integers(-1000, 2000, volume.voxels.shape)
    made = released(DerivedSeries(volume, voxels, "noise"), study)
    assert [dataset.InstanceNumber for dataset in made] == list(range(1, 25))
    for index, dataset in enumerate(made):
        (picture,) = reading.pictures(dataset)
        assert picture.source == places(volume)[index]
        assert np.abs(picture.corners - source_corners(volume, index)).max() < 0.01
        assert np.array_equal(picture.pixels, voxels[index])


def test_a_stored_series_is_a_volume_again(study: Study, tmp_path: Path) -> None:
    volume = volume_of(study)
    made = released(DerivedSeries(volume, volume.voxels + np.int16(7), "brighter"), study)
    for number, file in enumerate(bytes_of(made)):
        (tmp_path / f"{number}.dcm").write_bytes(file)
    again = volume_of(Study.from_folder(tmp_path))
    assert np.array_equal(again.voxels, volume.voxels + 7)
    assert np.allclose(again.affine, volume.affine, atol=1e-6)


def test_it_is_of_the_sources_class_and_says_that_it_is_derived_and_how(study: Study) -> None:
    source = study.instances[3].header
    dataset = released(DerivedSeries(volume_of(study), volume_of(study).voxels, "noise reduced"), study)[3]
    assert dataset.SOPClassUID == source.SOPClassUID and dataset.Modality == "CT"
    assert dataset.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
    assert dataset.DerivationDescription == "noise reduced. AI result, not for primary diagnosis"
    assert dataset.SeriesDescription == "AI ct-lung 2.1.0 noise reduced" and dataset.SeriesNumber == 9007
    (reference,) = dataset.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    for keyword in ("KVP", "ConvolutionKernel", "ScanOptions", "ContrastBolusAgent", "SliceThickness", "PatientPosition",
                    "SliceLocation", "WindowCenter", "WindowWidth", "RescaleType"):  # fmt: skip
        assert dataset.get(keyword) == source.get(keyword), keyword
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        assert [one.original_string for one in dataset[keyword].value] == [
            one.original_string for one in source[keyword].value
        ]


def test_fractions_of_hu_are_rounded_and_kept_where_that_is_wanted(study: Study) -> None:
    volume = volume_of(study)
    voxels = volume.voxels + np.float32(0.3)
    rounded = released(DerivedSeries(volume, voxels, "x"), study)[0]
    assert (rounded.RescaleSlope, rounded.RescaleIntercept) == (1, 0)
    assert np.array_equal(rounded.pixel_array, volume.voxels[0])
    fine = released(DerivedSeries(volume, voxels, "x", step=0.1), study)[0]
    (picture,) = reading.pictures(fine)
    assert np.allclose(picture.pixels, voxels[0], atol=0.051) and fine.RescaleSlope == pytest.approx(0.1)


@pytest.mark.parametrize(("low", "high"), [(-200_000, 900_000), (5e6, 5.01e6), (-32767, 32767)])
def test_values_beyond_16_bits_get_a_slope_and_an_intercept(study: Study, low: float, high: float) -> None:
    volume = volume_of(study)
    voxels = np.linspace(low, high, volume.voxels.size).reshape(volume.voxels.shape)
    made = released(DerivedSeries(volume, voxels, "x"), study)
    slope = float(made[0].RescaleSlope)
    found = np.stack([picture.pixels for dataset in made for picture in reading.pictures(dataset)])
    assert np.abs(found - voxels).max() <= slope * 0.51 and slope <= max(1.0, (high - low) / 65000)


def test_mr_keeps_its_sequence_and_has_a_slope_only_where_it_needs_one(tmp_path: Path) -> None:
    study = mr(tmp_path / "a", MRAcquisitionType="3D", WindowCenter="500", WindowWidth="900")
    volume = volume_of(study)
    plain = released(DerivedSeries(volume, volume.voxels, "x"), study)[0]
    assert plain.SOPClassUID == MRImageStorage and plain.ImageType == ["DERIVED", "SECONDARY", "OTHER"]
    assert (plain.ScanningSequence, plain.RepetitionTime, plain.MRAcquisitionType) == ("GR", 2300, "3D")
    assert "RescaleSlope" not in plain and float(plain.WindowWidth) < 200  # -60 to 60, not the window of the source
    small = volume.voxels / np.float32(1000)
    scaled = released(DerivedSeries(volume, small, "x"), study)
    found = np.stack([picture.pixels for dataset in scaled for picture in reading.pictures(dataset)])
    assert np.abs(found - small).max() < 2e-6
    unknown = mr(tmp_path / "b", ScanningSequence=None, SequenceVariant=None, EchoTime=None)
    dataset = released(DerivedSeries(volume_of(unknown), volume.voxels, "x"), unknown)[0]
    assert (dataset.ScanningSequence, dataset.SequenceVariant) == ("RM", "NONE")
    assert "EchoTime" in dataset and dataset.EchoTime is None and "InversionTime" not in dataset
    inverted = mr(tmp_path / "c", ScanningSequence=["GR", "IR"])
    dataset = released(DerivedSeries(volume_of(inverted), volume.voxels, "x"), inverted)[0]
    assert "InversionTime" in dataset and dataset.InversionTime is None


def test_an_enhanced_source_gives_single_frames_with_what_its_groups_say(tmp_path: Path) -> None:
    study = enhanced(tmp_path, tuple(range(24)))
    header, details = study.instances[0].header, Dataset()
    del header.KVP
    details.KVP = 120.0
    header.SharedFunctionalGroupsSequence[0].CTXRayDetailsSequence = [details]
    volume = volume_of(study)
    made = released(DerivedSeries(volume, volume.voxels, "x"), study)
    assert study.instances[0].SOPClassUID == EnhancedCTImageStorage and len(made) == 24
    assert {dataset.SOPClassUID for dataset in made} == {"1.2.840.10008.5.1.4.1.1.2"}
    assert [dataset.SourceImageSequence[0].ReferencedFrameNumber for dataset in made] == list(volume.frame_numbers)
    assert made[0].KVP == 120 and not any("FunctionalGroups" in element.keyword for element in made[0])


def test_text_that_is_not_ascii_is_made_so(study: Study) -> None:
    dataset = released(DerivedSeries(volume_of(study), volume_of(study).voxels, "geglättet – 2 µm"), study)[0]
    assert dataset.DerivationDescription.startswith("gegl?ttet - 2 ?m.")


def test_a_lossy_source_makes_a_result_that_says_so(tmp_path: Path) -> None:
    study = written(tmp_path, LossyImageCompression="01", LossyImageCompressionRatio="8")
    dataset = released(DerivedSeries(volume_of(study), volume_of(study).voxels, "x"), study)[0]
    assert dataset.LossyImageCompression == "01" and dataset.LossyImageCompressionRatio == 8


def test_no_frame_of_reference_makes_none(tmp_path: Path) -> None:
    study = written(tmp_path, change=lambda dataset, index: dataset.pop("FrameOfReferenceUID", None))
    assert list(DerivedSeries(volume_of(study), volume_of(study).voxels, "x").to_dicom(study, MAKER)) == []


REFUSED: dict[str, tuple[Callable[[Volume], np.ndarray], str]] = {
    "on another grid": (lambda volume: volume.voxels[1:], "shape"),
    "not finite": (lambda volume: np.where(volume.voxels > 50, np.nan, volume.voxels), "not finite"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_voxels_are_refused(study: Study, what: str) -> None:
    change, said = REFUSED[what]
    volume = volume_of(study)
    with pytest.raises(ValueError, match=said):
        DerivedSeries(volume, change(volume), "x").to_dicom(study, MAKER)


def test_another_modality_is_refused(tmp_path: Path) -> None:
    study = written(tmp_path, Modality="PT")
    with pytest.raises(ValueError, match="not of PT"):
        DerivedSeries(volume_of(study), volume_of(study).voxels, "x").to_dicom(study, MAKER)


def test_a_rerun_gives_the_same_bytes_and_the_gate_writes_what_pydicom_writes(study: Study) -> None:
    first, second = (
        list(DerivedSeries(volume_of(study), volume_of(study).voxels, "x").to_dicom(study, MAKER)) for _ in range(2)
    )
    gate = Gate(study, MAKER)
    assert bytes_of(first) == bytes_of(second)
    assert [gate.release("derived", number, one).content for number, one in enumerate(first, 1)] == bytes_of(second)


def moved(dataset: Dataset) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y, float(z) + 0.02]


def half(dataset: Dataset) -> None:
    dataset.Rows //= 2
    dataset.PixelSpacing = [2 * dataset.PixelSpacing[0], dataset.PixelSpacing[1]]


BROKEN = {
    "0.02 mm off": (moved, "lies 0.020 mm off"),
    "on a grid of its own": (half, "not on the grid"),
    "without its place": (lambda one: one.pop("ImageOrientationPatient"), "ImageOrientationPatient"),
    "without a slope": (lambda one: one.pop("RescaleSlope"), "RescaleSlope"),
    "without what was done": (lambda one: one.pop("DerivationDescription"), "DerivationDescription"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_an_image(study: Study, what: str) -> None:
    dataset = copy.deepcopy(DerivedSeries(volume_of(study), volume_of(study).voxels, "x").to_dicom(study, MAKER)[0])
    break_it, said = BROKEN[what]
    break_it(dataset)
    with pytest.raises(InvalidOutput, match=said):
        Gate(study, MAKER).release("derived", 1, dataset)
