"""The outline of a region on one slice as a closed polygon: followed along the pixels' edges, then simplified."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# By heading (row, column): the headings after a turn to the left, straight on, and after a turn to the right.
_TURNS = {
    (0, 1): ((-1, 0), (0, 1), (1, 0)),
    (1, 0): ((0, 1), (1, 0), (0, -1)),
    (0, -1): ((1, 0), (0, -1), (-1, 0)),
    (-1, 0): ((0, -1), (-1, 0), (0, 1)),
}


def outline(mask: np.ndarray, tolerance: float = 0.75, most: int = 200) -> np.ndarray:
    """The outer edge of the largest connected part of a 2D mask; holes are passed over.

    Returns float64 (points, 2) of (column, row), open (the last point is not the first again), in index coordinates
    where pixel centres lie on integers: a single pixel is the square from -0.5 to +0.5 around it. Points within
    `tolerance` pixels of the simplified line are left out (Douglas and Peucker, 1973), and within more where that
    leaves over `most` points. Raises ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no outline")
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    corners = _follow(ndimage.binary_fill_holes(mask))
    far = int(np.argmax(((corners - corners[0]) ** 2).sum(axis=1)))
    halves = corners[: far + 1], np.vstack([corners[far:], corners[:1]])
    while True:
        found = np.vstack([_simplify(half, tolerance)[:-1] for half in halves])
        if len(found) <= most or not tolerance:
            return found[:, ::-1] - 0.5
        tolerance *= 1.25


def _follow(mask: np.ndarray) -> np.ndarray:
    """Corners (row, column) along the edge of a connected mask without holes, with the inside on the right hand."""
    inside = np.pad(mask, 1)
    row, column = (int(found[0]) for found in np.nonzero(inside))
    start, heading = (row, column), (0, 1)  # along the top edge of the topmost, leftmost pixel
    here, points = start, []
    while True:
        points.append(here)
        here = (here[0] + heading[0], here[1] + heading[1])
        if here == start:
            return np.array(points, dtype=np.float64) - 1
        for turn in _TURNS[heading]:
            if _is_edge(inside, here, turn):
                heading = turn
        # the last that fits is the rightmost: it keeps parts that touch at a corner only apart


def _is_edge(inside: np.ndarray, corner: tuple[int, int], heading: tuple[int, int]) -> bool:
    """Whether the unit edge that leaves `corner` has the inside on its right and the outside on its left."""
    row, column = corner
    right, left = {
        (0, 1): ((row, column), (row - 1, column)),
        (1, 0): ((row, column - 1), (row, column)),
        (0, -1): ((row - 1, column - 1), (row, column - 1)),
        (-1, 0): ((row - 1, column), (row - 1, column - 1)),
    }[heading]
    return bool(inside[right]) and not bool(inside[left])


def _simplify(points: np.ndarray, tolerance: float) -> np.ndarray:
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        line = points[last] - points[first]
        offsets = points[first + 1 : last] - points[first]
        length = float(np.hypot(*line))
        if length == 0:
            distances = np.hypot(offsets[:, 0], offsets[:, 1])
        else:
            distances = np.abs(line[0] * offsets[:, 1] - line[1] * offsets[:, 0]) / length
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return points[keep]
