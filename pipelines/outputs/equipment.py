"""The marks that every result carries: who made it, in which series, when, and the file meta information."""

from __future__ import annotations

import re
import zlib
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipelines.outputs.codes import Code
from pipelines.outputs.identity import IMPLEMENTATION_CLASS_UID, MANUFACTURER, PURPOSE, Maker
from pipelines.study import Study

WARNING = "AI result, not for primary diagnosis"

# Series numbers: a thousand for each pipeline, twenty for each revision, so that a study's lists stay sorted.
_FIRST_NUMBER = {"ct-lung": 9000, "cxr-triage": 8000}
_OFFSET = {
    "segmentation": 1, "report": 2, "heatmap": 3, "burn-contours": 4, "parametric-map": 5, "key-objects": 6,
    "presentation-state": 7, "pdf": 8, "derived": 9, "report-tid1500-text": 10, "report-ohif-editable": 11,
    "report-comprehensive-2d": 12, "report-flat-text": 13, "heatmap-multi-frame": 14, "segmentation-labelmap": 15,
}  # fmt: skip


def series_number(study: Study, maker: Maker, output: str) -> int:
    """A Series Number in the pipeline's own high range that no series of the study has; the same at every rerun."""
    first = _FIRST_NUMBER.get(maker.pipeline)
    if first is None:  # a site's own pipeline: above the table, from its name
        first = 10_000 + zlib.crc32(maker.pipeline.encode()) % 900 * 1000
    taken = {str(series.get("SeriesNumber", "")) for series in study.series}
    offset = _OFFSET.get(output, 16 + zlib.crc32(output.encode()) % 4)
    number = first + 20 * (min(study.revision, 50) - 1) + offset
    while str(number) in taken:
        number += 1_000_000
    return number


def series_description(maker: Maker, what: str) -> str:
    """`AI <model> <version> <what>`, cut to the 64 characters of LO."""
    return f"AI {maker.model} {maker.model_version} {what}"[:64].rstrip()


def mark(result: Dataset, study: Study, maker: Maker, source: Dataset, output: str, what: str) -> None:
    """Set General Series, General Equipment, Contributing Equipment, dates and file meta information of one object.

    Dates are those of `maker.created`, so that a rerun writes the same bytes.
    """
    now, offset = _local(maker, source)
    if offset:
        result.TimezoneOffsetFromUTC = offset
    day, clock = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for keyword in ("InstanceCreation", "Content", "Series"):
        setattr(result, f"{keyword}Date", day)
        setattr(result, f"{keyword}Time", clock)
    result.SeriesNumber = series_number(study, maker, output)
    result.SeriesDescription = series_description(maker, what)
    result.Manufacturer = MANUFACTURER
    result.ManufacturerModelName = maker.model
    result.DeviceSerialNumber = maker.serial_number
    result.SoftwareVersions = list(maker.software_versions)
    result.ContributingEquipmentSequence = [_contribution(maker, now)]
    _set_file_meta(result, maker)


def _local(maker: Maker, source: Dataset) -> tuple[datetime, str]:
    """When it was made, on the clock of the source's times, and that clock's offset where the source states it.

    Timezone Offset From UTC holds for every time in an object, the study's copied ones too: it is never invented.
    """
    offset = str(source.get("TimezoneOffsetFromUTC") or "").strip()
    if re.fullmatch(r"[+-]\d{4}", offset):
        sign = -1 if offset[0] == "-" else 1
        zone = timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:])))
        return maker.created.astimezone(zone), offset
    return maker.created.astimezone(), ""


def _contribution(maker: Maker, when: datetime) -> Dataset:
    """One item of Contributing Equipment Sequence (PS3.3 C.12.1)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [Code(*PURPOSE).item()]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = maker.model
    item.DeviceSerialNumber = maker.serial_number
    item.SoftwareVersions = list(maker.software_versions)
    item.DeviceUID = maker.device_uid
    item.ContributionDateTime = when.strftime("%Y%m%d%H%M%S.%f%z")
    item.ContributionDescription = f"Pipeline {maker.pipeline} {maker.pipeline_version}"
    return item


def _set_file_meta(result: Dataset, maker: Maker) -> None:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = result.SOPClassUID, result.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"OVERREAD_{maker.software_version}"[:16]
    result.file_meta, result.preamble = meta, b"\x00" * 128
