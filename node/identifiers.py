"""The identifiers of C-FIND in the Study Root model: what is asked for, what a match says (PS3.4, C.4.1.1.3, C.6.2).

Keys are unique UIDs and counts; nothing of a patient is asked for, and whatever else an answer holds is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from node.elements import EXPLICIT, UNDEFINED, Elements, Malformed, element

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve Information Model - FIND

Level = Literal["STUDY", "SERIES", "IMAGE"]
LEVEL = 0x00080052  # Query/Retrieve Level
STUDY_UID, SERIES_UID, SOP_UID = 0x0020000D, 0x0020000E, 0x00080018
STUDY_INSTANCES, SERIES_INSTANCES = 0x00201208, 0x00201209  # Number of Study, of Series Related Instances

LONGEST_IDENTIFIER = 64 * 1024  # bytes; a real one has about 200
_VRS = {
    LEVEL: b"CS", STUDY_UID: b"UI", SERIES_UID: b"UI", SOP_UID: b"UI", STUDY_INSTANCES: b"IS", SERIES_INSTANCES: b"IS",
}  # fmt: skip


def write_identifier(level: Level, keys: Mapping[int, str], transfer_syntax: str) -> bytes:
    """A request in one of the little endian syntaxes; a key with an empty value is asked for (universal matching)."""
    encoded = b""
    for tag, text in sorted({LEVEL: level, **keys}.items()):
        vr, value = _VRS[tag], text.encode("ascii")
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        encoded += element(tag, vr, value, transfer_syntax == EXPLICIT)
    return encoded


def read_identifier(encoded: bytes, transfer_syntax: str) -> Mapping[int, str]:
    """The keys that a match gives; absent and empty ones left out. Raises Malformed."""
    walk = Elements(encoded, transfer_syntax)
    found: dict[int, str] = {}
    while walk.at < len(encoded):
        tag, length = walk.head(len(encoded))
        if tag not in _VRS or length == UNDEFINED:
            walk.pass_over(length, len(encoded))
        elif text := walk.text(length):
            found[tag] = text
    return found


def number(match: Mapping[int, str], tag: int) -> int | None:
    """A count of a match; None where it does not say it. Raises Malformed for what is no count."""
    text = match.get(tag)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Malformed("a number of related instances is not a number")
    return int(text)
