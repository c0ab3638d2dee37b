"""Every result object, read and checked by other people's tools: dciodvfy, PixelMed, dcmqi, DCMTK."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from pipelines.outputs import reading
from pipelines.outputs.placement import content_items, corners
from pipelines.study import Study
from pipelines.volume import Volume
from tests import validators
from tests.results import ORIENTATIONS, SEGMENTS, Case, case, enhanced, saved, written

REAL = (
    "o01-ct-chest-lidc0314",
    "o02-ct-abdomen-crlm1004",
    "o03-ct-abdomen-j2k-totalseg",
    "o04-ct-abdpelvis-3mm-totalseg",
)


@dataclass(frozen=True, eq=False)
class Written:
    """A case and the files of its results."""

    case: Case
    files: dict[str, list[Path]]


def dark_regions(volume: Volume) -> np.ndarray:
    """A label map to test with, made without a model: the largest air that does not touch the border, by body halves."""
    canonical = volume.canonical()
    air, _ = ndimage.label(canonical < -400)
    sizes = np.bincount(air.ravel())
    border = np.concatenate([air[:, [0, -1]].ravel(), air[:, :, [0, -1]].ravel()])
    sizes[np.unique(border)] = sizes[0] = 0
    largest = air == sizes.argmax()
    half = canonical.shape[2] // 2
    labels = np.where(largest, 1, 0).astype(np.uint8)
    labels[:, :, :half] *= 2
    return volume.from_canonical(labels)


def real_study(folder: Path, scratch: Path) -> Study:
    """A real study; o03 lost its UIDs in anonymisation and gets new ones, as a sender would have to give it."""
    files = sorted(path for path in folder.rglob("*.dcm"))
    if files and pydicom.dcmread(files[0], stop_before_pixels=True).get("StudyInstanceUID"):
        return Study.from_folder(folder)
    scratch.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(files, 1):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
            "2.25.31",
            "2.25.32",
            "2.25.33",
        )
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.34{number:03d}"
        dataset.save_as(scratch / path.name)
    return Study.from_folder(scratch)


@pytest.fixture(scope="module", params=[*ORIENTATIONS, "enhanced", "nothing found", "one lung", *REAL])
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("conformance")
    if request.param in REAL:
        study = real_study(request.getfixturevalue("real_data") / request.param, folder / "source")
        (series,) = study.series
        found = case(study, dark_regions(Volume.from_series(series)))
    elif request.param == "enhanced":
        found = case(enhanced(folder, tuple(range(24))[::-1]))
    elif request.param == "one lung":
        study = written(folder)
        found = case(study, (case(study).masks == 1).astype(np.uint8), SEGMENTS[:1])
    elif request.param == "nothing found":
        found = case(written(folder), np.zeros((24, 48, 56), np.uint8))
    else:
        found = case(written(folder, request.param))
    return Written(found, saved(found.made(), folder / "results"))


def test_dciodvfy_finds_no_error(one: Written) -> None:
    for paths in one.files.values():
        for path in paths[:: max(1, len(paths) // 3)]:
            assert validators.dciodvfy(path) == []


# PixelMed takes many seconds for each report: one of every form is enough
@pytest.mark.parametrize("one", ["oblique", "enhanced", "nothing found", "one lung", REAL[0]], indirect=True)
def test_pixelmed_finds_no_error_in_the_report(one: Written) -> None:
    assert validators.pixelmed_sr(one.files["report"][0]) == []


def test_dcmtk_reads_every_object(one: Written) -> None:
    text = validators.dsrdump(one.files["report"][0])
    assert "Imaging Measurement Report" in text
    for paths in one.files.values():
        for path in paths[:2]:
            assert "SOPInstanceUID" in validators.dcmdump(path)


def test_dcmqi_reads_the_voxels_of_the_mask_at_their_places(one: Written, tmp_path: Path) -> None:
    if not one.files["segmentation"]:
        assert not one.case.masks.any()
        return
    images, described = validators.dcmqi_masks(one.files["segmentation"][0], tmp_path)
    labels = {item["SegmentLabel"] for group in described["segmentAttributes"] for item in group}
    assert labels == {segment.label for segment in one.case.segmentation.segments}
    for segment in one.case.segmentation.segments:
        indices = np.argwhere(one.case.masks == segment.number)
        if not len(indices):
            continue
        wanted = indices @ one.case.volume.affine[:3, :3].T + one.case.volume.affine[:3, 3]
        found = validators.ones_in_space(images[segment.number])
        assert len(found) == len(wanted)
        assert np.abs(in_order(found) - in_order(wanted)).max() < 0.01


def in_order(points: np.ndarray) -> np.ndarray:
    """Points sorted by their coordinates in tenths of a millimetre, so that rounding does not part equal sets."""
    return points[np.lexsort(np.round(points, 1).T)]


def frames_and_sources(one: Written) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The corners (LPS mm) of every frame of every image result, and those of the source slice that it names."""
    places = zip(one.case.volume.instances, one.case.volume.frame_numbers, strict=True)
    sources = {(instance.SOPInstanceUID, number): index for index, (instance, number) in enumerate(places)}
    rows, columns = one.case.volume.voxels.shape[1:]
    ends = [(row, column) for row in (-0.5, rows - 0.5) for column in (-0.5, columns - 0.5)]

    def of_source(dataset: Dataset) -> np.ndarray:
        index = sources[reading.source_of(dataset)]
        return np.array([(one.case.volume.affine @ (index, row, column, 1))[:3] for row, column in ends])

    for path in one.files["segmentation"]:
        made = pydicom.dcmread(path)
        shared = made.SharedFunctionalGroupsSequence[0]
        for frame in made.PerFrameFunctionalGroupsSequence:
            position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
            orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
            spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, dtype=float)
            yield (
                corners(position, orientation, spacing, made.Rows, made.Columns),
                of_source(frame.DerivationImageSequence[0]),
            )
    for path in one.files["heatmap"]:
        made = pydicom.dcmread(path, stop_before_pixels=True)
        yield corners(np.array(made.ImagePositionPatient, dtype=float), np.array(made.ImageOrientationPatient, dtype=float),
                      np.array(made.PixelSpacing, dtype=float), made.Rows, made.Columns), of_source(made)  # fmt: skip


def test_every_frame_and_heatmap_slice_lies_on_its_source_slice_to_a_hundredth_of_a_millimetre(one: Written) -> None:
    compared = [float(np.abs(found - wanted).max()) for found, wanted in frames_and_sources(one)]
    assert bool(compared) == bool(one.case.masks.any())
    assert max(compared, default=0) < 0.01


def test_the_volumes_in_the_report_are_those_of_the_stored_mask_to_a_tenth_of_a_millilitre(one: Written) -> None:
    report = pydicom.dcmread(one.files["report"][0])
    said = [float(item.MeasuredValueSequence[0].NumericValue) for item in content_items(report)
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "118565006"]  # fmt: skip
    stored = []
    for path in one.files["segmentation"]:
        made = pydicom.dcmread(path)
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        voxel = (
            float(np.prod([float(value) for value in measures.PixelSpacing]))
            * float(measures.SpacingBetweenSlices)
            / 1000
        )
        found = reading.masks(made)
        for segment in found.segments:
            voxels = sum(int(mask.sum()) for (number, _), mask in found.frames.items() if number == segment.number)
            stored += [voxels * voxel] if voxels else []
    assert said == pytest.approx(stored, abs=0.1)
    assert len(said) == len(set(np.unique(one.case.masks)) - {0})


def test_patient_and_study_are_those_of_the_source(one: Written) -> None:
    source = one.case.study.instances[0].header
    for paths in one.files.values():
        for path in paths:
            made = pydicom.dcmread(path, stop_before_pixels=True)
            for keyword in (
                "PatientName",
                "PatientID",
                "PatientBirthDate",
                "PatientSex",
                "StudyInstanceUID",
                "StudyDate",
            ):
                assert str(made.get(keyword) or "") == str(source.get(keyword) or "")


@pytest.fixture(scope="module")
def real_run(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, list[Path]]]:
    """ct-lung with its bundled model on a real chest, as `overread try` runs it."""
    from models.errors import ModelError
    from pipelines.base import execute, maker_of
    from pipelines.registry import load

    study = Study.from_folder(real_data / REAL[0])
    try:
        pipeline = load("ct-lung")
    except ModelError as error:
        pytest.skip(f"models/bundled/ct-lung: {error}")
    maker = maker_of(pipeline, "0.1.0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    done = execute(pipeline, study, pipeline.select(study), maker)
    return study, saved(
        {made.name: [one.dataset() for one in made.kept] for made in done.made}, tmp_path_factory.mktemp("real run")
    )


def test_ct_lung_on_a_real_chest_passes_every_validator(real_run: tuple[Study, dict[str, list[Path]]]) -> None:
    _, files = real_run
    assert set(files) == {"segmentation", "report", "heatmap"}
    for path in (files["segmentation"][0], files["report"][0], *files["heatmap"][::20]):
        assert validators.dciodvfy(path) == []
    assert validators.pixelmed_sr(files["report"][0]) == []


def test_ct_lung_on_a_real_chest_measures_what_it_stores(
    real_run: tuple[Study, dict[str, list[Path]]], tmp_path: Path
) -> None:
    study, files = real_run
    volume = Volume.from_series(study.series[0])
    images, _ = validators.dcmqi_masks(files["segmentation"][0], tmp_path)
    report = pydicom.dcmread(files["report"][0])
    said = [float(item.MeasuredValueSequence[0].NumericValue) for item in content_items(report)
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "118565006"]  # fmt: skip
    places = [validators.ones_in_space(images[number]) for number in sorted(images)]
    assert said == pytest.approx([len(points) * volume.voxel_ml for points in places], abs=0.1)
    assert places[0][:, 0].mean() > places[1][:, 0].mean() + 50  # the left lung lies to the patient's left (LPS)
