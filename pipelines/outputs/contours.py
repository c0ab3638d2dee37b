"""Contours: the outlines of segments burned into pictures of their slices, with a legend, for viewers that show no
segmentation; a series of RGB Secondary Captures (PS3.3 A.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from pydicom.dataset import Dataset
from scipy import ndimage

from pipelines.base import Objects
from pipelines.outputs import capture, codes, origin
from pipelines.outputs.capture import Canvas
from pipelines.outputs.colours import lab_to_rgb
from pipelines.outputs.identity import Maker
from pipelines.outputs.legend import Colour, Entry, Marks, Panel
from pipelines.outputs.parts import Evaluation, Measurement, Segment
from pipelines.outputs.report import Report
from pipelines.outputs.segmentation import Segmentation
from pipelines.study import Study

WARNING = "AI RESULT – NOT FOR PRIMARY DIAGNOSIS"


@dataclass(frozen=True, eq=False)
class Contours:
    """The segments of `segmentation` as outlines in their colours, on every slice that has one.

    The legend stands in a panel to the right of the image, with what `report` says of each segment and of what was not
    seen. `window`: centre and width of the grey image in its own units; None: from its 1st to its 99th percentile.
    """

    segmentation: Segmentation
    report: Report | None = None
    window: tuple[float, float] | None = None
    name: str = "contours"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One single-frame object for each slice with a segment, in the volume's order; none when there is no segment.
        Raises InvalidOutput where a slice does not say where it lies."""
        volume, masks = self.segmentation.volume, self.segmentation.masks
        if masks.shape != volume.voxels.shape:
            raise ValueError(f"masks of shape {masks.shape} on a volume of {volume.voxels.shape}")
        shown = [index for index, frame in enumerate(masks) if frame.any()]
        if not shown:
            return []
        planes, canvas = origin.planes(volume), Canvas(volume, self.window)
        panel = Panel(canvas.rows, WARNING, self._heading(maker), self._entries(), self._foot())
        common = capture.common(volume, study, maker, self.name, "contours")
        labels = ", ".join(one.label for one in self.segmentation.segments)
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
            plane = planes[index]
            made = capture.sharing(common, maker.uid(study, self.name, at + 1), at + 1)
            made.SourceImageSequence = canvas.source(index)
            said, marks = placed(plane.ImageOrientationPatient, plane.PixelSpacing)
            made.update(said)
            made.ImagePositionPatient = capture.first_position(plane, canvas.times)
            rgb = self._drawn(canvas, index)
            marks.put(rgb)
            present = frozenset(int(value) for value in np.unique(masks[index]))
            rgb = np.hstack([rgb, panel.draw(present, canvas.last_line(index))])
            made.PixelData = rgb.tobytes() + b"\0" * (rgb.size % 2)
            return made

        return Objects(len(shown), make)

    def _drawn(self, canvas: Canvas, index: int) -> np.ndarray:
        """A slice with its outlines, RGB uint8 (rows, columns, 3)."""
        rgb = canvas.enlarged(canvas.grey(index)[..., None].repeat(3, axis=2))
        if not rgb.flags.writeable:
            rgb = rgb.copy()
        colours = {one.number: colour_of(one) for one in self.segmentation.segments}
        edges = outlines(canvas.enlarged(self.segmentation.masks[index]), max(1, round(min(rgb.shape[:2]) / 300)))
        for number in np.unique(edges[edges > 0]):
            rgb[edges == number] = colours[int(number)]
        return rgb

    def _heading(self, maker: Maker) -> list[str]:
        return [f"Model {maker.model} {maker.model_version} ({maker.serial_number})"]

    def _foot(self) -> list[str]:
        source = str(self.segmentation.volume.instances[0].get("SeriesInstanceUID", ""))
        return ["Filled boxes: seen on this slice. Values are of the whole series.", f"Source series {source}"]

    def _entries(self) -> list[Entry]:
        findings = list(self.report.findings) if self.report else []
        entries = []
        for segment in self.segmentation.segments:
            its = [one for one in findings if one.key is not None and one.segment == segment.number]
            lines = [said(measurement) for one in its for measurement in one.measurements]
            lines += [judged(evaluation) for one in its for evaluation in one.evaluations]
            entries.append(Entry(segment.number, colour_of(segment), segment.label, tuple(lines)))
        unseen = [f"{one.tracking_id}: not seen" for one in findings if one.key is None]
        comments = [judged(one) for one in self.report.evaluations] if self.report else []
        return entries + [Entry(0, (0, 0, 0), text) for text in (*unseen, *comments)]


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
