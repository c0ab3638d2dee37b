"""Report: findings as a Comprehensive 3D SR by TID 1500, Imaging Measurement Report (PS3.16 A, PS3.3 A.35.13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as PydicomCode
from pydicom.uid import ExplicitVRLittleEndian

from pipelines.base import Objects
from pipelines.outputs import codes, equipment, origin
from pipelines.outputs.codes import Code
from pipelines.outputs.identity import MANUFACTURER, Maker
from pipelines.outputs.parts import Evaluation, Finding, KeyRegion, Measurement
from pipelines.outputs.segmentation import Segmentation
from pipelines.study import Study

if TYPE_CHECKING:
    from pipelines.volume import Volume

_CONTAINS = sr.RelationshipTypeValues.CONTAINS


@dataclass(frozen=True, eq=False)
class Report:
    """Findings on one volume.

    A finding with a key region becomes a measurement group with a 2D outline on its key slice: viewers go blank on
    groups that refer only to a segmentation. A finding without one is a negative result, and is said as a qualitative
    evaluation of the whole study. `evaluations`: more that is said about the whole study. `segmentation`: what was
    measured.
    """

    volume: Volume
    findings: Sequence[Finding]
    evaluations: Sequence[Evaluation] = ()
    segmentation: Segmentation | None = None
    procedure: Code = codes.CT_PROCEDURE  # from CID 100
    name: str = "report"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One SR document: complete, unverified, preliminary; it names the earlier report that it replaces."""
        return Objects(1, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        source = self.volume.instances[0].header
        segmented = self.segmentation is not None and bool(self.segmentation.masks.any())
        evidence = self._evidence(study, maker, segmented)
        made = sr.Comprehensive3DSR(
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
        origin.take_identity(made, source)
        equipment.mark(made, study, maker, source, self.name, "report")
        made.ContentTemplateSequence[0].MappingResource = "DCMR"
        return made

    def _evidence(self, study: Study, maker: Maker, segmented: bool) -> list[Dataset]:
        evidence = list({str(one.SOPInstanceUID): one for one in origin.stand_ins(self.volume, study)}.values())
        if segmented and self.segmentation is not None and evidence[0].FrameOfReferenceUID:
            made = origin.bare(self.volume.instances[0], study, self.volume)
            made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
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
        root = sr.ContainerContentItem(PydicomCode(*codes.IMAGING_MEASUREMENT_REPORT), template_id="1500")
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
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=maker.uid(study, "tracking", finding.tracking_id), identifier=finding.tracking_id
            ),
            referenced_regions=[self._region(finding.key)],
            finding_type=PydicomCode(*finding.type),
            finding_sites=sites,
            algorithm_id=sr.AlgorithmIdentification(
                name=maker.model,
                version=maker.model_version,
                parameters=list(maker.software_versions),
                manufacturer=MANUFACTURER,
            ),
            measurements=[_measurement(one) for one in finding.measurements],
        )
        for one in finding.evaluations:
            group[0].ContentSequence.append(_evaluation(one))
        return group  # type: ignore[return-value]  # a template is a list of content items, typed as datasets

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
