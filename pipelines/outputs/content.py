"""Structured reports as plain datasets: content items, and the document around them (PS3.3 C.17.2, C.17.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pipelines.outputs import codes, equipment, origin
from pipelines.outputs.codes import Code
from pipelines.outputs.identity import MANUFACTURER, Maker
from pipelines.outputs.wording import writable
from pipelines.study import Study

CONTAINS, HAS_CONCEPT_MOD, HAS_OBS_CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"


@dataclass(frozen=True)
class Reference:
    """One instance that a document names: its series, class, UID, and the frame (from 1) where it has several."""

    SeriesInstanceUID: str
    SOPClassUID: str
    SOPInstanceUID: str
    frame: int | None = None


def _item(kind: str, name: Code | None, relationship: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, kind
    if name is not None:
        item.ConceptNameCodeSequence = [name.item()]
    return item


def container(name: Code, children: Sequence[Dataset]) -> Dataset:
    """A CONTAINER below the root, with what it contains."""
    item = _item("CONTAINER", name, CONTAINS)
    item.ContinuityOfContent, item.ContentSequence = "SEPARATE", list(children)
    return item


def text(name: Code, value: str, relationship: str = CONTAINS) -> Dataset:
    """A TEXT item."""
    item = _item("TEXT", name, relationship)
    item.TextValue = value
    return item


def code(name: Code, value: Code, relationship: str = CONTAINS) -> Dataset:
    """A CODE item."""
    item = _item("CODE", name, relationship)
    item.ConceptCodeSequence = [value.item()]
    return item


def uid(name: Code, value: str, relationship: str = CONTAINS) -> Dataset:
    """A UIDREF item."""
    item = _item("UIDREF", name, relationship)
    item.UID = value
    return item


def referred(reference: Reference, is_image: bool, name: Code | None = None) -> Dataset:
    """An IMAGE item, or a COMPOSITE item for what is no image."""
    item = _item("IMAGE" if is_image else "COMPOSITE", name, CONTAINS)
    item.ReferencedSOPSequence = [
        origin.reference(reference.SOPClassUID, reference.SOPInstanceUID, reference.frame)
    ]  # fmt: skip
    return item


def language() -> Dataset:
    """TID 1204: the content is in English."""
    return code(codes.LANGUAGE, codes.ENGLISH, HAS_CONCEPT_MOD)


def observer(maker: Maker) -> list[Dataset]:
    """TID 1002 and 1004: the observer is the model, named as in Contributing Equipment."""
    return [
        code(codes.OBSERVER_TYPE, codes.DEVICE, HAS_OBS_CONTEXT),
        uid(codes.DEVICE_OBSERVER_UID, maker.device_uid, HAS_OBS_CONTEXT),
        text(codes.DEVICE_OBSERVER_NAME, f"{maker.model} {maker.model_version}", HAS_OBS_CONTEXT),
        text(codes.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER, HAS_OBS_CONTEXT),
        text(codes.DEVICE_OBSERVER_MODEL, maker.model, HAS_OBS_CONTEXT),
        text(codes.DEVICE_OBSERVER_SERIAL, maker.serial_number, HAS_OBS_CONTEXT),
    ]


def sources(volume: origin.Source) -> list[Reference]:
    """Every instance of a volume once, without its frames: what a document about all of it is based on."""
    found = {one.SOPInstanceUID: source(volume, index, False) for index, one in enumerate(volume.instances)}
    return list(found.values())


def source(volume: origin.Source, index: int, with_frame: bool = True) -> Reference:
    """The source of one frame of a volume, by the frame's index."""
    instance = volume.instances[index]
    number = volume.frame_numbers[index] if with_frame and origin.is_multi_frame(volume) else None
    return Reference(str(instance.get("SeriesInstanceUID", "")), instance.SOPClassUID, instance.SOPInstanceUID, number)


def document(
    study: Study,
    maker: Maker,
    source: Dataset,
    output: str,
    what: str,
    class_uid: str,
    title: Code,
    children: Iterable[Dataset],
    evidence: Iterable[Reference],
    template: str | None = None,
) -> Dataset:
    """One document: of the patient and study of `source`, complete, unverified, preliminary, with the earlier one that
    it replaces, and with `evidence`, which must name every instance that `children` name.

    `what`: for Series Description. A Key Object Selection has its own module instead of the flags (PS3.3 C.17.6.2).
    `template`: its identifier in PS3.16, if there is one. Texts are written in the character set of `source`.
    """
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = class_uid, maker.uid(study, output)
    made.SeriesInstanceUID = maker.uid(study, output, "series")
    made.InstanceNumber = 1
    made.ReferencedPerformedProcedureStepSequence = []
    if class_uid == KeyObjectSelectionDocumentStorage:
        made.Modality = "KO"
    else:
        made.Modality = "SR"
        made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
        made.PerformedProcedureCodeSequence = []
        if earlier := _predecessors(study, output):
            made.PredecessorDocumentsSequence = earlier
    if requests := requests_of(source, study):
        made.ReferencedRequestSequence = requests
    made.CurrentRequestedProcedureEvidenceSequence = _by_series(study, evidence)
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [title.item()]
    if template is not None:
        named = Dataset()
        named.MappingResource, named.TemplateIdentifier = "DCMR", template
        made.ContentTemplateSequence = [named]
    made.ContentSequence = list(children)
    make_writable(made.ContentSequence, source)
    origin.take_identity(made, source)
    equipment.mark(made, study, maker, source, output, what)
    return made


def make_writable(items: Iterable[Dataset], source: Dataset) -> None:
    """Let every text of content items, and of those below them, fit into the character set of `source`."""
    for item in items:
        if "TextValue" in item:
            item.TextValue = writable(item.TextValue, source)
        for name in (*item.get("ConceptNameCodeSequence", ()), *item.get("ConceptCodeSequence", ())):
            name.CodeMeaning = writable(name.CodeMeaning, source)
        make_writable(item.get("ContentSequence", ()), source)


def _by_series(study: Study, references: Iterable[Reference]) -> list[Dataset]:
    """One item of a Hierarchical SOP Instance Reference Sequence (PS3.3 table C.17-3): each instance once."""
    by_series: dict[str, dict[str, Dataset]] = {}
    for one in references:
        inside = by_series.setdefault(one.SeriesInstanceUID, {})
        inside.setdefault(one.SOPInstanceUID, origin.reference(one.SOPClassUID, one.SOPInstanceUID))
    item = Dataset()
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study.StudyInstanceUID, []
    for series_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, list(instances.values())
        item.ReferencedSeriesSequence.append(series)
    return [item]


def _predecessors(study: Study, output: str) -> list[Dataset]:
    earlier = [Reference(one.SeriesInstanceUID, one.SOPClassUID, one.SOPInstanceUID) for one in study.replaces
               if one.output == output]  # fmt: skip
    return _by_series(study, earlier) if earlier else []


def requests_of(source: Dataset, study: Study) -> list[Dataset]:
    """Referenced Request Sequence (PS3.3 C.17.2) from the requests that the source names, if any.

    Its attributes of Type 2 are there, and empty where the source does not say them.
    """
    found = []
    for asked in source.get("RequestAttributesSequence") or ():
        if not asked.get("RequestedProcedureID") and not asked.get("AccessionNumber"):
            continue
        item = Dataset()
        item.StudyInstanceUID = study.StudyInstanceUID
        item.ReferencedStudySequence = []
        item.AccessionNumber = asked.get("AccessionNumber") or source.get("AccessionNumber")
        for keyword in ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
                        "RequestedProcedureID", "RequestedProcedureDescription"):  # fmt: skip
            setattr(item, keyword, asked.get(keyword))
        item.RequestedProcedureCodeSequence = asked.get("RequestedProcedureCodeSequence") or []
        found.append(item)
    return found
