"""DICOM files as pydicom reads them, but for deflated datasets (PS3.5 A.5). pydicom would inflate all of one, which may
be a thousand times its file, and keep that beside its header; here it is inflated within bounds, and let go."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import pydicom
from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

MOST_OF_HEADER = 2**24  # bytes of a deflated dataset before its pixel data
MOST = 2**27  # bytes of a whole deflated dataset, and of the headers of all such in a study
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # Float, Double Float, and plain Pixel Data
_STEP = 2**20  # bytes that are inflated at once


class TooLarge(ValueError):
    """A deflated dataset is larger than what is taken; the text is one line without a value of the file."""


class Read(NamedTuple):
    """A dataset; the byte of the file at which it ends (0: it is deflated); how many bytes were inflated for it."""

    dataset: FileDataset
    end: int
    inflated: int


def read(file: BinaryIO, header_only: bool = True, tags: Sequence[str] | None = None) -> Read:
    """The dataset of an open file, up to its pixel data if `header_only`, of all attributes or of the keywords `tags`.

    Raises TooLarge, and whatever pydicom raises for bytes that are not what they say.
    """
    begun = file.tell()
    preamble = read_preamble(file, force=True)
    meta = _read_file_meta_info(file)  # pydicom's own, so that what it takes for deflated is deflated here too
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(begun)
        wanted = None if tags is None else list(tags)
        dataset = pydicom.dcmread(file, stop_before_pixels=header_only, force=True, specific_tags=wanted)
        return Read(dataset, file.tell(), 0)
    found = False

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal found
        found = header_only and tag in _PIXELS
        return found

    most = MOST_OF_HEADER if header_only else MOST
    with io.BytesIO() as content:  # closed, it gives its memory back, whoever still refers to it
        whole = _inflate(file, content, most)
        content.seek(0)
        if not whole and not header_only:
            raise TooLarge(f"it is deflated, and holds more than {most // 2**20} MB: not read")
        wanted_tags: list[BaseTag | int] | None = None if tags is None else [Tag(one) for one in tags]
        elements = read_dataset(content, False, True, stop_when=at_pixels, specific_tags=wanted_tags)
        if not whole and not found:
            raise TooLarge(f"it is deflated, and its header holds more than {most // 2**20} MB: not read")
        inflated = content.tell()
    dataset = FileDataset(file, elements, preamble, meta, False, True)
    dataset.set_original_encoding(False, True, elements._character_set)
    return Read(dataset, 0, inflated)


def _inflate(file: BinaryIO, content: io.BytesIO, most: int) -> bool:
    """Inflate the rest of `file` into `content`, `most` bytes and a step at most; False where there is more."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    waiting = file.read(_STEP)
    while not inflate.eof:
        piece = inflate.decompress(waiting, _STEP)
        content.write(piece)
        if content.tell() > most:
            return False
        waiting = inflate.unconsumed_tail or file.read(_STEP)
        if not waiting and not piece:
            raise zlib.error("the deflated dataset ends early")
    return True
