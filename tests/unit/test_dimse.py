"""Command sets against pynetdicom's own, and command sets that are none."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode

from node import dimse
from tests.senders import CT


def of_pynetdicom(message, primitive) -> bytes:
    message.primitive_to_message(primitive)
    (pdata,) = list(message.encode_msg(1, 16384))[:1]
    return pdata.presentation_data_value_list[0][1][1:]


def store_request() -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 0
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.45"
    primitive.DataSet = BytesIO(b"xx")
    return primitive


def test_a_store_request_of_pynetdicom_is_read():
    command = dimse.read_command(of_pynetdicom(C_STORE_RQ(), store_request()))
    assert command == dimse.Command(dimse.C_STORE_RQ, 7, CT, "1.2.3.45", has_dataset=True)


def test_an_echo_request_of_pynetdicom_is_read():
    primitive = C_ECHO()
    primitive.MessageID, primitive.AffectedSOPClassUID = 9, "1.2.840.10008.1.1"
    command = dimse.read_command(of_pynetdicom(C_ECHO_RQ(), primitive))
    assert (command.field, command.message_id, command.has_dataset) == (dimse.C_ECHO_RQ, 9, False)


def test_our_response_is_the_one_that_pynetdicom_writes():
    primitive = store_request()
    primitive.MessageIDBeingRespondedTo, primitive.Status, primitive.DataSet = 7, 0, None
    request = dimse.read_command(of_pynetdicom(C_STORE_RQ(), store_request()))
    assert dimse.response(request, 0) == of_pynetdicom(C_STORE_RSP(), primitive)


def test_a_comment_reaches_the_sender_and_is_bounded():
    request = dimse.Command(dimse.C_STORE_RQ, 7, CT, "1.2.3.45", has_dataset=True)
    command = dimse.read_command(dimse.response(request, 0xC000, "why " * 40))
    assert (command.status, command.comment) == (0xC000, ("why " * 16).strip())


@pytest.mark.parametrize("encoded", [dimse.store_request(3, CT, "1.2.3"), dimse.echo_request(4)])
def test_our_requests_are_read_by_pydicom(encoded):
    read = decode(BytesIO(encoded), True, True)
    assert read.CommandGroupLength == len(encoded) - 12
    assert (read.MessageID, read.CommandField) in [(3, 1), (4, 0x30)]


@pytest.mark.parametrize("encoded", [b"", b"\0" * 7, b"\0\0\0\x01\xff\xff\xff\xff", b"\x08\0\0\0\0\0\0\0",
                                     b"\0\0\x00\x01\x04\0\0\0\x01\0\0\0"])  # fmt: skip
def test_a_command_set_that_is_none_says_so(encoded):
    with pytest.raises(dimse.BadCommand):
        dimse.read_command(encoded)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_bad_command(encoded):
    try:
        assert isinstance(dimse.read_command(encoded), dimse.Command)
    except dimse.BadCommand:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_fragments_or_a_bad_command(body):
    try:
        taken = sum(len(fragment.data) + 6 for fragment in dimse.fragments(memoryview(body)))
    except dimse.BadCommand:
        return
    assert taken == len(body)
