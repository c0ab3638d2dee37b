"""Why a study was not taken, as one short word: reasons are sentences for people, monitoring counts categories."""

from __future__ import annotations

import re

# Category -> how its reasons read, in the order in which a pipeline finds them: of several series' reasons the one that
# came furthest counts, for a localizer beside the series that matters is in every study.
_KINDS: tuple[tuple[str, str], ...] = (
    ("no-series", r"the study has none"),
    ("own-result", r"is a result of Overread"),
    ("modality", r"Modality is .*wanted"),
    ("identity", r"without SeriesInstanceUID|do not name the study"),
    ("sop-class", r"is .*, wanted .*Storage"),
    ("image-type", r"ImageType says"),
    ("view", r"ViewPosition is"),
    ("body-part", r"BodyPartExamined is"),
    ("species", r"PatientSpeciesDescription"),
    ("frames", r"frames, a radiograph has one"),
    ("few-slices", r"slices? only|slices?, at least"),
    ("size", r"pixels, at least|times as long as wide|it declares"),
    ("transfer-syntax", r"transfer syntax"),
    ("colour", r"PhotometricInterpretation"),
    ("units", r"RescaleType is|Rescale(Slope|Intercept)|Modality LUT"),
    ("no-geometry", r"has no (ImagePositionPatient|readable)|functional groups|frames and places|two unit vectors|"
                    r"farther away|PixelSpacing of"),
    ("mixed-geometry", r"mixed geometry"),
    ("duplicates", r"duplicates:"),
    ("gap", r"gap:|uneven:"),
    ("orientation", r"sheared|oblique|is (axial|coronal|sagittal), wanted"),
    ("coverage", r"mm apart|covers \d"),
    ("pixels", r"pixel data|BitsAllocated|no Rows or Columns|decode"),
    ("empty", r"empty or saturated"),
    ("content", r"by its pixels"),
    ("several-patients", r"more than one patient"),
    ("unreadable", r"header cannot be read|deflated|no DICOM file|StudyInstanceUID"),
)  # fmt: skip
OTHER = "other"


def kind_of(reason: str) -> str:
    """The category of a reason (`Unsuitable.reason`, or the text of a `NotAStudy`); "other" where none fits."""
    found = [kind for kind, pattern in _KINDS if re.search(pattern, reason)]
    return found[-1] if found else OTHER
