"""The numbers and categories that monitoring watches. A value that is missing is None, which is a category of its own
and not a dropped row.

What headers tell is in headers.py, statistics of pixels in greys.py; the names of all, with their meaning, stand in
feature_names.py. `pipelines.base.execute` adds the features of headers to those that a pipeline gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage

from models.labels import occupied

Features = dict[str, float | str | None]
_THREADS = 2
_SLICES = 12  # of a segmentation in which entropy is measured
_CELLS = 250_000  # of the coarse grid on which parts are counted
_PART = 4  # cells: what is smaller is not counted as a part


def embedding(values: Sequence[float]) -> Features:
    """A model's embedding as one text (a JSON list); None where the model gives none."""
    return {"embedding": json.dumps(list(values), separators=(",", ":")) if len(values) else None}


def output(finding: str, **values: float | bool | None) -> Features:
    """What a pipeline says of one finding: p, positive, volume (ml), count, empty, ..."""
    return {f"output.{finding}.{name}": None if value is None else float(value) for name, value in values.items()}


def certainty(probability: np.ndarray, labels: np.ndarray) -> Features:
    """How sure a segmentation was: the mean probability of the chosen class, and the share of unsure voxels (0.2 to
    0.8) among those labelled or unsure. `probability` (classes, frames, rows, columns), `labels` on its grid."""

    def one(index: int) -> tuple[float, int, int, int]:
        part = occupied(probability[:, index])
        frames = [values[index][part] for values in probability]
        inside = labels[index][part] > 0
        if probability.dtype == np.float16:  # compared by their bits, which is in the same order and much faster
            bits = np.maximum.reduce([frame.view(np.uint16) for frame in frames])
            strongest, (low, high) = bits.view(np.float16), np.array([0.2, 0.8], np.float16).view(np.uint16)
            doubtful = (bits > low) & (bits <= high)  # as half floats, 0.2 and 0.8 lie a little below themselves
        else:
            strongest = np.maximum.reduce(frames)
            doubtful = (strongest > 0.2) & (strongest < 0.8)
        chosen = float(strongest[inside].astype(np.float32).sum())
        return (chosen, int(np.count_nonzero(inside)), int(np.count_nonzero(doubtful)),
                int(np.count_nonzero(inside | doubtful)))  # fmt: skip

    with ThreadPoolExecutor(_THREADS) as threads:
        chosen, labelled, unsure, either = (sum(f) for f in zip(*threads.map(one, range(len(labels))), strict=True))
    return {
        "uncertainty.mean-probability": chosen / labelled if labelled else None,
        "uncertainty.unsure-share": unsure / either if either else None,
    }


def entropy(probability: np.ndarray) -> Features:
    """Mean entropy (bits) of a segmentation's voxels of which the model is not quite sure: where a class, "elsewhere"
    among them, has between 0.01 and 0.99. `probability` (classes, frames, rows, columns); some slices are looked at."""
    every = max(1, probability.shape[1] // _SLICES)
    some = probability[:, every // 2 :: every, ::2, ::2].reshape(len(probability), -1)
    strongest = some.max(0)
    open_ = some[:, (strongest > 0.01) & (strongest < 0.99)].astype(np.float32)
    if not open_.size:
        return {"uncertainty.entropy": None}
    every_class = np.clip(np.vstack([open_, 1 - open_.sum(0)]), 1e-6, 1)
    bits = -(every_class * np.log2(every_class)).sum(0)
    return {"uncertainty.entropy": float(bits.mean(dtype=np.float64))}


def parts(labels: np.ndarray, values: Sequence[int]) -> Mapping[int, int]:
    """How many connected parts each label value has in a label map (frames, rows, columns), on a coarse grid."""
    frames, rows, columns = labels.shape
    step = max(1, round((frames * rows * columns / _CELLS) ** (1 / 3)))
    coarse = labels[::step, ::step, ::step]
    found = {}
    for value in values:
        marked, count = ndimage.label(coarse == value)
        sizes = np.bincount(marked.ravel(), minlength=count + 1)[1:]
        found[value] = int((sizes >= _PART).sum())
    return found
