"""The datasets of storage commitment: who asks names instances, who keeps them answers (PS3.4, annex J; PS3.3, C.14).

Both come from a peer, so they are read with bounds and without recursion: a transaction UID and one or two
sequences of SOP class and SOP instance; whatever else stands in them is passed over. Written they are Implicit or
Explicit VR Little Endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

PUSH_MODEL = "1.2.840.10008.1.20.1"  # the Storage Commitment Push Model SOP Class
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its one, well-known SOP Instance
REQUEST_ACTION = 1  # Action Type ID "Request Storage Commitment"
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type IDs

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
TRANSFER_SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN)

LONGEST_DATASET = 8 << 20  # bytes: some 60,000 instances
MOST_REFERENCES = 50_000
_MOST_ELEMENTS = 1_000_000

_TRANSACTION_UID, _REFERENCED, _FAILED = 0x00081195, 0x00081199, 0x00081198
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UID_TEXT = re.compile(r"[0-9.]{1,64}")


class Malformed(ValueError):
    """The dataset is not one of storage commitment; the text says what is wrong and names no value of it."""


@dataclass(frozen=True)
class Reference:
    """One instance that a request or an answer names."""

    sop_class: str
    sop_uid: str


@dataclass(frozen=True)
class Request:
    """The action information of an N-ACTION-RQ: each instance once, in the order of the request."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True)
class Report:
    """The event information of an N-EVENT-REPORT-RQ; `failed` has a Failure Reason for each instance."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...] = ()

    @property
    def event(self) -> int:
        """The Event Type ID that goes with it."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def read_request(encoded: bytes, transfer_syntax: str) -> Request:
    """Decode the dataset of an N-ACTION-RQ. Raises Malformed."""
    transaction, sequences = _Walk(encoded, transfer_syntax).read()
    references = tuple(dict.fromkeys(reference for reference, _ in sequences[_REFERENCED]))
    if not references:
        raise Malformed("ReferencedSOPSequence is missing or empty")
    return Request(transaction, references)


def read_report(encoded: bytes, transfer_syntax: str) -> Report:
    """Decode the dataset of an N-EVENT-REPORT-RQ. Raises Malformed."""
    transaction, sequences = _Walk(encoded, transfer_syntax).read()
    failed = {reference: reason for reference, reason in sequences[_FAILED]}
    committed = dict.fromkeys(reference for reference, _ in sequences[_REFERENCED])
    if not committed and not failed:
        raise Malformed("ReferencedSOPSequence and FailedSOPSequence are missing or empty")
    # An instance that is named as both is not committed.
    return Report(transaction, tuple(one for one in committed if one not in failed), tuple(failed.items()))


def write_request(request: Request, transfer_syntax: str) -> bytes:
    """The dataset of an N-ACTION-RQ in one of the little endian syntaxes."""
    explicit = transfer_syntax == EXPLICIT
    items = [_item(reference, None, explicit) for reference in request.references]
    return _uid(_TRANSACTION_UID, request.transaction_uid, explicit) + _sequence(_REFERENCED, items, explicit)


def write_report(report: Report, transfer_syntax: str) -> bytes:
    """The dataset of an N-EVENT-REPORT-RQ in one of the little endian syntaxes."""
    explicit = transfer_syntax == EXPLICIT
    encoded = _uid(_TRANSACTION_UID, report.transaction_uid, explicit)
    if report.failed:
        encoded += _sequence(_FAILED, [_item(one, reason, explicit) for one, reason in report.failed], explicit)
    if report.committed:
        encoded += _sequence(_REFERENCED, [_item(one, None, explicit) for one in report.committed], explicit)
    return encoded


class _Walk:
    """One pass over a dataset: top level, items of the wanted sequences, and a counter for all the rest."""

    def __init__(self, encoded: bytes, transfer_syntax: str) -> None:
        if transfer_syntax not in TRANSFER_SYNTAXES:
            raise Malformed("its transfer syntax is not one of storage commitment")
        self._data = encoded
        self._implicit = transfer_syntax == IMPLICIT
        self._order: Literal["little", "big"] = "big" if transfer_syntax == BIG_ENDIAN else "little"
        self._at = 0
        self._elements = 0

    def read(self) -> tuple[str, dict[int, list[tuple[Reference, int]]]]:
        """(transaction UID, the references with their failure reason (0: none) by the tag of their sequence)."""
        transaction = ""
        found: dict[int, list[tuple[Reference, int]]] = {_REFERENCED: [], _FAILED: []}
        end = len(self._data)
        while self._at < end:
            tag, length = self._head(end)
            if tag == _TRANSACTION_UID and length != _UNDEFINED:
                transaction = self._text(length)
            elif tag in found:
                for reference in self._references(end if length == _UNDEFINED else self._at + length):
                    if len(found[_REFERENCED]) + len(found[_FAILED]) >= MOST_REFERENCES:
                        raise Malformed(f"more than {MOST_REFERENCES} instances are named")
                    found[tag].append(reference)
            else:
                self._pass(length, end)
        if not _UID_TEXT.fullmatch(transaction):
            raise Malformed("TransactionUID is missing or is not a UID")
        return transaction, found

    def _references(self, end: int) -> Iterator[tuple[Reference, int]]:
        """The items of a sequence that ends at `end`, or before it with a delimiter."""
        while self._at < end:
            tag, length = self._head(end)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise Malformed("a sequence holds something that is not an item")
            yield self._item(end if length == _UNDEFINED else self._at + length)

    def _item(self, end: int) -> tuple[Reference, int]:
        sop_class = sop_uid = ""
        reason = 0
        while self._at < end:
            tag, length = self._head(end)
            if tag == _ITEM_END:
                break
            if tag == _CLASS and length != _UNDEFINED:
                sop_class = self._text(length)
            elif tag == _INSTANCE and length != _UNDEFINED:
                sop_uid = self._text(length)
            elif tag == _REASON and length == 2:
                reason = int.from_bytes(self._take(2), self._order)
            else:
                self._pass(length, end)
        if not _UID_TEXT.fullmatch(sop_class) or not _UID_TEXT.fullmatch(sop_uid):
            raise Malformed("an item lacks ReferencedSOPClassUID or ReferencedSOPInstanceUID, or it is not a UID")
        return Reference(sop_class, sop_uid), reason

    def _head(self, end: int) -> tuple[int, int]:
        """(tag, length) of the next element; what has a length fits before `end`."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise Malformed(f"more than {_MOST_ELEMENTS} elements")
        head = self._take(8)
        tag = int.from_bytes(head[0:2], self._order) << 16 | int.from_bytes(head[2:4], self._order)
        if self._implicit or tag >> 16 == 0xFFFE:
            length = int.from_bytes(head[4:8], self._order)
        elif head[4:6] in _LONG_VRS:
            length = int.from_bytes(self._take(4), self._order)
        else:
            length = int.from_bytes(head[6:8], self._order)
        if length != _UNDEFINED and length > end - self._at:
            raise Malformed("an element says it is longer than what it stands in")
        return tag, length

    def _pass(self, length: int, end: int) -> None:
        """Pass over a value; one of undefined length down to its own delimiter."""
        if length != _UNDEFINED:
            self._at += length
            return
        depth = 1
        while depth:
            tag, length = self._head(end)
            if tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif length == _UNDEFINED:
                depth += 1
            else:
                self._at += length

    def _text(self, length: int) -> str:
        return self._take(length).decode("ascii", "replace").strip(" \0")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise Malformed("the dataset ends inside an element")
        self._at += count
        return taken


def _element(tag: int, vr: bytes, value: bytes, explicit: bool) -> bytes:
    place = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return place + struct.pack("<L", len(value)) + value
    if vr in _LONG_VRS:
        return place + vr + struct.pack("<2xL", len(value)) + value
    return place + vr + struct.pack("<H", len(value)) + value


def _uid(tag: int, uid: str, explicit: bool) -> bytes:
    value = uid.encode("ascii")
    return _element(tag, b"UI", value + b"\0" * (len(value) % 2), explicit)


def _item(reference: Reference, reason: int | None, explicit: bool) -> bytes:
    body = _uid(_CLASS, reference.sop_class, explicit) + _uid(_INSTANCE, reference.sop_uid, explicit)
    if reason is not None:
        body += _element(_REASON, b"US", struct.pack("<H", reason), explicit)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body


def _sequence(tag: int, items: Sequence[bytes], explicit: bool) -> bytes:
    return _element(tag, b"SQ", b"".join(items), explicit)
