"""Study > Series > Instance, frozen and from headers only; pixels are read late, by pipelines.volume."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from pipelines import inflated, patient
from pipelines.base import one_line, quoted

UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, EOFError,
              OverflowError, RecursionError, LookupError, struct.error, zlib.error,
              BytesLengthException, InvalidDicomError)  # fmt: skip
"""What pydicom raises for bytes that are not what they say."""

# What a value should look like is checked where it is used: pydicom would quote values that it dislikes, and with them
# patients' names, in warnings that end in the log.
config.settings.reading_validation_mode = config.IGNORE


class NotAStudy(Exception):
    """The files are not one readable DICOM study; the text is one line: what, where, what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(one_line(reason))


class OutOfReach(NotAStudy):
    """A file cannot be read from its disk, now: nothing is said about the study. `errno`: as of the system's error."""

    def __init__(self, text: str, errno: int) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True)
class Instance:
    """One SOP instance: where its file lies, its header without pixel data, its content's digest (hex SHA-256), and the
    byte of the file at which the header ends (0: not known)."""

    path: Path
    header: Dataset
    digest: str
    header_end: int = 0

    def get(self, keyword: str, default: Any = None) -> Any:
        """An attribute's value; `default` where it is absent or empty."""
        value = self.header.get(keyword)
        return default if value is None or value == "" else value

    def texts(self, keyword: str) -> tuple[str, ...]:
        """An attribute's values as text, whatever VR a sender gave it; none where it is absent or empty."""
        value = self.get(keyword)
        if value is None:
            return ()
        several = not isinstance(value, str | bytes) and isinstance(value, Sequence)
        return tuple(map(str, value)) if several else (str(value),)

    @property
    def SOPClassUID(self) -> str:
        """SOP Class UID, from the dataset or else the file meta information."""
        return str(self.get("SOPClassUID") or self.header.file_meta.get("MediaStorageSOPClassUID", ""))

    @property
    def SOPInstanceUID(self) -> str:
        """SOP Instance UID."""
        return str(self.get("SOPInstanceUID", ""))


@dataclass(frozen=True)
class Series:
    """The instances of one series, in the order in which they were given; never empty."""

    SeriesInstanceUID: str
    instances: tuple[Instance, ...]

    def get(self, keyword: str, default: Any = None) -> Any:
        """The first instance's value of an attribute."""
        return self.instances[0].get(keyword, default)

    def values(self, keyword: str) -> set[str]:
        """Every distinct value that the instances give to an attribute, as text; empty ones left out."""
        return {str(value) for one in self.instances if (value := one.get(keyword)) is not None}

    @cached_property
    def digest(self) -> str:
        """One digest for the series' instances, whatever their order (hex SHA-256)."""
        return hashlib.sha256("\n".join(sorted(one.digest for one in self.instances)).encode()).hexdigest()


@dataclass(frozen=True)
class Replaced:
    """A result object of an earlier revision that the new result replaces."""

    output: str
    SOPClassUID: str
    SOPInstanceUID: str
    SeriesInstanceUID: str


@dataclass(frozen=True)
class Study:
    """One revision of one study. `replaces`: the result objects of the pipeline's last run on an earlier revision."""

    StudyInstanceUID: str
    series: tuple[Series, ...]
    revision: int = 1
    replaces: tuple[Replaced, ...] = ()
    skipped_files: int = 0  # files of a folder that are not DICOM

    @cached_property
    def digest(self) -> str:
        """One digest for all instances of the revision, whatever their order (hex SHA-256)."""
        return hashlib.sha256("\n".join(sorted(one.digest for one in self.instances)).encode()).hexdigest()

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every instance, series by series."""
        return tuple(one for series in self.series for one in series.instances)

    @classmethod
    def from_files(
        cls,
        files: Mapping[Path, str] | Iterable[Path],
        revision: int = 1,
        replaces: tuple[Replaced, ...] = (),
        skipped_files: int = 0,
    ) -> Study:
        """Read the headers of `files`: paths, or path -> digest of content where the caller knows it already.

        Raises NotAStudy when there is none, one cannot be read, or they belong to several studies or patients.
        """
        digests = dict(files) if isinstance(files, Mapping) else dict.fromkeys(files, "")
        by_series: dict[str, list[Instance]] = {}
        studies: dict[str, Path] = {}
        sound: _Sound = set()
        grown = 0
        for path, digest in digests.items():
            header, end, more = _read_header(path, sound)
            if (grown := grown + more) > inflated.MOST:
                raise NotAStudy(f"its deflated headers hold more than {inflated.MOST // 2**20} MB together: not read")
            studies.setdefault(str(header.get("StudyInstanceUID") or ""), path)
            uid = str(header.get("SeriesInstanceUID", ""))
            by_series.setdefault(uid, []).append(Instance(path, header, digest or _digest(path), end))
        if not studies:
            raise NotAStudy("no DICOM file found: give a folder that holds one study")
        if len(studies) > 1 and "" in studies:
            raise NotAStudy(f"{studies['']}: it has no StudyInstanceUID, which others have: take it out")
        if len(studies) > 1:
            named = ", ".join(map(quoted, sorted(studies)[:3]))
            raise NotAStudy(f"{len(studies)} studies found where one is wanted (StudyInstanceUIDs {named}, ...): give "
                            "the folder of one study")  # fmt: skip
        series = tuple(Series(uid, tuple(found)) for uid, found in by_series.items())
        whose = (patient.patient_of(one.header) for found in by_series.values() for one in found)
        if differing := patient.disagreement(whose):
            raise NotAStudy(f"its instances name more than one patient ({', '.join(differing)} differ): nothing is "
                            "made of it, since it could be shown on the wrong one")  # fmt: skip
        return cls(next(iter(studies)), series, revision, replaces, skipped_files)

    @classmethod
    def from_folder(cls, folder: Path) -> Study:
        """Read the one study under `folder` (searched deeply); files that are not DICOM are skipped and counted."""
        found, skipped = _files_in(folder)
        return cls.from_files(found, skipped_files=skipped)


def by_study(folder: Path) -> tuple[list[list[Path]], int]:
    """The DICOM files under a folder, those of each study together, in the order of their paths; and how many other
    files there are. Raises NotAStudy where there is no such folder."""
    found, skipped = _files_in(folder)
    studies: dict[str, list[Path]] = {}
    for path in found:
        studies.setdefault(_study_of(path), []).append(path)
    return list(studies.values()), skipped


def _files_in(folder: Path) -> tuple[list[Path], int]:
    """The DICOM files under a folder, sorted, and how many others there are."""
    if not folder.is_dir():
        raise NotAStudy(f"{folder}: no such folder")
    found, skipped = [], 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name != "DICOMDIR" and is_dicom(path):
            found.append(path)
        else:
            skipped += 1
    return found, skipped


def _study_of(path: Path) -> str:
    """The StudyInstanceUID that a file names; empty where it names none or cannot be read, which its reader tells."""
    try:
        with path.open("rb") as file:
            return str(inflated.read(file, tags=["StudyInstanceUID"]).dataset.get("StudyInstanceUID") or "")
    except UNREADABLE:
        return ""


def read_patient(path: Path) -> patient.Patient:
    """What a DICOM file says of its patient. Raises NotAStudy when its header cannot be read."""
    try:
        with path.open("rb") as file:
            return patient.patient_of(inflated.read(file, tags=patient.KEYWORDS).dataset)
    except inflated.TooLarge as error:
        raise NotAStudy(f"{path}: {error}") from None
    except UNREADABLE as error:
        raise NotAStudy(f"{path}: its header cannot be read ({type(error).__name__})") from None


def is_dicom(path: Path) -> bool:
    """True for a file with the DICOM preamble, or, without one, a readable header with a SOPInstanceUID (PS3.10)."""
    with path.open("rb") as file:
        start = file.read(132)
        if start[128:132] == b"DICM":
            return True
        file.seek(0)
        try:
            return bool(inflated.read(file, tags=["SOPInstanceUID"]).dataset.get("SOPInstanceUID"))
        except UNREADABLE:
            return False


_Sound = set[tuple[str, int, str | None, bytes | None]]


def _read_header(path: Path, sound: _Sound) -> inflated.Read:
    try:
        with path.open("rb") as file:
            found = inflated.read(file)
        _drop_unreadable(found.dataset, sound)
    except inflated.TooLarge as error:
        raise NotAStudy(f"{path}: {error}") from None
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OutOfReach(f"{path}: cannot be read ({error.strerror})", error.errno) from None
        # the cause stays out of the text: pydicom quotes the bytes that it cannot read, and they may name the patient
        raise NotAStudy(f"{path}: its header cannot be read ({type(error).__name__})") from None
    return found


def _drop_unreadable(dataset: Dataset, sound: _Sound) -> None:
    """Take out attributes whose value cannot be read: pydicom converts late, and would raise where one is first used.

    Private attributes are left as they are; nothing here reads them. `sound`: character set, tag, VR and bytes of what
    was readable in another header of the study, most of which says the same.
    """
    charset = str(getattr(dataset.get_item("SpecificCharacterSet"), "value", None))
    for tag in list(dataset.keys()):
        if tag.is_private:
            continue
        raw = dataset.get_item(tag)
        known = (charset, int(tag), raw.VR, raw.value) if isinstance(raw, RawDataElement) and raw.VR != "SQ" else None
        if known is not None and known in sound:
            continue
        try:
            element = dataset[tag]
        except UNREADABLE:
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value:
                _drop_unreadable(item, sound)
        elif known is not None:
            sound.add(known)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
