"""Key objects: the source images that hold findings, as a Key Object Selection by TID 2010 (PS3.16 A, PS3.3 A.35.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pipelines.base import Objects
from pipelines.outputs import codes, content, equipment, origin, wording
from pipelines.outputs.identity import Maker
from pipelines.outputs.report import Report
from pipelines.study import Study


@dataclass(frozen=True, eq=False)
class KeyObjects:
    """The images on which the findings of a report have their key regions, "of interest" (CID 7010), with what was
    found there in words."""

    report: Report
    name: str = "key-objects"

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """One document; none when no finding has a key region."""
        return Objects(1 if self._frames() else 0, lambda _: self._make(study, maker))

    def _frames(self) -> list[int]:
        """The indices of the key frames in the volume, each once, in its order."""
        return sorted({one.key.frame for one in self.report.findings if one.key is not None})

    def _make(self, study: Study, maker: Maker) -> Dataset:
        volume = self.report.volume
        images = [content.source(volume, frame) for frame in self._frames()]
        children = [
            content.language(),
            *content.observer(maker),
            content.text(codes.KEY_OBJECT_DESCRIPTION, self._description(maker)),
            *(content.referred(one, is_image=True) for one in images),
        ]
        return content.document(
            study, maker, volume.instances[0].header, self.name, "key images",
            KeyObjectSelectionDocumentStorage, codes.OF_INTEREST, children, images, "2010",
        )  # fmt: skip

    def _description(self, maker: Maker) -> str:
        lines = [f"{equipment.WARNING}. {maker.model} {maker.model_version}"]
        for frame in self._frames():
            found = [one for one in self.report.findings if one.key is not None and one.key.frame == frame]
            lines += [f"{self._called(frame)}: {wording.summary(one)}" for one in found]
        return "\n".join(lines)

    def _called(self, frame: int) -> str:
        """How a reader finds the image: by its number in the series, and its frame."""
        volume = self.report.volume
        number = volume.instances[frame].get("InstanceNumber")
        called = "Image" if number is None else f"Image {number}"
        return f"{called}, frame {volume.frame_numbers[frame]}" if origin.is_multi_frame(volume) else called
