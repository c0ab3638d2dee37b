"""The datasets of storage commitment: who asks names instances, who keeps them answers (PS3.4, annex J; PS3.3, C.14).

Both come from a peer, so they are read with bounds and without recursion: a transaction UID and one or two
sequences of SOP class and SOP instance; whatever else stands in them is passed over. Written they are Implicit or
Explicit VR Little Endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node.elements import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UID_TEXT,
    UNDEFINED,
    Elements,
    Malformed,
    element,
)

PUSH_MODEL = "1.2.840.10008.1.20.1"  # the Storage Commitment Push Model SOP Class
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its one, well-known SOP Instance
REQUEST_ACTION = 1  # Action Type ID "Request Storage Commitment"
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type IDs

TRANSFER_SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN)

LONGEST_DATASET = 8 << 20  # bytes: some 60,000 instances
MOST_REFERENCES = 50_000

_TRANSACTION_UID, _REFERENCED, _FAILED = 0x00081195, 0x00081199, 0x00081198
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197


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


class _Walk(Elements):
    """One pass over a dataset: top level, items of the wanted sequences, and a counter for all the rest."""

    def read(self) -> tuple[str, dict[int, list[tuple[Reference, int]]]]:
        """(transaction UID, the references with their failure reason (0: none) by the tag of their sequence)."""
        transaction = ""
        found: dict[int, list[tuple[Reference, int]]] = {_REFERENCED: [], _FAILED: []}
        end = len(self.data)
        while self.at < end:
            tag, length = self.head(end)
            if tag == _TRANSACTION_UID and length != UNDEFINED:
                transaction = self.text(length)
            elif tag in found:
                for reference in self._references(end if length == UNDEFINED else self.at + length):
                    if len(found[_REFERENCED]) + len(found[_FAILED]) >= MOST_REFERENCES:
                        raise Malformed(f"more than {MOST_REFERENCES} instances are named")
                    found[tag].append(reference)
            else:
                self.pass_over(length, end)
        if not UID_TEXT.fullmatch(transaction):
            raise Malformed("TransactionUID is missing or is not a UID")
        return transaction, found

    def _references(self, end: int) -> Iterator[tuple[Reference, int]]:
        """The items of a sequence that ends at `end`, or before it with a delimiter."""
        while self.at < end:
            tag, length = self.head(end)
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise Malformed("a sequence holds something that is not an item")
            yield self._item(end if length == UNDEFINED else self.at + length)

    def _item(self, end: int) -> tuple[Reference, int]:
        sop_class = sop_uid = ""
        reason = 0
        while self.at < end:
            tag, length = self.head(end)
            if tag == ITEM_END:
                break
            if tag == _CLASS and length != UNDEFINED:
                sop_class = self.text(length)
            elif tag == _INSTANCE and length != UNDEFINED:
                sop_uid = self.text(length)
            elif tag == _REASON and length == 2:
                reason = int.from_bytes(self.take(2), self.order)
            else:
                self.pass_over(length, end)
        if not UID_TEXT.fullmatch(sop_class) or not UID_TEXT.fullmatch(sop_uid):
            raise Malformed("an item lacks ReferencedSOPClassUID or ReferencedSOPInstanceUID, or it is not a UID")
        return Reference(sop_class, sop_uid), reason


def _uid(tag: int, uid: str, explicit: bool) -> bytes:
    value = uid.encode("ascii")
    return element(tag, b"UI", value + b"\0" * (len(value) % 2), explicit)


def _item(reference: Reference, reason: int | None, explicit: bool) -> bytes:
    body = _uid(_CLASS, reference.sop_class, explicit) + _uid(_INSTANCE, reference.sop_uid, explicit)
    if reason is not None:
        body += element(_REASON, b"US", struct.pack("<H", reason), explicit)
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body


def _sequence(tag: int, items: Sequence[bytes], explicit: bool) -> bytes:
    return element(tag, b"SQ", b"".join(items), explicit)
