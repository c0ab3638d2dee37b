"""The image-like results beside the default ones, read and checked by other people's tools: dciodvfy and DCMTK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from pipelines.base import Output
from pipelines.outputs import reading
from pipelines.outputs.check import Gate
from pipelines.outputs.contours import Contours
from pipelines.outputs.derived import DerivedSeries
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.multi_frame import MultiFrameHeatmap
from pipelines.outputs.parametric_map import ParametricMap
from pipelines.radiograph import Radiograph
from pipelines.study import Series, Study
from pipelines.volume import Volume
from tests import validators
from tests.results import MAKER, Case, case, enhanced, places, radiograph, source_corners, written


def files(output: Output, study: Study, folder: Path) -> list[Path]:
    """An output's objects as files, through the gate."""
    folder.mkdir(parents=True, exist_ok=True)
    gate, paths = Gate(study, MAKER), []
    for number, dataset in enumerate(output.to_dicom(study, MAKER), 1):
        paths.append(folder / f"{output.name}-{number:03d}.dcm")
        paths[-1].write_bytes(gate.release(output.name, number, dataset).content)
    return paths


def valid(paths: list[Path]) -> bool:
    """Whether dciodvfy finds no error and DCMTK reads the first and the last of some files."""
    for path in {paths[0], paths[-1]}:
        assert validators.dciodvfy(path) == []
        assert "SOPInstanceUID" in validators.dcmdump(path)
    return True


REAL = ("o01-ct-chest-lidc0314", "o04-ct-abdpelvis-3mm-totalseg")


@pytest.fixture(scope="module", params=["oblique", "enhanced", *REAL])
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("images")
    if request.param in REAL:
        return case(Study.from_folder(request.getfixturevalue("real_data") / request.param))
    if request.param == "enhanced":
        return case(enhanced(folder, tuple(range(24))[::-1]))
    return case(written(folder, request.param))


def in_place(paths: list[Path], volume: Volume) -> bool:
    """Whether every frame lies on the source slice that it names, by the volume's affine, to 0.01 mm."""
    sources = {place: index for index, place in enumerate(places(volume))}
    count = 0
    for path in paths:
        for picture in reading.pictures(pydicom.dcmread(path)):
            assert np.abs(picture.corners - source_corners(volume, sources[picture.source])).max() < 0.01
            count += 1
    return count > 0


def test_a_multi_frame_heatmap_is_valid_and_in_place(one: Case, tmp_path: Path) -> None:
    paths = files(MultiFrameHeatmap(one.heatmap), one.study, tmp_path)
    assert len(paths) == 1 and valid(paths) and in_place(paths, one.volume)


def test_contours_are_valid_and_in_place(one: Case, tmp_path: Path) -> None:
    paths = files(Contours(one.segmentation, one.report), one.study, tmp_path)
    assert valid(paths)
    sources = {place: index for index, place in enumerate(places(one.volume))}
    for path in paths:
        made = pydicom.dcmread(path)
        (picture,) = reading.pictures(made)
        wanted = source_corners(one.volume, sources[picture.source])
        found = picture.corners  # the legend's columns lie to the right: the left ends are those of the source
        assert np.abs(found[[0, 2]] - wanted[[0, 2]]).max() < 0.01
        direction = (wanted[1] - wanted[0]) / np.linalg.norm(wanted[1] - wanted[0])
        assert np.linalg.norm(np.cross(found[1] - found[0], direction)) < 0.01
        assert np.linalg.norm(found[1] - found[0]) > np.linalg.norm(wanted[1] - wanted[0]) + 1


def test_parametric_maps_are_valid_and_in_place(one: Case, tmp_path: Path) -> None:
    paths = files(ParametricMap(one.heatmap), one.study, tmp_path)
    assert len(paths) == 2 and valid(paths) and in_place(paths, one.volume)


def test_derived_images_are_valid_and_in_place(one: Case, tmp_path: Path) -> None:
    paths = files(DerivedSeries(one.volume, one.volume.voxels * np.float32(0.5), "halved"), one.study, tmp_path)
    assert len(paths) == len(one.volume.voxels) and valid(paths) and in_place(paths, one.volume)


@pytest.mark.parametrize("name", ["o07-mr-brain-tumour-pyradiomics", "o15-mr-brain-t1-fnndsc"])
@pytest.mark.parametrize("factor", [1.0, 1e-5])
def test_derived_images_of_real_mr_are_valid(real_data: Path, tmp_path: Path, name: str, factor: float) -> None:
    study = Study.from_folder(real_data / name)
    whole = study.series[0].instances
    if name.startswith("o15"):  # a slice is missing in its middle
        places_along = [
            float(
                np.dot(
                    one.get("ImagePositionPatient"), np.cross(*np.reshape(one.get("ImageOrientationPatient"), (2, 3)))
                )
            )
            for one in whole
        ]
        order = np.argsort(places_along)
        whole = tuple(whole[index] for index in order[: int(np.argmax(np.diff(np.sort(places_along)))) + 1])
    study = Study(study.StudyInstanceUID, (Series(study.series[0].SeriesInstanceUID, whole),))
    volume = Volume.from_series(study.series[0])
    paths = files(DerivedSeries(volume, volume.voxels * np.float32(factor), "scaled"), study, tmp_path)
    assert len(paths) == len(volume.voxels) and valid(paths) and in_place(paths, volume)


SYNTHETIC = {
    "digital, at the detector": {},
    "calibrated": {"PixelSpacing": ["0.1", "0.15"], "PixelSpacingCalibrationType": "FIDUCIAL",
                   "PixelSpacingCalibrationDescription": "ball"},
    "breast": {"BodyPartExamined": "BREAST", "ImageLaterality": "R", "Modality": "MG"},
    "without anything": {"ImagerPixelSpacing": None, "PatientOrientation": None, "BodyPartExamined": None},
}  # fmt: skip
# two more real radiographs have a PatientAge without its unit, which is the patient's and stays as it is
REAL_RADIOGRAPHS = ("dog-thorax-dx", "nih-00027426_000-nofinding-dx", "wg04-thorax-RG1_J2KI")


@pytest.mark.parametrize("kind", [*SYNTHETIC, *REAL_RADIOGRAPHS])
def test_heatmaps_of_radiographs_are_valid(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind in SYNTHETIC:
        study = radiograph(tmp_path / "source", **SYNTHETIC[kind])
    else:
        study = Study.from_files([request.getfixturevalue("real_data") / "o08-cr-dx" / f"{kind}.dcm"])
    image = Radiograph.from_instance(study.instances[0])
    spot = np.zeros(image.voxels.shape, np.float32)
    spot[:, 50:90, 60:100] = 0.7
    paths = files(Heatmap(image, {"Nodule": spot, "Effusion": spot / 2}, "Grad-CAM"), study, tmp_path / "made")
    assert len(paths) == 2 and valid(paths)
    assert valid(
        files(MultiFrameHeatmap(Heatmap(image, {"Nodule": spot, "Effusion": spot / 2}, "Grad-CAM")), study, tmp_path)
    )
