"""The image-like results beside the default ones, read and checked by other people's tools: dciodvfy and DCMTK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.base import Output
from pipelines.outputs.check import Gate
from pipelines.outputs.heatmap import Heatmap
from pipelines.radiograph import Radiograph
from pipelines.study import Study
from tests import validators
from tests.results import MAKER, radiograph


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
