"""Which series a pipeline takes, why not the others, and which of several: the same whatever the order of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from pipelines import ct_lung
from pipelines.base import Unsuitable
from pipelines.match import Match, Preference
from pipelines.study import Series, Study
from tests import builders
from tests.builders import rewritten

ACCEPTS = ct_lung.ACCEPTS


def chest(folder: Path, number: int = 2, slices: int = 24, spacing: float = 2.5, **attributes: object) -> list[Path]:
    """A small series that ct-lung takes."""
    return builders.ct_study(np.zeros((slices, 8, 8), np.int16), (spacing, 40.0, 40.0), folder / f"{number}", "test", None,
                             number, **attributes)  # type: ignore[arg-type] # fmt: skip


def one(folder: Path, **attributes: object) -> Series:
    return builders.series_of(chest(folder, **attributes))  # type: ignore[arg-type]


def test_a_plain_chest_ct_is_taken_without_a_reason_against_it(tmp_path: Path) -> None:
    assert ACCEPTS.explain(one(tmp_path)) == []


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "MR"}, "Modality is MR, wanted CT"),
        ({"Modality": ""}, "Modality is missing"),
        ({"slices": 19}, "has 19 slices, at least 20"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "ImageType says LOCALIZER"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "ImageType says MIP"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture"),
        ({"RescaleType": "OD"}, "RescaleType is OD"),
        ({"spacing": 12.0}, "12 mm apart"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "not a grey image"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]}, ""),
    ],
)
def test_each_thing_that_speaks_against_a_series_is_said(attributes: dict, reason: str, tmp_path: Path) -> None:
    reasons = ACCEPTS.explain(one(tmp_path, **attributes))
    assert reasons and reason in "; ".join(reasons)


def test_a_coronal_acquisition_is_told_from_an_axial_one(tmp_path: Path) -> None:
    hu = np.zeros((8, 24, 8), np.int16)
    coronal = builders.series_of(builders.oriented(tmp_path, hu, ((1, 1), (0, -1), (2, 1))))
    assert ACCEPTS.explain(coronal) == ["is coronal, wanted axial"]


def test_an_oblique_acquisition_is_taken_up_to_the_limit(tmp_path: Path) -> None:
    for degrees, wanted in ((20, []), (40, ["is 40 degrees oblique, at most 30 are taken"])):
        series = builders.series_of(builders.turned(tmp_path / str(degrees), degrees, (24, 8, 8)))
        assert ACCEPTS.explain(series) == wanted


def test_a_gap_speaks_against_a_series_with_its_place(tmp_path: Path) -> None:
    paths = chest(tmp_path, slices=30)
    assert "gap: 1 slice" in ACCEPTS.explain(builders.series_of(paths[:10] + paths[11:]))[0]


def test_a_result_of_our_own_is_never_taken(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "109102", "DCM", "Processing Equipment"
    item = Dataset()
    item.Manufacturer, item.PurposeOfReferenceCodeSequence = "Overread", Items([code])
    series = one(tmp_path, ContributingEquipmentSequence=Items([item]))
    assert ACCEPTS.explain(series) == ["is a result of Overread"]


def test_contributing_equipment_that_is_no_sequence_is_nobody_s_result(tmp_path: Path) -> None:
    paths = chest(tmp_path)
    dataset = pydicom.dcmread(paths[0])
    dataset.add_new("ContributingEquipmentSequence", "LO", "Overread")
    dataset.save_as(paths[0])
    assert ACCEPTS.explain(builders.series_of(paths)) == []


def test_an_enhanced_object_counts_its_frames(tmp_path: Path) -> None:
    path = builders.enhanced(chest(tmp_path), tmp_path / "enhanced.dcm")
    assert ACCEPTS.explain(builders.series_of([path])) == []
    assert Match(min_slices=25).explain(builders.series_of([path])) == ["has 24 slices, at least 25 are wanted"]


def test_a_number_of_frames_that_is_none_is_no_crash(tmp_path: Path) -> None:
    paths = chest(tmp_path)
    rewritten(paths[0], NumberOfFrames=["1", "2"])
    assert isinstance(ACCEPTS.explain(builders.series_of(paths)), list)


def chosen(*series: list[Path]) -> int:
    """The SeriesNumber of the choice, the same for every order of series and files."""
    paths = [path for found in series for path in found]
    numbers = {int(ACCEPTS.choose(Study.from_files(order)).get("SeriesNumber"))
               for order in (paths, paths[::-1], builders.shuffled(paths))}  # fmt: skip
    assert len(numbers) == 1
    return numbers.pop()


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"slices": 40}, {"slices": 80}),  # the whole chest before a part of it
        ({"slices": 21, "spacing": 5.0}, {"slices": 100, "spacing": 1.0}),  # thin before thick
        ({"ConvolutionKernel": "B70f"}, {"ConvolutionKernel": "B31f"}),
        ({"ConvolutionKernel": "LUNG"}, {"ConvolutionKernel": "STANDARD"}),
        ({"ConvolutionKernel": ["Br64d", "3"]}, {"ConvolutionKernel": ["Br40d", "3"]}),
        ({"ConvolutionKernel": "FC51"}, {"ConvolutionKernel": "FC18"}),
        ({"slices": 120, "spacing": 0.5}, {"slices": 40, "spacing": 1.5}),  # thinner than needed only costs
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}),
    ],
)
def test_of_two_that_qualify_the_better_is_chosen_whichever_has_the_lower_number(
    worse: dict, better: dict, tmp_path: Path
) -> None:
    assert chosen(chest(tmp_path / "a", 2, **worse), chest(tmp_path / "a", 3, **better)) == 3
    assert chosen(chest(tmp_path / "b", 3, **worse), chest(tmp_path / "b", 2, **better)) == 2


def test_of_equals_the_lower_series_number_is_chosen(tmp_path: Path) -> None:
    assert chosen(chest(tmp_path, 7), chest(tmp_path, 4)) == 4


def test_a_localizer_beside_the_scan_does_not_disturb_the_choice(tmp_path: Path) -> None:
    scout = chest(tmp_path, 1, slices=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert chosen(scout, chest(tmp_path, 2)) == 2


def test_a_study_without_a_fit_says_of_each_series_why_in_one_line_without_patient_data(tmp_path: Path) -> None:
    private = {"PatientName": "Private^Name", "PatientID": "P-4711", "SeriesDescription": "Thorax Private"}
    paths = chest(tmp_path, 2, slices=5, **private) + chest(tmp_path, 3, Modality="MR", **private)
    with pytest.raises(Unsuitable) as caught:
        ACCEPTS.choose(Study.from_files(paths))
    reason = caught.value.reason
    assert "series 2: has 5 slices" in reason and "series 3: Modality is MR" in reason and "\n" not in reason
    assert not any(word in reason for word in ("Private", "4711", "Thorax"))


def test_many_series_make_one_readable_line(tmp_path: Path) -> None:
    paths = [path for number in range(30) for path in chest(tmp_path, number, slices=1)]
    with pytest.raises(Unsuitable) as caught:
        ACCEPTS.choose(Study.from_files(paths))
    assert "and 25 more" in caught.value.reason and len(caught.value.reason) < 300


def test_a_match_is_plain_data_there_and_back() -> None:
    data = ACCEPTS.to_dict()
    assert Match.from_dict(data) == ACCEPTS
    assert Match.from_dict(Match.from_dict(data).to_dict()) == ACCEPTS
    assert Match.from_dict({}) == Match()


@pytest.mark.parametrize(
    "data",
    [{"modalty": ["CT"]}, {"plane": "oblique"}, {"refused_image_types": ["("]}, {"prefer": [{"measure": "beauty"}]},
     {"prefer": [{"measure": "slices", "order": "most"}]}],
)  # fmt: skip
def test_data_that_is_no_match_is_refused_when_it_is_made(data: dict) -> None:
    with pytest.raises(ValueError):
        Match.from_dict(data)


def test_a_preference_keeps_those_within_its_step(tmp_path: Path) -> None:
    from pipelines.grid import Grid

    running = [(series, Grid.from_series(series)) for series in
               (one(tmp_path, number=number, slices=count) for number, count in ((1, 20), (2, 28), (3, 30)))]  # fmt: skip
    kept = Preference("slices", "high", step=2).keep(running)
    assert [series.get("SeriesNumber") for series, _ in kept] == [2, 3]
    assert len(Preference("slices", "high", enough=28).keep(running)) == 2


def test_what_is_wanted_can_be_said_in_words() -> None:
    words = ACCEPTS.words()
    assert "CT" in words and "axial" in words and "at least 20 slices" in words


REAL = {"o06-ct-fruit-study-adit1001": "at least 20", "o07-mr-brain-tumour-pyradiomics": "Modality is MR", "o08-cr-dx": "Modality is",
        "o14-other-modalities": "Modality is", "o15-mr-brain-t1-fnndsc": "Modality is MR"}  # fmt: skip


@pytest.mark.parametrize("case", REAL)
def test_real_studies_that_are_no_chest_ct_are_refused_with_a_reason(case: str, real_data: Path) -> None:
    by_study: dict[str, list[Path]] = {}
    for path in sorted((real_data / case).rglob("*.dcm")):
        (instance,) = Study.from_files([path]).instances
        by_study.setdefault(str(instance.get("StudyInstanceUID")), []).append(path)
    for paths in by_study.values():
        with pytest.raises(Unsuitable, match=REAL[case]):
            ACCEPTS.choose(Study.from_files(paths))


@pytest.mark.parametrize("case", ["o01-ct-chest-lidc0314", "o02-ct-abdomen-crlm1004", "o04-ct-abdpelvis-3mm-totalseg"])
def test_real_body_ct_is_taken(case: str, real_data: Path) -> None:
    study = Study.from_folder(real_data / case)
    assert ACCEPTS.choose(study) is study.series[0]


def test_real_images_without_uids_are_refused_for_a_result_could_not_refer_to_them(real_data: Path) -> None:
    study = Study.from_folder(real_data / "o03-ct-abdomen-j2k-totalseg")
    with pytest.raises(Unsuitable, match="without SeriesInstanceUID or SOPInstanceUID"):
        ACCEPTS.choose(study)


def test_a_match_for_single_images_is_data_too_and_chooses_no_series_by_itself(tmp_path: Path) -> None:
    match = Match(modality=("DX",), geometry=False, refused_views=("LL",), refused_body_parts=("HAND",), min_pixels=64, max_aspect=2)
    assert Match.from_dict(match.to_dict()) == match
    for said in ("single images of at least 64 x 64 pixels", "at most 2 times as long as wide", "ViewPosition other than LL", "BodyPartExamined other than HAND"):
        assert said in match.words()
    assert "slices" not in match.words()
    with pytest.raises(ValueError, match="one by one"):
        match.choose(Study.from_files(chest(tmp_path)))
    with pytest.raises(ValueError, match="not a regular expression"):
        Match(geometry=False, refused_views=("(",))
