"""The datasets of storage commitment against pydicom's, and datasets that are none."""

from __future__ import annotations

import struct
import time
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from node import commitment
from node.commitment import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    TRANSFER_SYNTAXES,
    Malformed,
    Reference,
    Report,
    Request,
    read_report,
    read_request,
    write_report,
    write_request,
)
from tests.senders import CT, changed, encode

A, B, C = (Reference(CT, f"1.2.3.9.{number}") for number in range(3))
REPORT = Report("2.25.77", (A, B), ((C, 0x0112),))


def item(reference: Reference, reason: int | None = None) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = reference.sop_class, reference.sop_uid
    if reason is not None:
        made.FailureReason = reason
    return made


def request(*references: Reference, undefined: bool = False, **changes) -> Dataset:
    made = Dataset()
    made.TransactionUID = "2.25.77"
    made.ReferencedSOPSequence = Sequence([item(one) for one in references])
    made.is_undefined_length = undefined
    made["ReferencedSOPSequence"].is_undefined_length = undefined
    for one in made.ReferencedSOPSequence:
        one.is_undefined_length_sequence_item = undefined
    return changed(made, changes)


@pytest.mark.parametrize("undefined", [False, True], ids=["lengths", "delimiters"])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_a_request_of_pydicom_is_read_each_instance_once_and_in_order(syntax, undefined):
    made = request(A, B, A, undefined=undefined)
    made.RetrieveAETitle = "PACS"  # what else may stand there is passed over, at the top and in an item
    made.ReferencedSOPSequence[0].PurposeOfReferenceCodeSequence = Sequence([item(C)])
    made.ReferencedSOPSequence[0]["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    assert read_request(encode(made, syntax), syntax) == Request("2.25.77", (A, B))


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_a_report_of_pydicom_is_read(syntax):
    made = request(A, B)
    made.FailedSOPSequence = Sequence([item(C, 0x0112)])
    assert read_report(encode(made, syntax), syntax) == REPORT


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_what_we_write_is_read_by_pydicom(syntax):
    written = read_dataset(BytesIO(write_report(REPORT, syntax)), syntax == IMPLICIT, True)
    assert written.TransactionUID == "2.25.77"
    assert [one.ReferencedSOPInstanceUID for one in written.ReferencedSOPSequence] == [A.sop_uid, B.sop_uid]
    (failed,) = written.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.ReferencedSOPClassUID, failed.FailureReason) == (
        C.sop_uid,
        CT,
        0x0112,
    )
    asked = read_dataset(BytesIO(write_request(Request("2.25.78", (A,)), syntax)), syntax == IMPLICIT, True)
    assert (asked.TransactionUID, asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == ("2.25.78", A.sop_uid)


def test_an_instance_that_is_named_as_kept_and_as_failed_is_not_kept():
    made = request(A, B)
    made.FailedSOPSequence = Sequence([item(B, 0x0110)])
    told = read_report(encode(made), EXPLICIT)
    assert (told.committed, told.failed, told.event) == ((A,), ((B, 0x0110),), 2)


def test_the_event_type_says_whether_all_is_kept():
    assert (Report("1", (A,)).event, REPORT.event) == (1, 2)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (request(A, TransactionUID=None), "TransactionUID"),
        (request(A, TransactionUID="../../etc"), "TransactionUID"),
        (request(), "ReferencedSOPSequence"),
        (request(A, ReferencedSOPSequence=None), "ReferencedSOPSequence"),
        (request(Reference(CT, "")), "an item lacks"),
        (request(Reference("x/y", "1.2")), "an item lacks"),
    ],
)
def test_a_request_that_lacks_something_says_what(made, reason):
    with pytest.raises(Malformed, match=reason):
        read_request(encode(made), EXPLICIT)


def test_a_dataset_cut_anywhere_is_malformed():
    encoded = write_request(Request("2.25.77", (A, B, C)), EXPLICIT)
    for end in range(len(encoded)):
        with pytest.raises(Malformed):
            read_request(encoded[:end], EXPLICIT)


@pytest.mark.parametrize(
    "bomb",
    [
        struct.pack("<HHL", 0x0009, 0x0001, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) * (1 << 20),
        struct.pack("<HHL", 0x0009, 0x0001, 0) * (1 << 20),
        struct.pack("<HHL", 0x0008, 0x1199, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * (1 << 20),
        struct.pack("<HHL", 0x0009, 0x0001, 0xFFFFFFFE),
    ],
    ids=["deep", "many", "empty items", "a length that lies"],
)
def test_a_bomb_of_the_largest_size_is_malformed_within_seconds(bomb):
    began = time.monotonic()
    with pytest.raises(Malformed):
        read_request(bomb[: commitment.LONGEST_DATASET], IMPLICIT)
    assert time.monotonic() - began < 10


def test_more_instances_than_a_request_may_name_are_malformed(monkeypatch):
    monkeypatch.setattr(commitment, "MOST_REFERENCES", 2)
    with pytest.raises(Malformed, match="more than 2 instances"):
        read_request(write_request(Request("1.2", (A, B, C)), IMPLICIT), IMPLICIT)


@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, "1.2.3"]))
def test_any_bytes_are_a_request_or_malformed(encoded, syntax):
    try:
        assert read_request(encoded, syntax).references
    except Malformed:
        return
