"""Structured reports and key object selections as other systems write them, for tests."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.senders import changed

COMPREHENSIVE, KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.59"
EFFUSION = ("60046008", "SCT")
FINDING, REPORT = ("121071", "DCM"), ("126000", "DCM")
PRESENT, ABSENT = ("52101004", "SCT"), ("2667000", "SCT")
REJECTED, INTEREST = ("113001", "DCM"), ("113000", "DCM")
Code = tuple[str, str]


def coded(code: Code) -> Sequence:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = *code, "in words"
    return Sequence([made])


def item(kind: str, name: Code, value: Any = None, *under: Dataset) -> Dataset:
    """A content item: CODE with a code, NUM with a number, COMPOSITE with a SOP Instance UID, CONTAINER with nothing."""
    made = Dataset()
    made.RelationshipType, made.ValueType, made.ConceptNameCodeSequence = "CONTAINS", kind, coded(name)
    if kind == "CODE":
        made.ConceptCodeSequence = coded(value)
    elif kind == "NUM":
        made.MeasuredValueSequence = Sequence([Dataset()])
        made.MeasuredValueSequence[0].NumericValue = value
    elif kind == "COMPOSITE":
        made.ReferencedSOPSequence = Sequence([reference(value)])
    elif kind == "TEXT":
        made.TextValue = value
    if under:
        made.ContentSequence = Sequence(list(under))
    return made


def reference(uid: str) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = COMPREHENSIVE, uid
    return made


def document(
    *items: Dataset, sop_class: str = COMPREHENSIVE, title: Code = REPORT, study: str = "1.2.3", uid: str = "1.2.3.88",
    follows: tuple[str, ...] = (), **changes: Any
) -> Dataset:  # fmt: skip
    """A report, or a key object selection, about a study; `changes` replace or, when None, remove attributes."""
    made = item("CONTAINER", title, None, *items)
    del made.RelationshipType
    made.SOPClassUID, made.SOPInstanceUID = sop_class, uid
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = study, f"{uid}.1", "SR"
    made.PatientID, made.PatientName = "SECRET-ID-42", "Secret^Name"
    made.ContentDate, made.ContentTime = "20261103", "101500"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    if follows:
        study_item, series = Dataset(), Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.9", Sequence([reference(one) for one in follows])
        study_item.StudyInstanceUID, study_item.ReferencedSeriesSequence = study, Sequence([series])
        made.PredecessorDocumentsSequence = Sequence([study_item])
    return changed(made, changes)


def key_objects(title: Code, *uids: str, uid: str = "1.2.3.59", **changes: Any) -> Dataset:
    items = [item("COMPOSITE", ("260753009", "SCT"), one) for one in uids]
    return document(
        *items, sop_class=KEY_OBJECTS, title=title, uid=uid, CompletionFlag=None, VerificationFlag=None, **changes
    )
