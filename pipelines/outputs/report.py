"""Report: findings as an SR document by TID 1500, Imaging Measurement Report (PS3.16 A, PS3.3 A.35.13)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.base import Objects
from pipelines.outputs import codes, content, equipment, origin
from pipelines.outputs.codes import Code
from pipelines.outputs.identity import MANUFACTURER, Maker
from pipelines.outputs.parts import Evaluation, Finding, KeyRegion, Measurement
from pipelines.outputs.segmentation import Segmentation
from pipelines.radiograph import Radiograph
from pipelines.study import Study

_CONTAINS = sr.RelationshipTypeValues.CONTAINS


@dataclass(frozen=True)
class Style:
    """How a report is written for those who read it.

    `by_segment`: a finding with a segment refers to that, and viewers show the values as text. `editable`: outlines
    stand under their measurements and are named as the tool of OHIF that takes them over, and then measures anew.
    """

    title: Code = codes.IMAGING_MEASUREMENT_REPORT  # from CID 7021
    storage: type = sr.Comprehensive3DSR
    by_segment: bool = False
    editable: bool = False


STYLES = {
    "tid1500": Style(),
    "tid1500-text": Style(codes.ONCOLOGY_MEASUREMENT_REPORT, by_segment=True),
    "ohif-editable": Style(editable=True),
    "comprehensive-2d": Style(storage=sr.ComprehensiveSR),
}
_EDITED_WITH = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"  # the tracking identifier by which OHIF knows its own tool


@dataclass(frozen=True, eq=False)
class Report:
    """Findings on one volume or radiograph.

    A finding with a key region becomes a measurement group with a 2D outline on its key slice: viewers go blank on
    groups that refer only to a segmentation. A finding without one is a negative result, and is said as a qualitative
    evaluation of the whole study. `evaluations`: more that is said about the whole study. `segmentation`: what was
    measured. `limitations`: what the model cannot do, for those forms that have room to say it.
    """

    volume: origin.Source
    findings: Sequence[Finding]
    evaluations: Sequence[Evaluation] = ()
    segmentation: Segmentation | None = None
    procedure: Code = codes.CT_PROCEDURE  # from CID 100
    name: str = "report"
    style: Style = STYLES["tid1500"]
    limitations: str = ""

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One SR document: complete, unverified, preliminary; it names the earlier report that it replaces."""
        return Objects(1, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        source = self.volume.instances[0].header
        evidence = self._evidence(study, maker)
        made = self.style.storage(
            evidence=evidence,
            content=self._content(study, maker),
            series_instance_uid=maker.uid(study, self.name, "series"),
            series_number=equipment.series_number(study, maker, self.name),
            sop_instance_uid=maker.uid(study, self.name),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            previous_versions=self._predecessors(study) or None,
            record_evidence=True,
        )
        content.make_writable(made.ContentSequence, source)
        if requests := content.requests_of(source, study):
            made.ReferencedRequestSequence = requests
        origin.take_identity(made, source)
        equipment.mark(made, study, maker, source, self.name, "report")
        made.ContentTemplateSequence[0].MappingResource = "DCMR"
        return made

    def _evidence(self, study: Study, maker: Maker) -> list[Dataset]:
        evidence = list({str(one.SOPInstanceUID): one for one in origin.stand_ins(self.volume, study)}.values())
        if self._segmented and self.segmentation is not None:
            made = origin.bare(self.volume.instances[0], study, self.volume)
            made.SOPClassUID = self.segmentation.SOPClassUID
            made.SOPInstanceUID = maker.uid(study, self.segmentation.name)
            made.SeriesInstanceUID = maker.uid(study, self.segmentation.name, "series")
            evidence.append(made)
        return evidence

    def _predecessors(self, study: Study) -> list[Dataset]:
        found = []
        for replaced in study.replaces:
            if replaced.output == self.name:
                item = Dataset()
                item.SOPClassUID, item.SOPInstanceUID = replaced.SOPClassUID, replaced.SOPInstanceUID
                item.SeriesInstanceUID, item.StudyInstanceUID = replaced.SeriesInstanceUID, study.StudyInstanceUID
                found.append(item)
        return found

    def _content(self, study: Study, maker: Maker) -> Dataset:
        """The document's tree; its root is put together here, for highdicom's takes no report without measurements."""
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=maker.device_uid,
            name=f"{maker.model} {maker.model_version}",
            manufacturer_name=MANUFACTURER,
            model_name=maker.model,
            serial_number=maker.serial_number,
        )
        root = sr.ContainerContentItem(PydicomCode(*self.style.title), template_id="1500")
        root.ContentSequence = sr.ContentSequence()
        root.ContentSequence.extend(sr.LanguageOfContentItemAndDescendants(_coded(codes.ENGLISH)))
        root.ContentSequence.extend(
            sr.ObservationContext(observer_device_context=sr.ObserverContext(_coded(codes.DEVICE), device))
        )
        root.ContentSequence.append(
            sr.CodeContentItem(PydicomCode(*codes.PROCEDURE_REPORTED), PydicomCode(*self.procedure),
                               sr.RelationshipTypeValues.HAS_CONCEPT_MOD)
        )  # fmt: skip
        groups = [item for one in self.findings if one.key is not None for item in self._group(one, study, maker)]
        said = [
            *self.evaluations,
            *(one for finding in self.findings if finding.key is None for one in _negative(finding)),
        ]
        for name, items in ((codes.IMAGING_MEASUREMENTS, groups),
                            (codes.QUALITATIVE_EVALUATIONS, [_evaluation(one) for one in said])):  # fmt: skip
            if items:
                container = sr.ContainerContentItem(PydicomCode(*name), relationship_type=_CONTAINS)
                container.ContentSequence = sr.ContentSequence(items)
                root.ContentSequence.append(container)
        return root

    def _group(self, finding: Finding, study: Study, maker: Maker) -> Sequence[sr.ContentItem]:
        if finding.key is None:
            raise ValueError("a finding without a key region has no measurement group")
        sites = []
        if finding.site:
            laterality = PydicomCode(*finding.laterality) if finding.laterality else None
            sites.append(sr.FindingSite(PydicomCode(*finding.site), laterality=laterality))
        region = self._region(finding.key)
        measurements = [_measurement(one) for one in finding.measurements]
        placing: dict[str, Any] = {"referenced_regions": [region]}
        template: type = sr.VolumetricROIMeasurementsAndQualitativeEvaluations  # TID 1411
        if isinstance(self.volume, Radiograph):
            template, placing = sr.PlanarROIMeasurementsAndQualitativeEvaluations, {"referenced_region": region}  # 1410
        elif self.style.by_segment and finding.segment is not None and self._segmented:
            placing = {"referenced_segment": self._segment(finding.segment, study, maker)}
        group = template(
            tracking_identifier=sr.TrackingIdentifier(
                uid=maker.uid(study, "tracking", finding.tracking_id),
                identifier=_EDITED_WITH if self.style.editable else finding.tracking_id,
            ),
            **placing,
            finding_type=PydicomCode(*finding.type),
            finding_sites=sites,
            algorithm_id=sr.AlgorithmIdentification(
                name=maker.model,
                version=maker.model_version,
                parameters=list(maker.software_versions),
                manufacturer=MANUFACTURER,
            ),
            measurements=measurements,
        )
        for one in finding.evaluations:
            group[0].ContentSequence.append(_evaluation(one))
        if self.style.editable:
            group[0].ContentSequence.append(_evaluation(Evaluation(codes.COMMENT, finding.tracking_id)))
            _put_under_measurements(group[0])
        return group

    @property
    def _segmented(self) -> bool:
        """Whether there is a segmentation object to refer to."""
        header = self.volume.instances[0].header
        return (
            self.segmentation is not None
            and bool(self.segmentation.masks.any())
            and bool(header.get("FrameOfReferenceUID"))
        )

    def _segment(self, number: int, study: Study, maker: Maker) -> sr.ReferencedSegment:
        assert self.segmentation is not None
        return sr.ReferencedSegment(
            sop_class_uid=self.segmentation.SOPClassUID,
            sop_instance_uid=maker.uid(study, self.segmentation.name),
            segment_number=number,
            source_series=sr.SourceSeriesForSegmentation(str(self.volume.instances[0].get("SeriesInstanceUID", ""))),
        )

    def _region(self, key: KeyRegion) -> sr.ImageRegion:
        """The outline as a closed 2D polyline; image coordinates are indices plus half a pixel (PS3.3 C.18.6.1.1)."""
        instance, number = self.volume.instances[key.frame], self.volume.frame_numbers[key.frame]
        points = np.asarray(key.polygon, dtype=np.float64) + 0.5
        if not np.array_equal(points[0], points[-1]):
            points = np.vstack([points, points[:1]])
        return sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=points,
            source_image=sr.SourceImageForRegion(
                instance.SOPClassUID,
                instance.SOPInstanceUID,
                [number] if origin.is_multi_frame(self.volume) else None,
            ),
        )


def _put_under_measurements(group: Dataset) -> None:
    """Move a group's outline under each of its measurements, where OHIF looks for it (TID 300, row 7)."""
    items = list(group.ContentSequence)
    regions = [item for item in items if item.ValueType == "SCOORD"]
    for item in items:
        if item.ValueType != "NUM":
            continue
        below = []
        for region in regions:
            moved = copy.deepcopy(region)
            moved.RelationshipType = "INFERRED FROM"
            below.append(moved)
        item.ContentSequence = [*(item.get("ContentSequence") or ()), *below]
    if any(item.ValueType == "NUM" for item in items):
        group.ContentSequence = [item for item in items if item.ValueType != "SCOORD"]


def _coded(code: Code) -> sr.CodedConcept:
    return sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _negative(finding: Finding) -> list[Evaluation]:
    """What is said for a finding that was looked for and not seen."""
    where = " ".join(one.meaning for one in (finding.laterality, finding.site) if one)
    said = list(finding.evaluations) or [Evaluation(finding.type, codes.NOT_SEEN)]
    return [*said, Evaluation(codes.COMMENT, f"{finding.tracking_id}: not seen{f' ({where})' if where else ''}")]


def _evaluation(one: Evaluation) -> sr.ContentItem:
    name = PydicomCode(*one.name)
    if isinstance(one.value, str):
        return sr.TextContentItem(name, one.value, _CONTAINS)
    return sr.CodeContentItem(name, PydicomCode(*one.value), _CONTAINS)


def _measurement(one: Measurement) -> sr.Measurement:
    return sr.Measurement(
        name=PydicomCode(*one.name),
        value=one.value,
        unit=PydicomCode(*one.unit),
        derivation=PydicomCode(*one.derivation) if one.derivation else None,
    )
