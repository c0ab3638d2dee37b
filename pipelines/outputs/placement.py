"""Does a result lie where its source lies? Geometry read back from the objects, in millimetres."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from pipelines.outputs import origin
from pipelines.outputs.codes import LabelMapSegmentationStorage
from pipelines.study import Instance

TOLERANCE = 0.01  # mm, at every corner of a frame


def misplaced(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """What of `dataset` does not lie on its source, as a text; None when all does. `held`: the study's instances."""
    look: Callable[[Dataset, Mapping[str, Instance]], str | None] | None = {
        SegmentationStorage: _segmentation, LabelMapSegmentationStorage: _segmentation,
        SecondaryCaptureImageStorage: _capture,
    }.get(dataset.SOPClassUID)  # fmt: skip
    return look(dataset, held) if look else _regions(dataset, held)


def corners(position: np.ndarray, orientation: np.ndarray, spacing: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The outer corners of a frame, LPS mm, (4, 3): half a pixel outside the corner pixels' centres (PS3.3 C.7.6.2)."""
    along_columns, along_rows = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    ends = [(row, column) for row in (-0.5, rows - 0.5) for column in (-0.5, columns - 0.5)]
    return np.asarray([position + along_rows * row + along_columns * column for row, column in ends])


def _source_corners(source: Instance, frame_number: int) -> np.ndarray:
    plane = origin.plane(source, frame_number)
    return corners(_numbers(plane.ImagePositionPatient), _numbers(plane.ImageOrientationPatient),
                   _numbers(plane.PixelSpacing), int(source.header.Rows), int(source.header.Columns))  # fmt: skip


def _numbers(values: object) -> np.ndarray:
    return np.asarray([float(value) for value in values], dtype=np.float64)  # type: ignore[attr-defined]


def _away(found: np.ndarray, wanted: np.ndarray, what: str) -> str | None:
    distance = float(np.abs(found - wanted).max())
    return None if distance <= TOLERANCE else f"{what} lies {distance:.3f} mm off its source slice"


def _segmentation(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = _numbers(shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    spacing = _numbers(shared.PixelMeasuresSequence[0].PixelSpacing)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        position = _numbers(frame.PlanePositionSequence[0].ImagePositionPatient)
        found = corners(position, orientation, spacing, dataset.Rows, dataset.Columns)
        wanted = _source_corners(held[source.ReferencedSOPInstanceUID], int(source.get("ReferencedFrameNumber") or 1))
        if wrong := _away(found, wanted, f"frame {number}"):
            return wrong
    return None


def _capture(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    source = dataset.SourceImageSequence[0]
    found = corners(_numbers(dataset.ImagePositionPatient), _numbers(dataset.ImageOrientationPatient),
                    _numbers(dataset.PixelSpacing), dataset.Rows, dataset.Columns)  # fmt: skip
    wanted = _source_corners(held[source.ReferencedSOPInstanceUID], int(source.get("ReferencedFrameNumber") or 1))
    return _away(found, wanted, f"instance {dataset.InstanceNumber}")


def _regions(dataset: Dataset, held: Mapping[str, Instance]) -> str | None:
    """Every 2D region inside the image that it refers to."""
    for region in content_items(dataset):
        if region.get("ValueType") != "SCOORD":
            continue
        points = np.asarray(region.GraphicData, dtype=np.float64).reshape(-1, 2)
        for image in region.get("ContentSequence") or ():
            source = held.get(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            if source is None:
                return "a region refers to an image that the study does not hold"
            limits = (int(source.header.Columns), int(source.header.Rows))
            if (points < 0).any() or (points > limits).any():
                return f"a region reaches outside its image of {limits[1]} x {limits[0]}"
    return None


def content_items(item: Dataset) -> Iterator[Dataset]:
    """Every content item below `item`, in the order of the document."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from content_items(child)
