"""Command sets against pynetdicom's own, and command sets that are none."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import (
    C_ECHO_RQ,
    C_STORE_RQ,
    C_STORE_RSP,
    N_ACTION_RQ,
    N_ACTION_RSP,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
)
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode

from node import dimse
from node.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from tests.senders import CT


def of_pynetdicom(message, primitive) -> bytes:
    message.primitive_to_message(primitive)
    (pdata,) = list(message.encode_msg(1, 16384))[:1]
    return pdata.presentation_data_value_list[0][1][1:]


def commitment_request() -> N_ACTION:
    primitive = N_ACTION()
    primitive.MessageID, primitive.ActionTypeID = 7, 1
    primitive.RequestedSOPClassUID, primitive.RequestedSOPInstanceUID = PUSH_MODEL, PUSH_MODEL_INSTANCE
    primitive.ActionInformation = BytesIO(b"\0\0")
    return primitive


def commitment_report() -> N_EVENT_REPORT:
    primitive = N_EVENT_REPORT()
    primitive.MessageID, primitive.EventTypeID = 8, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = PUSH_MODEL, PUSH_MODEL_INSTANCE
    primitive.EventInformation = BytesIO(b"\0\0")
    return primitive


def test_an_action_request_is_the_one_that_pynetdicom_writes_and_is_read():
    encoded = of_pynetdicom(N_ACTION_RQ(), commitment_request())
    assert dimse.action_request(7, PUSH_MODEL, PUSH_MODEL_INSTANCE, 1).replace(b"\0\0\x00\x08\x02\0\0\0\0\0", b"") == (
        encoded.replace(b"\0\0\x00\x08\x02\0\0\0\x01\x00", b"")
    )  # any number but 0x0101 says that there is a dataset
    command = dimse.read_command(encoded)
    assert (command.field, command.message_id, command.type_id) == (dimse.N_ACTION_RQ, 7, 1)
    assert (command.sop_class, command.sop_uid, command.has_dataset) == (PUSH_MODEL, PUSH_MODEL_INSTANCE, True)


def test_an_event_report_request_is_the_one_that_pynetdicom_writes_and_is_read():
    encoded = of_pynetdicom(N_EVENT_REPORT_RQ(), commitment_report())
    assert dimse.event_report_request(8, PUSH_MODEL, PUSH_MODEL_INSTANCE, 2).replace(
        b"\0\0\x00\x08\x02\0\0\0\0\0", b""
    ) == encoded.replace(b"\0\0\x00\x08\x02\0\0\0\x01\x00", b"")
    command = dimse.read_command(encoded)
    assert (command.field, command.message_id, command.type_id) == (dimse.N_EVENT_REPORT_RQ, 8, 2)


@pytest.mark.parametrize(
    ("request_", "response", "primitive"),
    [(N_ACTION_RQ, N_ACTION_RSP, commitment_request), (N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP, commitment_report)],
)
def test_our_responses_to_the_normalized_services_are_those_of_pynetdicom(request_, response, primitive):
    command = dimse.read_command(of_pynetdicom(request_(), primitive()))
    answer = primitive()
    answer.MessageIDBeingRespondedTo, answer.Status = answer.MessageID, 0x0110
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = PUSH_MODEL, PUSH_MODEL_INSTANCE
    if isinstance(answer, N_ACTION):
        answer.ActionInformation, answer.ActionReply = None, None
    else:
        answer.EventInformation, answer.EventReply = None, None
    assert decode(BytesIO(dimse.response(command, 0x0110)), True, True) == decode(
        BytesIO(of_pynetdicom(response(), answer)), True, True
    )


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
