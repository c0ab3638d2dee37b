"""The gate before release: nothing leaves that is not of its patient and study, complete, in place, and ours."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage

from pipelines.base import InvalidOutput, Released
from pipelines.outputs import codes, origin, placement
from pipelines.outputs.completeness import missing
from pipelines.outputs.encode import Encoder
from pipelines.outputs.identity import Maker, is_ours
from pipelines.study import Instance, Study

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


class Gate:
    """The gate for the results of one run on one study. `names`: its outputs, which may refer to each other."""

    def __init__(self, study: Study, maker: Maker, names: Collection[str] = ()) -> None:
        self._results: dict[str, str | None] = {maker.uid(study, name): None for name in names}
        self._study = study
        self._maker = maker
        self._facts = _Facts.of(study)
        self._encoders: defaultdict[str, Encoder] = defaultdict(Encoder)  # one for each output

    def release(self, name: str, number: int, dataset: Dataset) -> Released:
        """Object `number` (from 1) of an output as it may leave, encoded. Raises InvalidOutput: one line with the
        output, the number, the attribute, the fault.

        Every object has the patient and study of the study's instances, a UID of ours, one series; refers to nothing
        that the study and our own results do not hold; lies on its source within 0.01 mm; has what its IOD needs; and
        reads back as it was written.
        """
        encoder = self._encoders[name]
        fresh = encoder.fresh(dataset)  # what earlier objects shared with this one has been looked at there
        for fault in _faults(name, number, dataset, fresh, self._study, self._maker, self._facts, self._results):
            raise InvalidOutput(f"{name}, object {number}: {fault}")
        parts, unlike = _encoded(dataset, fresh, encoder)
        if unlike:
            raise InvalidOutput(f"{name}, object {number}: {unlike}")
        self.admit(str(dataset.SOPInstanceUID), str(dataset.SOPClassUID))
        return Released(name, number, str(dataset.SOPClassUID), str(dataset.SOPInstanceUID),
                        str(dataset.SeriesInstanceUID), parts)  # fmt: skip

    def admit(self, uid: str, class_uid: str) -> None:
        """Let later objects refer to one that was released, here or in another process."""
        self._results[uid] = class_uid


_READ_BACK = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientName", "PatientID", "InstanceNumber",
              "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")  # fmt: skip
_REPORTS = (Comprehensive3DSRStorage, ComprehensiveSRStorage, BasicTextSRStorage)
# What a series' objects share is looked at in the first of them, and again wherever it is not the very same element.
_ISSUER = "IssuerOfPatientID"  # a PatientID is one person's only together with it (PS3.3, C.7.1.1.1)
_ONCE = ("StudyInstanceUID", "SeriesInstanceUID", "ContributingEquipmentSequence", "SeriesNumber")


@dataclass(frozen=True)
class _Facts:
    """What an object is held against, gathered once for all objects of a run."""

    held: Mapping[str, Instance]
    known: Mapping[str, str]  # instances that may be referred to: SOP Instance UID -> SOP Class UID
    said: Mapping[str, set[str]]  # keyword -> what the study's instances say
    frames: frozenset[str]  # Frame of Reference UIDs
    numbers: frozenset[str]  # Series Numbers

    @classmethod
    def of(cls, study: Study) -> _Facts:
        held = {one.SOPInstanceUID: one for one in study.instances}
        known = {uid: one.SOPClassUID for uid, one in held.items()}
        known |= {one.SOPInstanceUID: one.SOPClassUID for one in study.replaces}
        return cls(
            held,
            known,
            {keyword: {_text(one.header, keyword) for one in study.instances} for keyword in origin.TYPE_2}
            | {_ISSUER: {origin.said(one.header, _ISSUER) for one in study.instances}},
            frozenset(str(one.get("FrameOfReferenceUID", "")) for one in study.instances),
            frozenset(str(series.get("SeriesNumber", "")) for series in study.series),
        )


def _faults(
    name: str,
    number: int,
    dataset: Dataset,
    fresh: Dataset,
    study: Study,
    maker: Maker,
    facts: _Facts,
    results: Mapping[str, str | None],
) -> Iterator[str]:
    """What is wrong with one object, the cheap looks first; each relies on those before it."""
    if fault := missing(dataset, fresh):
        yield fault
    new = [keyword for keyword in (*_ONCE, *facts.said) if keyword in fresh or keyword not in dataset]
    if "StudyInstanceUID" in new and dataset.StudyInstanceUID != study.StudyInstanceUID:
        yield "StudyInstanceUID is not that of the study"
    for keyword in new:
        if keyword in facts.said and _text(dataset, keyword) not in facts.said[keyword]:
            yield f"{keyword} is not that of the study's instances"
    if dataset.InstanceNumber != number:  # no two objects have one number, and so no two have one UID
        yield "InstanceNumber is not the object's number in its output"
    if dataset.SOPInstanceUID != maker.uid(study, name, number) and (
        number > 1 or dataset.SOPInstanceUID != maker.uid(study, name)
    ):
        yield "SOPInstanceUID is not derived from the study, the model and the output"
    if "SeriesInstanceUID" in new and dataset.SeriesInstanceUID != maker.uid(study, name, "series"):
        yield "SeriesInstanceUID is not derived from the study, the model and the output"
    if "ContributingEquipmentSequence" in new:
        if not is_ours(dataset):
            yield "ContributingEquipmentSequence does not name us as the processing equipment"
        if not any(item.get("DeviceUID") == maker.device_uid for item in dataset.ContributingEquipmentSequence):
            yield "ContributingEquipmentSequence lacks the Device UID of the model"
    if "SeriesNumber" in new and str(dataset.SeriesNumber) in facts.numbers:
        yield "SeriesNumber is that of a series of the study"
    if (
        "FrameOfReferenceUID" in fresh
        and dataset.FrameOfReferenceUID
        and dataset.FrameOfReferenceUID not in facts.frames
    ):
        yield "FrameOfReferenceUID is not that of the source"
    yield from _uid_faults(fresh)
    yield from _reference_faults(fresh, facts, results)
    if fault := placement.misplaced(dataset, facts.held):
        yield fault
    if dataset.SOPClassUID in _REPORTS:
        yield from _report_faults(name, dataset, study)
    yield from _pixel_faults(dataset)


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value)


def _uid_faults(dataset: Dataset) -> Iterator[str]:
    for item in _datasets(dataset):
        for element in item:
            if element.VR == "UI" and element.value:
                values = [element.value] if isinstance(element.value, str) else element.value
                if any(len(uid) > 64 or not _UID.fullmatch(uid) for uid in values):
                    yield f"{element.keyword} is not a valid UID"


def _reference_faults(dataset: Dataset, facts: _Facts, results: Mapping[str, str | None]) -> Iterator[str]:
    copied = ("ReferencedStudySequence", "ReferencedPatientSequence")  # the source's own, which are not for us to judge
    for item in _datasets(dataset, leave_out=copied):
        uid = item.get("ReferencedSOPInstanceUID")
        if uid is None:
            continue
        wanted = facts.known.get(uid) or results.get(uid)
        if uid not in facts.known and uid not in results:
            yield "ReferencedSOPInstanceUID names an instance that the study does not hold"
        elif wanted is not None and item.get("ReferencedSOPClassUID") != wanted:
            yield "ReferencedSOPClassUID is not the class of the instance that is referred to"
        elif uid in facts.held and item.get("ReferencedFrameNumber"):
            numbers = item.ReferencedFrameNumber
            numbers = [numbers] if isinstance(numbers, int) else numbers
            if any(not 1 <= int(one) <= int(facts.held[uid].get("NumberOfFrames", 1)) for one in numbers):
                yield "ReferencedFrameNumber names a frame that the instance does not have"


def _report_faults(name: str, dataset: Dataset, study: Study) -> Iterator[str]:
    if dataset.VerificationFlag != "UNVERIFIED":
        yield "VerificationFlag must say UNVERIFIED: nobody has verified it"
    if any(one.output == name for one in study.replaces) and not dataset.get("PredecessorDocumentsSequence"):
        yield "PredecessorDocumentsSequence lacks the earlier report that this one replaces"
    tracked = []
    for group in placement.content_items(dataset):
        if group.ValueType != "CONTAINER" or group.ConceptNameCodeSequence[0].CodeValue != "125007":
            continue
        inside = list(placement.content_items(group))
        as_text = dataset.ConceptNameCodeSequence[0].CodeValue == codes.ONCOLOGY_MEASUREMENT_REPORT.value
        if not as_text and not any(item.ValueType == "SCOORD" for item in inside):
            yield "a measurement group has no 2D region: viewers would show nothing"
        tracked += [item.UID for item in inside if item.ValueType == "UIDREF"
                    and item.ConceptNameCodeSequence[0].CodeValue == "112040"]  # fmt: skip
    if len(set(tracked)) < len(tracked):
        yield "two measurement groups have the same Tracking Unique Identifier"


def _pixel_faults(dataset: Dataset) -> Iterator[str]:
    """Pixel data of the length that the header promises."""
    for keyword in ("PixelData", "FloatPixelData"):
        if keyword in dataset:
            bits = (int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
                    * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated))  # fmt: skip
            wanted, held = -(-bits // 8), len(dataset[keyword].value)
            if held != wanted + wanted % 2:
                yield f"{keyword} has {held} bytes where the header promises {wanted + wanted % 2}"


def _encoded(dataset: Dataset, fresh: Dataset, encoder: Encoder) -> tuple[tuple[bytes, ...], str | None]:
    """The object's file, and what of its fresh elements is not the same when they are read back."""
    try:
        parts = encoder.encode(dataset)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, NotImplementedError) as error:
        return (), f"it cannot be written ({type(error).__name__})"
    wanted = [keyword for keyword in _READ_BACK if keyword in fresh]
    if "StudyInstanceUID" in fresh:  # the first of a series is read as a whole, of the others what is their own
        # pixels, which are the second part, need not be copied for that
        read: Dataset = pydicom.dcmread(BytesIO(parts[0]), stop_before_pixels=True, specific_tags=wanted)
    else:
        read = read_dataset(BytesIO(encoder.some(fresh, wanted)), False, True)
    for keyword in wanted:
        if _text(read, keyword) != _text(dataset, keyword):
            return (), f"{keyword} is not the same after writing and reading"
    return parts, None


def _datasets(dataset: Dataset, leave_out: Sequence[str] = ()) -> Iterator[Dataset]:
    """`dataset` and every item of its sequences, however deep."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ" and element.keyword not in leave_out:
            for item in element.value:
                yield from _datasets(item, leave_out)
