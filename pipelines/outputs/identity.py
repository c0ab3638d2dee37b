"""Who made a result: one record feeds Contributing Equipment, TID 4019 and the SEG's algorithm identification;
and the derived UIDs that make a rerun replace instead of duplicate."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pipelines.study import Study

MANUFACTURER = "Overread"
# On the wire and in every file that we write (PS3.7 D.3.3.2). Fixed for all time: it names us, not the version.
IMPLEMENTATION_CLASS_UID = "2.25.336800583275762531358964262006145394215"
PURPOSE = ("109102", "DCM", "Processing Equipment")  # Contributing Equipment's purpose of reference, CID 7005


@dataclass(frozen=True)
class Maker:
    """Which software, pipeline and model made a result, and when (`created`: with time zone, of the job, not of the
    attempt, so that a rerun writes the same bytes)."""

    pipeline: str
    pipeline_version: str
    model: str
    model_version: str
    model_digest: str  # hex SHA-256 over the card and the weights
    software_version: str
    created: datetime

    @property
    def software_versions(self) -> tuple[str, ...]:
        """Software Versions (0018,1020), the same wherever a result names it."""
        return (f"overread {self.software_version}", f"{self.pipeline} {self.pipeline_version}",
                f"{self.model} {self.model_version}")  # fmt: skip

    @property
    def device_uid(self) -> str:
        """Device UID (0018,1002): derived from the model and its weights, so that another model is another device."""
        return derived_uid("device", self.model, self.model_version, self.model_digest)

    @property
    def serial_number(self) -> str:
        """Device Serial Number (0018,1000): the start of the model's digest."""
        return self.model_digest[:16]

    @property
    def created_utc(self) -> datetime:
        """`created` in UTC."""
        return self.created.astimezone(UTC)

    def uid(self, study: Study, output: str, index: int | str = 0) -> str:
        """A UID for one object of an output: the same study revision, pipeline and model always give the same."""
        source = (study.StudyInstanceUID, study.digest)
        return derived_uid(*source, self.pipeline, self.pipeline_version, self.model_digest, output, str(index))


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 from text (PS3.5 B.2): a UUID of version 8 (RFC 9562) filled with the parts' SHA-256."""
    digest = bytearray(hashlib.sha256("\x1f".join(parts).encode()).digest()[:16])
    digest[6] = 0x80 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    return f"2.25.{uuid.UUID(bytes=bytes(digest)).int}"


def is_ours(header: Dataset) -> bool:
    """True for a result of ours: Contributing Equipment names Overread as the processing equipment."""
    for item in _items(header, "ContributingEquipmentSequence"):
        purposes = [code.get("CodeValue") for code in _items(item, "PurposeOfReferenceCodeSequence")]
        if item.get("Manufacturer") == MANUFACTURER and PURPOSE[0] in purposes:
            return True
    return False


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where a foreign object gives the attribute another value representation."""
    value = dataset.get(keyword)
    return list(value) if isinstance(value, Sequence) else []
