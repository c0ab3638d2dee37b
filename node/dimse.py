"""DIMSE command sets and the P-DATA that carries them (PS3.7: 6.3.1, 9.3; PS3.8: 9.3.5, annex E).

A command set is a handful of elements in Implicit VR Little Endian; one C-STORE has two of them, so they
are read and written here without a general DICOM parser. Of the normalized services there are N-ACTION and
N-EVENT-REPORT (PS3.7: 10.3.5 and 10.3.1), which storage commitment uses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

C_STORE_RQ, C_FIND_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0020, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000
NO_DATASET = 0x0101

# Message control header (PS3.8, annex E.2)
COMMAND, LAST = 0x01, 0x02

SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)  # a match of a C-FIND (PS3.4, C.4.1.1.4)
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_SOP_CLASS = 0x0118
CLASS_INSTANCE_CONFLICT = 0x0119
NO_SUCH_ACTION = 0x0123
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124
UNRECOGNISED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

LONGEST_COMMAND = 16 * 1024  # bytes; a real one has about 200


class BadCommand(ValueError):
    """A command set that cannot be read."""


@dataclass(frozen=True)
class Command:
    """One command set. Absent values are empty or None.

    `sop_class` and `sop_uid` are the affected or, in an N-ACTION-RQ, the requested ones; `type_id` is the event's
    or the action's.
    """

    field: int
    message_id: int
    sop_class: str = ""
    sop_uid: str = ""
    has_dataset: bool = False
    status: int | None = None
    comment: str = ""
    type_id: int | None = None


@dataclass(frozen=True)
class Fragment:
    """One presentation data value: part of a command or of a dataset."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


def fragments(body: memoryview) -> Iterator[Fragment]:
    """The presentation data values of a P-DATA-TF body. Raises BadCommand when they do not add up."""
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        if length < 2 or at + 4 + length > len(body):
            raise BadCommand("a presentation data value does not fit its PDU")
        control = body[at + 5]
        yield Fragment(body[at + 4], bool(control & COMMAND), bool(control & LAST), body[at + 6 : at + 4 + length])
        at += 4 + length


def p_data_header(context_id: int, control: int, length: int) -> bytes:
    """The 12 bytes before a fragment of `length` bytes that is alone in its P-DATA-TF PDU."""
    return struct.pack(">BBLLBB", 0x04, 0, length + 6, length + 2, context_id, control)


def read_command(encoded: bytes) -> Command:
    """Decode a command set. Raises BadCommand."""
    values: dict[int, bytes] = {}
    at = 0
    while at < len(encoded):
        if at + 8 > len(encoded):
            raise BadCommand("a command set ends inside an element")
        group, element, length = struct.unpack_from("<HHL", encoded, at)
        if group != 0 or at + 8 + length > len(encoded):
            raise BadCommand("a command set holds an element that does not belong there or does not fit")
        values[element] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    field = _number(values, 0x0100)
    message = _number(values, 0x0120 if field is not None and field & RESPONSE else 0x0110)
    if field is None or (message is None and field != C_CANCEL_RQ):
        raise BadCommand("a command set lacks CommandField or MessageID")
    return Command(
        field=field,
        message_id=message or 0,
        sop_class=_text(values, 0x0002) or _text(values, 0x0003),
        sop_uid=_text(values, 0x1000) or _text(values, 0x1001),
        has_dataset=_number(values, 0x0800) != NO_DATASET,
        status=_number(values, 0x0900),
        comment=_text(values, 0x0902),
        type_id=_number(values, 0x1002) if field & ~RESPONSE == N_EVENT_REPORT_RQ else _number(values, 0x1008),
    )


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The command set that answers `request`; `comment` (at most 64 characters are kept) tells a person why."""
    values: list[tuple[int, bytes]] = [
        (0x0100, struct.pack("<H", request.field | RESPONSE)),
        (0x0120, struct.pack("<H", request.message_id)),
        (0x0800, struct.pack("<H", NO_DATASET)),
        (0x0900, struct.pack("<H", status)),
    ]
    if request.sop_class:
        values.insert(0, (0x0002, _uid(request.sop_class)))
    if comment:
        text = comment[:64].encode("ascii", "replace")
        values.append((0x0902, text + b" " * (len(text) % 2)))
    if request.sop_uid:
        values.append((0x1000, _uid(request.sop_uid)))
    if request.type_id is not None:
        element = 0x1002 if request.field == N_EVENT_REPORT_RQ else 0x1008
        values.append((element, struct.pack("<H", request.type_id)))
    return _command_set(values)


def store_request(message_id: int, sop_class: str, sop_uid: str) -> bytes:
    """The command set of a C-STORE-RQ of medium priority."""
    return _command_set(
        [
            (0x0002, _uid(sop_class)),
            (0x0100, struct.pack("<H", C_STORE_RQ)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 0)),
            (0x1000, _uid(sop_uid)),
        ]
    )


def find_request(message_id: int, sop_class: str) -> bytes:
    """The command set of a C-FIND-RQ of medium priority (PS3.7, table 9.3-3)."""
    return _command_set(
        [
            (0x0002, _uid(sop_class)),
            (0x0100, struct.pack("<H", C_FIND_RQ)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 0)),
        ]
    )


def echo_request(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return _command_set(
        [
            (0x0002, _uid("1.2.840.10008.1.1")),
            (0x0100, struct.pack("<H", C_ECHO_RQ)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", NO_DATASET)),
        ]
    )


def action_request(message_id: int, sop_class: str, sop_uid: str, action: int) -> bytes:
    """The command set of an N-ACTION-RQ with action information (PS3.7, table 10.3-7)."""
    return _command_set(
        [
            (0x0003, _uid(sop_class)),
            (0x0100, struct.pack("<H", N_ACTION_RQ)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", 0)),
            (0x1001, _uid(sop_uid)),
            (0x1008, struct.pack("<H", action)),
        ]
    )


def event_report_request(message_id: int, sop_class: str, sop_uid: str, event: int) -> bytes:
    """The command set of an N-EVENT-REPORT-RQ with event information (PS3.7, table 10.3-1)."""
    return _command_set(
        [
            (0x0002, _uid(sop_class)),
            (0x0100, struct.pack("<H", N_EVENT_REPORT_RQ)),
            (0x0110, struct.pack("<H", message_id)),
            (0x0800, struct.pack("<H", 0)),
            (0x1000, _uid(sop_uid)),
            (0x1002, struct.pack("<H", event)),
        ]
    )


def _command_set(values: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in values)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element)
    if value is None:
        return None
    if len(value) != 2:
        raise BadCommand(f"(0000,{element:04X}) of a command set is not one US")
    return int.from_bytes(value, "little")


def _text(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("utf-8", "surrogateescape").strip(" \0")


def _uid(uid: str) -> bytes:
    encoded = uid.encode("utf-8", "surrogateescape")
    return encoded + b"\0" * (len(encoded) % 2)
