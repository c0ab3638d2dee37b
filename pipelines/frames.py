"""Where each frame of a series lies and how its stored values become values, from headers alone: single-frame images,
and enhanced multi-frame ones through their functional groups (PS3.3 C.7.6.2, C.7.6.16)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from pipelines.base import Unsuitable, quoted
from pipelines.study import Instance, Series

_UNREADABLE = (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError, KeyError)

FARTHEST = 1e6  # mm, or values of a rescale: with numbers far beyond, geometry and pixels are no numbers any more


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: `number` counts from 1 in its instance; `position` is the centre of the first voxel (LPS mm);
    `along_row` and `along_column` are unit vectors in the directions of growing column and row index;
    `spacing` is (between rows, between columns) in mm; value = stored * slope + intercept."""

    instance: Instance
    number: int
    rows: int
    columns: int
    position: np.ndarray
    along_row: np.ndarray
    along_column: np.ndarray
    spacing: tuple[float, float]
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        """The slice normal: the direction in which a right-handed stack grows."""
        return np.cross(self.along_row, self.along_column)


def frames_of(series: Series) -> list[Frame]:
    """Every frame of a series, in the order of the files. Raises Unsuitable, saying which image lacks what."""
    return [frame for instance in series.instances for frame in _frames(instance)]


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of an attribute, or None where it is absent, empty, of another count, or not numbers."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        found = tuple(float(one) for one in (value if hasattr(value, "__iter__") else (value,)))
    except _UNREADABLE:
        return None
    return found if len(found) == count and all(math.isfinite(one) for one in found) else None


def _frames(instance: Instance) -> Iterator[Frame]:
    header = instance.header
    if "ImagePositionPatient" not in header and "PerFrameFunctionalGroupsSequence" not in header:
        raise Unsuitable(f"{image(instance)} has no ImagePositionPatient: it does not say where it lies in the patient")
    rows, columns = numbers(header, "Rows", 1), numbers(header, "Columns", 1)
    if not rows or not columns or rows[0] < 1 or columns[0] < 1:
        raise Unsuitable(f"{image(instance)} has no Rows or Columns: it is not an image")
    count = int((numbers(header, "NumberOfFrames", 1) or (1,))[0])
    per_frame = _items(header, "PerFrameFunctionalGroupsSequence")
    if not per_frame and count != 1:
        raise Unsuitable(f"{image(instance)} has {count} frames and no functional groups that place them")
    if per_frame and len(per_frame) != count:
        raise Unsuitable(f"{image(instance)} declares {count} frames and places {len(per_frame)}")
    shared = _items(header, "SharedFunctionalGroupsSequence")[:1]
    for number, group in enumerate(per_frame or [Dataset()], 1):
        groups = [group, *shared]
        plane, scale = _plane(instance, groups), _scale(instance, groups)
        yield Frame(instance, number, int(rows[0]), int(columns[0]), *plane, *scale)


def _plane(
    instance: Instance, groups: list[Dataset]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    position = _find(instance, groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _find(instance, groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _find(instance, groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    for keyword, found in (("ImagePositionPatient", position), ("ImageOrientationPatient", orientation),
                           ("PixelSpacing", spacing)):  # fmt: skip
        if found is None:
            raise Unsuitable(f"{image(instance)} has no readable {keyword}: it cannot be placed in the patient")
    assert position is not None and orientation is not None and spacing is not None
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(along_row @ along_column) > 0.01:
        raise Unsuitable(f"ImageOrientationPatient of {image(instance)} is not two unit vectors at a right angle")
    if max(map(abs, (*position, *spacing))) > FARTHEST:
        raise Unsuitable(f"{image(instance)} lies farther away than any patient")
    if min(spacing) <= 0:
        raise Unsuitable(f"PixelSpacing of {image(instance)} is not positive")
    return np.array(position), along_row / lengths[0], along_column / lengths[1], (spacing[0], spacing[1])


def _scale(instance: Instance, groups: list[Dataset]) -> tuple[float, float]:
    slope = _find(instance, groups, "PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = _find(instance, groups, "PixelValueTransformationSequence", "RescaleIntercept", 1)
    if slope is None and "ModalityLUTSequence" in instance.header:
        raise Unsuitable(f"{image(instance)} maps its values by a Modality LUT; only slope and intercept are taken")
    if slope is None and instance.get("Modality") == "CT":
        raise Unsuitable(f"{image(instance)} has no RescaleSlope: its values are not Hounsfield units")
    if slope is not None and slope[0] == 0:
        raise Unsuitable(f"RescaleSlope of {image(instance)} is 0")
    for keyword, found in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if found is not None and abs(found[0]) > FARTHEST:
            raise Unsuitable(f"{keyword} of {image(instance)} is {found[0]:g}: no scanner's")
    return (slope or (1.0,))[0], (intercept or (0.0,))[0]


def _find(
    instance: Instance, groups: list[Dataset], sequence: str, keyword: str, count: int
) -> tuple[float, ...] | None:
    """The attribute from the frame's own group, else the shared one, else the root of the dataset."""
    for group in groups:
        for item in _items(group, sequence)[:1]:
            if (found := numbers(item, keyword, count)) is not None:
                return found
    return numbers(instance.header, keyword, count)


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        value = dataset.get(keyword)
    except _UNREADABLE:
        return []
    return list(value) if value is not None and not isinstance(value, bytes | str) else []


def image(instance: Instance) -> str:
    """How a reason names an image: by its number in the series, never by path or patient."""
    try:
        number = instance.get("InstanceNumber")
    except _UNREADABLE:
        number = None
    return f"image {quoted(number)}" if number is not None else "an image without InstanceNumber"
