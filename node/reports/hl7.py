"""One HL7 v2 message: its segments and fields, and the answer to it (HL7 v2.5.1, chapter 2).

Only what is asked for is taken apart: a message of separators costs no more than any other of its size. Nothing that
stands in a message is ever part of an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LARGEST = 1 << 20  # bytes
MOST_SEGMENTS = 10_000
# MSH-18 (HL7 table 0211) -> codec
CHARACTER_SETS: Mapping[str, str] = {
    "": "latin-1", "ASCII": "latin-1", "UNICODE UTF-8": "utf-8", "UNICODE": "utf-8", "UTF-8": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR6": "latin-1", "ISO IR14": "latin-1", "ISO IR87": "iso2022_jp", "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030", "KS X 1001": "euc_kr", "BIG-5": "big5",
}  # fmt: skip
_ECHOED = re.compile(r"[!-~][ -~]{0,198}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Unreadable(Exception):
    """Not a message that can be read; the text says why, and nothing of what stands in it."""


@dataclass(frozen=True)
class Message:
    """Segments as text, and the signs that part them: field, component, repetition, escape, subcomponent."""

    segments: tuple[str, ...]
    signs: str

    def field(self, segment: str, number: int) -> str:
        """A field of a segment as it stands there, escapes and all; empty where there is none. MSH-1 is the sign."""
        at = number - 1 if segment.startswith("MSH") else number
        parts = segment.split(self.signs[0], at + 1)
        return parts[at] if at < len(parts) else ""

    def value(self, segment: str, number: int, component: int = 1) -> str:
        """The first repetition's component as plain text."""
        return self.components(segment, number, component)[component - 1]

    def components(self, segment: str, number: int, least: int = 1) -> list[str]:
        """The first repetition's components as plain text, `least` of them at least and nine at most."""
        between, again, under = self.signs[1], self.signs[2], self.signs[4]
        parts = self.field(segment, number).split(again, 1)[0].split(between, 9)[:9]
        plain = [self._plain(part.split(under, 1)[0]).strip() for part in parts]
        return plain + [""] * (least - len(plain))

    def of(self, name: str) -> list[str]:
        """The segments of that name."""
        return [one for one in self.segments if one[:3] == name]

    def _plain(self, text: str) -> str:
        """Escapes of the signs resolved (2.7); others left out. `""` (delete the value) is empty."""
        mark = self.signs[3]
        if text == '""':
            return ""
        if mark not in text:
            return text
        named = dict(zip("FSRET", self.signs, strict=True))
        pieces = text.split(mark)
        return "".join(piece if at % 2 == 0 else named.get(piece, "") for at, piece in enumerate(pieces))


def parse(content: bytes) -> Message:
    """A message from its bytes, without the signs of MLLP. Raises Unreadable."""
    if len(content) > LARGEST:
        raise Unreadable(f"it is larger than {LARGEST >> 10} KiB")
    if content[:3] != b"MSH" or len(content) < 8:
        raise Unreadable("it does not begin with MSH")
    head = content.split(b"\r", 1)[0].split(b"\n", 1)[0].decode("latin-1")
    signs = head[3:8]
    if len(set(signs)) != 5 or any(sign.isalnum() or sign.isspace() or not sign.isprintable() for sign in signs):
        raise Unreadable("the signs that part its fields are not five different ones")
    fields = head.split(signs[0], 19)
    character_set = fields[17].split(signs[2])[0].strip() if len(fields) > 17 else ""
    codec = CHARACTER_SETS.get(character_set)
    if codec is None:
        raise Unreadable("its character set (MSH-18) is not known")
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        raise Unreadable("its text is not in its character set (MSH-18)") from error
    if _CONTROL.search(text):
        raise Unreadable("it holds control characters")
    segments = tuple(line for line in re.split(r"[\r\n]+", text) if line)
    if len(segments) > MOST_SEGMENTS:
        raise Unreadable(f"it has more than {MOST_SEGMENTS} segments")
    return Message(segments, signs)


def control_id(content: bytes) -> str:
    """MSH-10 of what may not even be a message; empty where it cannot be told back."""
    if content[:3] != b"MSH" or len(content) < 8:
        return ""
    fields = content[:4096].split(b"\r", 1)[0].decode("latin-1").split(chr(content[3]), 10)
    found = fields[9] if len(fields) > 9 else ""
    return found if _ECHOED.fullmatch(found) else ""


def answer(content: bytes, code: str, text: str, now: float, own_name: str) -> bytes:
    """The acknowledgement of a message: AA, AE or AR and why (original mode; 2.9.2). Without the signs of MLLP."""
    theirs = _names(content)
    when = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d%H%M%S+0000")
    told = control_id(content)
    head = ["MSH", "^~\\&", own_name, "", *theirs[:2], when, "", "ACK^R01^ACK", f"A{now * 1000:.0f}", "P", "2.5.1"]
    body = ["MSA", code, told.replace("|", "\\F\\"), text.replace("|", " ")]
    return ("|".join(head) + "\r" + "|".join(body) + "\r").encode("ascii", "replace")


def _names(content: bytes) -> Sequence[str]:
    """MSH-3 and MSH-4: who sent it, where they can be told back."""
    if content[:3] != b"MSH" or len(content) < 8:
        return ("", "")
    fields = content[:4096].split(b"\r", 1)[0].decode("latin-1").split(chr(content[3]), 5)
    fields += [""] * (4 - len(fields))
    return [one if re.fullmatch(r"[\w .^-]{0,180}", one, re.ASCII) else "" for one in fields[2:4]]
