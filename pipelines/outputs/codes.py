"""The coded terms that results use (PS3.16), as plain triples; sources are named where a context group decides."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset


class Code(NamedTuple):
    """A coded concept: Code Value, Coding Scheme Designator, Code Meaning."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        """The code as an item of a code sequence (PS3.3 table 8.8-1)."""
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = self
        return item


# What a segment is (CID 7150, CID 7151) and where it lies (CID 244, CID 4031)
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
LUNG = Code("39607008", "SCT", "Lung")
CHEST = Code("816094009", "SCT", "Chest")
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")

# What is measured (CID 7468, CID 7469), how it was derived (CID 7464) and in which unit (UCUM)
VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
PROBABILITY = Code("122157", "DCM", "Probability")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MILLILITRE = Code("ml", "UCUM", "ml")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "percent")
NO_UNIT = Code("1", "UCUM", "no units")

QUANTITY = Code("246205007", "SCT", "Quantity")

# What is said in words (CID 6052-like values)
FINDING = Code("121071", "DCM", "Finding")
COMMENT = Code("121106", "DCM", "Comment")
NOT_SEEN = Code("47492008", "SCT", "Not seen")
ABSENT = Code("272519000", "SCT", "Absent")
PRESENT = Code("52101004", "SCT", "Present")

# Report
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")  # CID 100
MR_PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")  # CID 100
XR_PROCEDURE = Code("43468-8", "LN", "XR unspecified body region")  # CID 100
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # TID 1500
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
DEVICE = Code("121007", "DCM", "Device")  # CID 270
ENGLISH = Code("en", "RFC5646", "English")  # CID 5000
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12

# Provenance
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
UNSPECIFIED_CALCULATION = Code("112187", "DCM", "Unspecified method of calculation")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")  # CID 7202
