"""From probabilities to labels: which structure each voxel most likely belongs to. No HU, no threshold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

CELL = 4  # voxels: parts are told apart on cells of this many rows and columns, which is quick and bridges noise
_THREADS = 2
SMALLEST_SHARE = 0.25  # of the largest part of the same label; what is smaller and apart from it is dropped


def labels_of(probability: np.ndarray) -> np.ndarray:
    """(labels, slices, rows, columns) probabilities -> uint8 (slices, rows, columns): 0 elsewhere, n where channel n -
    1 is likeliest, without the parts that `main_parts` drops.

    "Elsewhere" takes part in the comparison with what the channels leave over of 1; of equal channels the first one
    counts. Works slice by slice, so it needs no memory beyond the result.
    """
    out: np.ndarray = np.zeros(probability.shape[1:], np.uint8)

    channels = len(probability)
    half, least = _comparable(np.array([0.5, 1 / (channels + 1)], probability.dtype))

    def decide(k: int) -> None:
        part = occupied(probability[:, k])
        here, label = _comparable(probability[(slice(None), k, *part)]), out[k][part]
        best = here[0].copy()
        label[...] = 1
        for channel in range(1, channels):
            np.maximum(label, (here[channel] > best).view(np.uint8) * np.uint8(channel + 1), out=label)
            np.maximum(best, here[channel], out=best)
        # More than a half wins whatever is left over; only what lies between that and an equal share must be added up.
        unsure = np.divmod(np.flatnonzero((best <= half) & (best >= least)), max(1, best.shape[1]))
        label *= best > half
        few = probability[(slice(None), k, *part)][:, unsure[0], unsure[1]].astype(np.float32)
        label[unsure] = np.where(few.max(0) > 1 - few.sum(0), few.argmax(0) + 1, 0)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(decide, range(len(out))))
    return main_parts(out)


def _comparable(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as numbers in the same order that processors compare fast: the bits of half floats."""
    return values.view(np.uint16) & 0x7FFF if values.dtype == np.float16 else values


def occupied(arrays: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of `arrays` (any number, rows, columns) outside which all of them are zero."""
    bits = arrays.view(np.uint16) if arrays.dtype == np.float16 else arrays
    rows = np.flatnonzero(bits.any((0, 2)))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    tall = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(bits[:, tall].any((0, 1)))
    return tall, slice(int(columns[0]), int(columns[-1]) + 1)


def main_parts(labels: np.ndarray) -> np.ndarray:
    """Drop, in place, the parts of each label that lie apart from its largest part and are less than a quarter of it.

    An organ is in one piece, or in a few large ones where disease or the end of the scan divides it; small pieces away
    from it are gut or bedding that looked alike. `labels`: uint8 (slices, rows, columns).
    """
    for value in range(1, int(labels.max(initial=0)) + 1):
        cells = _cells(labels, value)
        parts, count = ndimage.label(cells, output=np.int32)
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel(), weights=cells.ravel(), minlength=count + 1)
        small = sizes < SMALLEST_SHARE * sizes[1:].max()
        small[0] = False
        dropped = small[parts]
        for index in np.flatnonzero(dropped.any((1, 2))):
            here = dropped[index].repeat(CELL, 0).repeat(CELL, 1)[: labels.shape[1], : labels.shape[2]]
            labels[index][(labels[index] == value) & here] = 0
    return labels


def _cells(labels: np.ndarray, value: int) -> np.ndarray:
    """How many voxels of a label each cell of CELL x CELL holds: (slices, cells, cells), edges padded."""
    slices, rows, columns = labels.shape
    counts = np.empty((slices, -(-rows // CELL), -(-columns // CELL)), np.uint8)
    padded = np.zeros((rows + -rows % CELL, columns + -columns % CELL), np.uint8)
    for index, one in enumerate(labels):  # slice by slice: whole masks would be memory taken for nothing
        padded[:rows, :columns] = one == value
        summed = sum(padded[row::CELL] for row in range(1, CELL)) + padded[0::CELL]  # rows first: they are contiguous
        counts[index] = sum(summed[:, column::CELL] for column in range(1, CELL)) + summed[:, 0::CELL]
    return counts
