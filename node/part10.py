"""The head of a DICOM file: preamble, prefix and file meta information before a dataset (PS3.10, 7.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from node.errors import GiveUp
from node.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

LONGEST_HEAD = 132 + 64 * 1024  # bytes
_LONG_VRS = (b"OB", b"OW", b"UN", b"UT", b"SQ")


@dataclass(frozen=True)
class Head:
    """What a file says about itself before its dataset, which begins at `offset`."""

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    offset: int


def file_head(sop_class: str, sop_uid: str, transfer_syntax: str, calling_ae: str) -> bytes:
    """The bytes that come before the dataset."""
    meta = b"".join(
        (
            struct.pack("<HH2s2xL", 2, 0x0001, b"OB", 2) + b"\0\x01",
            _short(0x0002, b"UI", sop_class),
            _short(0x0003, b"UI", sop_uid),
            _short(0x0010, b"UI", transfer_syntax),
            _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _short(0x0016, b"AE", calling_ae),
        )
    )
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHL", 2, 0x0000, b"UL", 4, len(meta)) + meta


def read_head(path: Path) -> Head:
    """Read the head of `path`. Raises GiveUp when there is no such file, it is not a DICOM file or does not say what it
    holds, and OSError when the disk does not give it."""
    try:
        with open(path, "rb") as file:
            start = file.read(LONGEST_HEAD)
    except FileNotFoundError as error:
        raise GiveUp(f"{path} cannot be read ({error.strerror})") from error
    return head_of(start, path)


def head_of(start: bytes, path: Path) -> Head:
    """The head of a file that begins with `start`, LONGEST_HEAD of it; `path` is for the error. Raises GiveUp."""
    if start[128:132] != b"DICM":
        raise GiveUp(f"{path} is not a DICOM file (no DICM at byte 128)")
    values: dict[int, str] = {}
    at = 132
    while start[at : at + 2] == b"\x02\x00":
        if at + 12 > len(start):
            raise GiveUp(f"{path}: the file meta information is cut off")
        element, vr, length = struct.unpack_from("<H2sH", start, at + 2)
        at += 8
        if vr in _LONG_VRS:
            length = int.from_bytes(start[at : at + 4], "little")
            at += 4
        values[element] = start[at : at + length].decode("ascii", "replace").strip(" \0")
        at += length
    missing = [f"(0002,{element:04X})" for element in (0x0002, 0x0003, 0x0010) if not values.get(element)]
    if missing:
        raise GiveUp(f"{path}: the file meta information lacks {', '.join(missing)}")
    return Head(values[0x0002], values[0x0003], values[0x0010], at)


def _short(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
