"""The numbers and categories that monitoring watches: how a study was acquired, what its pixels look like, how sure the
model was. A value that is missing is None, which is a category of its own and not a dropped row."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from models.labels import occupied
from pipelines.frames import numbers
from pipelines.radiograph import Radiograph
from pipelines.study import Series
from pipelines.volume import Volume

Features = dict[str, float | str | None]
_CATEGORIES = ("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "BodyPartExamined",
               "ConvolutionKernel", "PatientPosition", "PhotometricInterpretation", "ContrastBolusAgent")  # fmt: skip
_NUMBERS = ("KVP", "XRayTubeCurrent", "Exposure", "SliceThickness")
_EXPOSURE_CATEGORIES = ("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "BodyPartExamined",
                        "ViewPosition", "PhotometricInterpretation", "Modality",
                        "PixelIntensityRelationship")  # fmt: skip
_EXPOSURE_NUMBERS = ("KVP", "XRayTubeCurrent", "Exposure", "ExposureIndex", "DeviationIndex", "BitsStored")
_THREADS = 2
_SAMPLES = 2_000_000  # voxels that statistics look at: every n-th, so that the same study always gives the same numbers


def acquisition(series: Series, volume: Volume) -> Features:
    """How the series was acquired: device and protocol as categories, settings and geometry as numbers."""
    header = volume.instances[0].header
    found: Features = {keyword: _category(series.get(keyword)) for keyword in _CATEGORIES}
    if found["ContrastBolusAgent"] is not None:
        found["ContrastBolusAgent"] = "given"  # free text, which now and then names people
    for keyword in _NUMBERS:
        found[keyword] = (numbers(header, keyword, 1) or (None,))[0]
    found["TransferSyntaxUID"] = _transfer_syntax(header)
    frames, rows, columns = volume.voxels.shape
    between, row, column = volume.spacing
    found |= {"slices": float(frames), "rows": float(rows), "columns": float(columns), "slice_spacing_mm": between,
              "row_spacing_mm": row, "column_spacing_mm": column, "oblique_degrees": volume.view.oblique}  # fmt: skip
    return found


def _category(value: Any) -> str | None:
    several = value is not None and not isinstance(value, str) and hasattr(value, "__iter__")
    return None if value is None else "\\".join(map(str, value)) if several else str(value)


def _transfer_syntax(header: Dataset) -> str | None:
    meta = getattr(header, "file_meta", None)
    return str(meta.get("TransferSyntaxUID")) if meta is not None else None


def exposure(series: Series, radiograph: Radiograph) -> Features:
    """How a radiograph was taken: device and view as categories, exposure and size as numbers."""
    instance = radiograph.instances[0]
    found: Features = {keyword: _category(instance.get(keyword)) for keyword in _EXPOSURE_CATEGORIES}
    for keyword in _EXPOSURE_NUMBERS:
        found[keyword] = (numbers(instance.header, keyword, 1) or (None,))[0]
    spacing = numbers(instance.header, "PixelSpacing", 2) or numbers(instance.header, "ImagerPixelSpacing", 2)
    found["pixel_spacing_mm"] = spacing[0] if spacing else None
    rows, columns = radiograph.voxels.shape[1:]
    found |= {"rows": float(rows), "columns": float(columns), "images": float(len(series.instances)),
              "TransferSyntaxUID": _transfer_syntax(instance.header)}  # fmt: skip
    return found


def grey(radiograph: Radiograph) -> Features:
    """Statistics of a radiograph's values, whose unit differs from device to device: percentiles in their own numbers,
    and, between the 1st and the 99th, mean, spread, entropy of the histogram, sharpness, and the shares at the ends."""
    image = radiograph.voxels[0]
    sample = image.reshape(-1)[:: max(1, image.size // _SAMPLES)]
    low, median, high = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    width = max(high - low, 1e-6)
    scaled = np.clip((sample - low) / width, 0, 1)
    counts = np.histogram(scaled, bins=64, range=(0, 1))[0]
    shares = counts[counts > 0] / max(1, counts.sum())
    step = max(1, image.shape[0] // 512)
    return {"pixel_p1": low, "pixel_p50": median, "pixel_p99": high, "grey_mean": float(scaled.mean()),
            "grey_sd": float(scaled.std()), "grey_entropy": float(-(shares * np.log2(shares)).sum()),
            "grey_sharpness": float(np.abs(np.diff(image[::step], axis=0)).mean()) / width,
            "dark_share": float((scaled <= 0.02).mean()), "bright_share": float((scaled >= 0.98).mean())}  # fmt: skip


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
