"""What a structured report or a key object selection says in codes (PS3.3, C.17.3): its title, its coded items, what it
refers to. Free text and names of persons are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from node import labels
from node.document_classes import KEY_OBJECTS
from node.errors import GiveUp
from node.part10 import LONGEST_HEAD, head_of
from pipelines.study import UNREADABLE

LARGEST = 4 << 20  # bytes of a file
MOST_ITEMS = 20_000
DEEPEST = 32
# Not the deflated one: a small file may hold very much.
_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_OBSERVER_TYPE, _PERSON, _DEVICE = "121005^DCM", "121006^DCM", "121007^DCM"
# Concept names under which a code is what was found: Finding, Impression, Conclusion, Diagnosis, Clinical finding
_FOUND = {"121071^DCM", "121073^DCM", "121077^DCM", "29308-4^LN", "439401001^SCT", "404684003^SCT"}
_PRESENCE = {"705057003^SCT", "363713009^SCT"}  # Presence, Has interpretation: beside or under what was found


@dataclass(frozen=True)
class Item:
    """A content item: its value type, concept name and coded value as CODE^SCHEME, a number as text; what it refers to
    by SOP Instance UID; and what stands under it."""

    kind: str
    name: str
    value: str
    refers: tuple[str, ...]
    items: tuple[Item, ...]

    def walk(self) -> Iterator[Item]:
        """This one and all under it."""
        left = [self]
        while left:
            one = left.pop()
            yield one
            left.extend(reversed(one.items))


@dataclass(frozen=True)
class Document:
    """A received document."""

    sop_class: str
    sop_uid: str
    title: str
    date: str  # YYYY-MM-DDTHH:MM:SS, or empty
    complete: bool
    verified: bool
    follows: frozenset[str]  # SOP Instance UIDs of the documents that it continues
    root: Item

    @property
    def by_a_device(self) -> bool:
        """Whether it says that a device observed, and no person."""
        types = {one.value for one in self.root.walk() if one.name == _OBSERVER_TYPE}
        return _DEVICE in types and _PERSON not in types

    @property
    def refers(self) -> list[str]:
        """What its content refers to, each once, in its order."""
        return list(dict.fromkeys(uid for one in self.root.walk() for uid in one.refers))

    @property
    def said(self) -> frozenset[tuple[str, str, str]]:
        """What it says in codes and numbers."""
        return frozenset((one.kind, one.name, one.value) for one in self.root.walk() if one.kind in ("CODE", "NUM"))


def read(path: Path) -> Document:
    """Read a stored document. Raises GiveUp in one line where it is too large or not what it should be, and OSError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise GiveUp("its file is not there") from error
    if len(content) > LARGEST:
        raise GiveUp(f"it is larger than {LARGEST >> 20} MiB")
    head = head_of(content[:LONGEST_HEAD], Path("it"))
    if head.transfer_syntax not in _SYNTAXES:
        raise GiveUp("its transfer syntax is none of those that are read")
    try:
        dataset = pydicom.dcmread(DicomBytesIO(content))
        return document_of(dataset)
    except UNREADABLE as error:
        raise GiveUp(f"it cannot be read ({type(error).__name__})") from error


def document_of(dataset: Dataset) -> Document:
    """From its dataset. Raises GiveUp where it is too large, and what pydicom raises (`pipelines.study.UNREADABLE`)."""
    left = [MOST_ITEMS]
    root = _item(dataset, left, DEEPEST)
    key_objects = str(dataset.SOPClassUID) == KEY_OBJECTS
    return Document(
        sop_class=str(dataset.SOPClassUID), sop_uid=str(dataset.SOPInstanceUID), title=root.name,
        date=labels.moment_of(f"{dataset.get('ContentDate', '')}{dataset.get('ContentTime', '')}") or "",
        # Key object selections have neither flag: who stores one has made up his mind (PS3.3, C.17.6).
        complete=key_objects or (dataset.get("CompletionFlag") == "COMPLETE"
                                 and dataset.get("PreliminaryFlag", "FINAL") == "FINAL"),
        verified=dataset.get("VerificationFlag") == "VERIFIED",
        follows=frozenset(_named(dataset.get("PredecessorDocumentsSequence"))), root=root,
    )  # fmt: skip


def labels_of(document: Document, findings: Mapping[str, str]) -> dict[str, bool]:
    """Finding -> whether it is there, by the codes of `findings` (CODE^SCHEME -> finding): where a code of the table is
    what was found, or where it is asked for and answered yes or no. There, if anything says so."""
    said: dict[str, bool] = {}
    for parent in document.root.walk():
        for one in parent.items:
            if one.kind != "CODE":
                continue
            if one.name in findings:
                finding, value = findings[one.name], labels.value_of(one.value.partition("^")[0])
            elif one.value in findings and one.name in _FOUND:
                finding, value = findings[one.value], not _is_denied(one, parent)
            else:
                continue
            if value is not None:
                said[finding] = said.get(finding, False) or value
    return said


def _is_denied(one: Item, parent: Item) -> bool:
    """Whether something under a finding, or its presence beside it, says that it is not there."""
    beside = [other for other in parent.items if other.name in _PRESENCE] if len(_found_in(parent)) == 1 else []
    return any(labels.value_of(other.value.partition("^")[0]) is False for other in (*one.items, *beside)
               if other.kind == "CODE")  # fmt: skip


def _found_in(parent: Item) -> list[Item]:
    return [one for one in parent.items if one.kind == "CODE" and one.name in _FOUND]


def _item(dataset: Dataset, left: list[int], depth: int) -> Item:
    left[0] -= 1
    if left[0] < 0:
        raise GiveUp(f"it has more than {MOST_ITEMS} content items")
    if depth == 0:
        raise GiveUp(f"its content is nested more than {DEEPEST} deep")
    kind = str(dataset.get("ValueType", ""))
    value = ""
    if kind == "CODE":
        value = _code(dataset.get("ConceptCodeSequence"))
    elif kind == "NUM":
        measured = dataset.get("MeasuredValueSequence") or [Dataset()]
        value = str(measured[0].get("NumericValue", ""))
    named = [str(one.get("ReferencedSOPInstanceUID", "")) for one in dataset.get("ReferencedSOPSequence") or ()]
    children = tuple(_item(one, left, depth - 1) for one in dataset.get("ContentSequence") or ())
    refers = tuple(uid for uid in named if uid)
    return Item(kind, _code(dataset.get("ConceptNameCodeSequence")), value, refers, children)


def _code(sequence: Any) -> str:
    if not sequence:
        return ""
    one = sequence[0]
    value = one.get("CodeValue") or one.get("LongCodeValue") or one.get("URNCodeValue") or ""
    return f"{value}^{one.get('CodingSchemeDesignator', '')}"


def _named(studies: Any) -> Iterator[str]:
    """SOP Instance UIDs of a Hierarchical SOP Instance Reference (PS3.3, C.17.2.1)."""
    for study in studies or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for one in series.get("ReferencedSOPSequence") or ():
                yield str(one.get("ReferencedSOPInstanceUID", ""))
