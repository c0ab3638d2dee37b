"""Segmentation: a label map as DICOM SEG, BINARY and native, on the grid of its source series (PS3.3 A.51)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation as HighdicomSegmentation
from highdicom.seg import SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.base import Objects
from pipelines.outputs import codes, equipment, origin
from pipelines.outputs.identity import MANUFACTURER, Maker
from pipelines.outputs.parts import Segment
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.volume import Volume


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label map on the grid of `volume`.

    `masks`: uint8 (frames, rows, columns), each voxel 0 or a segment's number. All segments are described, also one
    without voxels; frames without voxels are left out.
    """

    volume: Volume
    masks: np.ndarray
    segments: Sequence[Segment]
    name: str = "segmentation"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One SEG; none when no voxel is labelled, or the source has no frame of reference to place it in."""
        source = self.volume.instances[0].header
        if self.masks.shape != self.volume.voxels.shape:
            raise ValueError(f"masks of shape {self.masks.shape} on a volume of {self.volume.voxels.shape}")
        if not self.masks.any() or not source.get("FrameOfReferenceUID"):
            return []
        return Objects(1, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        source = self.volume.instances[0].header
        made = self._build(study, maker)
        self._correct(made, study, maker)
        origin.take_identity(made, source)
        origin.take_region(made, source)
        equipment.mark(made, study, maker, source, self.name, "segmentation")
        return made

    def _build(self, study: Study, maker: Maker) -> HighdicomSegmentation:
        planes = origin.planes(self.volume)
        measures = PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in planes[0].PixelSpacing],
            slice_thickness=self._thickness(),
            spacing_between_slices=round(float(self.volume.spacing[0]), 6) if len(planes) > 1 else None,
        )
        return HighdicomSegmentation(
            source_images=origin.stand_ins(self.volume, study),
            pixel_array=self.masks,
            segmentation_type="BINARY",
            segment_descriptions=[self._description(one, study, maker) for one in self.segments],
            series_instance_uid=maker.uid(study, self.name, "series"),
            series_number=equipment.series_number(study, maker, self.name),
            sop_instance_uid=maker.uid(study, self.name),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=maker.model,
            software_versions=list(maker.software_versions),  # type: ignore[arg-type]  # a tuple raises a warning
            device_serial_number=maker.serial_number,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            pixel_measures=measures,
            plane_orientation=PlaneOrientationSequence(
                "PATIENT", [float(value) for value in planes[0].ImageOrientationPatient]
            ),
            omit_empty_frames=True,
            content_label="AI_SEG",
            content_description=equipment.WARNING,
        )

    def _thickness(self) -> float:
        """The source's Slice Thickness (mm), or else the distance between slices."""
        header = self.volume.instances[0].header
        groups = [header, *(item for group in header.get("SharedFunctionalGroupsSequence") or ()
                            for item in group.get("PixelMeasuresSequence") or ())]  # fmt: skip
        stated = next((group.get("SliceThickness") for group in groups if group.get("SliceThickness")), None)
        return float(stated) if stated else round(float(self.volume.spacing[0]), 6)

    def _description(self, segment: Segment, study: Study, maker: Maker) -> SegmentDescription:
        described = SegmentDescription(
            segment_number=segment.number,
            segment_label=segment.label,
            segmented_property_category=PydicomCode(*segment.category),
            segmented_property_type=PydicomCode(*segment.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name=maker.model,
                family=PydicomCode(*codes.ARTIFICIAL_INTELLIGENCE),
                version=maker.model_version,
                source=MANUFACTURER,
            ),
            tracking_uid=maker.uid(study, "tracking", segment.tracking_id),
            tracking_id=segment.tracking_id,
            anatomic_regions=[PydicomCode(*segment.region)] if segment.region else None,
            display_color=CIELabColor(*segment.colour),
        )
        described.SegmentAlgorithmName = f"{maker.model} {maker.model_version}"
        if segment.modifier:
            described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                segment.modifier.item()
            ]
        return described

    def _correct(self, made: Dataset, study: Study, maker: Maker) -> None:
        """Put in what highdicom leaves random, rounds, or cannot know."""
        dimension = maker.uid(study, self.name, "dimension")
        for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
            item.DimensionOrganizationUID = dimension
        if "ContentCreatorName" not in made:
            made.ContentCreatorName = None  # Type 2: no person
        planes = origin.planes(self.volume)
        shared = made.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(planes[0].ImageOrientationPatient)
        shared.PixelMeasuresSequence[0].PixelSpacing = list(planes[0].PixelSpacing)
        if "SegmentIdentificationSequence" in shared:  # one segment only: readers look for it in each frame
            for frame in made.PerFrameFunctionalGroupsSequence:
                frame.SegmentIdentificationSequence = copy.deepcopy(shared.SegmentIdentificationSequence)
            del shared.SegmentIdentificationSequence
        exact = {tuple(float(value) for value in plane.ImagePositionPatient): plane for plane in planes}
        for frame in made.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0]
            plane = exact[_nearest(position.ImagePositionPatient, exact)]
            position.ImagePositionPatient = list(plane.ImagePositionPatient)
            number = plane.frame_number if origin.is_multi_frame(self.volume) else None
            for derivation in frame.DerivationImageSequence:
                for source in derivation.SourceImageSequence:
                    source.ReferencedSOPClassUID = plane.instance.SOPClassUID
                    source.ReferencedSOPInstanceUID = plane.instance.SOPInstanceUID
                    if number is not None:
                        source.ReferencedFrameNumber = number
        series_uid = str(self.volume.instances[0].get("SeriesInstanceUID", ""))
        made.ReferencedSeriesSequence = origin.referenced_series(series_uid, self.volume.instances)


def _nearest(position: Sequence[float], among: dict[tuple[float, ...], origin.Plane]) -> tuple[float, ...]:
    key = tuple(float(value) for value in position)
    return key if key in among else min(among, key=lambda one: sum((a - b) ** 2 for a, b in zip(one, key, strict=True)))
