"""Synthetic CT studies: valid objects, the same on every run, and plainly no person's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pipelines.examples import ct_study
from pipelines.study import Study
from pipelines.volume import Volume
from tests import builders
from tests.conftest import missing


def test_the_array_comes_back_from_the_files(tmp_path: Path) -> None:
    hu = builders.voxels((20, 16, 18))
    volume = Volume.from_series(builders.series_of(ct_study(hu, (2.5, 0.7, 0.7), tmp_path)))
    assert np.array_equal(volume.canonical(), hu)
    assert volume.canonical_spacing == pytest.approx((2.5, 0.7, 0.7))


def test_the_same_seed_writes_the_same_bytes_and_another_another_patient(tmp_path: Path) -> None:
    hu = builders.voxels()
    first, again, other = (ct_study(hu, (2, 1, 1), tmp_path / name, seed)
                           for name, seed in (("a", "one"), ("b", "one"), ("c", "two")))  # fmt: skip
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert Study.from_files(first).StudyInstanceUID != Study.from_files(other).StudyInstanceUID
    assert pydicom.dcmread(first[0]).PatientID != pydicom.dcmread(other[0]).PatientID


def test_two_series_of_a_seed_share_study_patient_and_frame_of_reference(tmp_path: Path) -> None:
    hu = builders.voxels()
    paths = ct_study(hu, (2, 1, 1), tmp_path) + ct_study(hu, (2, 1, 1), tmp_path, SeriesNumber=3)
    study = Study.from_files(paths)
    assert len(study.series) == 2
    for keyword in ("PatientID", "FrameOfReferenceUID", "StudyInstanceUID"):
        assert len({str(one.get(keyword)) for one in study.instances}) == 1
    assert len({one.SOPInstanceUID for one in study.instances}) == 12


def test_an_object_says_that_it_is_a_phantom(tmp_path: Path) -> None:
    header = pydicom.dcmread(ct_study(builders.voxels(), (2, 1, 1), tmp_path)[0])
    assert "phantom" in str(header.PatientName).lower() and header.PatientID.startswith("PHANTOM")
    assert (header.Modality, header.BodyPartExamined, header.KVP) == ("CT", "CHEST", 120)


def test_values_that_a_ct_image_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        ct_study(np.full((2, 4, 4), 40_000), (1, 1, 1), tmp_path)


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        missing("dicom3tools", "dciodvfy is not installed")
    path = ct_study(builders.voxels((2, 64, 64)), (2.5, 0.7, 0.7), tmp_path)[0]
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert "CTImage" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said
