"""What each feature is called and means; docs/features.md lists them, and tests hold both to what is given.

A name begins with its group of channels; <finding> stands for the name of a finding as the model's card and the report
have it, <name> for that of a DICOM attribute or a stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

NAMES: Mapping[str, str] = {
    "completeness.suitable": "1: a pipeline took the study; 0: it was refused, or could not be read",
    "completeness.why": "why it was refused, as one word: modality, gap, orientation, ...",
    "completeness.missing-tags": "how many of the attributes are missing that an image of its modality should have",
    "completeness.missing": "which ones, or `nothing`",
    "completeness.missing-slices": "slices that seem to be missing between the first and the last, by their positions",
    "completeness.missing-numbers": "numbers left out between the first and the last InstanceNumber",
    "completeness.duplicates": "slices that lie where another does",
    "completeness.orientation": "axial, coronal, sagittal or oblique; of a radiograph its PatientOrientation",
    "completeness.cut-off": "where the organ reaches the end of the scan: no, top, bottom, top and bottom",
    "completeness.inverted": "1: the pixels show dense parts dark, other than the header says",
    "device.<name>": "that DICOM attribute as a category; values too long or strange for one are `unreadable`",
    "acquisition.<name>": "that DICOM attribute as a number (KVP, Exposure, SliceThickness, ...)",
    "acquisition.series": "series in the study",
    "acquisition.images": "images in the series that was read",
    "acquisition.rows": "pixels",
    "acquisition.columns": "pixels",
    "acquisition.slices": "slices of the series that was read",
    "acquisition.row-spacing": "mm",
    "acquisition.column-spacing": "mm",
    "acquisition.slice-spacing": "mm between slices, by their positions",
    "acquisition.coverage": "mm between the first and the last slice",
    "acquisition.oblique": "degrees between the stack's axes and the patient's",
    "pixels.mean": "mean of the values: CT in HU; radiographs between their percentiles 1 and 99 as 0 and 1",
    "pixels.sd": "spread of the values, likewise",
    "pixels.p1": "1st percentile, in HU or the image's own values; so are the next two",
    "pixels.p50": "median",
    "pixels.p99": "99th percentile",
    "pixels.entropy": "entropy of the histogram of 64 steps, in bits",
    "pixels.sharpness": "mean step between neighbouring rows",
    "pixels.air": "share of air: below -900 HU, or the darkest two hundredths of the range",
    "pixels.tissue": "share of soft tissue: -200 to 200 HU, or what is neither air nor saturated",
    "pixels.saturated": "share of metal (from 2500 HU on), or of the brightest two hundredths of the range",
    "pixels.markers": "share of small regions with sharp edges all around: letters, metal tokens, burned-in text",
    "pixels.markers.<name>": "1: there is one in that corner of a radiograph: top-left, top-right, bottom-left, "
                             "bottom-right",
    "embedding": "at most 64 numbers: how the model's late layer sees the images (a JSON list)",
    "output.<finding>.p": "calibrated probability",
    "output.<finding>.positive": "1: at or above the threshold",
    "output.<finding>.volume": "ml",
    "output.<finding>.count": "how many separate parts it has, on a coarse grid",
    "output.<finding>.empty": "1: nothing of it was outlined",
    "output.<finding>.mean": "mean density, HU",
    "output.<finding>.sd": "spread of the density, HU",
    "uncertainty.mean-probability": "mean probability of the chosen class over the labelled voxels",
    "uncertainty.unsure-share": "share of unsure voxels (0.2 to 0.8) among those labelled or unsure",
    "uncertainty.entropy": "bits: over the findings (ensemble), or over the voxels in question",
    "uncertainty.mutual-information": "bits: the part of the entropy in which the ensemble's members differ",
    "uncertainty.entropy.<finding>": "bits, of one finding",
    "uncertainty.mutual-information.<finding>": "bits, of one finding",
    "uncertainty.distance": "how far the image is from those of the validation; about 1 for such an image",
    "uncertainty.frontal": "probability that the image is a frontal chest",
    "service.wait": "seconds from the job's creation to the start of the attempt that settled it",
    "service.attempts": "attempts, this one included",
    "service.seconds": "seconds from the start of that attempt to its end",
    "service.failed": "1: the job failed",
    "service.failure": "why, as one word: died, time-limit, memory, output, model, files, defect",
    "service.stage.<name>": "seconds of one stage: load, predict, measure, features, write, ...",
    "service.memory": "MiB that the model process needed at most while the job ran",
    "service.device-memory": "MiB of GPU memory, likewise",
    "patient.sex": "M, F, O or other",
    "patient.age-band": "0-19, 20-39, 40-59, 60-79, 80+",
}


def is_listed(name: str) -> bool:
    """Whether a feature's name stands in the list."""
    return any(pattern.fullmatch(name) for pattern in _patterns())


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile(re.escape(name).replace("<name>", r"[A-Za-z][\w.-]*").replace("<finding>", r"[^.]+"))
        for name in NAMES
    )
