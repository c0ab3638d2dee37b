"""Root: one document that names every result object of a run, so that a display finds them all from one place.

IHE AI Results puts a measurement report at the root of a tree of results; this is one by TID 1500 without measurements
of its own (PS3.16 A, PS3.3 A.35.13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage

from pipelines.base import Objects
from pipelines.outputs import codes, content, equipment, origin
from pipelines.outputs.codes import Code
from pipelines.outputs.identity import Maker
from pipelines.study import Study

_NO_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.88.",  # documents, key objects among them
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, surfaces; but see the next
)
_IMAGES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segmentations are images to a document


@dataclass(frozen=True)
class ResultReference:
    """One result of the run: what its output is called, and the UIDs of its class, its series and its objects."""

    name: str
    SOPClassUID: str
    SeriesInstanceUID: str
    SOPInstanceUIDs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Root:
    """The results of one run on one volume. `procedure`: as in the report, from CID 100."""

    volume: origin.Source
    results: Sequence[ResultReference]
    procedure: Code = codes.CT_PROCEDURE
    name: str = "root"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One document; none when there is no result to name. Raises ValueError for a result without objects."""
        for one in self.results:
            if not one.SOPInstanceUIDs:
                raise ValueError(f"result {one.name} names no object")
        return Objects(1 if self.results else 0, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        said = [content.text(codes.COMMENT, f"{equipment.WARNING}. {maker.model} {maker.model_version}")]
        said += [content.text(codes.COMMENT, _summary(one)) for one in self.results]
        children = [
            content.language(),
            *content.observer(maker),
            content.code(codes.PROCEDURE_REPORTED, self.procedure, content.HAS_CONCEPT_MOD),
            content.container(codes.QUALITATIVE_EVALUATIONS, said),
            *(_listed(one) for one in self.results),
        ]
        evidence = [*content.sources(self.volume), *(each for one in self.results for each in _references(one))]
        return content.document(study, maker, self.volume.instances[0].header, self.name, "results",
                                Comprehensive3DSRStorage, codes.IMAGING_MEASUREMENT_REPORT, children, evidence,
                                "1500")  # fmt: skip


def _references(result: ResultReference) -> list[content.Reference]:
    return [content.Reference(result.SeriesInstanceUID, result.SOPClassUID, one) for one in result.SOPInstanceUIDs]


def _summary(result: ResultReference) -> str:
    count = len(result.SOPInstanceUIDs)
    kind = UID(result.SOPClassUID).name.removesuffix(" Storage")
    return f"{result.name}: {kind}, {count} {'object' if count == 1 else 'objects'}"


def _listed(result: ResultReference) -> Dataset:
    """A container with one reference for each object; TID 1500 is extensible, and has no row for such a list."""
    is_image = result.SOPClassUID in _IMAGES or not result.SOPClassUID.startswith(_NO_IMAGES)
    return content.container(codes.MANIFEST, [
        content.text(codes.COMMENT, _summary(result)),
        *(content.referred(one, is_image) for one in _references(result)),
    ])  # fmt: skip
