"""What monitoring learns from headers alone, of studies that are taken, refused, damaged, or of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines import headers
from pipelines.examples import ct_study, radiograph
from pipelines.refusals import kind_of
from pipelines.study import Study
from tests.results import written


def of(folder: Path, count: int = 24, change=None, **attributes: object) -> dict[str, float | str | None]:
    ct_study(np.zeros((count, 8, 8), np.int16), (5.0, 2.0, 2.0), folder, change=change, **attributes)
    study = Study.from_folder(folder)
    return headers.of_study(study, study.series[0])


def test_a_whole_stack_is_complete(tmp_path: Path) -> None:
    told = of(tmp_path)
    assert {name: told[f"completeness.{name}"] for name in (
        "suitable", "why", "missing-slices", "missing-numbers", "duplicates", "orientation")} == {
        "suitable": 1.0, "why": None, "missing-slices": 0.0, "missing-numbers": 0.0, "duplicates": 0.0,
        "orientation": "axial"}  # fmt: skip
    assert (told["acquisition.slices"], told["acquisition.slice-spacing"], told["acquisition.coverage"]) == (24, 5, 115)


def test_missing_slices_are_counted_also_where_the_study_is_refused_for_them(tmp_path: Path) -> None:
    paths = ct_study(np.zeros((24, 8, 8), np.int16), (5.0, 2.0, 2.0), tmp_path)
    for gone in (paths[5], paths[6], paths[15]):
        gone.unlink()
    told = headers.of_study(Study.from_folder(tmp_path), refused="no series fits: series 2: gap: 3 slices seem missing")
    assert (told["completeness.missing-slices"], told["completeness.missing-numbers"]) == (3.0, 3.0)
    assert (told["completeness.suitable"], told["completeness.why"]) == (0.0, "gap")


def test_a_slice_that_came_twice_is_a_duplicate(tmp_path: Path) -> None:
    def twice(dataset: Dataset, index: int) -> None:
        if index == 7:
            dataset.ImagePositionPatient = [
                *dataset.ImagePositionPatient[:2],
                float(dataset.ImagePositionPatient[2]) + 5,
            ]

    told = of(tmp_path, change=twice)
    assert told["completeness.duplicates"] == 1.0
    assert told["completeness.missing-slices"] == 1.0, "and its own place is empty"


@pytest.mark.parametrize(("steps", "name"), [("supine, head first", "axial"), ("slices from the head down", "axial"),
                                             ("oblique", "oblique"), ("coronal", "coronal")])  # fmt: skip
def test_the_orientation_is_a_word(tmp_path: Path, steps: str, name: str) -> None:
    assert headers.of_study(written(tmp_path, steps))["completeness.orientation"] == name


def test_missing_attributes_are_named_and_counted(tmp_path: Path) -> None:
    full = of(tmp_path / "full", StationName="CT1", PatientAge="045Y", XRayTubeCurrent="200", Exposure="120")
    assert (full["completeness.missing"], full["completeness.missing-tags"]) == ("nothing", 0.0)
    bare = of(tmp_path / "bare", StationName="", PatientAge="", XRayTubeCurrent="", Exposure="", KVP="")
    assert bare["completeness.missing"] == "StationName, KVP, Age, XRayTubeCurrent, Exposure"
    assert bare["completeness.missing-tags"] == 5.0
    assert bare["device.StationName"] is None and bare["acquisition.KVP"] is None


def test_several_values_are_one_category_and_strange_ones_are_unreadable(tmp_path: Path) -> None:
    told = of(tmp_path, SoftwareVersions=["VA1", "VB2"], ManufacturerModelName="x" * 90, StationName="CT\x01 1")
    assert told["device.SoftwareVersions"] == "VA1\\VB2"
    assert told["device.ManufacturerModelName"] == told["device.StationName"] == "unreadable"


@pytest.mark.parametrize(
    ("said", "band"),
    [({"PatientAge": "045Y"}, "40-59"), ({"PatientAge": "018M"}, "0-19"), ({"PatientAge": "101Y"}, "80+"),
     ({"PatientAge": "", "PatientBirthDate": "19600102", "StudyDate": "20200101"}, "40-59"),
     ({"PatientAge": "", "PatientBirthDate": "19600101", "StudyDate": "20200101"}, "60-79"),
     ({"PatientAge": "old", "PatientBirthDate": ""}, None)],
)  # fmt: skip
def test_an_age_is_a_band_of_twenty_years(tmp_path: Path, said: dict[str, str], band: str | None) -> None:
    told = of(tmp_path, count=2, **said)
    assert told["patient.age-band"] == band
    assert said.get("PatientBirthDate") not in told.values() or not said.get("PatientBirthDate")


def test_nothing_that_identifies_a_person_is_kept(tmp_path: Path) -> None:
    told = of(tmp_path, PatientName="Someone^Real", PatientID="4711", ContrastBolusAgent="for Someone", PatientSex="F",
              AccessionNumber="ACC77", ReferringPhysicianName="Doctor^Who", PatientBirthDate="19610203")  # fmt: skip
    text = repr(told)
    assert not [word for word in ("Someone", "4711", "ACC77", "Doctor", "19610203") if word in text]
    assert (told["device.ContrastBolusAgent"], told["patient.sex"]) == ("given", "F")


def test_a_study_that_is_refused_is_described_by_its_largest_series(tmp_path: Path) -> None:
    ct_study(np.zeros((1, 8, 8), np.int16), (5.0, 2.0, 2.0), tmp_path, SeriesNumber=1, Manufacturer="Localizer")
    ct_study(np.zeros((9, 8, 8), np.int16), (5.0, 2.0, 2.0), tmp_path, SeriesNumber=2, Manufacturer="Whole")
    told = headers.of_study(Study.from_folder(tmp_path), refused="x")
    assert (told["device.Manufacturer"], told["acquisition.series"], told["acquisition.images"]) == ("Whole", 2.0, 9.0)


def test_a_radiograph_has_no_stack_and_tells_its_own_orientation(tmp_path: Path) -> None:
    study = Study.from_files(radiograph(np.zeros((80, 80), np.uint16), tmp_path))
    told = headers.of_study(study, placed=False)
    assert told["completeness.orientation"] == "L\\F"
    assert "completeness.missing-slices" not in told


def test_a_study_without_series_is_only_unsuitable() -> None:
    told = headers.of_study(Study("1.2.3", ()), refused="no series fits: the study has none")
    assert told == {"completeness.suitable": 0.0, "completeness.why": "no-series"}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no series fits: series 1: Modality is MR, wanted CT", "modality"),
        ("no series fits: series 1: is Computed Radiography Image Storage, wanted CT Image Storage", "sop-class"),
        ("no series fits: series 1: ImageType says LOCALIZER; has 1 slice, at least 20 are wanted", "few-slices"),
        ("no series fits: series 1: ImageType says LOCALIZER | series 2: gap: 2 slices seem to be missing, first", "gap"),
        ("series 3: duplicates: 4 slices lie where another does, first at 3.0 mm", "duplicates"),
        ("series 3: mixed geometry: image 4 has 8 x 8 pixels, others 16 x 16", "mixed-geometry"),
        ("series 2: sheared: slices are stacked at 12.0 degrees to their normal (gantry tilt)", "orientation"),
        ("series 2: is coronal, wanted axial", "orientation"),
        ("series 5: slices are 12 mm apart, at most 10 mm are taken", "coverage"),
        ("series 1: has 60 x 90 pixels, at least 64 x 64 are wanted", "size"),
        ("series 1: is 70 x 300 pixels, more than 2.5 times as long as wide", "size"),
        ("series 1: ViewPosition is LL", "view"),
        ("series 1: is empty or saturated: 100 % of its pixels have one value", "empty"),
        ("series 1: is no frontal chest by its pixels: the view check sees a limb (90 %, frontal chest 2 %)", "content"),
        ("the pixel data decodes to (3, 3), its header says (8, 8)", "pixels"),
        ("its instances name more than one patient (PatientName differ): nothing is made of it", "several-patients"),
        ("/x: its header cannot be read (ValueError)", "unreadable"),
        ("something that nobody has thought of", "other"),
    ],
)  # fmt: skip
def test_a_reason_has_a_kind_that_can_be_counted(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind
