"""Labels: what was reported of a study, finding by finding; and how their words are read from files and messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, time
from typing import Literal

from node.errors import GiveUp

MATURITY = "maturity"  # the source of negatives that nobody reported: see node.store.labels.mature_labels

_FINDING = re.compile(r"[a-z0-9][a-z0-9 _/-]{0,63}")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9 _/.-]{0,63}")
_STUDY = re.compile(r"[0-9.]{1,64}")
_ACCESSION = re.compile(r"[^\x00-\x1f\x7f]{1,64}")  # in DICOM up to 16 characters (SH); other systems have longer ones
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")
_DIGITS = re.compile("([0-9]{4})([0-9]{2})([0-9]{2})")
_TIME = re.compile("T?([0-9]{2}):?([0-9]{2}):?([0-9]{2})?")
# Words, HL7 table 0136, SNOMED CT qualifiers (Present, Positive, Absent, Negative) and LOINC answers for them
_YES = {"1", "y", "yes", "true", "t", "pos", "positive", "present", "52101004", "10828004", "373066001", "la33-6",
        "la9633-4", "la6576-8"}  # fmt: skip
_NO = {"0", "n", "no", "false", "f", "neg", "negative", "absent", "2667000", "260385009", "373067005", "la32-8",
       "la9634-2", "la6577-6"}  # fmt: skip
VALUES = "1 or 0, yes or no, true or false, positive or negative, present or absent, or withdrawn"

WITHDRAWN = "withdrawn"  # in place of a value: what this source said does not hold, and it says nothing else

Word = Literal["added", "replaced", "withdrawn", "same", "older", "unknown"]


@dataclass(frozen=True)
class NewLabel:
    """A label on its way in. `study`: an accession number or a StudyInstanceUID, as `by` says; `value`: None withdraws
    what the source said; `date`: of the report, YYYY-MM-DD, with THH:MM:SS behind it where its time is known, or empty;
    `source`: who says so, never a person's name."""

    study: str
    by: Literal["accession", "study"]
    finding: str
    value: bool | None
    date: str
    source: str


@dataclass(frozen=True)
class Added:
    """What became of a label. `word`: added; replaced (another value of this source stood there, which is kept as
    history); withdrawn (as replaced, with nothing in its place); same (nothing to do); older (a newer report of this
    source stands); unknown (no such study is here)."""

    label: NewLabel
    word: Word
    studies: tuple[str, ...] = ()  # StudyInstanceUIDs: an accession number may have several


def finding_of(text: str) -> str | None:
    """A finding's name as labels have it: in small letters; None for what is none."""
    name = " ".join(text.strip().lower().split())
    return name if _FINDING.fullmatch(name) else None


def source_of(text: str) -> str | None:
    """A source's name in small letters; None for what is none."""
    name = text.strip().lower()
    return name if _SOURCE.fullmatch(name) else None


def value_of(text: str) -> bool | None:
    """Whether a word says that the finding is there; None for neither."""
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else None


def date_of(text: str) -> str | None:
    """YYYY-MM-DD of such a text, or of YYYYMMDD with or without a time behind it; None where it is no date."""
    found = _DAY.match(text) or _DIGITS.match(text)
    if found is None:
        return None
    try:
        return date(*map(int, found.groups())).isoformat()
    except ValueError:
        return None


def moment_of(text: str) -> str | None:
    """As `date_of`, with THH:MM:SS behind it where a time of day follows (DICOM's TM, HL7's DTM, ISO 8601); seconds
    that are not said are 0, and what follows them, also a time zone, is left out."""
    day = date_of(text)
    found = _TIME.match(text, 10 if text[4:5] == "-" else 8)
    if day is None or found is None:
        return day
    try:
        hour, minute, second = (int(part or 0) for part in found.groups())
        return f"{day}T{time(hour, minute, second).isoformat()}"
    except ValueError:
        return None


def is_study(text: str) -> bool:
    """Whether the text may be a StudyInstanceUID."""
    return _STUDY.fullmatch(text) is not None


def is_accession(text: str) -> bool:
    """Whether the text may be an accession number."""
    return _ACCESSION.fullmatch(text) is not None


def checked(label: NewLabel) -> NewLabel:
    """The label in its normal form. Raises GiveUp in one line that repeats nothing of what may name a patient."""
    finding, source = finding_of(label.finding), source_of(label.source)
    if label.by not in ("accession", "study"):
        raise GiveUp("label: by is neither accession nor study")
    if not (is_accession if label.by == "accession" else is_study)(label.study):
        raise GiveUp(f"label: the {'accession number' if label.by == 'accession' else 'study UID'} is not one")
    if finding is None:
        raise GiveUp("label: a finding is 1 to 64 letters, digits, blanks, '-', '_' or '/'")
    if source is None or source == MATURITY:
        raise GiveUp("label: a source is 1 to 64 letters, digits, blanks, '-', '_', '/' or '.', and not 'maturity'")
    moment = moment_of(label.date) if label.date else ""
    if moment is None:
        raise GiveUp("label: the date is not YYYY-MM-DD, with or without THH:MM:SS")
    value = None if label.value is None else bool(label.value)
    return NewLabel(label.study.strip(), label.by, finding, value, moment, source)
