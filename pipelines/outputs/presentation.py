"""Presentation: the findings drawn over their images, as Grayscale Softcopy Presentation States (PS3.3 A.33.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from pipelines.base import Objects
from pipelines.frames import numbers
from pipelines.outputs import colours, equipment, origin, wording
from pipelines.outputs.capture import UNPAIRED
from pipelines.outputs.identity import Maker
from pipelines.outputs.parts import Finding, KeyRegion
from pipelines.outputs.report import Report
from pipelines.study import Instance, Study

_COLOUR = colours.rgb_to_lab((255, 222, 64))  # of a finding without a segment
_LINE = 0.05  # height of a line of text as a part of the image's
_MOST_TEXT = 1024  # characters of ST


@dataclass(frozen=True, eq=False)
class Presentation:
    """Each finding of a report as its outline and its measurements beside it, on a layer of its own in the colour of
    its segment; the warning at the foot of each image. `window`: centre and width in modality values (HU); None for the
    source's own, or else the range of the image's values."""

    report: Report
    window: tuple[float, float] | None = None
    name: str = "presentation"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One object for the key images that have the same rescale, which a presentation state holds once: mostly one
        for all; none when no finding has a key region."""
        groups: dict[tuple[str, str], list[int]] = {}
        for frame in sorted({one.frame for one, _ in self._keyed()}):
            scale = _rescale(*self._place(frame))
            groups.setdefault((scale[0], scale[1]), []).append(frame)
        parts = list(groups.values())
        return Objects(len(parts), lambda at: self._make(study, maker, at + 1, parts[at]))

    def _keyed(self) -> Iterator[tuple[KeyRegion, Finding]]:
        return ((one.key, one) for one in self.report.findings if one.key is not None)

    def _place(self, frame: int) -> tuple[Instance, int]:
        return self.report.volume.instances[frame], self.report.volume.frame_numbers[frame]

    def _make(self, study: Study, maker: Maker, number: int, frames: list[int]) -> Dataset:
        source = self.report.volume.instances[frames[0]].header
        made = Dataset()
        made.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
        made.SOPInstanceUID = maker.uid(study, self.name, number)
        made.SeriesInstanceUID = maker.uid(study, self.name, "series")
        made.Modality, made.InstanceNumber = "PR", number
        made.ContentLabel, made.ContentDescription = "AI_FINDINGS", equipment.WARNING
        made.ContentCreatorName = None  # Type 2: no person
        series = Dataset()
        series.SeriesInstanceUID = str(self.report.volume.instances[0].get("SeriesInstanceUID", ""))
        series.ReferencedImageSequence = self._images(frames)
        made.ReferencedSeriesSequence = [series]
        made.DisplayedAreaSelectionSequence = [self._area(frames)]
        findings = [(key, one) for key, one in self._keyed() if key.frame in frames]
        made.GraphicLayerSequence = [
            _layer(at, self._colour(one), one.tracking_id, source) for at, (_, one) in enumerate(findings, 1)
        ] + [_layer(len(findings) + 1, _COLOUR, "Warning", source)]
        made.GraphicAnnotationSequence = [
            self._annotation(at, key, one, source) for at, (key, one) in enumerate(findings, 1)
        ] + [self._warning(len(findings) + 1, frames, maker, source)]
        _take_modality(made, *self._place(frames[0]))
        made.SoftcopyVOILUTSequence = self._windows(frames)
        # A presentation state says itself which end is bright; MONOCHROME1 in the image does not count (PS3.3 C.11.6).
        inverse = source.get("PhotometricInterpretation") == "MONOCHROME1"
        made.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
        if source.get("BodyPartExamined"):
            made.BodyPartExamined = source.BodyPartExamined
        if str(source.get("BodyPartExamined") or "") not in UNPAIRED:
            sides = [source.get(keyword) for keyword in ("Laterality", "ImageLaterality")]
            made.Laterality = next((one for one in sides if one in ("L", "R")), None)  # Type 2C: empty if not known
        origin.take_identity(made, source)
        equipment.mark(made, study, maker, source, self.name, "findings drawn")
        made.PresentationCreationDate, made.PresentationCreationTime = made.ContentDate, made.ContentTime
        del made.ContentDate, made.ContentTime  # not of this IOD
        return made

    def _images(self, frames: Sequence[int]) -> list[Dataset]:
        """Referenced Image Sequence: each instance once, with its frames where it has several."""
        by_instance: dict[str, Dataset] = {}
        for frame in frames:
            instance, number = self._place(frame)
            item = by_instance.setdefault(
                instance.SOPInstanceUID, origin.reference(instance.SOPClassUID, instance.SOPInstanceUID)
            )
            if origin.is_multi_frame(self.report.volume):
                item.ReferencedFrameNumber = sorted({*_frame_numbers(item), number})
        return list(by_instance.values())

    def _area(self, frames: list[int]) -> Dataset:
        """The whole image, with its proportions (PS3.3 C.10.4)."""
        rows, columns = self.report.volume.voxels.shape[1:]
        area = Dataset()
        area.ReferencedImageSequence = self._images(frames)
        area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [columns, rows]
        area.PresentationSizeMode = "SCALE TO FIT"
        if self.report.volume.placed:
            area.PresentationPixelSpacing = list(origin.planes(self.report.volume)[frames[0]].PixelSpacing)
        else:  # of a projection millimetres are not known
            area.PresentationPixelAspectRatio = _aspect(self.report.volume.instances[0].header)
        return area

    def _colour(self, finding: Finding) -> tuple[float, float, float]:
        segmentation = self.report.segmentation
        segments = segmentation.segments if segmentation is not None else ()
        return next((one.colour for one in segments if one.number == finding.segment), _COLOUR)

    def _annotation(self, layer: int, key: KeyRegion, finding: Finding, source: Dataset) -> Dataset:
        """Outline and text; image coordinates are indices plus half a pixel (PS3.3 C.10.5.1)."""
        rows, columns = self.report.volume.voxels.shape[1:]
        points = np.clip(np.asarray(key.polygon, dtype=np.float64) + 0.5, 0, (columns, rows))
        if not np.array_equal(points[0], points[-1]):
            points = np.vstack([points, points[:1]])
        graphic = Dataset()
        graphic.GraphicAnnotationUnits, graphic.GraphicDimensions = "PIXEL", 2
        graphic.NumberOfGraphicPoints, graphic.GraphicData = len(points), points.ravel().tolist()
        graphic.GraphicType, graphic.GraphicFilled = "POLYLINE", "N"
        lines = [finding.tracking_id]
        lines += [f"{wording.quantity(one)} {wording.amount(one)}" for one in finding.measurements]
        lines += [f"{one.name.meaning} {wording.evaluated(one)}" for one in finding.evaluations]
        top = points[np.argmin(points[:, 1])]
        height = min(float(rows), _LINE * rows * len(lines))
        above = max(0.0, float(top[1]) - height)
        left = min(float(points[:, 0].min()), columns / 2)
        words = _words("\r\n".join(lines), source)
        words.BoundingBoxAnnotationUnits = words.AnchorPointAnnotationUnits = "PIXEL"
        words.BoundingBoxTopLeftHandCorner = [left, above]
        words.BoundingBoxBottomRightHandCorner = [float(columns), above + height]
        words.BoundingBoxTextHorizontalJustification = "LEFT"
        words.AnchorPoint, words.AnchorPointVisibility = top.tolist(), "N"
        annotation = Dataset()
        annotation.ReferencedImageSequence = self._images([key.frame])
        annotation.GraphicLayer = _called(layer)
        annotation.TextObjectSequence, annotation.GraphicObjectSequence = [words], [graphic]
        return annotation

    def _warning(self, layer: int, frames: list[int], maker: Maker, source: Dataset) -> Dataset:
        words = _words(f"{equipment.WARNING}. {maker.model} {maker.model_version}", source)
        words.BoundingBoxAnnotationUnits = "DISPLAY"
        words.BoundingBoxTopLeftHandCorner, words.BoundingBoxBottomRightHandCorner = [0.02, 0.93], [0.98, 0.98]
        words.BoundingBoxTextHorizontalJustification = "LEFT"
        annotation = Dataset()
        annotation.ReferencedImageSequence = self._images(frames)
        annotation.GraphicLayer, annotation.TextObjectSequence = _called(layer), [words]
        return annotation

    def _windows(self, frames: list[int]) -> list[Dataset]:
        """Softcopy VOI LUT Sequence: an item for all images with the same window (PS3.3 C.11.8)."""
        found: list[tuple[Dataset, list[int]]] = []
        for frame in frames:
            window = self._window(frame)
            same = next((with_it for known, with_it in found if known == window), None)
            if same is None:
                found.append((window, [frame]))
            else:
                same.append(frame)
        items = []
        for window, with_it in found:
            window.ReferencedImageSequence = self._images(with_it)
            items.append(window)
        return items

    def _window(self, frame: int) -> Dataset:
        """What a frame is shown with: the window asked for, else the source's first one, its VOI LUT, or its range."""
        instance, number = self._place(frame)
        if self.window:
            return _linear(*self.window)
        for group in (*_groups(instance, number, "FrameVOILUTSequence"), instance.header):
            centre, width = (np.atleast_1d(group.get(name) or []) for name in ("WindowCenter", "WindowWidth"))
            if centre.size and width.size and float(width[0]) >= 1:
                made = _linear(float(centre[0]), float(width[0]))
                if group.get("VOILUTFunction"):
                    made.VOILUTFunction = group.VOILUTFunction
                return made
            if group.get("VOILUTSequence"):
                made = Dataset()
                made.VOILUTSequence = [group.VOILUTSequence[0]]
                return made
        values = self.report.volume.voxels[frame]
        low, high = float(values.min()), float(values.max())
        if _is_turned(instance):  # back to the numbers of the image
            bits = int(instance.header.BitsStored)
            ends = -1 if instance.header.get("PixelRepresentation") == 1 else 2**bits - 1
            slope, intercept, _ = _rescale(instance, number)
            middle = ends * float(slope or 1) + 2 * float(intercept or 0)
            low, high = middle - high, middle - low
        return _linear((low + high) / 2 + 0.5, max(1.0, high - low + 1))


def _linear(centre: float, width: float) -> Dataset:
    made = Dataset()
    made.WindowCenter, made.WindowWidth = format_number_as_ds(float(centre)), format_number_as_ds(float(width))
    return made


def _is_turned(instance: Instance) -> bool:
    """Whether bright and dark of the voxels are those of the stored values the other way round (pipelines.pixels)."""
    return instance.get("PhotometricInterpretation") == "MONOCHROME1" and instance.get("Modality") != "CT"


def _frame_numbers(item: Dataset) -> list[int]:
    return [int(one) for one in np.atleast_1d(item.get("ReferencedFrameNumber", []))]


def _called(layer: int) -> str:
    return f"AI_{layer}"


def _layer(number: int, colour: tuple[float, float, float], description: str, source: Dataset) -> Dataset:
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = _called(number), number
    layer.GraphicLayerDescription = wording.writable(description, source).replace("\\", "/")[:64].strip()
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = 0xFFFF
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor(*colour).value)
    return layer


def _words(text: str, source: Dataset) -> Dataset:
    words = Dataset()
    words.UnformattedTextValue = wording.writable(text, source)[:_MOST_TEXT].rstrip()
    return words


def _groups(instance: Instance, number: int, sequence: str) -> Iterator[Dataset]:
    """The items of a functional group for one frame (from 1), its own before the shared one."""
    header = instance.header
    for group in (*list(header.get("PerFrameFunctionalGroupsSequence") or ())[number - 1 : number],
                  *(header.get("SharedFunctionalGroupsSequence") or ())):  # fmt: skip
        yield from group.get(sequence) or ()


def _rescale(instance: Instance, number: int) -> tuple[str, str, str]:
    """Rescale Slope, Intercept and Type of a frame; all empty where the source has no rescale."""
    for group in (*_groups(instance, number, "PixelValueTransformationSequence"), instance.header):
        slope, intercept = numbers(group, "RescaleSlope", 1), numbers(group, "RescaleIntercept", 1)
        if slope and intercept:
            kind = str(group.get("RescaleType") or ("HU" if instance.get("Modality") == "CT" else "US"))
            return format_number_as_ds(slope[0]), format_number_as_ds(intercept[0]), kind
    return "", "", ""


def _take_modality(made: Dataset, instance: Instance, number: int) -> None:
    """The modality transformation: what a presentation state does not repeat is not applied (PS3.4 N.2.1)."""
    slope, intercept, kind = _rescale(instance, number)
    if instance.header.get("ModalityLUTSequence"):
        made.ModalityLUTSequence = instance.header.ModalityLUTSequence
    elif slope:
        made.RescaleSlope, made.RescaleIntercept, made.RescaleType = slope, intercept, kind


def _aspect(header: Dataset) -> list[int]:
    """Vertical to horizontal size of a pixel, in whole numbers."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        found = numbers(header, keyword, 2)
        if found and min(found) > 0:
            return [1, 1] if abs(found[0] / found[1] - 1) < 1e-3 else [round(1000 * one / max(found)) for one in found]
    return [1, 1]
