"""What radiologists see: our results in OHIF, in a headless browser, on Orthanc's DICOMweb, and in Orthanc's own preview.

Screenshots are kept in test-out/viewers. docs/viewers.md says what was verified and how to run this again.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
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
from tests.viewers.ohif import NARROW, WIDE, Ohif
from tests.viewers.packages import OHIF, unpacked
from tests.viewers.subjects import Objects, Picture, Region, Source, Subject
from tests.viewers.web import serving

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SHOTS = ROOT / "test-out" / "viewers"
SLICES = 8  # looked at in each series
CAPTURES = ("heatmap=series", "heatmap=multi-frame", "burn-contours")
FORMS = {"segmentation=binary", "report=tid1500", "report=tid1500-text", *CAPTURES}


@dataclass(frozen=True)
class Viewers:
    """A running Orthanc and OHIF on it."""

    pacs: peers.Orthanc
    ohif: Ohif
    held: dict[str, dict[Path, str]] = field(default_factory=dict)  # Study Instance UID -> file -> Orthanc's identifier

    def fill(self, study_uid: str, files: Iterable[Path]) -> None:
        """Let Orthanc hold `files`, and nothing else, of a study; what it holds already is not sent again."""
        held, wanted = self.held.setdefault(study_uid, {}), list(files)
        for path in set(held) - set(wanted):
            self.pacs.ask("DELETE", f"/instances/{held.pop(path)}")
        for path in wanted:
            if path not in held:
                held[path] = self.pacs.ask("POST", "/instances", path.read_bytes())["ID"]


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


@dataclass(frozen=True)
class Opened:
    """A study with its results for a profile, in the viewers."""

    viewers: Viewers
    subject: Subject
    objects: Objects


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Source], Subject]:
    """What a pipeline finds on a source; each is run once."""
    return cache(lambda source: subjects.run(source, tmp_path_factory.mktemp("subject")))


def in_forms(*forms: str) -> pytest.MarkDecorator:
    """Run a test on every case whose profile has one of these forms."""
    chosen = [
        pytest.param((source, profile), form, id=f"{source.name}, {profile}, {form}")
        for source, profile in subjects.CASES
        for form in forms
        if form in map(str, subjects.LOOKED_AT[profile].forms)
    ]
    return pytest.mark.parametrize(("opened", "form"), chosen, indirect=["opened"])


@pytest.fixture
def opened(request: pytest.FixtureRequest, viewers: Viewers, subject_of: Callable[[Source], Subject]) -> Opened:
    source, profile = request.param
    subject = subject_of(source)
    objects = subject.objects_for(profile)
    assert set(objects.datasets) <= FORMS, "no test here looks at some forms of this profile"
    viewers.fill(subject.study_uid, [*(one.path for one in subject.study.instances), *objects.files])
    viewers.ohif.shots = SHOTS / subject.source.name.replace(" ", "-") / profile
    viewers.ohif.shots.mkdir(parents=True, exist_ok=True)
    return Opened(viewers, subject, objects)


@pytest.fixture
def ohif(opened: Opened, form: str) -> Iterator[Ohif]:
    """OHIF with a study just opened that has results in a form; after the test it must have nothing to complain about."""
    opened.objects.of(form)
    opened.viewers.ohif.open(opened.subject.study_uid, WIDE if form == "report=tid1500" else NARROW)
    yield opened.viewers.ohif
    assert opened.viewers.ohif.browser.ask("complaints") == []


def spread(count: int, of: int) -> list[int]:
    """At most `count` places of a stack (from 1), first and last among them."""
    return sorted({round(place) for place in np.linspace(1, of, count)})


def fit(header: Dataset, screen: np.ndarray) -> Fit:
    """How an image with this header lies on the screen."""
    matrix = int(header.Rows), int(header.Columns)
    return Fit.of(matrix, subjects.spacing_of(header), (screen.shape[0], screen.shape[1]))


def drawn(masks: reading.Masks, sop_uid: str, empty: np.ndarray) -> list[Drawn]:
    """What should be drawn on a source slice."""
    return [Drawn(one.label, one.rgb, masks.frames.get((one.number, (sop_uid, 1)), empty)) for one in masks.segments]


@in_forms("segmentation=binary")
def test_each_segment_lies_on_its_slice_in_its_colour_and_right_is_right(opened: Opened, ohif: Ohif, form: str) -> None:
    [segmentation] = opened.objects.of(form)
    masks = reading.masks(segmentation)
    side = subjects.laterality(segmentation)
    count = len(opened.subject.headers)
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
        assert subjects.letters_of(header) == subjects.SUPINE
        wrong += ohif.wrong_marks(subjects.SUPINE)
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


@in_forms("report=tid1500")
def test_the_report_shows_its_values_and_its_outlines_on_the_key_slices(opened: Opened, ohif: Ohif, form: str) -> None:
    [report] = opened.objects.of(form)
    left = {region.values: region for region in subjects.regions(report)}
    assert left and all(left)
    ohif.show(report)
    for number in range(1, len(left) + 1):
        ohif.until_right(
            lambda: [] if shown(ohif, left) else [f"{ohif.annotations()[0]}, none of {list(left)}"],
            "the report's values",
        )
        region = left.pop(shown(ohif, left))
        # Over a report on a single image the page gives no Instance Number.
        headers = opened.subject.headers
        header = headers[ohif.at().instance] if len(headers) > 1 else next(iter(headers.values()))
        assert str(header.SOPInstanceUID) == region.image, "the outline is not on its slice"

        def differences(header: Dataset = header, region: Region = region) -> list[str]:
            canvas = ohif.canvas()
            placed = fit(header, np.empty((int(canvas["height"]), int(canvas["width"]), 3)))
            return compare.outline_differences(ohif.annotations()[1], placed, region.outline)

        ohif.until_right(differences, "the report's outline")
        assert ohif.cut_off() == []
        ohif.page(f"report-{number}")
        if left:
            ohif.next_measurement()
    assert not left


def shown(ohif: Ohif, regions: Mapping[tuple[str, ...], Region]) -> tuple[str, ...]:
    """The values of the region whose values are all on the page; empty where there is none."""
    texts = [f"{text} " for text in ohif.annotations()[0]]
    return next((values for values in regions if all(any(f" {one} " in text for text in texts) for one in values)), ())


@in_forms("report=tid1500-text")
def test_the_text_report_can_be_read_with_every_value_and_remark(opened: Opened, ohif: Ohif, form: str) -> None:
    [report] = opened.objects.of(form)
    numbers = (item.MeasuredValueSequence[0].NumericValue for item in content_items(report) if item.ValueType == "NUM")
    wanted = [f"{float(number):.10g}" for number in numbers]  # as the page writes them: 100 for 100.0
    wanted += [str(item.TextValue) for item in content_items(report) if item.ValueType == "TEXT"]
    assert len(wanted) > 4
    ohif.show(report)
    ohif.until_right(lambda: [f"{one!r} is not there" for one in wanted if one not in ohif.text()], "the text report")
    ohif.page("report-text")


@in_forms(*CAPTURES)
def test_captures_open_as_a_stack_with_their_colours_and_marks(opened: Opened, ohif: Ohif, form: str) -> None:
    captures = opened.objects.of(form)
    pictures, letters = subjects.pictures(captures), opened.subject.source.letters
    name, places = form.replace("=", "-"), spread(SLICES, len(pictures))
    ohif.show(captures[0])
    ohif.wait_for_stack(len(pictures), str(captures[0].SeriesDescription))
    told, coloured = [], []
    for place in places:
        at = ohif.go_to(place)
        wanted = pictures[at.instance, at.place if len(captures) < len(pictures) else 1]

        def differences(screen: np.ndarray, wanted: Picture = wanted, pixels: np.ndarray | None = None) -> list[str]:
            placed = Fit.of(wanted.pixels.shape[:2], wanted.spacing, (screen.shape[0], screen.shape[1]))
            return compare.image_differences(screen, placed, wanted.pixels if pixels is None else pixels)

        screen, wrong = ohif.image(f"{name}-{place:03d}", differences)
        assert wanted.letters == letters
        wrong += ohif.wrong_marks(letters)
        told += [f"image {place}: {one}" for one in wrong]
        coloured.append(np.count_nonzero(compare.coloured(screen)))
        if place == places[len(places) // 2]:
            ohif.page(f"{name}-{place:03d}")
            pixels = wanted.pixels
            for other in (pixels[:, ::-1], pixels[::-1], pixels[..., ::-1], np.roll(pixels, 1, axis=1)):
                assert differences(screen, pixels=other), "a wrong image would pass"
    assert told == []
    # Colours of the result, not those of the captions alone, which are the same on all images.
    assert len(places) == 1 or max(coloured) > min(coloured) + 1000


@in_forms(*CAPTURES)
def test_orthancs_own_preview_shows_captures_as_they_are(opened: Opened, form: str) -> None:
    pacs, captures = opened.viewers.pacs, opened.objects.of(form)
    pictures = subjects.pictures(captures)
    files = {int(one.InstanceNumber): Path(one.filename) for one in captures}
    held, several = opened.viewers.held[opened.subject.study_uid], len(captures) < len(pictures)
    for place in spread(3, len(pictures)):
        number, frame = list(pictures)[place - 1]
        instance = held[files[number]]
        for way in ("preview", "rendered"):
            path = f"/instances/{instance}/frames/{frame - 1}/{way}" if several else f"/instances/{instance}/{way}"
            with Image.open(io.BytesIO(pacs.ask("GET", path))) as image:
                assert image.mode == "RGB"
                assert np.array_equal(np.asarray(image), pictures[number, frame].pixels), f"{way} of {form} {place}"
                if way == "preview":
                    image.save(opened.viewers.ohif.shots / f"orthanc-{form.replace('=', '-')}-{place:03d}.png")
