"""Objects of one output as DICOM files. What the objects of a series share is encoded once."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, cast

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset, validate_file_meta
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import AMBIGUOUS_VR

_GROUP_LENGTH, _INSTANCE = 0x00020000, 0x00020003  # of the file meta information, and its SOP Instance UID
# Pixel Data and Float Pixel Data: laid into the file as it is: each copy would cost more than all other elements
_PIXEL_DATA = frozenset((0x7FE00010, 0x7FE00008))


class Encoder:
    """Writes datasets in Explicit VR Little Endian, element by element with pydicom's own writer."""

    def __init__(self) -> None:
        # by the element's identity: the element (so that no other one takes its identity), its value, its bytes
        self._known: dict[int, tuple[DataElement, Any, bytes]] = {}

    def fresh(self, dataset: Dataset) -> Dataset:
        """What of `dataset` was not part of an earlier object in the same form; pixel data is left out."""
        found = Dataset()
        for element in dataset.elements():
            if element.tag not in _PIXEL_DATA and self._bytes_of(element) is None:
                found[element.tag] = dataset[element.tag]
        return found

    def encode(self, dataset: Dataset) -> tuple[bytes, ...]:
        """The whole file, in parts of which pixel data is one. Raises ValueError for another transfer syntax, and what
        pydicom raises for a value that its VR does not allow."""
        if dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
            raise ValueError("results are written in Explicit VR Little Endian")
        charset = convert_encodings(dataset.get("SpecificCharacterSet", "iso8859"))
        meta = b"".join(
            self._bytes_of(element) or self._write(element, dataset.file_meta, ["iso8859"])
            for element in self._checked(dataset.file_meta)
            if element.tag != _GROUP_LENGTH
        )
        small = [b"\0" * 128 + b"DICM", struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)), meta]
        parts = []
        for element in dataset.elements():
            if element.tag in _PIXEL_DATA:
                value = cast(bytes, element.value)
                small.append(
                    struct.pack("<HH2sHI", 0x7FE0, element.tag.element, str(element.VR).encode(), 0, len(value))
                )
                parts, small = [b"".join(small), value], []
            else:
                small.append(self._bytes_of(element) or self._write(dataset[element.tag], dataset, charset))
        return (*parts, b"".join(small))

    def _checked(self, meta: FileMetaDataset) -> FileMetaDataset:
        if any(self._bytes_of(element) is None for element in meta if element.tag != _INSTANCE):
            validate_file_meta(meta, enforce_standard=True)
        return meta

    def some(self, dataset: Dataset, keywords: Iterable[str]) -> bytes:
        """Some elements of a dataset that was encoded, in its order, as they stand in the file."""
        tags = {dataset[keyword].tag for keyword in keywords}
        return b"".join(self._bytes_of(element) or b"" for element in dataset.elements() if element.tag in tags)

    def _bytes_of(self, element: DataElement | RawDataElement) -> bytes | None:
        known = self._known.get(id(element))
        return known[2] if known is not None and known[1] is element.value else None

    def _write(self, element: DataElement, dataset: Dataset, charset: list[str]) -> bytes:
        buffer = _buffer()
        clear = correct_ambiguous_vr_element(element, dataset, True) if element.VR in AMBIGUOUS_VR else element
        write_data_element(buffer, clear, charset)
        encoded = buffer.getvalue()
        self._known[id(element)] = element, element.value, encoded
        return encoded


def _buffer() -> DicomBytesIO:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    return buffer
