"""DICOM datasets element by element, so that one can be wrong where the others are right (PS3.5, 7.1)."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.fuzz.mutate import LENGTHS

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = (*LONG, b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
       b"SS", b"ST", b"TM", b"UI", b"UL", b"US", b"??", b"\0\0", b"ox")  # fmt: skip
CHARSETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149",
            b"ISO_IR 999", b"utf\0", b"ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\xff\xfe", b"\\" * 500)  # fmt: skip
# Never the patient's own name: what stands here may be told, what stands in PatientName may not.
TEXTS = (b"", b" ", b"\0", b"\x1b[2J\x1b[31m", b"<script>alert(1)</script>", b"</para><img src='/etc/passwd'/>", b"a\nb\r\nc",
         b"'; DROP TABLE studies; --", b"../../../tmp/fuzz-escape", b"/tmp/fuzz-escape", b"C:\\x", b"%s%n%d", b"{0.__class__}",
         b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\x1b$B\x1b(J", b"A" * 70, b"x" * 5000, b"\\" * 200, b"^" * 300, b"=^=^=",
         b"\xe2\x80\xae", b"NaN", b"1e999", b"-1", b"1" * 400, b"0x10", b"inf", b"1\\2", b"1e-320", b"99999999999999999999")  # fmt: skip
UIDS = (b"", b".", b"..", b"../../fuzz-escape", b"/tmp/fuzz-escape", b"1.2.3\n", b"1" * 64, b"1" * 65, b"1..2", b"0.0.0",
        b"1.2.a", b"1.2.3\\4.5.6", b"\xff" * 10, b"1.2 3", b"1.2.840.10008.1.2", b"con", b"%2e%2e%2f", b"\0" * 8)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 32, 255, 256, 4095, 32767, 32768, 65534, 65535)


@dataclass(frozen=True)
class Element:
    """One element; `says`: the length that it declares, None for the true one; `items`: of a sequence."""

    tag: int
    vr: bytes
    value: bytes = b""
    says: int | None = None
    items: tuple[tuple[Element, ...], ...] | None = None
    undefined: bool = False


def text(tag: int, vr: str, value: str | bytes) -> Element:
    """An element of text, padded to an even length."""
    encoded = value.encode("utf-8") if isinstance(value, str) else value
    return Element(tag, vr.encode(), encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2))


def number(tag: int, value: int) -> Element:
    """An element of one US, little endian (see `encoded` for the other order)."""
    return Element(tag, b"US", struct.pack("<H", value))


def encoded(elements: Sequence[Element], syntax: str = EXPLICIT) -> bytes:
    """The dataset as its transfer syntax has it."""
    content = b"".join(_one(element, syntax) for element in elements)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush()
    return content


def _one(element: Element, syntax: str) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    value = element.value
    if element.vr == b"US" and len(value) == 2 and order == ">":
        value = value[::-1]
    if element.items is not None:
        value = b"".join(_item(item, syntax, order, element.undefined) for item in element.items)
        if element.undefined:
            value += struct.pack(f"{order}HHL", 0xFFFE, 0xE0DD, 0)
    length = element.says if element.says is not None else 0xFFFFFFFF if element.undefined else len(value)
    head = struct.pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack(f"{order}L", length & 0xFFFFFFFF) + value
    if element.vr in LONG:
        return head + element.vr + struct.pack(f"{order}2xL", length & 0xFFFFFFFF) + value
    return head + element.vr + struct.pack(f"{order}H", length & 0xFFFF) + value


def _item(item: Sequence[Element], syntax: str, order: str, undefined: bool) -> bytes:
    body = b"".join(_one(element, syntax) for element in item)
    end = struct.pack(f"{order}HHL", 0xFFFE, 0xE00D, 0) if undefined else b""
    return struct.pack(f"{order}HHL", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(body)) + body + end


def nested(depth: int, tag: int = 0x00081140, undefined: bool = True) -> Element:
    """A sequence in a sequence in a sequence; made without recursion only while it is small."""
    inner: tuple[Element, ...] = (text(0x00080100, "SH", "x"),)
    for _ in range(depth):
        inner = (Element(tag, b"SQ", items=(inner,), undefined=undefined),)
    return inner[0]


def deep(depth: int, syntax: str = EXPLICIT, tag: int = 0x00081140) -> bytes:
    """The beginning of a sequence nested `depth` deep that never ends, as bytes."""
    vr = b"" if syntax == IMPLICIT else b"SQ\0\0"
    level = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return level * depth


def spoiled(rng: random.Random, elements: Sequence[Element], most: int = 3) -> list[Element]:
    """The elements with one to `most` of them wrong: value, representation, length, order, number, nesting."""
    made = list(elements)
    for _ in range(rng.randint(1, most)):
        if not made:
            break
        at = rng.randrange(len(made))
        one = made[at]
        kind = rng.randrange(12)
        if kind < 5:
            made[at] = replace(one, value=_value(rng, one), items=None, undefined=False)
        elif kind == 5:
            made[at] = replace(one, vr=rng.choice(VRS))
        elif kind == 6:
            made[at] = replace(one, says=rng.choice(LENGTHS))
        elif kind == 7:
            del made[at]
        elif kind == 8:  # the same attribute twice, the second one another
            made.insert(at + 1, replace(one, value=_value(rng, one)))
        elif kind == 9:
            made.insert(rng.randrange(len(made)), made.pop(at))
        elif kind == 10:
            made.insert(at, nested(rng.choice((1, 3, 30, 70)), 0x00081140, rng.random() < 0.5))
        else:
            inside = (tuple(made[max(0, at - 2) : at + 1]),) * rng.choice((0, 1, 3))
            made.insert(at, Element(0x00081140, b"SQ", items=inside, undefined=rng.random() < 0.5))
    return made


def _value(rng: random.Random, one: Element) -> bytes:
    if one.tag == 0x00080005:
        return rng.choice(CHARSETS)
    if one.vr == b"US":
        return b"".join(struct.pack("<H", rng.choice(NUMBERS)) for _ in range(rng.choice((0, 1, 1, 1, 1, 2))))
    if one.vr == b"UI":
        return rng.choice(UIDS)
    return rng.choice(TEXTS)
