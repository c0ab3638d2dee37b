"""DerivedSeries: an image made of an image, as a new series of CT or MR images on its planes (PS3.3 A.3, A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from pipelines.base import Objects
from pipelines.frames import numbers
from pipelines.outputs import capture, codes, equipment, origin
from pipelines.outputs.identity import Maker
from pipelines.outputs.overlay import ends_of
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.volume import Volume

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
# How the source was acquired, which holds for what is made of it
_BOTH = ("PatientPosition", "AcquisitionNumber", "ContrastBolusAgent", "ContrastBolusRoute", "ProtocolName",
         "SliceLocation", "AcquisitionDate", "AcquisitionTime", "BurnedInAnnotation",
         "RecognizableVisualFeatures")  # fmt: skip
_ACQUIRED = {
    "CT": (*_BOTH, "KVP", "ScanOptions", "ConvolutionKernel", "GantryDetectorTilt", "DataCollectionDiameter",
           "ReconstructionDiameter"),
    "MR": (*_BOTH, "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName",
           "RepetitionTime", "EchoTime", "FlipAngle", "EchoTrainLength", "InversionTime", "TriggerTime",
           "NumberOfAverages", "MagneticFieldStrength", "ImagingFrequency", "ImagedNucleus", "SpacingBetweenSlices"),
}  # fmt: skip
# What must be there, and what stands there where the source does not say it: RM is for what has no other name
_NEEDED: dict[str, dict[str, str | None]] = {
    "CT": dict.fromkeys(("KVP", "AcquisitionNumber", "PatientPosition")),
    "MR": dict.fromkeys(("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength",
                         "PatientPosition")) | {"ScanningSequence": "RM", "SequenceVariant": "NONE"},
}  # fmt: skip
_ALSO = {"EchoTime": "EffectiveEchoTime"}  # what enhanced images call it (PS3.3 C.8.13.5.4)
_MOST = 2**15 - 1  # stored values lie between this and its negative


@dataclass(frozen=True, eq=False)
class DerivedSeries:
    """An array on the grid of `volume`, in the volume's own units: single-frame images of the source's modality.

    `voxels`: numbers (frames, rows, columns). `description`: what was done, in English, such as "noise reduced".
    `step`: the smallest difference that is kept; None: 1 (a whole HU), and for MR a 65534th of the range where that is
    less than 1000 and not of whole numbers. It gets larger where 16 bits would not hold the range. An enhanced source
    gives single-frame images too, which are as well-formed and read everywhere.
    """

    volume: Volume
    voxels: np.ndarray
    description: str
    step: float | None = None
    name: str = "derived"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One object for each slice, in the volume's order; none where the source has no frame of reference, which CT
        and MR images must have. Raises ValueError for voxels that are not finite or on another grid, and for a source
        that is neither CT nor MR; InvalidOutput for a slice that has no place."""
        if self.voxels.shape != self.volume.voxels.shape:
            raise ValueError(f"voxels of shape {self.voxels.shape} on a volume of {self.volume.voxels.shape}")
        if self.modality not in _CLASSES:
            raise ValueError(f"a derived series is made of CT or MR, not of {self.modality}")
        if not all(np.isfinite(self._range)):
            raise ValueError("voxels that are not finite numbers cannot be stored")
        if not self.volume.instances[0].get("FrameOfReferenceUID"):
            return []
        planes, common = origin.planes(self.volume), self._common(study, maker)

        def make(index: int) -> Dataset:
            plane = planes[index]
            made = capture.sharing(common, maker.uid(study, self.name, index + 1), index + 1)
            made.ImagePositionPatient = list(plane.ImagePositionPatient)
            made.ImageOrientationPatient = list(plane.ImageOrientationPatient)
            made.PixelSpacing = list(plane.PixelSpacing)
            acquired = {keyword: _found(plane, keyword) for keyword in _ACQUIRED[self.modality]}
            known = {keyword: value for keyword, value in acquired.items() if value is not None}
            if "IR" in (known.get("ScanningSequence") or ()):
                known.setdefault("InversionTime", None)  # Type 2C
            for keyword, value in (_NEEDED[self.modality] | known).items():
                setattr(made, keyword, value)
            source = origin.reference(plane.instance.SOPClassUID, plane.instance.SOPInstanceUID,
                                      plane.frame_number if origin.is_multi_frame(self.volume) else None)  # fmt: skip
            source.SpatialLocationsPreserved = "YES"
            source.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE.item()]
            made.SourceImageSequence = [source]
            content = self._stored(index).tobytes()
            made.PixelData = content
            made["PixelData"].VR = "OW"
            return made

        return Objects(len(planes), make)

    @property
    def modality(self) -> str:
        """That of the source."""
        return str(self.volume.instances[0].get("Modality", "of unknown modality"))

    @cached_property
    def _range(self) -> tuple[float, float]:
        return float(self.voxels.min()), float(self.voxels.max())

    @cached_property
    def rescale(self) -> tuple[str, str]:
        """Rescale Slope and Rescale Intercept: value = stored * slope + intercept."""
        low, high = self._range
        step = self.step
        if step is None:
            whole = self.modality == "CT" or high - low >= 1000 or not np.any(self.voxels % 1)
            step = 1.0 if whole else (high - low) / (2 * _MOST)
        if max(abs(low), abs(high)) <= _MOST * step:
            return str(int(step)) if step == int(step) else format_number_as_ds(step), "0"
        step = max(step, (high - low) / (2 * _MOST) * 1.000001)
        return format_number_as_ds(step), format_number_as_ds((low + high) / 2)

    def _stored(self, index: int) -> np.ndarray:
        slope, intercept = (float(one) for one in self.rescale)
        stored = np.round((self.voxels[index].astype(np.float64) - intercept) / slope)
        return np.clip(stored, -_MOST, _MOST).astype("<i2")

    def _common(self, study: Study, maker: Maker) -> Dataset:
        """What all images share, made once."""
        source = self.volume.instances[0].header
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = _CLASSES[self.modality], maker.uid(study, self.name)
        made.SeriesInstanceUID = maker.uid(study, self.name, "series")
        made.Modality = self.modality
        made.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if self.modality == "CT" else "OTHER"]
        what = capture.plain_text(self.description, 900)
        made.DerivationDescription = made.ImageComments = f"{what}. {equipment.WARNING}"
        capture.take_lossy(made, source)
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
        made.Rows, made.Columns = self.volume.voxels.shape[1:]
        made.SliceThickness = format_number_as_ds(origin.thickness(self.volume))
        slope, intercept = self.rescale
        if self.modality == "CT" or (slope, intercept) != ("1", "0"):
            made.RescaleSlope, made.RescaleIntercept = slope, intercept
            made.RescaleType = "HU" if self.modality == "CT" else "US"
        made.WindowCenter, made.WindowWidth = self._window(source)
        origin.take_identity(made, source)
        made.PositionReferenceIndicator = None
        origin.take_region(made, source)
        capture.take_side(made, source)
        equipment.mark(made, study, maker, source, self.name, what)
        del made.SOPInstanceUID  # each image has its own
        return made

    def _window(self, source: Dataset) -> tuple[str, str]:
        """A CT source's first window, for its values still mean the same; or else the 1st to the 99th percentile."""
        centre, width = (next((found[0] for count in (1, 2, 3) if (found := numbers(source, keyword, count))), None)
                         for keyword in ("WindowCenter", "WindowWidth"))  # fmt: skip
        if self.modality != "CT" or centre is None or width is None or width < 1:
            low, high = ends_of(self.voxels)
            centre, width = (low + high) / 2, max(high - low, 1.0)
        return format_number_as_ds(centre), format_number_as_ds(width)


def _found(plane: origin.Plane, keyword: str) -> Any:
    """What a frame's source says of how it was acquired: in its header, or else in a functional group of the frame."""
    header = plane.instance.header
    frames = header.get("PerFrameFunctionalGroupsSequence")
    groups = [frames[plane.frame_number - 1]] if frames else []
    items = [item for group in (*groups, *header.get("SharedFunctionalGroupsSequence", ())) for element in group
             if element.VR == "SQ" for item in element.value]  # fmt: skip
    for one in (header, *items):
        for name in (keyword, _ALSO.get(keyword, keyword)):
            value = one.get(name)
            if value is None or value == "":
                continue
            return _decimals(value) if dictionary_VR(keyword) == "DS" else value
    return None


def _decimals(value: object) -> object:
    """Numbers as decimal strings that DS allows, as they stand in the source where that can be."""
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [origin.decimal(one) for one in value]
    return origin.decimal(value)
