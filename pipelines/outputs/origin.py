"""What a result takes over from its source: patient and study unchanged, frame of reference, each frame's plane."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds, validate_value

from pipelines.base import InvalidOutput
from pipelines.radiograph import Radiograph
from pipelines.study import Instance, Study
from pipelines.volume import Volume

Source = Volume | Radiograph  # what outputs are made on

# Root attributes of the Patient, General Study, Patient Study and Clinical Trial modules (PS3.3 C.7.1.1, C.7.1.3,
# C.7.2.1, C.7.2.2, C.7.2.3) and SOP Common's character set, without which their text would change its meaning.
TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
          "ReferringPhysicianName", "StudyID", "AccessionNumber")  # fmt: skip
IDENTITY = (
    "SpecificCharacterSet", *TYPE_2, "StudyInstanceUID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID", "PatientBirthTime", "OtherPatientIDsSequence", "OtherPatientIDs", "OtherPatientNames",
    "EthnicGroup", "PatientComments", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "QualityControlSubject", "StudyDescription",
    "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName", "IssuerOfAccessionNumberSequence",
    "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ProcedureCodeSequence", "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex",
    "MedicalAlerts", "Allergies", "PregnancyStatus", "LastMenstrualDate", "SmokingStatus", "PatientState",
    "Occupation", "AdditionalPatientHistory", "AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID",
    "ServiceEpisodeDescription", "PatientSexNeutered", "ReasonForVisit", "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """Where one frame of a volume lies, in the source's own decimal strings, so that nothing is rounded twice."""

    instance: Instance
    frame_number: int  # 1-based
    ImagePositionPatient: tuple[str, ...]
    ImageOrientationPatient: tuple[str, ...]
    PixelSpacing: tuple[str, ...]


_planes: WeakKeyDictionary[Source, tuple[Plane, ...]] = WeakKeyDictionary()


def planes(volume: Source) -> tuple[Plane, ...]:
    """The plane of each frame, in the volume's order. Raises InvalidOutput where the source does not say it."""
    if volume not in _planes:  # several outputs ask for them
        found = (plane(one, number) for one, number in zip(volume.instances, volume.frame_numbers, strict=True))
        _planes[volume] = tuple(found)
    return _planes[volume]


def plane(instance: Instance, number: int) -> Plane:
    """The plane of one frame (1-based) of an instance, single-frame or enhanced multi-frame."""

    def find(sequence: str, keyword: str) -> tuple[str, ...]:
        header = instance.header
        groups = [header]
        if "PerFrameFunctionalGroupsSequence" in header:
            frames = [
                header.PerFrameFunctionalGroupsSequence[number - 1],
                *header.get("SharedFunctionalGroupsSequence", []),
            ]
            groups = [item for group in frames for item in group.get(sequence) or ()] + groups
        for group in groups:
            if group.get(keyword):
                return tuple(decimal(value) for value in group[keyword].value)
        raise InvalidOutput(f"{keyword} is missing in the source's frame {number}: a result cannot be placed on it")

    return Plane(instance, number, find("PlanePositionSequence", "ImagePositionPatient"),
                 find("PlaneOrientationSequence", "ImageOrientationPatient"),
                 find("PixelMeasuresSequence", "PixelSpacing"))  # fmt: skip


def decimal(value: object) -> str:
    """A number as a decimal string (DS), as it stands in the source where that is one."""
    text = str(getattr(value, "original_string", None) or value).strip()
    return text if len(text) <= 16 else format_number_as_ds(float(text))  # some scanners overrun DS's 16 characters


def thickness(volume: Volume) -> float:
    """The source's Slice Thickness (mm), or else the distance between slices."""
    header = volume.instances[0].header
    groups = [header, *(item for group in header.get("SharedFunctionalGroupsSequence") or ()
                        for item in group.get("PixelMeasuresSequence") or ())]  # fmt: skip
    stated = next((group.get("SliceThickness") for group in groups if group.get("SliceThickness")), None)
    return float(stated) if stated else round(float(volume.spacing[0]), 6)


def is_multi_frame(volume: Source) -> bool:
    """True when the volume's frames are those of one enhanced multi-frame instance."""
    return "PerFrameFunctionalGroupsSequence" in volume.instances[0].header


def take_identity(result: Dataset, source: Dataset) -> None:
    """Give `result` the patient and the study of `source`, attribute by attribute as they stand there.

    What the source lacks of Type 2 is present and empty; an attribute of it that cannot be decoded is left out
    (or empty, if of Type 2) rather than guessed. An optional one with a value that its VR forbids, such as an age
    without its unit, is left out too: it would make the result invalid.
    """
    for keyword in IDENTITY:
        tag = tag_for_keyword(keyword)
        if tag is not None and tag in result:
            del result[tag]
        element = None
        if tag is not None and tag in source:
            try:
                element = copy.deepcopy(source[tag])
            except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, OverflowError):
                element = None  # bytes that its VR does not allow: optional for us, and never worth a lost result
        if element is not None and keyword not in TYPE_2 and not _allowed(element):
            element = None
        if element is not None and (keyword != "SpecificCharacterSet" or element.value):  # of Type 1C: never empty
            result.add(element)
        elif keyword in TYPE_2:
            setattr(result, keyword, None)


def said(source: Dataset, keyword: str) -> str:
    """An optional attribute as `take_identity` takes it over, as text; empty where it is left out."""
    tag = tag_for_keyword(keyword)
    element = source[tag] if tag is not None and tag in source else None
    return "" if element is None or element.value is None or not _allowed(element) else str(element.value)


def _allowed(element: DataElement) -> bool:
    """Whether every value is one that the element's VR allows (PS3.5 6.2)."""
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values if element.VR != "SQ" else ():
            written = str(getattr(value, "original_string", value)) if element.VR in ("DS", "IS") else value
            validate_value(element.VR, written, config.RAISE)
    except (ValueError, TypeError):
        return False
    return True


def take_region(result: Dataset, source: Dataset) -> None:
    """Copy what says where in the body and in which frame of reference the source lies."""
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        if source.get("FrameOfReferenceUID"):
            setattr(result, keyword, source.get(keyword))
    if source.get("BodyPartExamined"):
        result.BodyPartExamined = source.BodyPartExamined


def referenced_series(series_uid: str, instances: Iterable[Instance]) -> list[Dataset]:
    """Referenced Series Sequence for instances of one series (PS3.3 C.12.2, Common Instance Reference)."""
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedInstanceSequence = [reference(one.SOPClassUID, one.SOPInstanceUID) for one in _distinct(instances)]
    return [series]


def patient_orientation(header: Dataset) -> list[str]:
    """The source's Patient Orientation, of its rows and of its columns; nothing where it does not say both."""
    value = header.get("PatientOrientation")
    found = [] if value is None or isinstance(value, str) else [str(one) for one in value]
    return found if len(found) == 2 and all(found) else []


def reference(class_uid: str, instance_uid: str, frame_number: int | None = None) -> Dataset:
    """A SOP instance reference (PS3.3 table 10-11), with one frame of it where given."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, instance_uid
    if frame_number is not None:
        item.ReferencedFrameNumber = frame_number
    return item


def _distinct(instances: Iterable[Instance]) -> list[Instance]:
    return list({one.SOPInstanceUID: one for one in instances}.values())


def stand_ins(volume: Source, study: Study) -> list[Dataset]:
    """The source as highdicom wants to see it: UIDs and geometry alone, whatever else the real headers lack.

    One dataset for each frame of a single-frame series in the volume's order, or one for an enhanced instance.
    """
    if isinstance(volume, Radiograph):
        return [bare(one, study, volume) for one in _distinct(volume.instances)]
    if is_multi_frame(volume):
        return [_multi_frame_stand_in(volume, study)]
    found, shared = [], bare(volume.instances[0], study, volume)
    for here in planes(volume):
        one = Dataset({element.tag: element for element in shared})  # elements are shared: each own one is a new one
        own = Dataset()
        own.SOPClassUID, own.SOPInstanceUID = here.instance.SOPClassUID, here.instance.SOPInstanceUID
        own.ImagePositionPatient = list(here.ImagePositionPatient)
        own.ImageOrientationPatient = list(here.ImageOrientationPatient)
        own.PixelSpacing = list(here.PixelSpacing)
        _take_lossy(own, here.instance)
        one.update(own)
        found.append(one)
    return found


def _multi_frame_stand_in(volume: Volume, study: Study) -> Dataset:
    one = bare(volume.instances[0], study, volume)
    shared, one.PerFrameFunctionalGroupsSequence = Dataset(), []
    for here in planes(volume):
        frame, position, orientation, measures = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = list(here.ImagePositionPatient)
        orientation.ImageOrientationPatient = list(here.ImageOrientationPatient)
        measures.PixelSpacing, measures.SliceThickness = list(here.PixelSpacing), one.SliceThickness
        frame.PlanePositionSequence = [position]
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        one.PerFrameFunctionalGroupsSequence.append(frame)
    one.SharedFunctionalGroupsSequence = [shared]
    one.NumberOfFrames = len(volume.frame_numbers)
    return one


def bare(instance: Instance, study: Study, volume: Source) -> Dataset:
    """One instance's UIDs and what highdicom asks for, nothing of the patient: `take_identity` gives that later."""
    one = Dataset()
    for keyword in TYPE_2:
        setattr(one, keyword, None)
    one.StudyInstanceUID = study.StudyInstanceUID
    one.SOPClassUID, one.SOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    one.SeriesInstanceUID = str(instance.get("SeriesInstanceUID", ""))
    one.Modality = str(instance.get("Modality", "OT"))
    one.FrameOfReferenceUID = str(volume.instances[0].get("FrameOfReferenceUID", "")) or None
    if isinstance(volume, Volume):
        one.Rows, one.Columns = volume.voxels.shape[1:]
        one.SliceThickness = format_number_as_ds(float(volume.spacing[0]))
    _take_lossy(one, instance)
    return one


def _take_lossy(made: Dataset, instance: Instance) -> None:
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if instance.get(keyword) is not None:
            setattr(made, keyword, instance.get(keyword))
