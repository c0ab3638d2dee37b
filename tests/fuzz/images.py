"""DICOM files that mean harm: one attribute wrong, declared sizes that nobody has, bombs, fragments that do not fit."""

from __future__ import annotations

import functools
import random
import struct
import zlib
from dataclasses import replace

from node.part10 import file_head
from tests.fuzz.elements import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    NUMBERS,
    SYNTAXES,
    Element,
    deep,
    encoded,
    number,
    spoiled,
    text,
)
from tests.fuzz.mutate import LENGTHS, mutated
from tests.fuzz.seeds import Case, synthetic
from tests.fuzz.target import MARKER

CT = "1.2.840.10008.5.1.4.1.1.2"
J2K, JLS, RLE, JPEG = (f"1.2.840.10008.1.2.{last}" for last in ("4.90", "4.80", "5", "4.50"))
_BOMBS = (12, 120, 300)  # MiB that a deflate bomb grows to: within the bounds of pipelines.inflated, and beyond them
_FILLERS = (0x00091010, 0x00311010, 0xFFFCFFFC)  # before the identity, after it, and after the pixels


def slice_of(index: int, rows: int = 8, columns: int = 8, pixels: bytes | None = None) -> list[Element]:
    """One CT slice of a stack, element by element."""
    return [
        text(0x00080005, "CS", "ISO_IR 192"), text(0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"), text(0x00080016, "UI", CT),
        text(0x00080018, "UI", f"1.2.3.9.{index}"), text(0x00080060, "CS", "CT"), text(0x00080070, "LO", "Maker"),
        text(0x00081090, "LO", "Model"), text(0x00100010, "PN", f"{MARKER}^Ada"), text(0x00100020, "LO", "P1"),
        text(0x00100030, "DA", "19700101"), text(0x00100040, "CS", "F"), text(0x00180050, "DS", "2.5"),
        text(0x00180060, "DS", "120"), text(0x00181210, "SH", "B30f"), text(0x0020000D, "UI", "1.2.3"),
        text(0x0020000E, "UI", "1.2.3.9"), text(0x00200011, "IS", "2"), text(0x00200013, "IS", str(index)),
        text(0x00200032, "DS", f"0\\0\\{2.5 * index}"), text(0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
        text(0x00200052, "UI", "1.2.3.8"), number(0x00280002, 1), text(0x00280004, "CS", "MONOCHROME2"),
        text(0x00280008, "IS", "1"), number(0x00280010, rows), number(0x00280011, columns),
        text(0x00280030, "DS", "0.7\\0.7"), number(0x00280100, 16), number(0x00280101, 16), number(0x00280102, 15),
        number(0x00280103, 1), number(0x00280120, 63536), text(0x00281050, "DS", "40"), text(0x00281051, "DS", "400"),
        text(0x00281052, "DS", "-1024"), text(0x00281053, "DS", "1"), text(0x00281054, "LO", "HU"),
        Element(0x7FE00010, b"OW", bytes(2 * 64) if pixels is None else pixels),
    ]  # fmt: skip


def file_of(elements: list[Element], syntax: str = EXPLICIT) -> bytes:
    """A whole file as the node would have written it, were its dataset sent so."""
    return file_head(CT, "1.2.3.9.1", syntax, "SENDER") + encoded(elements, syntax)


def hostile(rng: random.Random) -> Case:
    """The files of one hostile series."""
    return rng.choices((_spoiled, _sizes, _nested, _fragments, _bomb), weights=(60, 12, 6, 22, 0.4))[0](rng)


def _spoiled(rng: random.Random) -> Case:
    """The same attributes wrong in all slices, or in one only."""
    syntax, state = rng.choice((EXPLICIT, EXPLICIT, *SYNTAXES)), rng.random()
    alike, made = rng.random() < 0.6, []
    for index in range(3):
        elements = slice_of(index)
        if alike:
            elements = spoiled(random.Random(state), elements)
        elif index == 1:
            elements = spoiled(rng, elements)
        made.append(file_of(elements, syntax))
    return tuple(made)


def _sizes(rng: random.Random) -> Case:
    """Declared rows, columns, frames and bits that the pixel data does not have."""
    rows, columns = (rng.choice((*NUMBERS, 65535, 65535, 32768)) for _ in range(2))
    frames = rng.choice(("1", "1", "2", "0", "-1", "1000000", "2147483647", "99999999999"))
    bits, stored = rng.choice((1, 8, 16, 32, 64, 65535)), rng.choice((0, 1, 8, 12, 16, 32, 65535))
    syntax, says = rng.choice((EXPLICIT, IMPLICIT, RLE, J2K, JLS, JPEG)), rng.choice((None, None, *LENGTHS))
    made = []
    for index in range(rng.choice((1, 2, 3))):
        pixels = bytes(1000)
        if syntax not in (EXPLICIT, IMPLICIT):
            pixels = _encapsulated([_codestream(syntax, rows, columns)])
        changes = {0x00280008: text(0x00280008, "IS", frames), 0x00280100: number(0x00280100, bits),
                   0x00280101: number(0x00280101, stored), 0x00280102: number(0x00280102, max(0, stored - 1))}  # fmt: skip
        elements = [changes.get(one.tag, one) for one in slice_of(index, rows, columns, pixels)]
        encapsulated = syntax not in (EXPLICIT, IMPLICIT)
        elements[-1] = replace(
            elements[-1], vr=b"OB" if encapsulated else b"OW", says=0xFFFFFFFF if encapsulated else says
        )
        made.append(file_of(elements, syntax))
    return tuple(made)


def _nested(rng: random.Random) -> Case:
    """Sequences in sequences, with and without an end."""
    syntax = rng.choice((EXPLICIT, IMPLICIT))
    head = file_head(CT, "1.2.3.9.1", syntax, "SENDER")
    tag, depth = rng.choice((0x00081140, 0x00089215, 0x52009230, 0x00091010)), rng.choice((5, 100, 900, 1100, 20000))
    plain = slice_of(1)
    before = [one for one in plain if one.tag < tag]
    after = [one for one in plain if one.tag > tag]
    return (
        head + encoded(before, syntax) + deep(depth, syntax, tag) + encoded(after, syntax),
        file_of(slice_of(2), syntax),
    )


def _fragments(rng: random.Random) -> Case:
    """Compressed pixel data whose fragments, offset table or codestream are damaged."""
    compressed = [case for case in synthetic() if b"\x7f\x10\x00OB" in case[0]]
    case = rng.choice(compressed)
    state, alike, made = rng.random(), rng.random() < 0.5, []
    for index, content in enumerate(case):
        own = random.Random(state) if alike else rng
        at = content.rfind(b"\xe0\x7f\x10\x00OB")
        pixels = content[at:]
        if alike or index == 1:
            kind = own.randrange(4)
            if kind == 0:
                pixels = mutated(own, pixels)
            elif kind == 1:  # another length of one of the items
                item = pixels.find(b"\xfe\xff\x00\xe0", own.choice((0, 13)))
                pixels = pixels[: item + 4] + struct.pack("<L", own.choice(LENGTHS)) + pixels[item + 8 :]
            elif kind == 2:  # many fragments, some empty
                stream = pixels[28:-8]
                cuts = sorted(own.randrange(len(stream) + 1) for _ in range(own.choice((1, 3, 50))))
                parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
                own.shuffle(parts) if own.random() < 0.3 else None
                pixels = pixels[:12] + _encapsulated(parts, own.choice((b"", own.randbytes(4), own.randbytes(40))))
            else:  # damage in the codestream only
                pixels = pixels[:40] + mutated(own, pixels[40:-8]) + pixels[-8:]
        made.append(content[:at] + pixels)
    return tuple(made)


def _bomb(rng: random.Random) -> Case:
    """A deflated dataset of half a megabyte that grows to a thousand times as much."""
    return (file_head(CT, "1.2.3.9.1", DEFLATED, "SENDER") + _deflate_bomb(rng.choice(_BOMBS), rng.choice(_FILLERS)),)


@functools.cache
def _deflate_bomb(size: int, tag: int) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    plain = slice_of(1)
    filler = struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, b"OB", size << 20)
    made = packer.compress(encoded([one for one in plain if one.tag < tag]) + filler)
    made += b"".join(packer.compress(bytes(1 << 20)) for _ in range(size))
    return made + packer.compress(encoded([one for one in plain if one.tag > tag])) + packer.flush()


def _codestream(syntax: str, rows: int, columns: int) -> bytes:
    """The beginning of a codestream that says it holds so many pixels, and nothing after it."""
    if syntax == RLE:
        return struct.pack("<16L", 2, 64, 70, *([0] * 13)) + b"\x81\0" * 500
    if syntax == J2K:
        size = struct.pack(">HHLLLLLLLLHBBB", 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1, 15, 1, 1)
        return b"\xff\x4f\xff\x51" + size + b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x05\x04\x04\x00\x01" + bytes(40)
    marker = b"\xff\xf7" if syntax == JLS else b"\xff\xc0"
    frame = marker + struct.pack(">HBHHBBBB", 11, 16 if syntax == JLS else 8, rows, columns, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0)
    return b"\xff\xd8" + frame + scan + bytes(100) + b"\xff\xd9"


def _encapsulated(parts: list[bytes], table: bytes = b"") -> bytes:
    """An offset table, fragments, and the end of the sequence (PS3.5, A.4)."""
    items = [table, *(part + b"\0" * (len(part) % 2) for part in parts)]
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in items) + struct.pack(
        "<HHL", 0xFFFE, 0xE0DD, 0
    )
