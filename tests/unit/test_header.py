"""The identity of an instance from the first bytes of its dataset, whatever the bytes are."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from node.header import BIG_ENDIAN, DEFLATED, IMPLICIT, Identity, Unreadable, read_identity
from node.part10 import read_head
from tests.peers import real_data

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED_SYNTAX = "1.2.840.10008.1.2.1.99"
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "PatientID")


def dataset() -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.9"
    made.Modality, made.PatientID, made.IssuerOfPatientID = "CT", "P-17", "Clinic"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "9.9.9"  # must not be taken for the instance's own
    item.SOPInstanceUID, item.StudyInstanceUID = "8.8.8", "7.7.7"
    inner = Dataset()
    inner.CodeValue = "1"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, inner])
    made.ReferencedImageSequence = Sequence([item, item])
    made.add_new(0x00091010, "OB", b"private" * 2000)
    return made


def encoded(made: Dataset, syntax: str, undefined: bool = False) -> bytes:
    if undefined:
        for element in made.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG_ENDIAN
    write_dataset(buffer, made)
    content = buffer.getvalue()
    if syntax in DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = packer.compress(content) + packer.flush()
    return content


def identity(content: bytes, syntax: str) -> Identity:
    return read_identity(lambda offset, length: content[offset : offset + length], len(content), syntax)


@pytest.mark.parametrize("undefined", [False, True], ids=["defined lengths", "undefined lengths"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED_SYNTAX, JPEG2000Lossless])
def test_the_identity_is_read_in_every_encoding_and_not_from_inside_sequences(syntax, undefined):
    got = identity(encoded(dataset(), syntax, undefined), syntax)
    assert {keyword: getattr(got, keyword) for keyword in KEYWORDS} == {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.9", "Modality": "CT", "PatientID": "P-17",
    }  # fmt: skip
    assert got.IssuerOfPatientID == "Clinic"


@pytest.mark.parametrize("undefined", [False, True], ids=["defined lengths", "undefined lengths"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED_SYNTAX])
def test_the_contributing_equipment_is_handed_over_as_encoded(syntax, undefined):
    made = dataset()
    item = Dataset()
    item.Manufacturer = "Overread"
    made.ContributingEquipmentSequence = Sequence([item])
    got = identity(encoded(made, syntax, undefined), syntax)
    assert b"Overread" in got.contributing_equipment
    assert got.StudyInstanceUID == "1.2.3"


def test_contributing_equipment_of_hostile_size_is_passed_over():
    made = dataset()
    item = Dataset()
    item.Manufacturer = "Overread"
    item.add_new(0x00091010, "OB", b"x" * 100_000)
    made.ContributingEquipmentSequence = Sequence([item])
    for undefined in (False, True):
        got = identity(encoded(made, EXPLICIT, undefined), EXPLICIT)
        assert (got.contributing_equipment, got.StudyInstanceUID) == (b"", "1.2.3")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED_SYNTAX])
def test_pixels_are_never_read(syntax):
    made = dataset()
    made.Rows = made.Columns = 4000
    made.BitsAllocated, made.PixelRepresentation = 16, 0
    made.add_new(0x7FE00010, "OW", b"".join(struct.pack("<L", i * 2654435761 % 2**32) for i in range(2_000_000)))
    content = encoded(made, syntax)
    furthest = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal furthest
        furthest = max(furthest, min(offset + length, len(content)))
        return content[offset : offset + length]

    assert read_identity(read, len(content), syntax).SeriesInstanceUID == "1.2.3.9"
    assert furthest < 200_000 < len(content)


def test_an_element_longer_than_the_dataset_is_unreadable_at_once():
    content = struct.pack("<HH2s2xL", 0x0009, 0x1010, b"OB", 0xFFFFFFF0) + b"x" * 100
    with pytest.raises(Unreadable, match="longer than the dataset"):
        identity(content, EXPLICIT)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_sequences_nested_a_hundred_thousand_deep_are_refused_without_recursion(syntax):
    vr = b"" if syntax == IMPLICIT else b"SQ\0\0"
    level = struct.pack("<HH", 0x0008, 0x1140) + vr + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(Unreadable, match="nested"):
        identity(level * 100_000, syntax)


def test_a_flood_of_empty_elements_is_bounded_in_time():
    content = struct.pack("<HH2sH", 0x0008, 0x0001, b"LO", 0) * 2_000_000
    began = time.monotonic()
    with pytest.raises(Unreadable, match="more than"):
        identity(content, EXPLICIT)
    assert time.monotonic() - began < 3


def test_a_deflate_bomb_is_inflated_no_further_than_the_bound():
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(struct.pack("<HH2s2xL", 0x0009, 0x1010, b"OB", 0xF0000000))
    bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    began = time.monotonic()
    with pytest.raises(Unreadable, match="no identity in the first"):
        identity(bomb, DEFLATED_SYNTAX)
    assert time.monotonic() - began < 5


def test_bytes_that_are_not_deflated_are_unreadable():
    with pytest.raises(Unreadable, match="deflated"):
        identity(b"\xff" * 1000, DEFLATED_SYNTAX)


def test_a_missing_identity_is_empty_and_not_guessed():
    got = identity(encoded(Dataset(), EXPLICIT), EXPLICIT)
    assert (got.StudyInstanceUID, got.SOPInstanceUID, got.Modality) == ("", "", "")


def test_nothing_of_a_value_stands_in_an_error():
    made = dataset()
    content = encoded(made, EXPLICIT)
    with pytest.raises(Unreadable) as caught:
        identity(content[: content.index(b"P-17") + 4] + b"\x10\x00\x21\x00LO\xff\xff", EXPLICIT)
    assert "P-17" not in str(caught.value)


@given(st.binary(max_size=400), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED_SYNTAX]))
def test_any_bytes_give_an_identity_or_are_unreadable(content, syntax):
    try:
        got = identity(content, syntax)
    except Unreadable:
        return
    assert isinstance(got, Identity)


@given(st.data())
def test_damage_anywhere_gives_an_identity_or_is_unreadable(data):
    syntax = data.draw(st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED_SYNTAX]))
    content = bytearray(encoded(dataset(), syntax, data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(identity(bytes(content), syntax), Identity)
    except Unreadable:
        return


CASES = ("o01-ct-chest-lidc0314", "o06-ct-fruit-study-adit1001", "o08-cr-dx", "o09-mg", "o10-transfer-syntaxes",
         "o11-odd-geometry", "o12-odd-files", "o13-foreign-results", "o14-other-modalities", "o15-mr-brain-t1-fnndsc")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_real_files_give_what_pydicom_reads(case):
    compared = 0
    for path in sorted(real_data(case).rglob("*")):
        if not path.is_file() or not is_complete_file(path):
            continue
        head = read_head(path)
        content = path.read_bytes()[head.offset :]
        want = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        try:
            got = identity(content, head.transfer_syntax)
        except Unreadable:
            # Only what pydicom too finds cut off or without a study may be refused.
            assert not all(want.get(keyword) for keyword in KEYWORDS[:4]), path.name
            continue
        for keyword in KEYWORDS[:4]:
            assert getattr(got, keyword) == str(want.get(keyword) or ""), (path.name, keyword)
        compared += 1
    assert compared


def is_complete_file(path: Path) -> bool:
    """Part 10 with the three UIDs that a sender needs."""
    with open(path, "rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    meta = pydicom.filereader.read_file_meta_info(path)
    return all(meta.get(key) for key in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"))
