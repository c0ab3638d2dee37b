"""Segmentation: a label map as DICOM SEG on the grid of its source series, native: BINARY (PS3.3 A.51), or LABELMAP
(Supplement 243) for destinations that take it."""

from __future__ import annotations

import copy
import dataclasses
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
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

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
    without voxels; frames without voxels are left out, unless `empty_frames`. `how`: binary, labelmap, or
    labelmap-without-background (which describes no segment 0: viewers that count colours by position need that).
    `most_frames`: where one BINARY object would have more frames, each segment gets an object of its own.
    """

    volume: Volume
    masks: np.ndarray
    segments: Sequence[Segment]
    name: str = "segmentation"
    how: str = "binary"
    empty_frames: bool = False
    most_frames: int = 0

    @property
    def SOPClassUID(self) -> str:
        """SOP Class UID of the objects."""
        return str(SegmentationStorage) if self.how == "binary" else codes.LabelMapSegmentationStorage

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One SEG, or one for each segment (see `most_frames`); none when no voxel is labelled, or the source has no
        frame of reference to place it in."""
        source = self.volume.instances[0].header
        if self.masks.shape != self.volume.voxels.shape:
            raise ValueError(f"masks of shape {self.masks.shape} on a volume of {self.volume.voxels.shape}")
        if not self.masks.any() or not source.get("FrameOfReferenceUID"):
            return []
        if not self.most_frames or self._frames() <= self.most_frames:
            return Objects(1, lambda _: self._make(study, maker))
        found = [one for one in self.segments if (self.masks == one.number).any()]
        return Objects(len(found), lambda at: self._only(found[at])._make(study, maker, at + 1))

    def _frames(self) -> int:
        """How many frames one BINARY object would have."""
        if self.empty_frames:
            return len(self.masks) * len(self.segments)
        return sum(int((self.masks == one.number).any(axis=(1, 2)).sum()) for one in self.segments)

    def _only(self, segment: Segment) -> Segmentation:
        masks = (self.masks == segment.number).astype(np.uint8)
        return dataclasses.replace(self, masks=masks, segments=[dataclasses.replace(segment, number=1)])

    def _make(self, study: Study, maker: Maker, number: int = 1) -> Dataset:
        source = self.volume.instances[0].header
        made = self._build(study, maker, number)
        self._correct(made, study, maker)
        origin.take_identity(made, source)
        origin.take_region(made, source)
        equipment.mark(made, study, maker, source, self.name, "segmentation")
        return made

    def _build(self, study: Study, maker: Maker, number: int) -> HighdicomSegmentation:
        planes = origin.planes(self.volume)
        measures = PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in planes[0].PixelSpacing],
            slice_thickness=self._thickness(),
            spacing_between_slices=round(float(self.volume.spacing[0]), 6) if len(planes) > 1 else None,
        )
        return HighdicomSegmentation(
            source_images=origin.stand_ins(self.volume, study),
            pixel_array=self.masks,
            segmentation_type="BINARY" if self.how == "binary" else "LABELMAP",
            segment_descriptions=[self._description(one, study, maker) for one in self.segments],
            series_instance_uid=maker.uid(study, self.name, "series"),
            series_number=equipment.series_number(study, maker, self.name),
            sop_instance_uid=maker.uid(study, self.name, number if number > 1 else 0),
            instance_number=number,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=maker.model,
            software_versions=list(maker.software_versions),  # type: ignore[arg-type]  # a tuple raises a warning
            device_serial_number=maker.serial_number,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            pixel_measures=measures,
            plane_orientation=PlaneOrientationSequence(
                "PATIENT", [float(value) for value in planes[0].ImageOrientationPatient]
            ),
            omit_empty_frames=not self.empty_frames,
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
        if self.how == "labelmap-without-background":
            made.SegmentSequence = [item for item in made.SegmentSequence if item.SegmentNumber != 0]
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
