"""Features of pixels: statistics of a volume's or a radiograph's values, and how much of it are burned-in marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from pipelines.features import Features
    from pipelines.radiograph import Radiograph
    from pipelines.volume import Volume

_SAMPLES = 500_000  # values that statistics look at: every n-th, so that the same study always gives the same numbers
_SLICES = 8  # of a volume that are looked at as images
_SIDE = 512  # pixels of the image in which marks are looked for
AIR, TISSUE = -900.0, (-200.0, 200.0)  # HU: air lies below, soft tissue and water between
METAL = 2500.0  # HU: denser than any bone; what is burnt into a slice is brighter still
_MARK_CONTRAST = 0.25  # of the range of values (metal in CT: of METAL) by which a mark exceeds its surroundings
_MARK_SHARE = 0.01  # of the image: what is larger is no mark
_MARK_PIXELS = 3  # what is smaller is noise
_AROUND = 31  # pixels: side of a mark's surroundings


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
        "pixels.markers": float(np.mean([marks(one, METAL, _MARK_CONTRAST * METAL) for one in slices])),
    }  # fmt: skip


def of_radiograph(radiograph: Radiograph) -> Features:
    """Of an image whose unit differs from device to device: percentiles in its own numbers, and, between the 1st and
    the 99th as 0 and 1, mean, spread, entropy of the histogram (bits), sharpness, and the shares at both ends and
    between; the share of marks."""
    image = radiograph.voxels[0]
    sample = image.reshape(-1)[:: _step(image.size)]
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    width = max(high - low, 1e-6)
    scaled = np.clip((sample - low) / width, 0, 1)
    dark, bright = float((scaled <= 0.02).mean()), float((scaled >= 0.98).mean())
    step = max(1, image.shape[0] // 512)
    top = float(image.max())
    return {
        "pixels.mean": float(scaled.mean(dtype=np.float64)), "pixels.sd": float(scaled.std(dtype=np.float64)),
        "pixels.p1": low, "pixels.p50": median, "pixels.p99": high, "pixels.entropy": _entropy(scaled, 0, 1),
        "pixels.sharpness": float(np.abs(np.diff(image[::step], axis=0)).mean(dtype=np.float64)) / width,
        "pixels.air": dark, "pixels.tissue": 1 - dark - bright, "pixels.saturated": bright,
        "pixels.markers": marks(image, top - 0.02 * max(top - low, 1e-6), _MARK_CONTRAST * max(top - low, 1e-6)),
    }  # fmt: skip


def marks(image: np.ndarray, level: float, contrast: float) -> float:
    """Which share of an image (rows, columns) are small connected regions of at least `level` that exceed what lies
    around them by `contrast` (both in the image's values): letters, metal tokens, burned-in text.

    Such marks are how a model learns the hospital instead of the disease (Zech et al., PLoS Medicine 2018).
    """
    if not image.size or image.max() < level:
        return 0.0
    step = -(-max(image.shape) // _SIDE)
    rows, columns = (max(1, count // step) for count in image.shape)
    small = image[: rows * step, : columns * step] if step > 1 and min(image.shape) >= step else image
    if small is not image:  # the brightest of each block: thin strokes must not be averaged away
        small = small.reshape(rows, step, columns, step).max((1, 3))
    parts, count = ndimage.label(small >= level)
    if not count:
        return 0.0
    above = small - ndimage.uniform_filter(small, _AROUND, mode="nearest")
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    excess = np.bincount(parts.ravel(), weights=above.ravel(), minlength=count + 1) / np.maximum(sizes, 1)
    is_mark = (sizes >= _MARK_PIXELS) & (sizes <= max(_MARK_PIXELS, _MARK_SHARE * small.size)) & (excess >= contrast)
    is_mark[0] = False
    return float(sizes[is_mark].sum() / small.size)


def _step(size: int) -> int:
    """Every how many-th value is looked at; odd, so that rows of 512 are met at all their columns."""
    return max(1, size // _SAMPLES) | 1


def _entropy(values: np.ndarray, low: float, high: float) -> float:
    counts = np.bincount(np.minimum(((values - low) * (64 / (high - low))).astype(np.int32), 63), minlength=64)
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum())
