"""The numbers and categories that monitoring watches: how a study was acquired, what its pixels look like, how sure the
model was. A value that is missing is None, which is a category of its own and not a dropped row."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.labels import occupied
from pipelines.frames import numbers
from pipelines.study import Series
from pipelines.volume import Volume

Features = dict[str, float | str | None]
_CATEGORIES = ("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "BodyPartExamined",
               "ConvolutionKernel", "PatientPosition", "PhotometricInterpretation", "ContrastBolusAgent")  # fmt: skip
_NUMBERS = ("KVP", "XRayTubeCurrent", "Exposure", "SliceThickness")
_THREADS = 2
_SAMPLES = 2_000_000  # voxels that statistics look at: every n-th, so that the same study always gives the same numbers


def acquisition(series: Series, volume: Volume) -> Features:
    """How the series was acquired: device and protocol as categories, settings and geometry as numbers."""
    header = volume.instances[0].header
    found: Features = {}
    for keyword in _CATEGORIES:
        value = series.get(keyword)
        several = value is not None and not isinstance(value, str) and hasattr(value, "__iter__")
        found[keyword] = None if value is None else "\\".join(map(str, value)) if several else str(value)
    if found["ContrastBolusAgent"] is not None:
        found["ContrastBolusAgent"] = "given"  # free text, which now and then names people
    for keyword in _NUMBERS:
        found[keyword] = (numbers(header, keyword, 1) or (None,))[0]
    meta = getattr(header, "file_meta", None)
    found["TransferSyntaxUID"] = str(meta.get("TransferSyntaxUID")) if meta is not None else None
    frames, rows, columns = volume.voxels.shape
    between, row, column = volume.spacing
    found |= {"slices": float(frames), "rows": float(rows), "columns": float(columns), "slice_spacing_mm": between,
              "row_spacing_mm": row, "column_spacing_mm": column, "oblique_degrees": volume.view.oblique}  # fmt: skip
    return found


def pixels(volume: Volume) -> Features:
    """Statistics over the voxels: mean, spread, percentiles, entropy of the histogram, sharpness, share of air."""
    flat = volume.voxels.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)].astype(np.float32)
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    counts = np.histogram(sample, bins=64, range=(-1024, 1024))[0]
    shares = counts[counts > 0] / max(1, counts.sum())
    middle = volume.voxels[len(volume.voxels) // 2].astype(np.float32)
    return {"pixel_mean": float(sample.mean()), "pixel_sd": float(sample.std()), "pixel_p1": low, "pixel_p50": median,
            "pixel_p99": high, "pixel_entropy": float(-(shares * np.log2(shares)).sum()),
            "pixel_sharpness": float(np.abs(np.diff(middle, axis=0)).mean()),
            "air_share": float((sample < -900).mean())}  # fmt: skip


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
        "mean_probability": chosen / labelled if labelled else None,
        "unsure_share": unsure / either if either else None,
    }


def named(prefix: str, values: Mapping[str, float | None]) -> Features:
    """Measurements as features, their names after a prefix."""
    return {f"{prefix}_{name}": value for name, value in values.items()}
