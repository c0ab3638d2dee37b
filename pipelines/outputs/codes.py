"""The coded terms that results use (PS3.16), as plain triples; sources are named where a context group decides."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

LabelMapSegmentationStorage = "1.2.840.10008.5.1.4.1.1.66.7"  # PS3.6 of 2024d, newer than pydicom's dictionary


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

# How sure a result is, and how soon it should be seen; what no standard names yet has a scheme of our own (PS3.16 8.2)
CALIBRATION = Code("122505", "DCM", "Calibration")
UNCERTAINTY = Code("uncertainty", "99OVERREAD", "Uncertainty")
PREDICTIVE_ENTROPY = Code("predictive-entropy", "99OVERREAD", "Predictive entropy")
UNLIKE_TRAINING = Code("unlike-training", "99OVERREAD", "Input unlike the training data")
YES = Code("373066001", "SCT", "Yes")  # CID 230
NO = Code("373067005", "SCT", "No")
PRIORITY = Code("260870009", "SCT", "Priority")
STAT = Code("49499008", "SCT", "Stat")

# How an analysis went (CID 6042)
SUMMARY_OF_ANALYSES = Code("111065", "DCM", "Summary of Analyses")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")

# Report
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")  # CID 100
MR_PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")  # CID 100
XR_PROCEDURE = Code("43468-8", "LN", "XR unspecified body region")  # CID 100
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # TID 1500
ONCOLOGY_MEASUREMENT_REPORT = Code("126001", "DCM", "Oncology Measurement Report")  # CID 7021, shown as text
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
DEVICE = Code("121007", "DCM", "Device")  # CID 270
ENGLISH = Code("en", "RFC5646", "English")  # CID 5000
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12

# Provenance
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
UNSPECIFIED_CALCULATION = Code("112187", "DCM", "Unspecified method of calculation")
SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")  # CID 7202

# Documents: titles (CID 7010, CID 7000), who observed (TID 1002, TID 1004), what their items are called
OF_INTEREST = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")  # TID 2010
DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")  # TID 1204
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_OBSERVER_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
ALGORITHM_NAME = Code("111001", "DCM", "Algorithm Name")  # TID 4019
ALGORITHM_VERSION = Code("111003", "DCM", "Algorithm Version")
MANIFEST = Code("113030", "DCM", "Manifest")
