"""Contours: outlines of what was found burned into pictures, with a legend that says the rest of the report, for
viewers that show nothing but images; a series of RGB Secondary Captures (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from scipy import ndimage

from pipelines.base import Objects
from pipelines.outputs import capture, codes, origin
from pipelines.outputs.capture import Canvas
from pipelines.outputs.colours import lab_to_rgb
from pipelines.outputs.identity import Maker
from pipelines.outputs.legend import Colour, Entry, Marks, Panel
from pipelines.outputs.parts import Evaluation, Finding, Measurement, Segment
from pipelines.outputs.report import Report
from pipelines.outputs.segmentation import Segmentation
from pipelines.study import Study

WARNING = "AI RESULT – NOT FOR PRIMARY DIAGNOSIS"
# Of findings without segments: apart from each other for every kind of colour vision (Okabe and Ito 2008)
_COLOURS: tuple[Colour, ...] = ((240, 228, 66), (86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 158, 115))


@dataclass(frozen=True, eq=False)
class Contours:
    """The segments of `segmentation` as outlines in their colours, on every slice that has one; without segments the
    key regions of `report`'s findings on theirs; and where nothing was found, the middle slice: silence is no report.

    The legend stands in a panel to the right of the image, with what `report` says of each segment or finding, and of
    what was not seen. `window`: centre and width of the grey image in its own units; None: from its 1st to its 99th
    percentile.
    """

    segmentation: Segmentation | None
    report: Report | None = None
    window: tuple[float, float] | None = None
    name: str = "burn-contours"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One single-frame object for each slice that is shown, in the volume's order; none for what has neither a
        segment nor a report, or no pixels. Raises InvalidOutput where a slice does not say where it lies."""
        volume = self._volume
        drawn = marked(self.segmentation, self.report)
        if self.segmentation is not None and self.segmentation.masks.shape != volume.voxels.shape:
            raise ValueError(f"masks of shape {self.segmentation.masks.shape} on a volume of {volume.voxels.shape}")
        shown = self._shown()
        if not shown:
            return []
        canvas = Canvas(volume, self.window)
        planes = origin.planes(volume) if volume.placed else ()
        panel = Panel(canvas.rows, WARNING, self._heading(maker), self._entries(drawn), self._foot())
        common = capture.common(volume, study, maker, self.name, "contours")
        labels = ", ".join(one.label for one in drawn) or "nothing was found"
        common.DerivationDescription = capture.plain_text(f"{WARNING}. Outlines drawn over the source image: {labels}")

        @cache
        def placed(orientation: tuple[str, ...], spacing: tuple[str, ...]) -> tuple[Dataset, Marks]:
            said = canvas.placed(next(one for one in planes if one.ImageOrientationPatient == orientation
                                      and one.PixelSpacing == spacing))  # fmt: skip
            marks = Marks(canvas.rows, canvas.columns, list(said.PatientOrientation))
            said.Columns = canvas.columns + panel.columns
            return said, marks

        def make(at: int) -> Dataset:
            index = shown[at]
            made = capture.sharing(common, maker.uid(study, self.name, at + 1), at + 1)
            made.SourceImageSequence = canvas.source(index)
            labelled = self._labels(canvas, index, drawn)
            rgb = with_outlines(canvas.enlarged(canvas.grey(index)), labelled, drawn)
            if planes:
                said, marks = placed(planes[index].ImageOrientationPatient, planes[index].PixelSpacing)
                made.ImagePositionPatient = capture.first_position(planes[index], canvas.times)
            else:
                said = canvas.projected()
                marks = Marks(canvas.rows, canvas.columns, list(said.PatientOrientation or ()))
                said.Columns = canvas.columns + panel.columns
            made.update(said)
            marks.put(rgb)
            present = frozenset(int(value) for value in np.unique(labelled))
            rgb = np.hstack([rgb, panel.draw(present, canvas.last_line(index))])
            made.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
            return made

        return Objects(len(shown), make)

    @property
    def _volume(self) -> origin.Source:
        found = self.segmentation or self.report
        if found is None:
            raise ValueError("contours need a segmentation or a report")
        return found.volume

    def _shown(self) -> list[int]:
        """The indices of the frames that are drawn."""
        frames = len(self._volume.voxels) if self._volume.voxels.size else 0
        if self.segmentation is not None and self.segmentation.masks.any():
            return [index for index in range(frames) if self.segmentation.masks[index].any()]
        if self.report is None or not frames:
            return []
        return sorted({one.key.frame for one in self.report.findings if one.key is not None}) or [frames // 2]

    def _labels(self, canvas: Canvas, index: int, drawn: Sequence[Drawn]) -> np.ndarray:
        """The numbers of what is drawn on a frame, uint8 (rows, columns) of the picture."""
        if self.segmentation is not None and self.segmentation.masks.any():
            return canvas.enlarged(self.segmentation.masks[index])
        image = Image.new("L", (canvas.columns, canvas.rows))
        for one in drawn:
            for key in (finding.key for finding in one.findings):
                if key is not None and key.frame == index:
                    points = (np.asarray(key.polygon, float) + 0.5) * canvas.times / canvas.step - 0.5
                    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=one.number)
        return np.asarray(image)

    def _heading(self, maker: Maker) -> list[str]:
        return [f"Model {maker.model} {maker.model_version} ({maker.serial_number})"]

    def _foot(self) -> list[str]:
        source = str(self._volume.instances[0].get("SeriesInstanceUID", ""))
        return ["Filled boxes: seen on this slice. Values are of the whole series.", f"Source series {source}"]

    def _entries(self, drawn: Sequence[Drawn]) -> list[Entry]:
        entries = []
        for one in drawn:
            lines = [said(measurement) for its in one.findings for measurement in its.measurements]
            lines += [judged(evaluation) for its in one.findings for evaluation in its.evaluations]
            entries.append(Entry(one.number, one.rgb, one.label, tuple(lines)))
        findings = list(self.report.findings) if self.report else []
        unseen = [f"{one.tracking_id}: not seen" for one in findings if one.key is None]
        comments = [judged(one) for one in self.report.evaluations] if self.report else []
        return entries + [Entry(0, (0, 0, 0), text) for text in (*unseen, *comments)]


@dataclass(frozen=True, eq=False)
class Drawn:
    """One thing that is outlined: its number in the label map, its colour, its name, and what the report says of it."""

    number: int
    rgb: Colour
    label: str
    findings: tuple[Finding, ...] = ()


def marked(segmentation: Segmentation | None, report: Report | None) -> list[Drawn]:
    """What is outlined: the segments, or without any the findings that have a key region."""
    seen = [one for one in report.findings if one.key is not None] if report else []
    if segmentation is not None and segmentation.masks.any():
        return [Drawn(one.number, colour_of(one), one.label, tuple(its for its in seen if its.segment == one.number))
                for one in segmentation.segments]  # fmt: skip
    return [Drawn(number, _COLOURS[(number - 1) % len(_COLOURS)], one.tracking_id, (one,))
            for number, one in enumerate(seen, 1)]  # fmt: skip


def with_outlines(grey: np.ndarray, labels: np.ndarray, drawn: Sequence[Drawn]) -> np.ndarray:
    """A grey image (rows, columns) with the outlines of a label map of its size, RGB uint8 (rows, columns, 3)."""
    rgb = np.ascontiguousarray(grey[..., None].repeat(3, axis=2))
    edges = outlines(labels, max(1, round(min(rgb.shape[:2]) / 300)))
    for one in drawn:
        rgb[edges == one.number] = one.rgb
    return rgb


def colour_of(segment: Segment) -> Colour:
    """A segment's colour as sRGB."""
    red, green, blue = lab_to_rgb(np.asarray(segment.colour))
    return int(red), int(green), int(blue)


def said(one: Measurement) -> str:
    """A measurement in words."""
    unit = {"[hnsf'U]": "HU", "1": ""}.get(one.unit.value, one.unit.value)
    how = f" ({one.derivation.meaning.lower()})" if one.derivation else ""
    return f"{one.name.meaning}{how} {one.value:.6g} {unit}".rstrip()


def judged(one: Evaluation) -> str:
    """An evaluation in words; a comment speaks for itself."""
    value = one.value if isinstance(one.value, str) else one.value.meaning
    return value if one.name == codes.COMMENT else f"{one.name.meaning}: {value}"


def outlines(labels: np.ndarray, thickness: int) -> np.ndarray:
    """The label map (rows, columns) of the outlines of a label map, `thickness` pixels wide.

    An outline lies around its segment, so that it hides nothing of a small one. Around a hole, and where two segments
    touch, it is a pixel wide and lies inside: what is in the hole stays to be seen, and each segment has its own line.
    """
    found = np.zeros_like(labels)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        near = tuple(slice(max(0, one.start - thickness), one.stop + thickness) for one in box)
        part, edge = labels[near], found[near]
        mask = part == number
        beside = (part > 0) & ~mask
        holes = ndimage.binary_fill_holes(mask) & ~mask
        around = ndimage.binary_dilation(mask, np.ones((3, 3), bool), thickness) & (part == 0) & ~holes
        others = ndimage.binary_dilation(beside | holes, np.ones((3, 3), bool))
        edge[(around & (edge == 0)) | (mask & others)] = number
    return found
