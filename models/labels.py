"""From probabilities to labels: which structure each voxel most likely belongs to. No HU, no threshold."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

CELL = 4  # voxels: parts are told apart on cells of this many rows and columns, which is quick and bridges noise
SMALLEST_SHARE = 0.25  # of the largest part of the same label; what is smaller and apart from it is dropped


def labels_of(probability: np.ndarray) -> np.ndarray:
    """(labels, slices, rows, columns) probabilities -> uint8 (slices, rows, columns): 0 elsewhere, n where channel n -
    1 is likeliest, without the parts that `main_parts` drops.

    "Elsewhere" takes part in the comparison with what the channels leave over of 1. Works slice by slice, so it needs
    no memory beyond the result.
    """
    out: np.ndarray = np.zeros(probability.shape[1:], np.uint8)
    for k, label in enumerate(out):
        here = probability[:, k].astype(np.float32)
        best = here.max(0)
        for channel in range(len(here) - 1, -1, -1):
            np.copyto(label, channel + 1, where=here[channel] == best)
        label *= best > 1 - here.sum(0)
    return main_parts(out)


def main_parts(labels: np.ndarray) -> np.ndarray:
    """Drop, in place, the parts of each label that lie apart from its largest part and are less than a quarter of it.

    An organ is in one piece, or in a few large ones where disease or the end of the scan divides it; small pieces away
    from it are gut or bedding that looked alike. `labels`: uint8 (slices, rows, columns).
    """
    for value in range(1, int(labels.max(initial=0)) + 1):
        mask = labels == value
        cells = _cells(mask)
        parts, count = ndimage.label(cells, output=np.int32)
        if count < 2:
            continue
        sizes = ndimage.sum_labels(cells, parts, np.arange(count + 1))
        small = sizes < SMALLEST_SHARE * sizes[1:].max()
        small[0] = False
        if small.any():
            dropped = small[parts].repeat(CELL, 1).repeat(CELL, 2)[:, : mask.shape[1], : mask.shape[2]]
            labels[mask & dropped] = 0
    return labels


def _cells(mask: np.ndarray) -> np.ndarray:
    """How many voxels of `mask` each cell of CELL x CELL holds: (slices, cells, cells), edges padded."""
    slices, rows, columns = mask.shape
    padded = np.pad(mask, ((0, 0), (0, -rows % CELL), (0, -columns % CELL)))
    grid = padded.reshape(slices, padded.shape[1] // CELL, CELL, padded.shape[2] // CELL, CELL)
    counts: np.ndarray = grid.sum((2, 4), dtype=np.uint8)
    return counts
