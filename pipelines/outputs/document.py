"""Document: the report as a page to read and print, as an Encapsulated PDF (PS3.3 A.45.1, C.24.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from pipelines.base import Objects
from pipelines.outputs import codes, content, equipment, origin, page, wording
from pipelines.outputs.colours import lab_to_rgb
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.identity import MANUFACTURER, Maker
from pipelines.outputs.key_picture import key_picture
from pipelines.outputs.page import FAINT, HEIGHT, INK, MARGIN, WIDTH, Pages
from pipelines.outputs.parts import Finding
from pipelines.outputs.report import Report
from pipelines.study import Instance, Study

_SEXES = {"M": "male", "F": "female", "O": "other"}
_PICTURE = (WIDTH - 2 * MARGIN - 16) / 2  # two in a row
_OUTLINE = (255, 222, 64)  # of a finding without a segment
_MOST_PICTURES = 8
_ALWAYS = (
    "This report was made by software without a person. It can miss findings and show what is not there. "
    "Read the images."
)


@dataclass(frozen=True, eq=False)
class Document:
    """A report on one or two pages: whose it is, what the model found and did not find, the key images with outlines,
    and with the colours of `heatmap`, and what the model cannot do (`limitations`). `window`: centre and width of the
    pictures, in the voxels' units; None for each one's own range."""

    report: Report
    limitations: str = ""
    heatmap: Heatmap | None = None
    window: tuple[float, float] | None = None
    name: str = "document"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One object, always: also a negative result is a report."""
        return Objects(1, lambda _: self._make(study, maker))

    def _make(self, study: Study, maker: Maker) -> Dataset:
        volume = self.report.volume
        source = volume.instances[0].header
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = EncapsulatedPDFStorage, maker.uid(study, self.name)
        made.SeriesInstanceUID = maker.uid(study, self.name, "series")
        made.Modality, made.InstanceNumber, made.ConversionType = "DOC", 1, "WSD"
        made.BurnedInAnnotation, made.RecognizableVisualFeatures = "YES", "NO"
        made.AcquisitionDateTime = _acquired(volume.instances[0])
        made.SourceInstanceSequence = [
            origin.reference(one.SOPClassUID, one.SOPInstanceUID) for one in content.sources(volume)
        ]
        made.DocumentTitle = wording.writable(_title(maker), source)
        made.ConceptNameCodeSequence = [codes.DIAGNOSTIC_IMAGING_REPORT.item()]
        made.VerificationFlag = "UNVERIFIED"
        made.MIMETypeOfEncapsulatedDocument = "application/pdf"
        pdf = self.pdf(study, maker)
        made.EncapsulatedDocumentLength = len(pdf)
        made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        origin.take_identity(made, source)
        equipment.mark(made, study, maker, source, self.name, "report as PDF")
        return made

    def pdf(self, study: Study, maker: Maker) -> bytes:
        """The pages. Dates and identifiers in them hang on `maker` and the source alone."""
        first = self.report.volume.instances[0]
        footing = (f"{_name(first)}, Patient ID {first.get('PatientID', 'not stated')}",
                   f"{_title(maker)}, Study {study.StudyInstanceUID}")  # fmt: skip
        pages = Pages(_title(maker), f"{MANUFACTURER} {maker.software_version}", maker.created,
                      f"{equipment.WARNING}. Not verified by a person.", footing, _ideographs(first))  # fmt: skip
        pages.paragraph(_title(maker), 16, INK, bold=True)
        self._identity(pages, first, study, maker)
        self._findings(pages)
        if self.report.evaluations:
            pages.title("Said of the whole study")
            for one in self.report.evaluations:
                named = "" if one.name == codes.COMMENT else f"{one.name.meaning}: "
                pages.paragraph(f"{named}{wording.evaluated(one)}")
        self._pictures(pages)
        pages.title("Limitations")
        for text in (self.limitations, _ALWAYS):
            if text:
                pages.paragraph(text)
        return pages.content()

    def _identity(self, pages: Pages, first: Instance, study: Study, maker: Maker) -> None:
        """Patient and study as the source has them, and the model, in two columns."""

        def told(keyword: str) -> str:
            value = first.get(keyword)
            return "not stated" if value is None else str(value)

        sex = told("PatientSex")
        when = maker.created_utc.strftime("%Y-%m-%d %H:%M:%S UTC")
        revision = "" if study.revision == 1 else f", revision {study.revision} of the study"
        left = [
            ("Patient", _name(first)), ("Patient ID", told("PatientID")),
            ("Birth date", _day(told("PatientBirthDate"))), ("Sex", _SEXES.get(sex, sex)),
            ("Accession number", told("AccessionNumber")),
            ("Study", f"{told('StudyDescription')}, {_day(told('StudyDate'))}"),
            ("Series", f"{told('SeriesDescription')} (number {told('SeriesNumber')}, {told('Modality')})"),
        ]  # fmt: skip
        right = [
            ("Model", f"{maker.model} {maker.model_version}"), ("Digest of the model", maker.model_digest),
            ("Pipeline", f"{maker.pipeline} {maker.pipeline_version}"),
            ("Software", f"{MANUFACTURER} {maker.software_version}"), ("Made", f"{when}{revision}"),
        ]  # fmt: skip
        pages.y -= 8
        top, lowest = pages.y, pages.y
        for offset, rows in ((0.0, left), (_PICTURE + 16, right)):
            pages.y = top
            for label, value in rows:
                for step, line in enumerate(page.wrapped(value, 9, _PICTURE - 92, _ideographs(first))):
                    pages.y -= 12.5
                    if not step:
                        pages.put(MARGIN + offset, pages.y, label, 8, FAINT)
                    pages.put(MARGIN + offset + 90, pages.y, line, 9)
            lowest = min(lowest, pages.y)
        pages.y = lowest - 4

    def _findings(self, pages: Pages) -> None:
        widths = [150.0, 100.0, 150.0, WIDTH - 2 * MARGIN - 400.0]
        pages.title("Findings")
        if not self.report.findings:
            pages.paragraph("The model looks for no single finding.")
            return
        pages.row(("Looked for", "Where", "Measured", "Value"), widths, 8, colours=[FAINT] * 4)
        for one in self.report.findings:
            rows = [(wording.quantity(each), wording.amount(each)) for each in one.measurements]
            rows += [(each.name.meaning, wording.evaluated(each)) for each in one.evaluations]
            if one.key is None:
                rows.insert(0, ("Result", "not seen"))
            for index, (name, value) in enumerate(rows or [("Result", "seen")]):
                head = (one.tracking_id, wording.place(one)) if not index else ("", "")
                pages.row((*head, name, value), widths)
            pages.y -= 4
            pages.rule()

    def _pictures(self, pages: Pages) -> None:
        keyed = [one for one in self.report.findings if one.key is not None]
        frames = sorted({one.key.frame for one in keyed if one.key is not None})
        if not frames:
            return
        pages.title("Key images")
        for start in range(0, min(len(frames), _MOST_PICTURES), 2):
            shown = [(frame, key_picture(self.report.volume, frame, self.heatmap, self.window))
                     for frame in frames[start : start + 2]]  # fmt: skip
            heights = [min(_PICTURE / each.proportion, 0.36 * HEIGHT) for _, each in shown]
            pages.room(max(heights) + 46)
            top, below = pages.y - 6, 0.0
            for at, ((frame, each), height) in enumerate(zip(shown, heights, strict=True)):
                x, width = MARGIN + at * (_PICTURE + 16), height * each.proportion
                pages.picture(each.picture, x, top, width, height)
                rows, columns = self.report.volume.voxels.shape[1:]
                here = [one for one in keyed if one.key is not None and one.key.frame == frame]
                for one in here:
                    pages.line([(x + (column + 0.5) / columns * width, top - (row + 0.5) / rows * height)
                                for column, row in np.asarray(one.key.polygon, dtype=float)] if one.key else [],
                               self._colour(one))  # fmt: skip
                for letter, left in ((each.sides[0], x + 3), (each.sides[1], x + width - 16)):
                    if letter:
                        pages.mark(left, top - height / 2, letter)
                caption = f"{self._called(frame)}: {', '.join(one.tracking_id for one in here)}"
                lines = page.wrapped(caption, 8, _PICTURE)[:2]
                below = max(below, height + 11 * len(lines))
                for step, line in enumerate(lines, 1):
                    pages.put(x, top - height - 11 * step, line, 8, FAINT)
            pages.y = top - below - 4
        if len(frames) > _MOST_PICTURES:
            pages.paragraph(f"{len(frames) - _MOST_PICTURES} more key images are not shown here.", 8, FAINT)
        said = "Outlines: what was measured or found."
        if self.heatmap is not None:
            said += (
                f" Colours: {self.heatmap.method}, from {self.heatmap.low:g} to {self.heatmap.high:g}, dark to bright."
            )
        pages.paragraph(f"{said} Letters at the edges: the patient's own sides.", 8, FAINT)

    def _colour(self, finding: Finding) -> page.Colour:
        segments = self.report.segmentation.segments if self.report.segmentation is not None else ()
        for one in segments:
            if one.number == finding.segment:
                red, green, blue = (int(part) for part in lab_to_rgb(np.asarray(one.colour)))
                return red, green, blue
        return _OUTLINE

    def _called(self, frame: int) -> str:
        volume = self.report.volume
        number = volume.instances[frame].get("InstanceNumber")
        called = "Image" if number is None else f"Image {number}"
        return f"{called}, frame {volume.frame_numbers[frame]}" if origin.is_multi_frame(volume) else called


def _title(maker: Maker) -> str:
    return f"AI report: {maker.model} {maker.model_version}"


def _name(first: Instance) -> str:
    """Every form of the name that the source has (alphabetic, ideographic, phonetic), parts in the order of DICOM."""
    groups = [
        " ".join(part for part in group.split("^") if part) for group in str(first.get("PatientName", "")).split("=")
    ]
    return " / ".join(group for group in groups if group) or "not stated"


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def _acquired(first: Instance) -> str | None:
    """Acquisition DateTime, from the parts where the source has no whole one; empty where it does not say it."""
    whole = first.get("AcquisitionDateTime")
    if whole is not None:
        return str(whole)
    day, clock = str(first.get("AcquisitionDate", "")), str(first.get("AcquisitionTime", ""))
    for form, text in (("%Y%m%d%H%M%S", f"{day}{clock.partition('.')[0]}"), ("%Y%m%d", day)):
        try:
            datetime.strptime(text, form)
        except ValueError:
            continue
        return text
    return None


def _ideographs(first: Instance) -> str:
    """The font for Han characters: by the character sets that the source names, Japanese where none tells."""
    stated = first.get("SpecificCharacterSet") or ""
    sets = [stated] if isinstance(stated, str) else list(stated)
    name = str(first.get("PatientName", ""))
    if "ISO 2022 IR 149" in sets or any("\uac00" <= one <= "\ud7a3" for one in name):
        return page.KOREAN
    return page.CHINESE if {"GB18030", "GBK", "ISO 2022 IR 58"} & set(sets) else page.JAPANESE
