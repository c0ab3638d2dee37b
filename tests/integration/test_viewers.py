"""What radiologists see: our results in OHIF, in a headless browser, on Orthanc's DICOMweb, and in Orthanc's own preview.

Screenshots are kept in test-out/viewers. docs/viewers.md says what was verified and how to run this again.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from pipelines.outputs import reading
from pipelines.outputs.placement import content_items
from tests import peers
from tests.conftest import ROOT, missing
from tests.viewers import compare, subjects
from tests.viewers.browser import chromium
from tests.viewers.compare import Drawn, Fit
from tests.viewers.ohif import Ohif
from tests.viewers.packages import OHIF, unpacked
from tests.viewers.subjects import Objects, Region, Subject
from tests.viewers.web import serving

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHOTS = ROOT / "test-out" / "viewers"
SLICES = 8  # looked at in each series
CAPTURES = ("heatmap=series", "burn-contours")
LOOKED_AT = {"segmentation=binary", "report=tid1500", "report=tid1500-text", *CAPTURES}


@dataclass(frozen=True)
class Viewers:
    """A running Orthanc and OHIF on it."""

    pacs: peers.Orthanc
    ohif: Ohif

    def fill(self, files: Iterable[Path]) -> None:
        """Put `files`, and nothing else, into Orthanc."""
        for study in self.pacs.ask("GET", "/studies"):
            self.pacs.ask("DELETE", f"/studies/{study}")
        for path in files:
            self.pacs.ask("POST", "/instances", path.read_bytes())


@pytest.fixture(scope="module")
def viewers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewers]:
    folder = tmp_path_factory.mktemp("viewers")
    if not DICOMWEB.exists():
        missing("orthanc-dicomweb (Debian)", "is not installed")
    shutil.rmtree(SHOTS, ignore_errors=True)
    dicomweb = {
        "Enable": True,
        "Root": "/dicom-web/",
        "EnableWado": True,
        "StudiesMetadata": "Full",
        "SeriesMetadata": "Full",
    }
    settings = {"Plugins": [str(DICOMWEB)], "DicomWeb": dicomweb, "KeepAlive": True}
    with (
        peers.orthanc(folder / "orthanc", **settings) as pacs,
        serving(unpacked(OHIF) / "dist", pacs.http_port) as address,
        chromium(folder) as browser,
    ):
        yield Viewers(pacs, Ohif(browser, address, SHOTS))


@pytest.fixture(scope="module", params=subjects.SOURCES, ids=lambda source: source.name)
def subject(request: pytest.FixtureRequest, viewers: Viewers, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subjects.run(request.param, tmp_path_factory.mktemp("subject"))


@dataclass(frozen=True)
class Opened:
    """A study with its results for a profile, in a viewer."""

    viewers: Viewers
    subject: Subject
    objects: Objects

    @property
    def ohif(self) -> Ohif:
        return self.viewers.ohif

    def afresh(self) -> Ohif:
        """OHIF with the study just opened."""
        self.ohif.open(self.subject.study_uid)
        return self.ohif


@pytest.fixture(scope="module", params=subjects.PROFILE_NAMES)
def opened(request: pytest.FixtureRequest, viewers: Viewers, subject: Subject) -> Opened:
    objects = subject.objects_for(request.param)
    assert set(objects.datasets) <= LOOKED_AT, "no test here looks at some forms of this profile"
    viewers.fill([*(one.path for one in subject.study.instances), *objects.files])
    viewers.ohif.shots = SHOTS / subject.name.replace(" ", "-") / request.param
    viewers.ohif.shots.mkdir(parents=True)
    return Opened(viewers, subject, objects)


def spread(count: int, of: int) -> list[int]:
    """At most `count` places of a stack (from 1), first and last among them."""
    return sorted({round(place) for place in np.linspace(1, of, count)})


def fit(header: Dataset, screen: np.ndarray) -> Fit:
    """How an image with this header lies on the screen."""
    down, right = (float(value) for value in header.PixelSpacing)
    return Fit.of((int(header.Rows), int(header.Columns)), (down, right), (screen.shape[0], screen.shape[1]))


def drawn(masks: reading.Masks, sop_uid: str, empty: np.ndarray) -> list[Drawn]:
    """What should be drawn on a source slice."""
    return [Drawn(one.label, one.rgb, masks.frames.get((one.number, (sop_uid, 1)), empty)) for one in masks.segments]


def test_each_segment_lies_on_its_slice_in_its_colour_and_right_is_right(opened: Opened) -> None:
    [segmentation] = opened.objects.of("segmentation=binary")
    masks = reading.masks(segmentation)
    side = subjects.laterality(segmentation)
    ohif, count = opened.afresh(), len(opened.subject.headers)
    ohif.show(segmentation)
    ohif.load_segmentation()
    ohif.wait_for_stack(count)
    told, seen, complete = [], set(), False
    for place in spread(SLICES, count)[::-1]:  # OHIF draws no letters on the first image until another was shown
        at = ohif.go_to(place)
        header = opened.subject.headers[at.instance]
        wanted = drawn(masks, str(header.SOPInstanceUID), np.zeros((header.Rows, header.Columns), bool))
        screen, wrong = ohif.image(
            f"segmentation-{place:03d}",
            lambda screen, header=header, wanted=wanted: compare.segment_differences(
                screen, fit(header, screen), wanted
            ),
        )
        # Seen from the feet: the patient's right is at the screen's left, and the letters say so.
        assert subjects.marks_of(header) == {"left": "R", "top": "A"}
        wrong += ohif.wrong_marks({"left": "R", "top": "A"})
        where = compare.sides(screen, fit(header, screen), {one.label: one.rgb for one in wanted})
        wrong += [f"{label} at the screen's {found}" for label, found in where.items()
                  if {"Left": "right", "Right": "left"}[side[label]] != found]  # fmt: skip
        seen |= set(where)
        told += [f"slice {place}: {one}" for one in wrong]
        if not complete and not wrong and all(np.count_nonzero(one.mask) > 500 for one in wanted):
            complete = True
            ohif.page(f"segmentation-{place:03d}")
            neighbour = drawn(masks, opened.subject.neighbour(header), np.zeros_like(wanted[0].mask))
            assert believed(screen, fit(header, screen), wanted, neighbour) == set()
    assert told == []
    assert seen == {one.label for one in masks.segments}
    assert complete, "no slice showed all segments"


def believed(screen: np.ndarray, placed: Fit, wanted: list[Drawn], neighbour: list[Drawn]) -> set[str]:
    """Which segmentations that are not the one on the screen the comparison would take for it: none, if it is any good."""
    wrongs = {
        "colours swapped": [replace(one, rgb=other.rgb) for one, other in zip(wanted, wanted[::-1], strict=True)],
        "masks swapped": [replace(one, mask=other.mask) for one, other in zip(wanted, wanted[::-1], strict=True)],
        "mirrored": [replace(one, mask=one.mask[:, ::-1]) for one in wanted],
        "upside down": [replace(one, mask=one.mask[::-1]) for one in wanted],
        "a pixel to the right": [replace(one, mask=np.roll(one.mask, 1, axis=1)) for one in wanted],
        "a pixel up": [replace(one, mask=np.roll(one.mask, -1, axis=0)) for one in wanted],
        "the next slice's": neighbour,
        "one segment less": wanted[1:],
        "none": [],
    }
    assert compare.segment_differences(screen, placed, wanted) == []
    return {name for name, wrong in wrongs.items() if not compare.segment_differences(screen, placed, wrong)}


def test_the_report_shows_its_values_and_its_outlines_on_the_key_slices(opened: Opened) -> None:
    [report] = opened.objects.of("report=tid1500")
    left = {region.values: region for region in subjects.regions(report)}
    assert left and all(left)
    ohif = opened.afresh()
    ohif.show(report)
    for number in range(1, len(left) + 1):
        ohif.until_right(
            lambda: [] if shown(ohif, left) else [f"{ohif.annotations()[0]}, none of {list(left)}"],
            "the report's values",
        )
        region = left.pop(shown(ohif, left))
        header = opened.subject.headers[ohif.at().instance]
        assert str(header.SOPInstanceUID) == region.image, "the outline is not on its slice"

        def differences(header: Dataset = header, region: Region = region) -> list[str]:
            canvas = ohif.canvas()
            placed = fit(header, np.empty((int(canvas["height"]), int(canvas["width"]), 3)))
            return compare.outline_differences(ohif.annotations()[1], placed, region.outline)

        ohif.until_right(differences, "the report's outline")
        ohif.page(f"report-{number}")
        if left:
            ohif.next_measurement()
    assert not left


def shown(ohif: Ohif, regions: Mapping[tuple[str, ...], Region]) -> tuple[str, ...]:
    """The values of the region whose values are all on the page; empty where there is none."""
    texts = [f"{text} " for text in ohif.annotations()[0]]
    return next((values for values in regions if all(any(f" {one} " in text for text in texts) for one in values)), ())


def test_the_text_report_can_be_read_with_every_value_and_remark(opened: Opened) -> None:
    [report] = opened.objects.of("report=tid1500-text")
    wanted = [
        str(item.MeasuredValueSequence[0].NumericValue) for item in content_items(report) if item.ValueType == "NUM"
    ]
    wanted += [str(item.TextValue) for item in content_items(report) if item.ValueType == "TEXT"]
    assert len(wanted) > 4
    ohif = opened.afresh()
    ohif.show(report)
    ohif.until_right(lambda: [f"{one!r} is not there" for one in wanted if one not in ohif.text()], "the text report")
    ohif.page("report-text")


@pytest.mark.parametrize("form", CAPTURES)
def test_captures_open_as_a_stack_with_their_colours_and_marks(opened: Opened, form: str) -> None:
    captures = {int(one.InstanceNumber): one for one in opened.objects.of(form)}
    assert len(captures) == len(opened.objects.of(form)) > 1
    name, ohif, places = form.split("=")[0], opened.afresh(), spread(SLICES, len(captures))
    ohif.show(captures[1])
    ohif.wait_for_stack(len(captures), str(captures[1].SeriesDescription))
    told = []
    for place in places:
        wanted = captures[ohif.go_to(place).instance]
        pixels = wanted.pixel_array
        screen, wrong = ohif.image(
            f"{name}-{place:03d}",
            lambda screen, wanted=wanted, pixels=pixels: compare.image_differences(screen, fit(wanted, screen), pixels),
        )
        assert subjects.marks_of(wanted) == {"left": "R", "top": "A"}
        wrong += ohif.wrong_marks({"left": "R", "top": "A"})
        told += [f"slice {place}: {one}" for one in wrong]
        assert np.count_nonzero(compare.coloured(screen)) > 100
        if place == places[len(places) // 2]:
            ohif.page(f"{name}-{place:03d}")
            for other in (pixels[:, ::-1], pixels[::-1], pixels[..., ::-1], np.roll(pixels, 1, axis=1)):
                assert compare.image_differences(screen, fit(wanted, screen), other), "a wrong image would pass"
    assert told == []


@pytest.mark.parametrize("form", CAPTURES)
def test_orthancs_own_preview_shows_captures_as_they_are(opened: Opened, form: str) -> None:
    pacs, captures = opened.viewers.pacs, opened.objects.of(form)
    for place in spread(3, len(captures)):
        wanted = captures[place - 1]
        found = pacs.ask("POST", "/tools/lookup", str(wanted.SOPInstanceUID))
        [instance] = [one["ID"] for one in found if one["Type"] == "Instance"]
        for way in ("preview", "rendered"):
            with Image.open(io.BytesIO(pacs.ask("GET", f"/instances/{instance}/{way}"))) as image:
                assert image.mode == "RGB"
                assert np.array_equal(np.asarray(image), wanted.pixel_array), f"{way} of {form} {place}"
                if way == "preview":
                    image.save(opened.ohif.shots / f"orthanc-{form.split('=')[0]}-{place:03d}.png")


def test_ohif_lists_every_series_and_complains_about_none(opened: Opened) -> None:
    ohif = opened.afresh()
    of_results = [datasets[0] for datasets in opened.objects.datasets.values()]

    def lacking() -> list[str]:
        listed = ohif.series()
        return [f"{one.SeriesDescription} is not listed" for one in of_results
                if not any(f"{one.SeriesDescription} S:{one.SeriesNumber}" in text for text in listed)]  # fmt: skip

    ohif.until_right(lacking, "the list of series")
    assert ohif.browser.ask("complaints") == []
