"""What radiologists see: our results in OHIF, in a headless browser, on Orthanc's DICOMweb, and in Orthanc's own preview.

Screenshots are kept in test-out/viewers. docs/viewers.md says what was verified and how to run this again.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.outputs import reading
from tests import peers
from tests.conftest import ROOT, missing
from tests.viewers import compare, subjects
from tests.viewers.browser import chromium
from tests.viewers.compare import Drawn, Fit
from tests.viewers.ohif import Ohif
from tests.viewers.packages import OHIF, unpacked
from tests.viewers.subjects import Objects, Subject
from tests.viewers.web import serving

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHOTS = ROOT / "test-out" / "viewers"
SLICES = 9  # looked at in each series


@dataclass(frozen=True)
class Viewers:
    """A running Orthanc and OHIF on it."""

    pacs: peers.Orthanc
    ohif: Ohif

    def fill(self, files: list[Path]) -> None:
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
    dicomweb = {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "StudiesMetadata": "Full", "SeriesMetadata": "Full"}
    settings = {"Plugins": [str(DICOMWEB)], "DicomWeb": dicomweb, "KeepAlive": True}
    with (
        peers.orthanc(folder / "orthanc", **settings) as pacs,
        serving(unpacked(OHIF) / "dist", pacs.http_port) as address,
        chromium(folder) as browser,
    ):
        yield Viewers(pacs, Ohif(browser, address, SHOTS))


@pytest.fixture(scope="module", params=subjects.SOURCES, ids=lambda source: source.name)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
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

    def description(self, dataset: object) -> str:
        return str(getattr(dataset, "SeriesDescription", ""))


@pytest.fixture(scope="module", params=subjects.PROFILES)
def opened(request: pytest.FixtureRequest, viewers: Viewers, subject: Subject) -> Opened:
    files = subject.objects_for(request.param)
    viewers.fill([*(one.path for one in subject.study.instances), *files])
    viewers.ohif.shots = SHOTS / subject.name.replace(" ", "-") / request.param
    return Opened(viewers, subject, Objects.of(files))


def spread(count: int, of: int) -> list[int]:
    """At most `count` places of a stack (from 1), first and last among them."""
    return sorted({round(place) for place in np.linspace(1, of, count)})


def fit(header: object, screen: np.ndarray) -> Fit:
    spacing = [float(value) for value in header.PixelSpacing]  # type: ignore[attr-defined]
    matrix = int(header.Rows), int(header.Columns)  # type: ignore[attr-defined]
    return Fit.of(matrix, (spacing[0], spacing[1]), (screen.shape[0], screen.shape[1]))


def drawn(masks: reading.Masks, sop_uid: str, empty: np.ndarray) -> list[Drawn]:
    """What should be drawn on a source slice."""
    return [Drawn(one.label, one.rgb, masks.frames.get((one.number, (sop_uid, 1)), empty)) for one in masks.segments]


def test_each_segment_lies_on_its_slice_in_its_colour_and_right_is_right(opened: Opened) -> None:
    if not opened.objects.stored.segmentations:
        pytest.skip("this profile has no segmentation")
    (segmentation,) = opened.objects.stored.segmentations
    masks = reading.masks(segmentation)
    side = subjects.laterality(segmentation)
    ohif = opened.afresh()
    ohif.show(opened.description(segmentation))
    ohif.load_segmentation()
    count = len(opened.subject.headers)
    ohif.wait_for_stack(count)
    told, seen, fooled = [], set(), 0
    for place in spread(SLICES, count):
        at = ohif.go_to(place)
        header = opened.subject.headers[at.instance]
        wanted = drawn(masks, str(header.SOPInstanceUID), np.zeros((header.Rows, header.Columns), bool))

        def differences(screen: np.ndarray) -> list[str]:
            return compare.segment_differences(screen, fit(header, screen), wanted)  # noqa: B023

        screen, wrong = ohif.image(f"segmentation-{place:03d}", differences)
        told += wrong
        # Seen from the feet: the patient's right is at the screen's left, and the letters say so.
        assert ohif.marks() == subjects.marks_of(header) == {"left": "R", "top": "A"}
        where = compare.sides(screen, fit(header, screen), {one.label: one.rgb for one in wanted})
        told += [f"slice {place}: {label} at the screen's {found}" for label, found in where.items()
                 if {"Left": "right", "Right": "left"}[side[label]] != found]  # fmt: skip
        seen |= set(where)
        if len(where) == len(wanted) and not wrong:
            if not fooled:
                ohif.page(f"segmentation-{place:03d}")
            accepted_wrongs(screen, fit(header, screen), wanted, masks, opened.subject, at.instance)
            fooled += 1
    assert told == []
    assert seen == {one.label for one in masks.segments}
    assert fooled, "no slice showed all segments"


def accepted_wrongs(screen: np.ndarray, fit: Fit, wanted: list[Drawn], masks: reading.Masks, subject: Subject, instance: int) -> None:
    """The comparison must refuse the same screen for every segmentation that is not the one shown."""
    differs = partial(compare.segment_differences, screen, fit)
    colours = [one.rgb for one in wanted]
    swapped = [replace(one, rgb=rgb) for one, rgb in zip(wanted, colours[::-1], strict=True)]
    neighbour = subject.headers.get(instance + 4) or subject.headers[instance - 4]
    wrongs = {
        "colours swapped": swapped,
        "masks swapped": [replace(one, mask=other.mask) for one, other in zip(wanted, wanted[::-1], strict=True)],
        "mirrored": [replace(one, mask=one.mask[:, ::-1]) for one in wanted],
        "upside down": [replace(one, mask=one.mask[::-1]) for one in wanted],
        "a pixel to the right": [replace(one, mask=np.roll(one.mask, 1, axis=1)) for one in wanted],
        "a pixel up": [replace(one, mask=np.roll(one.mask, -1, axis=0)) for one in wanted],
        "another slice": drawn(masks, str(neighbour.SOPInstanceUID), np.zeros_like(wanted[0].mask)),
        "one segment less": wanted[1:],
        "nothing": [],
    }
    assert differs(wanted) == []
    assert {name for name, wrong in wrongs.items() if not differs(wrong)} == set()


def test_the_report_is_readable_with_its_values_and_outlines_on_the_key_slices(opened: Opened) -> None:
    (report,) = opened.objects.stored.reports
    regions = opened.objects.regions()
    assert regions and all(region.values for region in regions)
    ohif = opened.afresh()
    ohif.show(opened.description(report))
    left = {region.values: region for region in regions}
    for number in range(1, len(regions) + 1):
        ohif.until(lambda: [] if shown(ohif, left) else [f"values {ohif.annotations()[0]}, none of {list(left)}"], "the report")  # noqa: B023
        region = left.pop(shown(ohif, left))
        header = opened.subject.headers[ohif.at().instance]
        assert str(header.SOPInstanceUID) == region.image, "the outline is not on its slice"

        def differences() -> list[str]:
            box = ohif.browser.box("[data-cy=viewport-pane] canvas")
            blank = np.zeros((round(box["height"]), round(box["width"]), 3), np.uint8)
            return compare.outline_differences(ohif.annotations()[1], fit(header, blank), region.outline)  # noqa: B023

        ohif.until(differences, "the outline")
        ohif.page(f"report-{number}")
        if left:
            ohif.next_measurement()
    assert not left


def shown(ohif: Ohif, regions: dict[tuple[str, ...], subjects.Region]) -> tuple[str, ...]:
    """The values of the region whose values are all on the page; empty where there is none."""
    texts = ohif.annotations()[0]
    for values in regions:
        if all(any(f" {value} " in f"{text} " for text in texts) for value in values):
            return values
    return ()


def test_the_heatmap_opens_as_a_stack_with_its_colours_and_marks(opened: Opened) -> None:
    heatmaps = opened.objects.stored.heatmaps
    by_number = {int(one.InstanceNumber): one for one in heatmaps}
    assert len(by_number) == len(heatmaps) > 1
    ohif = opened.afresh()
    ohif.show(opened.description(heatmaps[0]))
    ohif.wait_for_stack(len(heatmaps), opened.description(heatmaps[0]))
    told = []
    for place in spread(SLICES, len(heatmaps)):
        at = ohif.go_to(place)
        wanted = by_number[at.instance]
        pixels = wanted.pixel_array

        def differences(screen: np.ndarray) -> list[str]:
            return compare.image_differences(screen, fit(wanted, screen), pixels)  # noqa: B023

        screen, wrong = ohif.image(f"heatmap-{place:03d}", differences)
        told += wrong
        assert ohif.marks() == subjects.marks_of(wanted) == {"left": "R", "top": "A"}
        assert np.count_nonzero(compare.coloured(screen)) > 100
        if place == spread(SLICES, len(heatmaps))[SLICES // 2]:
            ohif.page(f"heatmap-{place:03d}")
            placed = fit(wanted, screen)
            for other in (pixels[:, ::-1], pixels[::-1], pixels[..., ::-1], np.roll(pixels, 1, axis=1)):
                assert compare.image_differences(screen, placed, other), "a wrong image would pass"
    assert told == []


def test_orthancs_own_preview_shows_the_images_as_they_are(opened: Opened) -> None:
    pacs, heatmaps = opened.viewers.pacs, opened.objects.stored.heatmaps
    for place in spread(3, len(heatmaps)):
        wanted = heatmaps[place - 1]
        found = pacs.ask("POST", "/tools/lookup", str(wanted.SOPInstanceUID))
        (instance,) = [one["ID"] for one in found if one["Type"] == "Instance"]
        for way in ("preview", "rendered"):
            with Image.open(io.BytesIO(pacs.ask("GET", f"/instances/{instance}/{way}"))) as image:
                assert image.mode == "RGB"
                assert np.array_equal(np.asarray(image), wanted.pixel_array), f"{way} of heatmap {place}"
                if way == "preview":
                    image.save(opened.ohif.shots / f"orthanc-preview-{place:03d}.png")


def test_ohif_complains_about_none_of_it(opened: Opened) -> None:
    ohif = opened.afresh()
    listed = ohif.series()
    for dataset in (*opened.objects.stored.segmentations, *opened.objects.stored.reports, *opened.objects.stored.heatmaps[:1]):
        assert any(opened.description(dataset) in one for one in listed)
    assert json.dumps(ohif.browser.ask("complaints")) == "[]"
