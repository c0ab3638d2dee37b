from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs import codes, reading
from pipelines.outputs.check import Gate
from pipelines.outputs.contours import Contours, colour_of, outlines, said
from pipelines.outputs.legend import Entry, Marks, Panel, wrapped
from pipelines.outputs.overlay import FREE_ROWS, caption_font
from pipelines.outputs.parts import Evaluation, Measurement
from pipelines.outputs.report import Report
from tests.results import (
    MAKER,
    ORIENTATIONS,
    SEGMENTS,
    Case,
    bytes_of,
    case,
    enhanced,
    places,
    released,
    saved,
    source_corners,
    written,
)

LEFT, RIGHT = (colour_of(one) for one in SEGMENTS)
IMAGE = 56 * 10  # columns of the image, before the panel


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("contours")))


@pytest.fixture(scope="module")
def made(one: Case) -> list[Dataset]:
    return released(Contours(one.segmentation, one.report), one.study)


def of(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where pixels have exactly this colour."""
    return (pixels == colour).all(axis=2)


def test_only_slices_with_a_segment_are_drawn_each_on_its_source(one: Case, made: list[Dataset]) -> None:
    with_segment = np.flatnonzero(one.masks.any(axis=(1, 2)))
    assert [reading.source_of(dataset) for dataset in made] == [places(one.volume)[index] for index in with_segment]
    assert [dataset.InstanceNumber for dataset in made] == list(range(1, len(with_segment) + 1))
    assert {dataset.SeriesNumber for dataset in made} == {9005}


@pytest.mark.parametrize("steps", [*ORIENTATIONS, "enhanced"])
def test_the_image_lies_on_its_slice_and_the_legend_beyond_its_right_end(tmp_path: Path, steps: str) -> None:
    one = case(enhanced(tmp_path, tuple(range(24))[::-1]) if steps == "enhanced" else written(tmp_path, steps))
    for dataset in released(Contours(one.segmentation, one.report), one.study):
        (whole,) = reading.pictures(dataset)
        assert (dataset.Rows, dataset.Columns > IMAGE + 200) == (480, True)
        dataset.Columns, dataset.PixelData = IMAGE, bytes(480 * IMAGE * 3)
        (image,) = reading.pictures(dataset)
        assert np.abs(image.corners - source_corners(one.volume, places(one.volume).index(whole.source))).max() < 0.01


def test_outlines_lie_around_the_segments_in_their_colours(one: Case, made: list[Dataset]) -> None:
    index = int((one.masks == 2).any(axis=(1, 2)).argmax()) + 3
    (dataset,) = [each for each in made if reading.source_of(each) == places(one.volume)[index]]
    pixels = dataset.pixel_array[:, :IMAGE]
    mask = one.masks[index].repeat(10, axis=0).repeat(10, axis=1)
    for number, colour in ((1, LEFT), (2, RIGHT)):
        drawn = of(pixels, colour)
        assert drawn.any() and not drawn[mask > 0].any()  # nothing of a segment is hidden
        rows, columns = np.nonzero(drawn)
        inside = np.argwhere(mask == number)
        assert rows.min() == inside[:, 0].min() - 2 and rows.max() == inside[:, 0].max() + 2
        assert columns.min() == inside[:, 1].min() - 2 and columns.max() == inside[:, 1].max() + 2


def test_boxes_in_the_legend_are_filled_where_the_segment_is_seen(one: Case, made: list[Dataset]) -> None:
    for dataset in made:
        index = places(one.volume).index(reading.source_of(dataset))
        panel = dataset.pixel_array[:, IMAGE:]
        for number, colour in ((1, LEFT), (2, RIGHT)):
            count = int(of(panel, colour).sum())
            assert count > 100 if (one.masks[index] == number).any() else 0 < count <= 88
    assert any(int(of(dataset.pixel_array[:, IMAGE:], RIGHT).sum()) <= 88 for dataset in made)


def test_the_legend_says_what_the_report_says(one: Case, made: list[Dataset]) -> None:
    without = released(Contours(one.segmentation), one.study)
    inked = [int((each.pixel_array[:, IMAGE:].min(axis=2) > 200).sum()) for each in (made[8], without[8])]
    assert inked[0] > 2 * inked[1]
    assert said(Measurement(codes.VOLUME, 1432.125, codes.MILLILITRE)) == "Volume 1432.12 ml"
    mean = Measurement(codes.ATTENUATION, -812.3, codes.HOUNSFIELD, codes.MEAN)
    assert said(mean) == "Attenuation Coefficient (mean) -812.3 HU"
    assert said(Measurement(codes.PROBABILITY, 0.25, codes.NO_UNIT)) == "Probability 0.25"
    entries = Contours(one.segmentation, one.report)._entries()
    assert [entry.label for entry in entries] == ["Left lung", "Right lung"]
    left = one.report.findings[0].measurements[0].value
    assert entries[0].lines[0] == f"Volume {left:.6g} ml" and len(entries[0].lines) == 2


def test_what_was_not_seen_is_said_too(one: Case) -> None:
    left = case(one.study, np.where(one.masks == 1, 1, 0).astype(np.uint8))
    entries = Contours(left.segmentation, left.report)._entries()
    assert [entry.label for entry in entries] == ["Left lung", "Right lung", "Right lung, aerated: not seen"]


def test_comments_of_the_report_stand_in_the_legend(one: Case) -> None:
    judgement = Evaluation(codes.FINDING, codes.PRESENT)
    findings = [replace(one.report.findings[0], evaluations=(judgement,)), one.report.findings[1]]
    report = Report(
        one.volume, findings, (Evaluation(codes.COMMENT, "Aerated lung only."), judgement), one.segmentation
    )
    entries = Contours(one.segmentation, report)._entries()
    assert entries[0].lines[-1] == "Finding: Present" and len(entries[1].lines) == 2
    assert [entry.label for entry in entries[2:]] == ["Aerated lung only.", "Finding: Present"]
    drawn = [released(Contours(one.segmentation, each), one.study)[0].pixel_array for each in (report, one.report)]
    assert (drawn[0][:, IMAGE:].min(axis=2) > 200).sum() > (drawn[1][:, IMAGE:].min(axis=2) > 200).sum()


def test_the_warning_is_in_the_panel_and_nothing_but_side_letters_in_the_image(one: Case) -> None:
    dark = case(one.study)
    object.__setattr__(dark.volume, "voxels", np.full_like(dark.volume.voxels, -2000))
    for dataset in released(Contours(dark.segmentation, None, (-400.0, 1500.0)), dark.study):
        image, panel = np.split(dataset.pixel_array, [IMAGE], axis=1)
        assert not image[:FREE_ROWS].any() and np.ptp(panel[:FREE_ROWS]) == 0
        assert of(panel, (120, 0, 0))[FREE_ROWS : FREE_ROWS + 40].mean() > 0.5
        assert of(panel, (255, 255, 255))[FREE_ROWS : FREE_ROWS + 40].sum() > 200
        letters = image.any(axis=2) & ~of(image, LEFT) & ~of(image, RIGHT)
        letters[:70, IMAGE // 2 - 20 : IMAGE // 2 + 20] = letters[-40:, IMAGE // 2 - 20 : IMAGE // 2 + 20] = False
        letters[220:260, :30] = letters[220:260, -30:] = False
        assert not letters.any()
        assert "NOT FOR PRIMARY DIAGNOSIS" in dataset.DerivationDescription


def letter(text: str, shape: tuple[int, int]) -> np.ndarray:
    """A letter as it is drawn at the middle of the left edge."""
    image = Image.new("L", shape[::-1])
    ImageDraw.Draw(image).text((6, shape[0] / 2), text, font=caption_font(17), fill=255, anchor="lm")
    return np.asarray(image) > 128


@pytest.mark.parametrize(("steps", "side"), [("supine, head first", "R"), ("turned by 180 degrees in plane", "L"),
                                             ("rows and columns swapped", "A"), ("coronal", "R")])  # fmt: skip
def test_the_left_edge_says_which_side_of_the_patient_lies_there(tmp_path: Path, steps: str, side: str) -> None:
    one = case(written(tmp_path, steps))
    object.__setattr__(one.volume, "voxels", np.full_like(one.volume.voxels, -2000))
    dataset = released(Contours(one.segmentation, None, (-400.0, 1500.0)), one.study)[0]
    drawn = dataset.pixel_array[200:280, :40].min(axis=2) > 128
    shown = {each: int((drawn ^ letter(each, (480, IMAGE))[200:280, :40]).sum()) for each in "RLAPHF"}
    assert min(shown, key=shown.__getitem__) == side and shown[side] < 10


def test_opposite_edges_have_opposite_sides_and_oblique_ones_both_letters() -> None:
    rgb = np.zeros((300, 400, 3), np.uint8)
    Marks(300, 400, ["LP", "F"]).put(rgb)
    assert (
        rgb[140:160, :40].any() and rgb[140:160, -40:].any() and rgb[-30:, 180:220].any() and rgb[40:70, 180:220].any()
    )
    other = np.zeros((300, 400, 3), np.uint8)
    Marks(300, 400, ["RA", "H"]).put(other)
    assert not np.array_equal(rgb[140:160, :40], other[140:160, :40])
    nothing = np.zeros((300, 400, 3), np.uint8)
    Marks(300, 400, []).put(nothing)
    assert not nothing.any()


def test_more_entries_than_fit_are_counted_and_those_on_the_slice_come_first() -> None:
    entries = [Entry(number, (number, 255, 0), f"Segment {number}", ("Volume 1 ml",)) for number in range(1, 81)]
    panel = Panel(480, "Warning", ["Model"], entries, ["Source series 1.2.3"])
    drawn = panel.draw(frozenset((79, 80)), "Source instance 1.2.3.4")
    assert drawn.shape == (480, panel.columns, 3)
    assert of(drawn, (79, 255, 0)).sum() > 30 and of(drawn, (80, 255, 0)).sum() > 30
    assert not of(drawn, (78, 255, 0)).any()  # far down in the list of those that are not on the slice
    few = Panel(480, "Warning", ["Model"], entries[:4], ["Source series 1.2.3"]).draw(frozenset((1,)), "Source 1.2.3.4")
    assert all(of(few, (number, 255, 0)).any() for number in (1, 2, 3, 4))


def test_every_segment_on_the_slice_is_named_before_anything_more_is_said() -> None:
    entries = [
        Entry(number, (number, 255, 0), f"Segment {number}", ("Volume 1 ml", "Mean 2 HU")) for number in range(1, 21)
    ]
    panel = Panel(512, "Warning", ["Model"], entries, ["Source series 1.2.3"])
    drawn = panel.draw(frozenset(range(1, 21)), "Source instance 1.2.3.4")
    assert all(of(drawn, (number, 255, 0)).sum() > 30 for number in range(1, 21))
    some = panel.draw(frozenset((3, 4)), "Source instance 1.2.3.4")
    assert all(of(some, (number, 255, 0)).any() for number in range(1, 21))
    rows = {number: np.nonzero(of(some, (number, 255, 0)).any(axis=1))[0].min() for number in range(1, 21)}
    assert rows[4] - rows[3] > 2 * (rows[3] - rows[2])  # those on the slice keep their values, the others have none


def test_long_texts_go_on_in_the_next_line() -> None:
    font = caption_font(12)
    lines = wrapped("Attenuation Coefficient (mean) of 1.2.840.113619.2.55.3.604688119.868.1234567890.123", font, 120)
    assert len(lines) > 3 and all(font.getlength(line) <= 120 for line in lines)
    assert (
        "".join(lines).replace(" ", "")
        == "AttenuationCoefficient(mean)of1.2.840.113619.2.55.3.604688119.868.1234567890.123"
    )


def test_an_outline_hides_neither_a_small_segment_nor_what_is_in_a_hole() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5, 5] = 1
    drawn = outlines(labels, 2)
    assert drawn[5, 5] == 0 and (drawn[3:8, 3:8] > 0).sum() == 24 and drawn.astype(bool).sum() == 24
    ring = np.zeros((20, 20), np.uint8)
    ring[2:15, 2:15] = 3
    ring[8, 8] = 0
    drawn = outlines(ring, 1)
    assert drawn[8, 8] == 0 and (drawn[7:10, 7:10] == 3).sum() == 8
    assert drawn[1, 5] == 3 and drawn[2, 5] == 0


def test_segments_that_touch_have_a_line_each() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 4:10], labels[5:15, 10:16] = 1, 2
    drawn = outlines(labels, 2)
    assert (drawn[6:14, 9] == 1).all() and (drawn[6:14, 10] == 2).all()
    assert not drawn[6:14, 5:9].any() and not drawn[6:14, 11:15].any()
    assert (drawn[5:15, 2:4] == 1).all() and (drawn[5:15, 16:18] == 2).all()


def test_they_are_read_back_apart_from_heatmaps(one: Case, made: list[Dataset], tmp_path: Path) -> None:
    files = saved({"contours": made[:3], "heatmap": released(one.heatmap, one.study)[:2]}, tmp_path)
    found = reading.stored([path for paths in files.values() for path in paths])
    assert [each.SOPInstanceUID for each in found.contours] == [each.SOPInstanceUID for each in made[:3]]
    assert len(found.heatmaps) == 2 and all("HEATMAP" in each.DerivationDescription for each in found.heatmaps)


def test_no_segment_makes_none_and_another_shape_is_refused(one: Case) -> None:
    nothing = case(one.study, np.zeros_like(one.masks))
    assert list(Contours(nothing.segmentation).to_dicom(one.study, MAKER)) == []
    object.__setattr__(nothing.segmentation, "masks", one.masks[1:])
    with pytest.raises(ValueError, match="shape"):
        Contours(nothing.segmentation).to_dicom(one.study, MAKER)


def test_a_rerun_gives_the_same_bytes(one: Case) -> None:
    first, second = (list(Contours(one.segmentation, one.report).to_dicom(one.study, MAKER)) for _ in range(2))
    assert bytes_of(first[:3]) == bytes_of(second[:3])


def cropped(dataset: Dataset) -> None:
    pixels = dataset.pixel_array[:, : IMAGE - 1]
    dataset.Columns, dataset.PixelData = IMAGE - 1, pixels.tobytes()


BROKEN = {
    "without the last column of the image": (cropped, "mm off its source slice"),
    "with pixels that are too large": (lambda one: setattr(one, "PixelSpacing", [0.15, 0.126]), "mm off its source"),
    "with a row too many": (lambda one: setattr(one, "Rows", 481), "mm off its source"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_the_gate_refuses_a_picture(one: Case, what: str) -> None:
    dataset = copy.deepcopy(Contours(one.segmentation).to_dicom(one.study, MAKER)[0])
    break_it, said = BROKEN[what]
    break_it(dataset)
    with pytest.raises(InvalidOutput, match=said):
        Gate(one.study, MAKER).release("contours", 1, dataset)
