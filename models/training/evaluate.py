"""Figures of a lung model: overlap, volumes, sides, calibration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from models.labels import labels_of
from models.runtime import Model
from models.training.phantoms import Phantom


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks (Dice 1945), from 0 to 1; 1 when both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(a & b)) / total


def judge(model: Model, phantoms: Iterable[Phantom]) -> dict[str, Any]:
    """Run a model over phantoms with known lungs; see the keys for what is measured.

    ``swapped``: share of the painted lung voxels that lie in the other lung. ``outside``: share that lie in neither
    lung.
    """
    per_lung, whole, volume_error, swapped, painted, outside, empty = [], [], [], 0, 0, 0, []
    bins = np.zeros((10, 3))
    for phantom in phantoms:
        probability = model.predict(phantom.hu, phantom.spacing)["probability"]
        found, truth = labels_of(probability), phantom.labels
        if not truth.any():
            empty.append(int(np.count_nonzero(found)) * float(np.prod(phantom.spacing)) / 1000)
            continue
        whole.append(dice(found > 0, truth > 0))
        for value in (1, 2):
            size = int(np.count_nonzero(truth == value))
            if size * float(np.prod(phantom.spacing)) > 50_000:
                per_lung.append(dice(found == value, truth == value))
                volume_error.append(abs(int(np.count_nonzero(found == value)) - size) / size)
        swapped += int(np.count_nonzero((found > 0) & (truth > 0) & (found != truth)))
        outside += int(np.count_nonzero((found > 0) & (truth == 0)))
        painted += int(np.count_nonzero(found))
        _calibrate(bins, probability, truth)
    n = max(bins[:, 0].sum(), 1)
    gaps = np.abs(bins[:, 1] - bins[:, 2]) / np.maximum(bins[:, 0], 1)
    return {
        "phantoms": len(whole) + len(empty),
        "dice_per_lung_mean": _round(np.mean(per_lung)) if per_lung else 0.0,
        "dice_per_lung_lowest": _round(np.min(per_lung)) if per_lung else 0.0,
        "dice_both_lungs_mean": _round(np.mean(whole)) if whole else 0.0,
        "volume_error_mean": _round(np.mean(volume_error)) if volume_error else 0.0,
        "swapped_share": _round(swapped / max(painted, 1), 6),
        "outside_share": _round(outside / max(painted, 1)),
        "without_lung_painted_ml_highest": _round(max(empty), 2) if empty else 0.0,
        "expected_calibration_error": _round(float((gaps * bins[:, 0]).sum() / n), 5),
    }


def _calibrate(bins: np.ndarray, probability: np.ndarray, truth: np.ndarray) -> None:
    """Add to (voxels, sum of probability, lung voxels) per tenth of probability, on every 7th voxel that is not surely
    air."""
    p = (probability[0].astype(np.float32) + probability[1]).ravel()[::7]
    t = (truth > 0).ravel()[::7]
    keep = p > 0
    at = np.minimum((p[keep] * 10).astype(int), 9)
    for column, weights in enumerate((None, p[keep], t[keep].astype(float))):
        bins[:, column] += np.bincount(at, weights, minlength=10)[:10]


def _round(value: Any, digits: int = 4) -> float:
    return round(float(value), digits)
