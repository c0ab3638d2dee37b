"""Whose an object is: the attributes that identify a patient (PS3.3, C.7.1.1), and when two objects contradict.

Objects of one patient need not say it in the same way: a value may be missing in one of them, a name may be written
with or without empty components (PS3.5, 6.2.1). What both say and say differently is a contradiction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

KEYWORDS = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")

Patient = Mapping[str, str]
"""Keyword -> value as text; what is absent or empty is left out."""


def patient_of(header: Any) -> Patient:
    """What a pydicom Dataset says of its patient."""
    said = {keyword: header.get(keyword) for keyword in KEYWORDS}
    return {keyword: text for keyword, value in said.items() if value is not None and (text := str(value).strip(" \0"))}


def contradictions(one: Patient, other: Patient) -> tuple[str, ...]:
    """The keywords of which two objects say different things."""
    both = (keyword for keyword in KEYWORDS if keyword in one and keyword in other)
    return tuple(keyword for keyword in both if one[keyword] != other[keyword]
                 and (keyword != "PatientName" or not _one_name(one[keyword], other[keyword])))  # fmt: skip


def disagreement(patients: Iterable[Patient]) -> tuple[str, ...]:
    """The keywords of which some say one thing and some another, the same objects given often or once."""
    told = {tuple(sorted(one.items())): one for one in patients}
    found: dict[str, None] = {}
    several = list(told.values())
    for keyword in KEYWORDS:
        stating = [one for one in several if keyword in one]
        if any(keyword in contradictions(stating[0], one) for one in stating[1:]):
            found[keyword] = None
    return tuple(found)


def _one_name(one: str, other: str) -> bool:
    """Whether two person names (VR PN) are one: component groups (alphabetic, ideographic, phonetic) that both have are
    the same but for case, delimiters and spaces."""
    pairs = zip(_groups(one), _groups(other), strict=False)
    shared = [(a, b) for a, b in pairs if a and b]
    return bool(shared) and all(a == b for a, b in shared)


def _groups(name: str) -> list[str]:
    return [" ".join(group.replace("^", " ").split()).casefold() for group in name.split("=")]
