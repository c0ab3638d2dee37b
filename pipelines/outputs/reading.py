"""Results read back from files as a PACS stored them: masks of a SEG, heatmap slices, an SR as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from pipelines.outputs.colours import lab_from_dicom, lab_to_rgb
from pipelines.outputs.placement import corners

Place = tuple[str, int]  # SOP Instance UID and frame number (from 1) of a source slice


@dataclass(frozen=True)
class SegmentShown:
    """One segment as it was stored: its number, label, and recommended colour as sRGB."""

    number: int
    label: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Masks:
    """A stored BINARY segmentation: (segment number, source slice) -> bool (rows, columns); empty frames are absent."""

    series_uid: str
    segments: tuple[SegmentShown, ...]
    frames: dict[tuple[int, Place], np.ndarray]


@dataclass(frozen=True)
class Line:
    """One line of a report: how deep it stands, what it names, and its value (empty for a heading)."""

    depth: int
    name: str
    value: str


@dataclass(frozen=True)
class Stored:
    """The results in a set of files, by kind; heatmaps and contours, one slice each, in order of Instance Number."""

    segmentations: tuple[Dataset, ...]
    reports: tuple[Dataset, ...]
    heatmaps: tuple[Dataset, ...]
    contours: tuple[Dataset, ...] = ()


def stored(files: Sequence[Path]) -> Stored:
    """Read result objects; files of other classes are left out."""
    by_class: dict[str, list[Dataset]] = {}
    for path in files:
        dataset = pydicom.dcmread(path)
        by_class.setdefault(str(dataset.get("SOPClassUID", "")), []).append(dataset)
    captures = sorted(by_class.get(SecondaryCaptureImageStorage, []), key=lambda one: int(one.InstanceNumber or 0))
    contours = [one for one in captures if "Outlines drawn" in str(one.get("DerivationDescription"))]
    others = {str(one.SOPInstanceUID) for one in contours}
    heatmaps = [one for one in captures if str(one.SOPInstanceUID) not in others]
    return Stored(tuple(by_class.get(SegmentationStorage, [])), tuple(by_class.get(Comprehensive3DSRStorage, [])),
                  tuple(heatmaps), tuple(contours))  # fmt: skip


def masks(dataset: Dataset) -> Masks:
    """The masks of a BINARY SEG, each on the source slice that its frame refers to."""
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns).astype(bool)
    frames = {}
    for frame, mask in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        frames[int(number), source_of(frame.DerivationImageSequence[0])] = mask
    segments = tuple(
        SegmentShown(int(one.SegmentNumber), str(one.SegmentLabel), _colour(one)) for one in dataset.SegmentSequence
    )
    return Masks(str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID), segments, frames)


def source_of(dataset: Dataset) -> Place:
    """The source slice that Source Image Sequence names first."""
    item = dataset.SourceImageSequence[0]
    return str(item.ReferencedSOPInstanceUID), int(item.get("ReferencedFrameNumber") or 1)


def _colour(segment: Dataset) -> tuple[int, int, int]:
    values = segment.get("RecommendedDisplayCIELabValue")
    red, green, blue = lab_to_rgb(np.asarray(lab_from_dicom(list(values)))) if values else (255, 255, 0)
    return int(red), int(green), int(blue)


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of an image result: the source slice that it names, the outer corners of the frame (4, 3) in LPS mm
    (None where it has no place), and its pixels or values (rows, columns) or (rows, columns, 3)."""

    source: Place
    corners: np.ndarray | None
    pixels: np.ndarray


def pictures(dataset: Dataset) -> Iterator[Picture]:
    """Every frame of an image result, in its order: captures, parametric maps and derived images."""
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    grey = dataset.get("SamplesPerPixel", 1) == 1
    shape = (int(dataset.get("NumberOfFrames") or 1), dataset.Rows, dataset.Columns, *(() if grey else (3,)))
    pixels = dataset.pixel_array.reshape(shape)
    if "RescaleSlope" in dataset:
        pixels = pixels * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    for index, values in enumerate(pixels):
        groups = [*frames[index : index + 1], *(dataset.get("SharedFunctionalGroupsSequence") or ())]
        derived = [item for group in groups for item in group.get("DerivationImageSequence") or ()]
        items = derived[0].SourceImageSequence if derived else dataset.SourceImageSequence[index:]
        found: list[np.ndarray] = []
        for sequence, keyword in (("PlanePositionSequence", "ImagePositionPatient"),
                                  ("PlaneOrientationSequence", "ImageOrientationPatient"),
                                  ("PixelMeasuresSequence", "PixelSpacing")):  # fmt: skip
            places = [item for group in groups for item in group.get(sequence) or ()] or [dataset]
            found.append(np.array([float(one) for one in places[0].get(keyword) or ()]))
        place = corners(found[0], found[1], found[2], *values.shape[:2]) if all(one.size for one in found) else None
        yield Picture((str(items[0].ReferencedSOPInstanceUID), int(items[0].get("ReferencedFrameNumber") or 1)), place,
                      values)  # fmt: skip


def evidence_series(report: Dataset) -> list[str]:
    """The Series Instance UIDs that a report is based on."""
    return [
        str(series.SeriesInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.get("ReferencedSeriesSequence") or ()
    ]


def report_lines(report: Dataset) -> list[Line]:
    """The document as text: its state, its content tree, what it is based on and what it replaces. No patient data."""
    state = f"{report.CompletionFlag}, {report.VerificationFlag}, {report.get('PreliminaryFlag', '')}".lower()
    lines = [Line(0, _meaning(report.ConceptNameCodeSequence), state)]
    lines += [line for item in report.get("ContentSequence") or () for line in _item_lines(item, 1)]
    for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            classes = {str(one.ReferencedSOPClassUID.name) for one in series.ReferencedSOPSequence}
            what = ", ".join(sorted(name.removesuffix(" Storage") for name in classes))
            lines.append(Line(1, "Based on", f"{what}: {len(series.ReferencedSOPSequence)} in series "
                                             f"{_short(series.SeriesInstanceUID)}"))  # fmt: skip
    for study in report.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for one in series.ReferencedSOPSequence:
                lines.append(Line(1, "Replaces", _short(one.ReferencedSOPInstanceUID)))
    return lines


def _item_lines(item: Dataset, depth: int) -> Iterator[Line]:
    name = _meaning(item.get("ConceptNameCodeSequence"))
    if item.ValueType == "SCOORD":
        image = item.ContentSequence[0].ReferencedSOPSequence[0]
        yield Line(
            depth, name, f"outline of {len(item.GraphicData) // 2} points on {_short(image.ReferencedSOPInstanceUID)}"
        )
        return
    children = list(item.get("ContentSequence") or ())
    modifiers = [
        child for child in children if child.RelationshipType == "HAS CONCEPT MOD" and item.ValueType != "CONTAINER"
    ]
    told = _value(item) + "".join(f" ({_value(child).lower()})" for child in modifiers)
    tracking = [_value(child) for child in children if _meaning(child.ConceptNameCodeSequence) == "Tracking Identifier"]
    yield Line(depth, name, ", ".join([told, *tracking]).removeprefix(", ") if tracking else told)
    below = [line for child in children if child not in modifiers for line in _item_lines(child, depth + 1)]
    yield from _joined([line for line in below if line.name != "Tracking Identifier"])


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Lines that follow each other with the same name, such as several parameters, in one."""
    joined: list[Line] = []
    for line in lines:
        if (
            joined
            and line.value
            and joined[-1].value
            and joined[-1].name == line.name
            and joined[-1].depth == line.depth
        ):
            joined[-1] = Line(line.depth, line.name, f"{joined[-1].value}, {line.value}")
        else:
            joined.append(line)
    return joined


def _value(item: Dataset) -> str:
    """A content item's value as text (PS3.3 C.17.3.2)."""
    kind = item.ValueType
    if kind == "NUM":
        if not item.get("MeasuredValueSequence"):
            return "no value"
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0]
        return f"{measured.NumericValue} {'HU' if unit.CodeValue.startswith('[hnsf') else unit.CodeValue}".removesuffix(
            " 1"
        )
    if kind == "CODE":
        return _meaning(item.ConceptCodeSequence)
    if kind == "TEXT":
        return str(item.TextValue)
    if kind == "UIDREF":
        return _short(item.UID)
    if kind == "IMAGE":
        return _short(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    return str(item.PersonName) if kind == "PNAME" else ""


def _meaning(sequence: Sequence[Dataset] | None) -> str:
    return str(sequence[0].CodeMeaning) if sequence else ""


def _short(uid: str) -> str:
    """The ends of a UID, enough to tell one from another on a page."""
    uid = str(uid)
    return uid if len(uid) <= 24 else f"{uid[:10]}...{uid[-8:]}"
