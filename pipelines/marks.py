"""Marks in an image that are no anatomy: side letters, metal tokens, burned-in text.

Such marks are how a model learns the hospital instead of the disease (Zech et al., PLoS Medicine 2018). What tells them
from a patient is their edge: organs have soft outlines on radiographs, for they are round, move and scatter, whereas a
mark goes from its surroundings to its own brightness within a pixel or two, all around, and it is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")  # as the pixels are stored: not of the patient
_SIDE = 512  # pixels of the image in which marks are looked for
_EDGE = 0.2  # of the range of values by which neighbours differ at an edge
_NOISE = 8.0  # sd of the noise by which they must differ in any case
_CONTRAST = 0.3  # of the range by which a mark differs from what lies around it
_SMALLEST = 12  # pixels of its box: what is smaller is noise, or a single bad detector element
_LARGEST = 8  # as many times does its longer side go into that of the image
_CORNER = 0.25  # of the height and of the width
_SHUTTER = 0.5  # of the height or width: along which share of it the edge of a shutter runs, which marks may touch
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Marks:
    """`share` of the image that is covered by marks; `corners` in which the middle of one lies."""

    share: float
    corners: frozenset[str]


def marks(image: np.ndarray, low: float, high: float) -> Marks:
    """The marks of an image (rows, columns) whose content lies between `low` and `high`, in its own values; they may be
    brighter or darker than what is around them. Of a large image the brightest of each few pixels are looked at."""
    if min(image.shape) < 3:
        return Marks(0.0, frozenset())
    values = (_smaller(image).astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    if values.max() - values.min() < _CONTRAST:  # most slices of a CT, where only metal counts
        return Marks(0.0, frozenset())
    area, corners = 0, set()
    for (top, left, rows, columns), inside in _regions(values):
        area += inside
        middle = (top + rows / 2) / values.shape[0], (left + columns / 2) / values.shape[1]
        if all(min(at, 1 - at) < _CORNER for at in middle):
            corners.add(f"{'top' if middle[0] < 0.5 else 'bottom'}-{'left' if middle[1] < 0.5 else 'right'}")
    return Marks(area / values.size, frozenset(corners))


def _regions(values: np.ndarray) -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """Each mark's box (first row and column, rows, columns) and its pixels."""
    steps = _step(values)
    longest = max(values.shape) / _LARGEST
    edges = steps >= max(_EDGE, _NOISE * _noise(values))
    rows_of_shutters, columns_of_shutters = (edges.mean(axis) >= _SHUTTER for axis in (1, 0))
    edges[rows_of_shutters], edges[:, columns_of_shutters] = False, False
    parts, _ = ndimage.label(edges, _EIGHT)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        rows, columns = (side.stop - side.start for side in box)
        if rows * columns < _SMALLEST or max(rows, columns) > longest:
            continue
        here = values[box]
        around = float(np.median(np.concatenate([here[0], here[-1], here[:, 0], here[:, -1]])))
        low, high = np.percentile(here[parts[box] == number], (10, 90))
        inside = high if high - around > around - low else low
        if abs(inside - around) >= _CONTRAST:
            mark = (here - around) / (inside - around) >= 0.5
            yield (box[0].start, box[1].start, rows, columns), int(np.count_nonzero(mark))


def _smaller(image: np.ndarray) -> np.ndarray:
    """The brightest of each block, so that thin strokes are not averaged away."""
    step = -(-max(image.shape) // _SIDE)
    rows, columns = (count // step for count in image.shape)
    if step == 1 or not rows or not columns:
        return image
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.asarray(blocks.max((1, 3)))


def _step(values: np.ndarray) -> np.ndarray:
    """By how much the values of each pixel and its eight neighbours differ; 0 at the border."""
    return np.pad(_of_nine(values, np.maximum) - _of_nine(values, np.minimum), 1)


def _of_nine(values: np.ndarray, which: np.ufunc) -> np.ndarray:
    """The highest or lowest of each pixel within the border and its eight neighbours: of three along each axis."""
    for _ in range(2):
        values = which(which(values[:-2], values[1:-1]), values[2:]).T
    return values


def _noise(values: np.ndarray) -> float:
    """The standard deviation of the noise, from neighbours in a row: the median is not moved by edges."""
    return float(1.4826 * np.median(np.abs(np.diff(values[::2], axis=1))) / 2**0.5)
