"""Are the attributes there that an object's IOD asks for: Type 1 with a value, Type 2 at least empty (PS3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from pipelines.outputs.codes import LabelMapSegmentationStorage

# Paths of keywords; each step before the last is a sequence, of which every item is looked into.
_COMMON_1 = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_COMMON_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
             "ReferringPhysicianName", "StudyID", "SeriesNumber", "Manufacturer", "InstanceNumber")  # fmt: skip
_PIXELS_1 = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
             "HighBit", "PixelRepresentation", "PixelData", "ImageType")  # fmt: skip
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_DOCUMENT_1 = (
    "InstanceNumber", "ContentDate", "ContentTime", "ValueType", "ContinuityOfContent",
    "ContentSequence/RelationshipType", "ContentSequence/ValueType",
    *(f"ConceptNameCodeSequence/{part}" for part in _CODE),
    "CurrentRequestedProcedureEvidenceSequence/ReferencedSeriesSequence/ReferencedSOPSequence/ReferencedSOPInstanceUID",
)  # fmt: skip
_AREA, _GRAPHICS = "DisplayedAreaSelectionSequence", "GraphicAnnotationSequence"
_SHARED, _FRAMES, _SEGMENTS = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SegmentSequence"

_FLOATS_1 = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "FloatPixelData",
             "ImageType")  # fmt: skip
_CAPTURE_1 = (
    *_PIXELS_1, "ConversionType", "PlanarConfiguration", "BurnedInAnnotation", "LossyImageCompression",
    "SourceImageSequence/ReferencedSOPInstanceUID",
)  # fmt: skip

# Real World Value Mapping, in floats (PS3.3 C.7.6.16.2.11)
_MEANT_1 = ("LUTExplanation", "LUTLabel", "DoubleFloatRealWorldValueFirstValueMapped", "RealWorldValueSlope",
            "DoubleFloatRealWorldValueLastValueMapped", "RealWorldValueIntercept",
            *(f"MeasurementUnitsCodeSequence/{part}" for part in _CODE))  # fmt: skip

_SLICE_1 = (
    *_PIXELS_1, "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "DerivationDescription", "SourceImageSequence/ReferencedSOPInstanceUID",
)  # fmt: skip
_SLICE_2 = ("PositionReferenceIndicator", "SliceThickness", "PatientPosition")

_TYPE_1: dict[str, tuple[str, ...]] = {
    SegmentationStorage: (
        *_PIXELS_1, "FrameOfReferenceUID", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
        "NumberOfFrames", "ContentLabel", "ContentDate", "ContentTime", "SegmentationType", "LossyImageCompression",
        "DimensionOrganizationSequence/DimensionOrganizationUID", "DimensionIndexSequence/DimensionIndexPointer",
        f"{_SEGMENTS}/SegmentNumber", f"{_SEGMENTS}/SegmentLabel", f"{_SEGMENTS}/SegmentAlgorithmType",
        f"{_SEGMENTS}/SegmentAlgorithmName", f"{_SEGMENTS}/TrackingID", f"{_SEGMENTS}/TrackingUID",
        *(f"{_SEGMENTS}/{name}/{part}" for name in ("SegmentedPropertyCategoryCodeSequence",
                                                    "SegmentedPropertyTypeCodeSequence") for part in _CODE),
        f"{_SHARED}/PixelMeasuresSequence/PixelSpacing", f"{_SHARED}/PixelMeasuresSequence/SliceThickness",
        f"{_SHARED}/PlaneOrientationSequence/ImageOrientationPatient",
        f"{_FRAMES}/FrameContentSequence/DimensionIndexValues",
        f"{_FRAMES}/PlanePositionSequence/ImagePositionPatient",
        f"{_FRAMES}/SegmentIdentificationSequence/ReferencedSegmentNumber",
        f"{_FRAMES}/DerivationImageSequence/SourceImageSequence/ReferencedSOPInstanceUID",
        "ReferencedSeriesSequence/ReferencedInstanceSequence/ReferencedSOPInstanceUID",
    ),
    Comprehensive3DSRStorage: (
        "InstanceNumber", "CompletionFlag", "VerificationFlag", "ContentDate", "ContentTime", "ValueType",
        "ContinuityOfContent", "ContentTemplateSequence/TemplateIdentifier", "ContentSequence/RelationshipType",
        *(f"ConceptNameCodeSequence/{part}" for part in _CODE),
        "CurrentRequestedProcedureEvidenceSequence/ReferencedSeriesSequence/ReferencedSOPSequence/ReferencedSOPInstanceUID",
    ),
    SecondaryCaptureImageStorage: _CAPTURE_1,
    CTImageStorage: (*_SLICE_1, "RescaleIntercept", "RescaleSlope"),
    MRImageStorage: (*_SLICE_1, "ScanningSequence", "SequenceVariant"),
    ParametricMapStorage: (
        *_FLOATS_1, "FrameOfReferenceUID", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
        "NumberOfFrames", "ContentLabel", "ContentDate", "ContentTime", "ContentQualification", "LossyImageCompression",
        "BurnedInAnnotation", "RecognizableVisualFeatures", "PresentationLUTShape",
        "DimensionOrganizationSequence/DimensionOrganizationUID", "DimensionIndexSequence/DimensionIndexPointer",
        f"{_SHARED}/PixelMeasuresSequence/PixelSpacing", f"{_SHARED}/PixelMeasuresSequence/SliceThickness",
        f"{_SHARED}/PlaneOrientationSequence/ImageOrientationPatient",
        f"{_SHARED}/ParametricMapFrameTypeSequence/FrameType",
        *(f"{_SHARED}/RealWorldValueMappingSequence/{part}" for part in _MEANT_1),
        f"{_FRAMES}/FrameContentSequence/DimensionIndexValues",
        f"{_FRAMES}/PlanePositionSequence/ImagePositionPatient",
        *(f"{_FRAMES}/DerivationImageSequence/DerivationCodeSequence/{part}" for part in _CODE),
        f"{_FRAMES}/DerivationImageSequence/SourceImageSequence/ReferencedSOPInstanceUID",
        "ReferencedSeriesSequence/ReferencedInstanceSequence/ReferencedSOPInstanceUID",
    ),
    MultiFrameTrueColorSecondaryCaptureImageStorage: (
        *_CAPTURE_1, "NumberOfFrames", "ContentDate", "ContentTime",
    ),
    KeyObjectSelectionDocumentStorage: (
        *_DOCUMENT_1, "ContentTemplateSequence/TemplateIdentifier",
    ),
    BasicTextSRStorage: (*_DOCUMENT_1, "CompletionFlag", "VerificationFlag"),
    GrayscaleSoftcopyPresentationStateStorage: (
        "InstanceNumber", "ContentLabel", "PresentationCreationDate", "PresentationCreationTime",
        "PresentationLUTShape", "ReferencedSeriesSequence/SeriesInstanceUID",
        "ReferencedSeriesSequence/ReferencedImageSequence/ReferencedSOPInstanceUID",
        *(f"{_AREA}/{name}" for name in ("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner",
                                         "PresentationSizeMode", "ReferencedImageSequence/ReferencedSOPInstanceUID")),
        *(f"GraphicLayerSequence/{name}" for name in ("GraphicLayer", "GraphicLayerOrder")),
        *(f"{_GRAPHICS}/{name}" for name in ("GraphicLayer", "ReferencedImageSequence/ReferencedSOPInstanceUID")),
        f"{_GRAPHICS}/TextObjectSequence/UnformattedTextValue",
    ),
    EncapsulatedPDFStorage: (
        "InstanceNumber", "ConversionType", "BurnedInAnnotation", "MIMETypeOfEncapsulatedDocument",
        "EncapsulatedDocument", "SourceInstanceSequence/ReferencedSOPInstanceUID",
        *(f"ConceptNameCodeSequence/{part}" for part in _CODE),
    ),
}  # fmt: skip
_TYPE_2: dict[str, tuple[str, ...]] = {
    SegmentationStorage: ("ContentDescription", "ContentCreatorName"),
    CTImageStorage: (*_SLICE_2, "KVP", "AcquisitionNumber"),
    MRImageStorage: (*_SLICE_2, "ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength"),
    ParametricMapStorage: ("ContentDescription", "ContentCreatorName", "AcquisitionContextSequence"),
    Comprehensive3DSRStorage: ("PerformedProcedureCodeSequence", "ReferencedPerformedProcedureStepSequence"),
    SecondaryCaptureImageStorage: ("PatientOrientation",),
    KeyObjectSelectionDocumentStorage: ("ReferencedPerformedProcedureStepSequence",),
    BasicTextSRStorage: ("PerformedProcedureCodeSequence", "ReferencedPerformedProcedureStepSequence"),
    GrayscaleSoftcopyPresentationStateStorage: ("ContentDescription", "ContentCreatorName"),
    EncapsulatedPDFStorage: ("DocumentTitle", "AcquisitionDateTime", "ContentDate", "ContentTime"),
    MultiFrameTrueColorSecondaryCaptureImageStorage: ("PatientOrientation",),
}
_TYPE_1[ComprehensiveSRStorage], _TYPE_2[ComprehensiveSRStorage] = (
    _TYPE_1[Comprehensive3DSRStorage], _TYPE_2[Comprehensive3DSRStorage]
)  # fmt: skip
# The background has no tracking, and a frame shows all segments at once (PS3.3 C.8.20.2, Supplement 243).
_TYPE_1[LabelMapSegmentationStorage] = tuple(
    path for path in _TYPE_1[SegmentationStorage] if "Tracking" not in path and "SegmentIdentification" not in path
)
_TYPE_2[LabelMapSegmentationStorage] = _TYPE_2[SegmentationStorage]


def missing(dataset: Dataset, fresh: Dataset) -> str | None:
    """The first attribute that is missing or wrongly empty, as a text; None when all are there. What is not in `fresh`
    was looked at in an earlier object of the same class."""
    of_class = str(dataset.get("SOPClassUID", ""))
    known = dataset.keys() - fresh.keys()
    for path, root in _tagged((*_COMMON_1, *_TYPE_1.get(of_class, ()))):
        if root not in known and any(
            parent is None or _empty(parent, path.rpartition("/")[2]) for parent in _parents(dataset, path)
        ):
            return f"{path} (Type 1) is missing or empty"
    for path, root in _tagged((*_COMMON_2, *_TYPE_2.get(of_class, ()))):
        if root not in known and path not in dataset:
            return f"{path} (Type 2) is missing"
    return None


@cache
def _tagged(paths: tuple[str, ...]) -> tuple[tuple[str, BaseTag], ...]:
    """Each path with the tag of its first keyword."""
    return tuple((path, Tag(path.partition("/")[0])) for path in paths)


def _parents(dataset: Dataset, path: str) -> Iterator[Dataset | None]:
    """Every item that should hold the last keyword of `path`; None where a sequence on the way is missing or empty."""
    first, _, rest = path.partition("/")
    if not rest:
        yield dataset
        return
    items = dataset.get(first)
    if not items:
        yield None
        return
    for item in items:
        yield from _parents(item, rest)


def _empty(parent: Dataset, keyword: str) -> bool:
    if keyword not in parent:
        return True
    value = parent[keyword].value
    return value is None or value == "" or value == b""
