"""Features of pixels: statistics of a volume's or a radiograph's values, and the marks among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.marks import CORNERS, marks

if TYPE_CHECKING:
    from pipelines.features import Features
    from pipelines.radiograph import Radiograph
    from pipelines.volume import Volume

_SAMPLES = 500_000  # values that statistics look at: every n-th, so that the same study always gives the same numbers
_SLICES = 8  # of a volume that are looked at as images
AIR, TISSUE = -900.0, (-200.0, 200.0)  # HU: air lies below, soft tissue and water between
BONE, METAL = 1500.0, 2500.0  # HU: what is burnt into a slice is brighter than metal, which is denser than any bone


def of_volume(volume: Volume) -> Features:
    """Over the voxels of a CT, in HU: mean, spread, percentiles, entropy of the histogram (bits), shares of air, of
    soft tissue and of metal; over some slices: sharpness (mean step between rows) and the share of marks."""
    flat = volume.voxels.reshape(-1)
    sample = flat[:: _step(flat.size)].astype(np.float32)
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    every = max(1, len(volume.voxels) // _SLICES)
    slices = volume.voxels[every // 2 :: every].astype(np.float32)
    return {
        "pixels.mean": float(sample.mean(dtype=np.float64)), "pixels.sd": float(sample.std(dtype=np.float64)),
        "pixels.p1": low, "pixels.p50": median, "pixels.p99": high,
        "pixels.entropy": _entropy(np.clip(sample, -1024, 1024), -1024, 1024),
        "pixels.sharpness": float(np.abs(np.diff(slices, axis=1)).mean(dtype=np.float64)),
        "pixels.air": float((sample < AIR).mean()),
        "pixels.tissue": float(((sample >= TISSUE[0]) & (sample <= TISSUE[1])).mean()),
        "pixels.saturated": float((sample >= METAL).mean()),
        "pixels.markers": float(np.mean([marks(np.clip(one, BONE, METAL), BONE, METAL).share for one in slices])),
    }  # fmt: skip


def of_radiograph(radiograph: Radiograph) -> Features:
    """Of an image whose unit differs from device to device: percentiles in its own numbers, and, between the 1st and
    the 99th as 0 and 1, mean, spread, entropy of the histogram (bits), sharpness, and the shares at both ends and
    between; the share of marks, and whether there is one in each corner."""
    image = radiograph.voxels[0]
    sample = image.reshape(-1)[:: _step(image.size)]
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    width = max(high - low, 1e-6)
    scaled = np.clip((sample - low) / width, 0, 1)
    dark, bright = float((scaled <= 0.02).mean()), float((scaled >= 0.98).mean())
    step = max(1, image.shape[0] // 512)
    found = marks(image, low, high)
    return {
        "pixels.mean": float(scaled.mean(dtype=np.float64)), "pixels.sd": float(scaled.std(dtype=np.float64)),
        "pixels.p1": low, "pixels.p50": median, "pixels.p99": high, "pixels.entropy": _entropy(scaled, 0, 1),
        "pixels.sharpness": float(np.abs(np.diff(image[::step], axis=0)).mean(dtype=np.float64)) / width,
        "pixels.air": dark, "pixels.tissue": 1 - dark - bright, "pixels.saturated": bright,
        "pixels.markers": found.share,
        **{f"pixels.markers.{corner}": float(corner in found.corners) for corner in CORNERS},
    }  # fmt: skip


def _step(size: int) -> int:
    """Every how many-th value is looked at; odd, so that rows of 512 are met at all their columns."""
    return max(1, size // _SAMPLES) | 1


def _entropy(values: np.ndarray, low: float, high: float) -> float:
    counts = np.bincount(np.minimum(((values - low) * (64 / (high - low))).astype(np.int32), 63), minlength=64)
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum())
