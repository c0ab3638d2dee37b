"""The elements of small datasets that peers send us or get from us (PS3.5, 7.1 and 7.5): read with bounds and without
recursion, written in the little endian syntaxes."""

from __future__ import annotations

import re
import struct
from typing import Literal

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
UID_TEXT = re.compile(r"[0-9.]{1,64}")

_MOST_ELEMENTS = 1_000_000
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


class Malformed(ValueError):
    """A dataset is not what it should be; the text says what is wrong and names no value of it."""


class Elements:
    """One pass over an encoded dataset, with a counter for all of its elements. `at`: where it stands."""

    def __init__(self, encoded: bytes, transfer_syntax: str) -> None:
        """Raises Malformed for a transfer syntax other than the three uncompressed, undeflated ones."""
        if transfer_syntax not in (IMPLICIT, EXPLICIT, BIG_ENDIAN):
            raise Malformed("its transfer syntax is not one that it may have")
        self.data = encoded
        self.order: Literal["little", "big"] = "big" if transfer_syntax == BIG_ENDIAN else "little"
        self.at = 0
        self._implicit = transfer_syntax == IMPLICIT
        self._elements = 0

    def head(self, end: int) -> tuple[int, int]:
        """(tag, length) of the next element; what has a length fits before `end`. Raises Malformed."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise Malformed(f"more than {_MOST_ELEMENTS} elements")
        head = self.take(8)
        tag = int.from_bytes(head[0:2], self.order) << 16 | int.from_bytes(head[2:4], self.order)
        if self._implicit or tag >> 16 == 0xFFFE:
            length = int.from_bytes(head[4:8], self.order)
        elif head[4:6] in _LONG_VRS:
            length = int.from_bytes(self.take(4), self.order)
        else:
            length = int.from_bytes(head[6:8], self.order)
        if length != UNDEFINED and length > end - self.at:
            raise Malformed("an element says it is longer than what it stands in")
        return tag, length

    def pass_over(self, length: int, end: int) -> None:
        """Pass over a value; one of undefined length down to its own delimiter. Raises Malformed."""
        if length != UNDEFINED:
            self.at += length
            return
        depth = 1
        while depth:
            tag, length = self.head(end)
            if tag in (ITEM_END, SEQUENCE_END):
                depth -= 1
            elif length == UNDEFINED:
                depth += 1
            else:
                self.at += length

    def text(self, length: int) -> str:
        """A value of UIDs or plain text, without padding. Raises Malformed."""
        return self.take(length).decode("ascii", "replace").strip(" \0")

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Malformed when they are not there."""
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise Malformed("the dataset ends inside an element")
        self.at += count
        return taken


def element(tag: int, vr: bytes, value: bytes, explicit: bool) -> bytes:
    """One element with its value, of even length, in Explicit or Implicit VR Little Endian."""
    place = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return place + struct.pack("<L", len(value)) + value
    if vr in _LONG_VRS:
        return place + vr + struct.pack("<2xL", len(value)) + value
    return place + vr + struct.pack("<H", len(value)) + value
