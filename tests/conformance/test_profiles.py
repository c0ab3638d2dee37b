"""Every result in every form that a destination may ask for, on ordinary and odd sources, through dciodvfy and DCMTK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipelines.base import Made, Output, Unsuitable, decline, make
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.profiles import PROFILES, Form, Profile, forms_for
from pipelines.study import Study
from tests import documents, validators
from tests.results import MAKER, case, enhanced, written

EVERY = forms_for([
    *PROFILES.values(),
    Profile(report=("ohif-editable", "comprehensive-2d"), heatmap="multi-frame", burn_contours=True, parametric_map=True,
            key_objects=True, presentation_state=True, pdf=True, root=True),
    Profile(segmentation="labelmap"), Profile(segmentation="labelmap-without-background"),
    Profile(keep_empty_frames=True),
])  # fmt: skip
REPORTS = ("Comprehensive 3D SR Storage", "Comprehensive SR Storage", "Basic Text SR Storage")


def volume_outputs(study: Study) -> tuple[Study, list[Output]]:
    """The outputs on the first series that has a volume; results of others lie beside it in some studies."""
    images = [series for series in study.series if series.get("Modality") in ("CT", "MR")]
    one = case(replace(study, series=(*images, *(other for other in study.series if other not in images))))
    return study, [one.segmentation, one.report, one.heatmap]


def with_bare_headers(dataset: Dataset, index: int) -> None:
    """Without what is optional or Type 2, as some archives leave it."""
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDescription", "SeriesDescription", "Manufacturer", "StudyID",
                    "AccessionNumber", "ReferringPhysicianName", "BodyPartExamined", "SliceThickness", "PatientPosition",
                    "PositionReferenceIndicator", "SeriesNumber", "ManufacturerModelName", "KVP"):  # fmt: skip
        if keyword in dataset:
            del dataset[keyword]


def radiograph_outputs(study: Study) -> tuple[Study, list[Output]]:
    report = documents.radiograph_report(study)
    warm = np.zeros(report.volume.voxels.shape, np.float32)
    warm[:, 5:30, 5:30] = 0.8
    return study, [report, Heatmap(report.volume, {"Opacity": warm}, "Grad-CAM")]


MADE: dict[str, Callable[[Path], tuple[Study, list[Output]]]] = {
    "supine, head first": lambda folder: volume_outputs(written(folder)),
    "oblique": lambda folder: volume_outputs(written(folder, "oblique")),
    "coronal": lambda folder: volume_outputs(written(folder, "coronal")),
    "enhanced": lambda folder: volume_outputs(enhanced(folder, tuple(range(24))[::-1])),
    "two slices": lambda folder: volume_outputs(written(folder, shape=(2, 48, 56))),
    "bare headers": lambda folder: volume_outputs(written(folder, change=with_bare_headers)),
    "Japanese name": lambda folder: volume_outputs(documents.named(folder, "Japanese")),
    "radiograph": lambda folder: radiograph_outputs(documents.radiograph_study(folder)),
}
REAL = (
    "o02-ct-abdomen-crlm1004", "o07-mr-brain-tumour-pyradiomics", "o13-foreign-results/dcmqi-liver",
    "o11-odd-geometry/dicom2nifti-generic_anatomical_002_non_isotropic", "o08-cr-dx/rsna-cxr-pa.dcm",
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    """The objects of every form: form -> files."""

    study: Study
    made: tuple[Made, ...]
    files: dict[Form | None, list[Path]]


@pytest.fixture(scope="module", params=[*MADE, *REAL])
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("profiles")
    if request.param in MADE:
        study, outputs = MADE[request.param](folder / "source")
    else:
        path = request.getfixturevalue("real_data") / request.param
        study = Study.from_folder(path) if path.is_dir() else Study.from_files([path])
        study, outputs = volume_outputs(study) if path.is_dir() else radiograph_outputs(study)
    made, _ = make(outputs, study, MAKER, forms=EVERY)
    files: dict[Form | None, list[Path]] = {}
    for output in made:
        for released in output.kept[:: max(1, len(output.kept) - 1)]:  # the first and the last
            files.setdefault(output.form, []).append(folder / f"{output.name}-{released.number}.dcm")
            files[output.form][-1].write_bytes(released.content)
    return Written(study, made, files)


def test_dciodvfy_finds_no_error_in_any_form(one: Written) -> None:
    found = {path.name: [line for line in validators.dciodvfy(path) if not (is_label_map(form) and too_new(line))]
             for form, paths in one.files.items() for path in paths}  # fmt: skip
    assert {name: errors for name, errors in found.items() if errors} == {}


def is_label_map(form: Form | None) -> bool:
    return form is not None and form.kind == "segmentation" and form.how.startswith("labelmap")


def too_new(line: str) -> bool:
    """Label maps came in 2024: dciodvfy knows neither the class nor a segment 0 (PS3.3 C.8.20.2)."""
    return "Information Object Not found" in line or "SegmentNumber not monotonically increasing" in line


def test_dcmtk_reads_every_form(one: Written) -> None:
    for form, paths in one.files.items():
        for path in paths:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            assert str(header.SOPInstanceUID) in validators.dcmdump(path), form
            if header.SOPClassUID.name in REPORTS:
                assert "Device Observer UID" in validators.dsrdump(path), form
            if header.Modality == "PR":
                assert validators.dcmpschk(path) == [], form


@pytest.mark.parametrize("one", ["supine, head first", "enhanced", "radiograph"], indirect=True)
def test_pixelmed_finds_no_error_in_any_style_of_report(one: Written) -> None:
    seen = set()
    for form, paths in one.files.items():
        if form is None or form.kind != "report" or form.how in seen:
            continue
        seen.add(form.how)
        assert validators.pixelmed_sr(paths[0], None if form.how == "flat-text" else "TID_1500") == [], form
    assert len(seen) == 5


def test_what_is_said_of_an_unsuitable_study_is_valid(tmp_path: Path) -> None:
    study = written(tmp_path)
    [made] = decline(study, MAKER, Unsuitable("series 1: is sagittal, wanted axial"))
    path = tmp_path / "declined.dcm"
    path.write_bytes(made.kept[0].content)
    assert validators.dciodvfy(path) == []
    assert validators.pixelmed_sr(path) == []
    assert "Not Attempted" in validators.dsrdump(path)
