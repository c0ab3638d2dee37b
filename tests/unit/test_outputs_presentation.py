from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.base import InvalidOutput
from pipelines.outputs import colours, origin
from pipelines.outputs.check import Gate
from pipelines.outputs.colours import lab_from_dicom, lab_to_rgb
from pipelines.outputs.parts import Finding, KeyRegion
from pipelines.outputs.presentation import Presentation
from pipelines.outputs.report import Report
from tests import documents
from tests.documents import NAMES, released
from tests.results import MAKER, Case, case, enhanced, written


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(written(tmp_path_factory.mktemp("presentation")))


@pytest.fixture(scope="module")
def made(one: Case) -> Dataset:
    return released(Presentation(one.report), one.study)[0]


def outlines(made: Dataset) -> list[tuple[Dataset, np.ndarray]]:
    return [(annotation, np.array(graphic.GraphicData).reshape(-1, 2)) for annotation in made.GraphicAnnotationSequence
            for graphic in annotation.get("GraphicObjectSequence", [])]  # fmt: skip


def two_images(one: Case) -> Case:
    masks = np.where(one.masks == 1, 1, 0).astype(np.uint8)
    masks[2, 4:8, 4:8] = 2
    return case(one.study, masks)


def test_each_finding_is_a_closed_outline_on_its_image(one: Case, made: Dataset) -> None:
    assert made.Modality == "PR" and made.ContentLabel == "AI_FINDINGS"
    assert len(outlines(made)) == 2
    for number, (annotation, points) in enumerate(outlines(made), 1):
        key = int((one.masks == number).sum(axis=(1, 2)).argmax())
        (image,) = annotation.ReferencedImageSequence
        assert image.ReferencedSOPInstanceUID == one.volume.instances[key].SOPInstanceUID
        assert "ReferencedFrameNumber" not in image
        rows, columns = np.nonzero(one.masks[key] == number)
        assert points.min(axis=0).tolist() == [columns.min() + 0.5, rows.min() + 0.5]  # pixel centres, PS3.3 C.10.5.1
        assert points.max(axis=0).tolist() == [columns.max() + 0.5, rows.max() + 0.5]
        graphic = annotation.GraphicObjectSequence[0]
        assert (graphic.GraphicType, graphic.GraphicAnnotationUnits, graphic.NumberOfGraphicPoints) == (
            "POLYLINE",
            "PIXEL",
            5,
        )
        assert points[0].tolist() == points[-1].tolist()


def test_the_text_beside_it_has_the_label_and_the_measurements(one: Case, made: Dataset) -> None:
    for finding, (annotation, points) in zip(one.report.findings, outlines(made), strict=True):
        (words,) = annotation.TextObjectSequence
        volume, attenuation = finding.measurements
        assert words.UnformattedTextValue.split("\r\n") == [
            finding.tracking_id, f"Volume {volume.value} ml", f"Attenuation Coefficient (Mean) {attenuation.value} HU"]  # fmt: skip
        assert words.BoundingBoxBottomRightHandCorner[1] == pytest.approx(points[:, 1].min())
        assert list(words.AnchorPoint) in points.tolist()


def test_layers_have_the_colours_of_the_segments_and_an_order(one: Case, made: Dataset) -> None:
    layers = made.GraphicLayerSequence
    assert [layer.GraphicLayerOrder for layer in layers] == [1, 2, 3]
    assert [annotation.GraphicLayer for annotation in made.GraphicAnnotationSequence] == [
        layer.GraphicLayer for layer in layers
    ]
    assert [layer.GraphicLayerDescription for layer in layers] == [
        "Left lung, aerated",
        "Right lung, aerated",
        "Warning",
    ]
    for segment, layer in zip(one.segmentation.segments, layers, strict=False):
        values = list(layer.GraphicLayerRecommendedDisplayCIELabValue)
        found = lab_to_rgb(np.array(lab_from_dicom(values))).astype(int)
        assert np.abs(found - lab_to_rgb(np.array(segment.colour)).astype(int)).max() <= 1
    assert one.segmentation.segments[0].colour == colours.LEFT_COLOUR


def test_the_warning_stands_on_every_image(one: Case) -> None:
    (made,) = released(Presentation(two_images(one).report), one.study)
    warning = made.GraphicAnnotationSequence[-1]
    (words,) = warning.TextObjectSequence
    assert words.UnformattedTextValue == "AI result, not for primary diagnosis. ct-lung 2.1.0"
    assert words.BoundingBoxAnnotationUnits == "DISPLAY"
    (series,) = made.ReferencedSeriesSequence
    named = [image.ReferencedSOPInstanceUID for image in series.ReferencedImageSequence]
    assert len(named) == 2 and named == [image.ReferencedSOPInstanceUID for image in warning.ReferencedImageSequence]


def test_all_of_the_image_is_displayed_in_its_proportions(one: Case, made: Dataset) -> None:
    (area,) = made.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [56, 48]
    assert [float(value) for value in area.PresentationPixelSpacing] == [1.5, 1.25]


def test_rescale_and_window_of_the_source_are_kept(one: Case, made: Dataset) -> None:
    assert (float(made.RescaleSlope), float(made.RescaleIntercept), made.RescaleType) == (1, 0, "HU")
    (window,) = made.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 400)
    assert made.PresentationLUTShape == "IDENTITY"
    (asked,) = released(Presentation(one.report, (-500, 1500)), one.study)[0].SoftcopyVOILUTSequence
    assert (asked.WindowCenter, asked.WindowWidth) == (-500, 1500)


def test_images_with_windows_of_their_own_keep_them(tmp_path: Path) -> None:
    def differ(dataset: Dataset, index: int) -> None:
        dataset.WindowCenter = ["7", "40"] if index == 2 else ["40", "7"]
        dataset.WindowWidth = ["70", "400"] if index == 2 else ["400", "70"]

    found = two_images(case(written(tmp_path, change=differ)))
    (made,) = released(Presentation(found.report), found.study)
    said = [(float(item.WindowCenter), [image.ReferencedSOPInstanceUID for image in item.ReferencedImageSequence])
            for item in made.SoftcopyVOILUTSequence]  # fmt: skip
    keys = sorted({finding.key.frame for finding in found.report.findings if finding.key})
    assert said == [
        (7, [found.volume.instances[keys[0]].SOPInstanceUID]),
        (40, [found.volume.instances[keys[1]].SOPInstanceUID]),
    ]


def test_images_with_another_rescale_are_in_an_object_of_their_own(tmp_path: Path) -> None:
    def differ(dataset: Dataset, index: int) -> None:
        dataset.RescaleIntercept = "-1024" if index == 2 else "0"

    found = two_images(case(written(tmp_path, change=differ)))
    objects = released(Presentation(found.report), found.study)
    assert [float(each.RescaleIntercept) for each in objects] == [-1024, 0]
    assert (
        len({each.SOPInstanceUID for each in objects}) == 2 and len({each.SeriesInstanceUID for each in objects}) == 1
    )
    for each in objects:
        ((annotation, _),) = outlines(each)
        named = each.ReferencedSeriesSequence[0].ReferencedImageSequence
        assert [image.ReferencedSOPInstanceUID for image in named] == [
            annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        ]


def test_frames_of_an_enhanced_image_are_named_by_their_numbers(tmp_path: Path) -> None:
    found = two_images(case(enhanced(tmp_path, tuple(reversed(range(24))))))
    (made,) = released(Presentation(found.report), found.study)
    (image,) = made.ReferencedSeriesSequence[0].ReferencedImageSequence
    keys = [finding.key.frame for finding in found.report.findings if finding.key]
    assert sorted(image.ReferencedFrameNumber) == sorted(24 - key for key in keys)
    assert [annotation.ReferencedImageSequence[0].ReferencedFrameNumber for annotation, _ in outlines(made)] == [
        24 - key for key in keys
    ]
    assert float(made.RescaleSlope) == 1  # from the functional groups
    assert (made.SoftcopyVOILUTSequence[0].WindowCenter, made.SoftcopyVOILUTSequence[0].WindowWidth) == (40, 400)


@pytest.mark.parametrize(("photometric", "shape", "range_"), [
    ("MONOCHROME2", "IDENTITY", (500, 3000)), ("MONOCHROME1", "INVERSE", (500, 3000)),
])  # fmt: skip
def test_a_radiograph_without_a_window_is_shown_in_its_range(
    tmp_path: Path, photometric: str, shape: str, range_: tuple[int, int]
) -> None:
    study = documents.radiograph_study(tmp_path, photometric)
    (made,) = released(Presentation(documents.radiograph_report(study)), study)
    assert made.PresentationLUTShape == shape
    (window,) = made.SoftcopyVOILUTSequence
    low = float(window.WindowCenter) - 0.5 - (float(window.WindowWidth) - 1) / 2  # PS3.3 C.11.2.1.2.1
    assert (low, low + float(window.WindowWidth) - 1) == range_
    (area,) = made.DisplayedAreaSelectionSequence
    assert "PresentationPixelSpacing" not in area and list(area.PresentationPixelAspectRatio) == [1, 1]
    ((_, points),) = outlines(made)
    assert points.min(axis=0).tolist() == [5, 10] and points.max(axis=0).tolist() == [25, 30]


def test_the_look_up_tables_of_a_radiograph_are_kept(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [2, 0, 8], b"\x00\xff"
    study = documents.radiograph_study(tmp_path, VOILUTSequence=[table])
    (made,) = released(Presentation(documents.radiograph_report(study)), study)
    (window,) = made.SoftcopyVOILUTSequence
    assert window.VOILUTSequence[0].LUTData == b"\x00\xff" and "WindowCenter" not in window


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    study = documents.radiograph_study(tmp_path, ImagerPixelSpacing=["0.3", "0.2"])
    (area,) = released(Presentation(documents.radiograph_report(study)), study)[0].DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == [1000, 667]


def test_nothing_found_draws_nothing(one: Case) -> None:
    assert len(Presentation(case(one.study, np.zeros_like(one.masks)).report).to_dicom(one.study, MAKER)) == 0


def test_an_outline_along_the_edge_stays_in_the_image(one: Case) -> None:
    whole = np.array([(-0.5, -0.5), (55.5, -0.5), (55.5, 47.5), (-0.5, 47.5)])
    finding = Finding("All", one.report.findings[0].type, None, None, KeyRegion(3, whole))
    (made,) = released(Presentation(Report(one.volume, [finding])), one.study)
    ((annotation, points),) = outlines(made)
    assert points.min() == 0 and points.max(axis=0).tolist() == [56, 48]
    assert annotation.TextObjectSequence[0].BoundingBoxTopLeftHandCorner[1] == 0


def test_the_gate_refuses_an_outline_outside_its_image_and_a_layer_that_is_not_there(one: Case) -> None:
    for spoil, said in ((outside, "outline reaches outside"), (other_layer, "GraphicLayer AI_9 is not described")):
        (broken,) = Presentation(one.report).to_dicom(one.study, MAKER)
        spoil(broken)
        with pytest.raises(InvalidOutput, match=said):
            Gate(one.study, MAKER, ()).release("presentation", 1, broken)


def outside(made: Dataset) -> None:
    made.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData[2] = 56.5


def other_layer(made: Dataset) -> None:
    made.GraphicAnnotationSequence[0].GraphicLayer = "AI_9"


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_in_any_script_survives_and_our_words_are_readable(tmp_path: Path, kind: str) -> None:
    found = case(documents.named(tmp_path, kind))
    (made,) = released(Presentation(found.report), found.study)
    documents.assert_of_its_patient(made, found.study)


def test_what_the_source_lacks_is_empty(tmp_path: Path) -> None:
    def take_away(dataset: Dataset, index: int) -> None:
        for keyword in (*origin.TYPE_2, "SpecificCharacterSet", "WindowCenter", "WindowWidth", "BodyPartExamined"):
            dataset.pop(keyword, None)

    found = case(written(tmp_path, shape=(8, 16, 16), change=take_away))
    (made,) = released(Presentation(found.report), found.study)
    assert all(keyword in made and not made.get(keyword) for keyword in origin.TYPE_2)
    assert "Laterality" in made and not made.Laterality  # Type 2C: nobody said that the part has no sides
    assert float(made.SoftcopyVOILUTSequence[0].WindowWidth) > 1
