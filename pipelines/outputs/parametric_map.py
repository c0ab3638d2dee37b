"""ParametricMap: a heatmap's values themselves, as percent in 32-bit floats on the grid of the source (PS3.3 A.75)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from pipelines.base import Objects
from pipelines.outputs import capture, codes, equipment, origin
from pipelines.outputs.codes import Code
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.identity import Maker
from pipelines.outputs.overlay import Scale
from pipelines.study import Study
from pipelines.volume import Volume

_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]  # Image Type and Frame Type (PS3.3 C.8.32.2)


@dataclass(frozen=True, eq=False)
class ParametricMap:
    """The values of each class of `heatmap`, an object for each: from the first to the last slice on which the heatmap
    draws it, nothing cut off and nothing rounded but to 32 bits.

    `quantity`: what the values are, coded. `most_bytes`: pixel data beyond which a further object of the class is
    begun, for all pixels of an object are in memory at once.
    """

    heatmap: Heatmap
    quantity: Code = codes.PROBABILITY
    name: str = "parametric-map"
    most_bytes: int = 2**29

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """Objects class by class in the heatmap's order; none for a class without signal, for a radiograph, or for
        slices without a frame of reference. Raises InvalidOutput for a slice that has no place."""
        if not self.heatmap.volume.placed or not self.heatmap.volume.instances[0].get("FrameOfReferenceUID"):
            return []
        volume = cast(Volume, self.heatmap.volume)
        together = max(1, self.most_bytes // (4 * volume.voxels[0].size))
        scale = Scale(self.heatmap.low, self.heatmap.high)
        parts = []
        for label, values in self.heatmap.probability.items():
            if values.shape != volume.voxels.shape:
                raise ValueError(f"class {label}: shape {values.shape} on a volume of {volume.voxels.shape}")
            shown = [index for index, frame in enumerate(values) if scale.shows([frame])]
            if shown:
                whole = range(shown[0], shown[-1] + 1)
                parts += [(label, whole[at : at + together]) for at in range(0, len(whole), together)]
        return Objects(len(parts), lambda at: self._make(study, maker, volume, at, *parts[at]))

    def _make(self, study: Study, maker: Maker, volume: Volume, at: int, label: str, frames: range) -> Dataset:
        source = volume.instances[0].header
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = ParametricMapStorage, maker.uid(study, self.name, at + 1)
        made.SeriesInstanceUID, made.InstanceNumber = maker.uid(study, self.name, "series"), at + 1
        made.Modality, made.ImageType = "OT", _TYPE
        made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "AI_MAP", equipment.WARNING, None
        made.ContentQualification = "RESEARCH"
        made.DerivationDescription = capture.plain_text(
            f"{self.heatmap.method} of {label} in percent. {equipment.WARNING}"
        )
        made.BurnedInAnnotation, made.RecognizableVisualFeatures = "NO", "NO"
        made.PresentationLUTShape = "IDENTITY"
        made.AcquisitionContextSequence = []
        capture.take_lossy(made, source)
        made.SamplesPerPixel, made.PhotometricInterpretation, made.BitsAllocated = 1, "MONOCHROME2", 32
        made.Rows, made.Columns = volume.voxels.shape[1:]
        made.NumberOfFrames = len(frames)
        _dimension(made, maker.uid(study, self.name, f"dimension {at + 1}"))
        planes = [origin.planes(volume)[index] for index in frames]
        made.SharedFunctionalGroupsSequence = [self._shared(volume, planes[0], label)]
        made.PerFrameFunctionalGroupsSequence = [
            _frame(number, plane, origin.is_multi_frame(volume)) for number, plane in enumerate(planes, 1)
        ]
        series = str(volume.instances[0].get("SeriesInstanceUID", ""))
        made.ReferencedSeriesSequence = origin.referenced_series(series, [plane.instance for plane in planes])
        origin.take_identity(made, source)
        origin.take_region(made, source)
        equipment.mark(made, study, maker, source, self.name, "parametric map")
        made.FloatPixelData = _percent(self.heatmap.probability[label], frames)
        return made

    def _shared(self, volume: Volume, plane: origin.Plane, label: str) -> Dataset:
        """What holds for all frames: grid, window, what the values mean."""
        shared, measures, orientation, kind = Dataset(), Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = list(plane.PixelSpacing)
        measures.SliceThickness = origin.thickness(volume)
        if len(volume.voxels) > 1:
            measures.SpacingBetweenSlices = round(float(volume.spacing[0]), 6)
        orientation.ImageOrientationPatient = list(plane.ImageOrientationPatient)
        kind.FrameType = _TYPE
        window, same, mapping, what = Dataset(), Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth, window.VOILUTFunction = "50", "100", "LINEAR_EXACT"
        same.RescaleIntercept, same.RescaleSlope, same.RescaleType = "0", "1", "US"
        mapping.LUTExplanation = capture.plain_text(f"{self.heatmap.method} of {label}", 64)
        mapping.LUTLabel = capture.plain_text(label, 16)
        mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
        mapping.DoubleFloatRealWorldValueLastValueMapped = 100.0
        mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 1.0
        mapping.MeasurementUnitsCodeSequence = [codes.PERCENT.item()]
        what.ValueType = "CODE"
        what.ConceptNameCodeSequence = [codes.QUANTITY.item()]
        what.ConceptCodeSequence = [self.quantity.item()]
        mapping.QuantityDefinitionSequence = [what]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
        shared.ParametricMapFrameTypeSequence, shared.FrameVOILUTSequence = [kind], [window]
        shared.PixelValueTransformationSequence, shared.RealWorldValueMappingSequence = [same], [mapping]
        return shared


def _dimension(made: Dataset, uid: str) -> None:
    """Frames are in the order of their positions."""
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = uid
    index.DimensionIndexPointer = tag_for_keyword("ImagePositionPatient")
    index.FunctionalGroupPointer = tag_for_keyword("PlanePositionSequence")
    index.DimensionDescriptionLabel = "Image Position"
    made.DimensionOrganizationSequence, made.DimensionIndexSequence = [organization], [index]
    made.DimensionOrganizationType = "3D"


def _frame(number: int, plane: origin.Plane, is_multi_frame: bool) -> Dataset:
    frame, content, position, derivation = Dataset(), Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [number]
    position.ImagePositionPatient = list(plane.ImagePositionPatient)
    source = origin.reference(
        plane.instance.SOPClassUID, plane.instance.SOPInstanceUID, plane.frame_number if is_multi_frame else None
    )
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [codes.SOURCE_IMAGE.item()]
    derivation.DerivationCodeSequence = [codes.UNSPECIFIED_CALCULATION.item()]
    derivation.SourceImageSequence = [source]
    frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
    frame.DerivationImageSequence = [derivation]
    return frame


def _percent(values: np.ndarray, frames: range) -> bytes:
    """Frames as little-endian 32-bit floats, one after another: the buffer that they are written into is the value."""
    most = np.float32(100 / 255 if values.dtype == np.uint8 else 100)
    buffer = BytesIO()
    for index in frames:
        buffer.write((values[index].astype("<f4") * most).data)
    return buffer.getvalue()
