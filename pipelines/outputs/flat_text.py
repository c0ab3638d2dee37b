"""Flat text: the report as a Basic Text SR, one line for each thing said, for reporting systems that fill templates
from names and values and read no measurement groups (PS3.3 A.35.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from pipelines.base import Objects
from pipelines.outputs import codes, content, equipment, wording
from pipelines.outputs.identity import Maker
from pipelines.outputs.parts import Finding
from pipelines.outputs.report import Report
from pipelines.study import Study


@dataclass(frozen=True, eq=False)
class FlatText:
    """The findings and evaluations of a report as TEXT items right below the root, each named by its code and worded
    `what: name = value unit`."""

    report: Report
    name: str = "report-flat"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One document: complete, unverified, preliminary; it names the earlier one that it replaces."""
        return Objects(1, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        volume = self.report.volume
        children = [content.language(), *content.observer(maker), *self._lines(maker)]
        return content.document(study, maker, volume.instances[0].header, self.name, "report as text",
                                BasicTextSRStorage, codes.DIAGNOSTIC_IMAGING_REPORT, children,
                                content.sources(volume))  # fmt: skip

    def _lines(self, maker: Maker) -> Iterator[Dataset]:
        yield content.text(codes.COMMENT, equipment.WARNING)
        yield content.text(codes.PROCEDURE_REPORTED, self.report.procedure.meaning)
        yield content.text(codes.ALGORITHM_NAME, maker.model)
        yield content.text(codes.ALGORITHM_VERSION, f"{maker.model_version} ({maker.serial_number})")
        for one in self.report.findings:
            yield from _finding(one)
        for said in self.report.evaluations:
            told = said.value if isinstance(said.value, str) else f"{said.name.meaning} = {said.value.meaning}"
            yield content.text(said.name, told)


def _finding(finding: Finding) -> Iterator[Dataset]:
    """Every line names what it speaks of: a reporting system shows lines one by one."""
    if finding.key is None:
        yield content.text(codes.FINDING, wording.negative(finding))
    elif not finding.measurements and not finding.evaluations:
        yield content.text(codes.FINDING, f"{finding.tracking_id}: {codes.PRESENT.meaning.lower()}")
    for measured in finding.measurements:
        value = f"{wording.quantity(measured)} = {wording.amount(measured)}"
        yield content.text(measured.name, f"{finding.tracking_id}: {value}")
    for said in finding.evaluations:
        yield content.text(said.name, f"{finding.tracking_id}: {said.name.meaning} = {wording.evaluated(said)}")
