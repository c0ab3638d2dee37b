"""Documents and presentation states, read and checked by other people's tools: dciodvfy, PixelMed, DCMTK, poppler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pipelines.base import Output
from pipelines.outputs.check import Gate
from pipelines.outputs.document import Document
from pipelines.outputs.flat_text import FlatText
from pipelines.outputs.key_objects import KeyObjects
from pipelines.outputs.overlay import window
from pipelines.outputs.presentation import Presentation
from pipelines.outputs.report import Report
from pipelines.outputs.root import ResultReference, Root
from pipelines.study import Study
from tests import documents, validators
from tests.conformance.test_outputs import REAL, dark_regions, real_study
from tests.documents import NAMES
from tests.results import MAKER, case, enhanced, written

DOCUMENTS = ("key-objects", "report-flat", "root")


@dataclass(frozen=True, eq=False)
class Written:
    """A report, its study, and the files of what was made from it."""

    report: Report
    study: Study
    files: Mapping[str, list[Path]]


def all_of(report: Report, study: Study, folder: Path) -> Written:
    said = documents.spoken(report)
    outputs: list[Output] = [
        report,
        KeyObjects(said),
        FlatText(said),
        Presentation(said),
        Document(said, "Not for children."),
    ]
    made = {output.name: list(output.to_dicom(study, MAKER)) for output in outputs}
    references = [
        ResultReference(name, objects[0].SOPClassUID, objects[0].SeriesInstanceUID, tuple(one.SOPInstanceUID for one in objects))
        for name, objects in made.items() if objects
    ]  # fmt: skip
    made["root"] = list(Root(report.volume, references, report.procedure).to_dicom(study, MAKER))
    folder.mkdir(parents=True)
    gate, files = Gate(study, MAKER, (*made, "segmentation")), {}  # the report names the segmentation that it measures
    for name, objects in made.items():
        files[name] = [folder / f"{name}-{number}.dcm" for number in range(1, len(objects) + 1)]
        for number, (dataset, path) in enumerate(zip(objects, files[name], strict=True), 1):
            path.write_bytes(gate.release(name, number, dataset).content)
    return Written(said, study, files)


SOURCES = ("slices", "enhanced", "radiograph", "MONOCHROME1", "nothing found", "little said", *NAMES, *REAL[:2])


@pytest.fixture(scope="module", params=SOURCES)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("documents")
    kind = request.param
    if kind in REAL:
        study = real_study(request.getfixturevalue("real_data") / kind, folder / "source")
        found = case(study)
        return all_of(case(study, dark_regions(found.volume)).report, study, folder / "results")
    if kind in ("radiograph", "MONOCHROME1"):
        study = documents.radiograph_study(folder / "source", "MONOCHROME1" if kind == "MONOCHROME1" else "MONOCHROME2")
        report = documents.radiograph_report(study)
        return all_of(report, study, folder / "results")
    if kind == "enhanced":
        found = case(enhanced(folder, tuple(range(24))[::-1]))
    elif kind == "nothing found":
        found = case(written(folder), np.zeros((24, 48, 56), np.uint8))
    elif kind == "little said":
        found = case(written(folder, shape=(8, 16, 16), change=little))
    elif kind in NAMES:
        found = case(documents.named(folder, kind))
    else:
        found = case(written(folder))
    return all_of(found.report, found.study, folder / "results")


def little(dataset: pydicom.Dataset, index: int) -> None:
    """What a source may leave out."""
    for keyword in (
        "StudyDescription",
        "SeriesDescription",
        "SpecificCharacterSet",
        "WindowCenter",
        "WindowWidth",
        "RescaleType",
    ):
        dataset.pop(keyword, None)
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "StudyTime"):
        setattr(dataset, keyword, None)


def test_dciodvfy_finds_no_error(one: Written) -> None:
    for name, paths in one.files.items():
        for path in paths:
            assert validators.dciodvfy(path) == [], name


# PixelMed takes many seconds for each document: one of every form is enough
@pytest.mark.parametrize("one", ["slices", "enhanced", "nothing found", "radiograph"], indirect=True)
def test_pixelmed_finds_no_error_in_the_documents(one: Written) -> None:
    for name, template in zip(DOCUMENTS, ("TID_2010", None, "TID_1500"), strict=True):
        for path in one.files[name]:
            assert validators.pixelmed_sr(path, template) == [], name


def test_dcmtk_reads_every_object(one: Written) -> None:
    for name, paths in one.files.items():
        for path in paths:
            assert "SOPInstanceUID" in validators.dcmdump(path)
            if name in DOCUMENTS:
                assert "<contains" in validators.dsrdump(path)


def test_dcmtk_finds_no_fault_in_the_presentation_states(one: Written) -> None:
    for path in one.files["presentation"]:
        assert validators.dcmpschk(path) == []


def test_dcmtk_shows_an_image_through_its_presentation_state_in_its_window(one: Written, tmp_path: Path) -> None:
    for path in one.files["presentation"]:
        state = pydicom.dcmread(path)
        if not str(state.PatientName or ""):
            state.PatientName = "Nobody"  # DCMTK reads no presentation state without a name; real data has lost it
            path = tmp_path / path.name
            state.save_as(path)
        (item,) = state.ReferencedSeriesSequence
        for image in item.ReferencedImageSequence:
            instance = next(
                each for each in one.study.instances if each.SOPInstanceUID == image.ReferencedSOPInstanceUID
            )
            for number in np.atleast_1d(image.get("ReferencedFrameNumber", 1)):
                shown = validators.dcmp2pgm(instance.path, path, tmp_path, int(number)).astype(float)
                wanted = in_window(one, instance.SOPInstanceUID, int(number), state)
                assert np.abs(shown - wanted).mean() < 2


def in_window(one: Written, uid: str, number: int, state: pydicom.Dataset) -> np.ndarray:
    """What the window makes of the voxels; those of a radiograph are turned so that bright is high."""
    volume = one.report.volume
    (index,) = (
        at
        for at, each in enumerate(volume.instances)
        if each.SOPInstanceUID == uid and volume.frame_numbers[at] == number
    )
    voxels = volume.voxels[index].astype(float)
    inverse = state.PresentationLUTShape == "INVERSE"
    if inverse:
        voxels = 2**16 - 1 - voxels
    window_said = state.SoftcopyVOILUTSequence[0]
    shown = window(voxels, float(window_said.WindowCenter), float(window_said.WindowWidth)).astype(float)
    return 255 - shown if inverse else shown


def test_poppler_reads_and_draws_the_page(one: Written, tmp_path: Path) -> None:
    made = pydicom.dcmread(one.files["document"][0])
    path = tmp_path / "report.pdf"
    path.write_bytes(made.EncapsulatedDocument[: made.EncapsulatedDocumentLength])
    text = validators.pdf_text(path)
    name = one.study.instances[0].get("PatientName", "not stated")
    alphabetic = str(name).split("=")[0].replace("^", " ")
    for said in (alphabetic, str(one.study.instances[0].get("PatientID")), "AI result, not for primary diagnosis", "Not for children.",
                 MAKER.model_digest, "ct-lung 2.1.0", "Fläche >= 3 mm² – “uncertain”, p ~ 0.5"):  # fmt: skip
        assert "".join(said.split()) in text, said
    for finding in one.report.findings:
        assert "".join(finding.tracking_id.split()) in text
        for measurement in finding.measurements:
            assert str(measurement.value) in text
    picture = validators.pdf_page(path, tmp_path)
    assert (picture[10, 20] > (120, 0, 0)).all() and picture[10, 20][1] < 60  # the band of the warning is red
    outlines = (np.ptp(picture[60:].astype(int), axis=2) > 60).sum()
    keyed = [finding for finding in one.report.findings if finding.key is not None]
    assert (outlines > 50) == bool(keyed)


@pytest.mark.parametrize("one", list(NAMES), indirect=True)
def test_the_patients_name_is_the_same_bytes_in_every_object(one: Written) -> None:
    source = one.study.instances[0].header["PatientName"].value.original_string
    for paths in one.files.values():
        for path in paths:
            assert pydicom.dcmread(BytesIO(path.read_bytes()))["PatientName"].value.original_string == source
