"""Features that headers tell, of any study, also of one that no pipeline takes: completeness and protocol, device and
acquisition, and the patient's group. Nothing here names a person.

A value that is missing is None, which is a category of its own and not a dropped row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from pipelines.base import Unsuitable, quoted
from pipelines.frames import Frame, frames_of, numbers
from pipelines.grid import SAME_PLACE, View
from pipelines.outputs.identity import is_ours
from pipelines.refusals import kind_of
from pipelines.study import Instance, Series, Study

if TYPE_CHECKING:
    from pipelines.features import Features

DEVICE = ("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "Modality", "BodyPartExamined",
          "PatientPosition", "ViewPosition", "ConvolutionKernel", "PhotometricInterpretation",
          "PixelIntensityRelationship", "LossyImageCompression")  # fmt: skip
ACQUISITION = ("KVP", "XRayTubeCurrent", "ExposureTime", "Exposure", "ExposureIndex", "DeviationIndex",
               "SliceThickness", "BitsStored")  # fmt: skip
_EVERY = ("Manufacturer", "ManufacturerModelName", "StationName", "SoftwareVersions", "BodyPartExamined", "KVP",
          "PatientSex", "Age")  # fmt: skip
# What an image of a modality should say of itself; anything else is not counted as missing.
EXPECTED = {
    "CT": (*_EVERY, "PatientPosition", "ConvolutionKernel", "XRayTubeCurrent", "Exposure", "SliceThickness"),
    "DX": (*_EVERY, "ViewPosition", "PatientOrientation", "ImagerPixelSpacing", "Exposure"),
    "CR": (*_EVERY, "ViewPosition", "ImagerPixelSpacing", "Exposure"),
}
OBLIQUE = 10.0  # degrees from which on a stack is called oblique
PLANES = ("axial", "coronal", "sagittal")
_BAND = 20  # years
_OLDEST = 80  # from here on ages are one band: very old people are few


def of_study(study: Study, series: Series | None = None, refused: str | None = None, placed: bool = True) -> Features:
    """The features of the series that a pipeline reads; of a study that it does not take (`refused`: the reason), those
    of the series with the most images. `placed`: whether the pipeline wants slices with a place in the patient."""
    found: Features = {"completeness.suitable": float(refused is None),
                       "completeness.why": None if refused is None else kind_of(refused)}  # fmt: skip
    one = series or _likeliest(study)
    if one is None:
        return found
    instance = one.instances[0]
    found |= {"acquisition.series": float(len(study.series)), "acquisition.images": float(len(one.instances))}
    found |= of_instance(instance) | _patient(instance)
    if placed:
        found |= _stack(one)
    return found


def of_instance(instance: Instance) -> Features:
    """Device, settings and missing attributes as one image's header tells them."""
    missing = [keyword for keyword in EXPECTED.get(_said(instance, "Modality") or "", _EVERY)
               if (_age(instance) if keyword == "Age" else _said(instance, keyword)) is None]  # fmt: skip
    found: Features = {f"device.{keyword}": _said(instance, keyword) for keyword in DEVICE}
    found["device.TransferSyntaxUID"] = _transfer_syntax(instance.header)
    # An agent is free text, which now and then names people.
    found["device.ContrastBolusAgent"] = None if _said(instance, "ContrastBolusAgent") is None else "given"
    found |= {f"acquisition.{keyword}": (numbers(instance.header, keyword, 1) or (None,))[0]
              for keyword in ACQUISITION}  # fmt: skip
    spacing = numbers(instance.header, "PixelSpacing", 2) or numbers(instance.header, "ImagerPixelSpacing", 2)
    found |= {
        "completeness.missing-tags": float(len(missing)),
        "completeness.missing": ", ".join(missing) or "nothing",
        "completeness.orientation": _said(instance, "PatientOrientation"),
        "acquisition.rows": (numbers(instance.header, "Rows", 1) or (None,))[0],
        "acquisition.columns": (numbers(instance.header, "Columns", 1) or (None,))[0],
        "acquisition.row-spacing": spacing[0] if spacing else None,
        "acquisition.column-spacing": spacing[1] if spacing else None,
    }
    return found


def age_band(years: float) -> str:
    """The band of 20 years that an age belongs to: 0-19, ..., 60-79, 80+."""
    start = int(max(years, 0) // _BAND) * _BAND
    return f"{_OLDEST}+" if start >= _OLDEST else f"{start}-{start + _BAND - 1}"


def _likeliest(study: Study) -> Series | None:
    """The series with the most images (the lowest UID of equals), our own results left out."""
    others = [one for one in study.series if not is_ours(one.instances[0].header)]
    return min(others, key=lambda one: (-len(one.instances), one.SeriesInstanceUID)) if others else None


def _patient(instance: Instance) -> Features:
    age = _age(instance)
    sex = _said(instance, "PatientSex")
    return {"patient.sex": sex if sex in ("M", "F", "O", None) else "other",
            "patient.age-band": None if age is None else age_band(age)}  # fmt: skip


def _age(instance: Instance) -> float | None:
    """Years, from PatientAge (PS3.5, VR AS) or else from the dates of birth and study."""
    if (told := re.fullmatch(r"(\d{3})([DWMY])", _said(instance, "PatientAge") or "")) is not None:
        return int(told[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[told[2]]
    born, then = (re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", _said(instance, keyword) or "")
                  for keyword in ("PatientBirthDate", "StudyDate"))  # fmt: skip
    if born is None or then is None:
        return None
    birthday_to_come = (then[2], then[3]) < (born[2], born[3])
    years = int(then[1]) - int(born[1]) - birthday_to_come
    return float(years) if 0 <= years < 150 else None


def _stack(series: Series) -> Features:
    """How the slices lie: from headers alone, so that it is known of a stack with gaps too."""
    names = ("completeness.missing-slices", "completeness.duplicates", "acquisition.slices",
             "acquisition.slice-spacing", "acquisition.coverage", "acquisition.oblique")  # fmt: skip
    found: Features = dict.fromkeys(names)
    found["completeness.orientation"] = None
    found["completeness.missing-numbers"] = _holes(series.instances)
    try:
        frames = frames_of(series)
    except Unsuitable:
        return found  # completeness.why says what is wrong with them
    found["acquisition.slices"] = float(len(frames))
    steps = _steps(frames)
    found["completeness.duplicates"] = float(np.count_nonzero(steps < SAME_PLACE))
    apart = steps[steps >= SAME_PLACE]
    if not apart.size:
        return found
    usual = float(np.median(apart))
    wide = apart[apart > 1.5 * usual]
    view = View.of(_directions(frames[0], usual))
    plane = "oblique" if view.oblique > OBLIQUE else PLANES[view.order.index(0)]
    row, column = frames[0].spacing
    return found | {
        "completeness.missing-slices": float((np.rint(wide / usual) - 1).sum()),
        "completeness.orientation": plane,
        "acquisition.slice-spacing": round(usual, 4),
        "acquisition.row-spacing": row,
        "acquisition.column-spacing": column,
        "acquisition.coverage": round(float(apart.sum()), 3),
        "acquisition.oblique": round(view.oblique, 2),
    }


def _steps(frames: Sequence[Frame]) -> np.ndarray:
    places = np.array([frame.position for frame in frames]) @ frames[0].normal
    return np.diff(np.sort(places))


def _directions(frame: Frame, step: float) -> np.ndarray:
    """The affine (4, 4) of a stack that grows along the slice normal."""
    affine = np.eye(4)
    affine[:3, 0] = step * frame.normal
    affine[:3, 1], affine[:3, 2] = frame.along_column * frame.spacing[0], frame.along_row * frame.spacing[1]
    return affine


def _holes(instances: Iterable[Instance]) -> float | None:
    """How many InstanceNumbers are left out between the first and the last; None where images have none."""
    told = [numbers(one.header, "InstanceNumber", 1) for one in instances]
    known = {int(one[0]) for one in told if one is not None}
    return float(max(known) - min(known) + 1 - len(known)) if known and None not in told else None


def _said(instance: Instance, keyword: str) -> str | None:
    """A value as a category: several joined as DICOM joins them, and none of them longer or stranger than its VR
    allows, for such a value may be whatever stands behind it in the file."""
    values = [text for one in instance.texts(keyword) if (text := one.strip(" \0"))]
    return "\\".join(quoted(one) for one in values[:8]) or None


def _transfer_syntax(header: Dataset) -> str | None:
    meta = getattr(header, "file_meta", None)
    found = meta.get("TransferSyntaxUID") if meta is not None else None
    return None if found is None else quoted(found)
