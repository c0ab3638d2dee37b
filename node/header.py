"""Who an instance is, read from the first elements of its encoded dataset: bounded, and never its pixels.

The bytes come from strangers. Values that are not wanted are skipped by arithmetic, nested sequences are
walked with a counter in place of recursion, a deflated dataset is inflated only as far as needed, and every
loop has a bound (PS3.5: 7.1 elements, 7.5 sequences, A.5 deflated).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Deflated Explicit VR, and the two JPIP syntaxes whose datasets are deflated.
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

_WANTED = {
    0x00080016: "SOPClassUID", 0x00080018: "SOPInstanceUID", 0x00080060: "Modality",
    0x00100020: "PatientID", 0x00100021: "IssuerOfPatientID",
    0x0020000D: "StudyInstanceUID", 0x0020000E: "SeriesInstanceUID",
}  # fmt: skip
_CONTRIBUTING_EQUIPMENT = 0x0018A001
_LAST = 0x0020000E
_IDENTITY = frozenset({*_WANTED, _CONTRIBUTING_EQUIPMENT})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_DEEPEST = 64  # nested sequences
_MOST_ELEMENTS = 200_000
_LONGEST_VALUE = 1024  # bytes of a wanted value
_LONGEST_SEQUENCE = 64 * 1024  # bytes of the contributing equipment
_MOST_INFLATED = 64 * 1024 * 1024  # bytes of a deflated dataset before the last wanted element
_WINDOW = 64 * 1024

Read = Callable[[int, int], bytes]
"""(offset, length) -> at most length bytes of the encoded dataset from there."""


class Unreadable(Exception):
    """The dataset cannot be understood up to its identity; the text names no value of it."""


@dataclass(frozen=True)
class Identity:
    """The attributes that say which instance this is. Absent ones are empty. UIDs have no padding."""

    SOPClassUID: str
    SOPInstanceUID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str
    Modality: str
    PatientID: str
    IssuerOfPatientID: str
    contributing_equipment: bytes  # the sequence's value as encoded, empty when absent or over 64 KiB
    implicit: bool
    little_endian: bool


@dataclass(frozen=True)
class Value:
    """One element's value as encoded; `vr` is empty where the encoding does not say it."""

    tag: int
    vr: str
    value: bytes
    is_sequence: bool = False


class _Head(NamedTuple):
    """`implicit`: whether what is inside is implicit VR."""

    tag: int
    vr: str
    length: int
    implicit: bool


def read_identity(read: Read, size: int, transfer_syntax: str) -> Identity:
    """Read the identity of a dataset of `size` bytes that `read` gives access to. Raises Unreadable."""
    implicit, little = transfer_syntax == IMPLICIT, transfer_syntax != BIG_ENDIAN
    source: _Source = _Inflated(read, size) if transfer_syntax in DEFLATED else _Plain(read, size)
    walk = _Walk(source, implicit, "little" if little else "big")
    found = dict.fromkeys(_WANTED.values(), "")
    equipment = b""
    for one in walk.top_level(_IDENTITY, _LAST):
        if one.tag == _CONTRIBUTING_EQUIPMENT:
            equipment = one.value
        elif not one.is_sequence:
            found[_WANTED[one.tag]] = one.value.decode("utf-8", "surrogateescape").strip(" \0")
    return Identity(**found, contributing_equipment=equipment, implicit=implicit, little_endian=little)


def read_values(read: Read, size: int, transfer_syntax: str, tags: Collection[int]) -> list[Value]:
    """The values of some attributes as encoded, in their order, reading no further than the last of them by its tag.

    Those of more than 1024 bytes, and sequences, count as absent. Raises Unreadable.
    """
    implicit, order = transfer_syntax == IMPLICIT, transfer_syntax != BIG_ENDIAN
    source: _Source = _Inflated(read, size) if transfer_syntax in DEFLATED else _Plain(read, size)
    walk = _Walk(source, implicit, "little" if order else "big")
    return [one for one in walk.top_level(frozenset(tags), max(tags, default=0)) if not one.is_sequence]


class _Source:
    """Sequential access to the dataset's bytes; `tape` records what passes while it is not None."""

    position = 0
    tape: bytearray | None = None

    def take(self, count: int) -> bytes:
        """The next `count` bytes, or fewer at the end."""
        taken = self._take(count)
        self.position += len(taken)
        if self.tape is not None:
            self.tape += taken
        return taken

    def skip(self, count: int) -> None:
        """Pass over `count` bytes; Unreadable when they are not there."""
        if self.tape is not None:
            if len(self.tape) + count > _LONGEST_SEQUENCE:
                self.tape = None
            else:
                count -= len(self.take(count))
        self._skip(count)

    def _take(self, count: int) -> bytes:
        raise NotImplementedError

    def _skip(self, count: int) -> None:
        raise NotImplementedError


class _Plain(_Source):
    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._window = b""
        self._start = 0

    def _take(self, count: int) -> bytes:
        offset = self.position - self._start
        if not 0 <= offset <= offset + count <= len(self._window):
            self._window = self._read(self.position, max(count, _WINDOW))
            self._start, offset = self.position, 0
        return self._window[offset : offset + count]

    def _skip(self, count: int) -> None:
        if count > self._size - self.position:
            raise Unreadable("an element says it is longer than the dataset")
        self.position += count


class _Inflated(_Source):
    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._offset = 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._window = b""

    def _take(self, count: int) -> bytes:
        while len(self._window) < count and self._fill():
            pass
        taken, self._window = self._window[:count], self._window[count:]
        return taken

    def _skip(self, count: int) -> None:
        while count:
            taken = len(self.take(min(count, _WINDOW)))
            if not taken:
                raise Unreadable("an element says it is longer than the dataset")
            count -= taken

    def _fill(self) -> bool:
        if self._inflate.eof:
            return False
        if self.position > _MOST_INFLATED:
            raise Unreadable(f"no identity in the first {_MOST_INFLATED >> 20} MiB of the inflated dataset")
        packed = self._inflate.unconsumed_tail
        if not packed:
            packed = self._read(self._offset, _WINDOW)
            self._offset += len(packed)
        try:
            more = self._inflate.decompress(packed, _WINDOW)
        except zlib.error as error:
            raise Unreadable("the dataset is not the deflated stream that its transfer syntax says") from error
        self._window += more
        return bool(packed) or bool(more)


class _Walk:
    def __init__(self, source: _Source, implicit: bool, order: Literal["little", "big"]) -> None:
        self._source = source
        self._implicit = implicit
        self._order: Literal["little", "big"] = order
        self._elements = 0

    def top_level(self, wanted: frozenset[int], last: int) -> Iterator[Value]:
        """The wanted elements of the dataset itself, reading no further than the element `last`."""
        while True:
            head = self._head()
            if head is None or head.tag > last:
                return
            tag, length = head.tag, head.length
            value: bytes | None = None
            longest = _LONGEST_SEQUENCE if tag == _CONTRIBUTING_EQUIPMENT else _LONGEST_VALUE
            if length == _UNDEFINED:
                if tag in wanted:
                    self._source.tape = bytearray()
                self._pass_sequence(head.implicit)
                if self._source.tape is not None:
                    value, self._source.tape = bytes(self._source.tape), None
            elif tag in wanted and length <= longest:
                value = self._source.take(length)
            else:
                self._source.skip(length)
            if tag in wanted and value is not None:
                yield Value(tag, head.vr, value, length == _UNDEFINED)
            if tag == last:
                return

    def _head(self, implicit: bool | None = None) -> _Head | None:
        """The next element's; None at the end."""
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise Unreadable(f"more than {_MOST_ELEMENTS} elements before the identity")
        implicit = self._implicit if implicit is None else implicit
        head = self._source.take(8)
        if len(head) < 8:
            if head.strip(b"\0"):
                raise Unreadable("the dataset ends inside an element")
            return None
        order = self._order
        tag = int.from_bytes(head[0:2], order) << 16 | int.from_bytes(head[2:4], order)
        vr = head[4:6]
        # Items have no VR; neither has an element of a sender that mixed up its transfer syntax.
        if implicit or tag >> 16 == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return _Head(tag, "", int.from_bytes(head[4:8], order), implicit)
        if vr in _LONG_VRS:
            length = int.from_bytes(self._source.take(4), order)
            return _Head(tag, vr.decode(), length, vr == b"UN" and length == _UNDEFINED)  # PS3.5, 6.2.2 note 2
        return _Head(tag, vr.decode(), int.from_bytes(head[6:8], order), False)

    def _pass_sequence(self, implicit: bool) -> None:
        """Pass over a value of undefined length, down to its delimiter."""
        # What the innermost open level is: items of a sequence (True) or elements of an item (False).
        levels = [(True, implicit)]
        while levels:
            in_sequence, implicit = levels[-1]
            head = self._head(implicit)
            if head is None:
                raise Unreadable("the dataset ends inside a sequence")
            if head.tag in (_SEQUENCE_END, _ITEM_END):
                levels.pop()
            elif head.length != _UNDEFINED:
                self._source.skip(head.length)
            else:
                levels.append((not in_sequence, head.implicit))
            if len(levels) > 2 * _DEEPEST:
                raise Unreadable(f"sequences are nested more than {_DEEPEST} deep")
