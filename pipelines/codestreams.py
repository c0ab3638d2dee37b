"""What compressed pixel data says of itself. A decoder allocates what the codestream declares, whatever the DICOM
header says, and some end the process on one that makes no sense: so it is read first, and an odd one is not decoded."""

from __future__ import annotations

_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC: in the range of the start-of-frame markers, but none of them
_HUFFMAN, _SCAN, _JPEG_LS = 0xC4, 0xDA, 0xF7
_END = b"\xff\xd9"  # EOI
_JPEG_2000 = b"\xff\x4f\xff\x51"  # SOC, SIZ


def fault(codestream: bytes, rows: int, columns: int) -> str | None:
    """Why a codestream cannot hold one grey frame of `rows` x `columns` pixels; None if it says that it does.

    JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 (T.800) say so in their headers; whatever is none of these is taken
    for run lengths (PS3.5 annex G), whose packing makes at most 128 bytes of 2.
    """
    if codestream[:4] == _JPEG_2000:
        found, odd = _jpeg_2000(codestream)
    elif codestream[4:8] == b"jP  ":  # boxed in JP2, which DICOM does not allow but writers produce
        found, odd = _jpeg_2000(codestream[max(0, codestream.find(_JPEG_2000)) :])
    elif codestream[:2] == b"\xff\xd8":
        found, odd = _jpeg(codestream)
    else:
        short = 64 * len(codestream) < rows * columns
        return f"{len(codestream)} bytes cannot hold {rows} x {columns} pixels" if short else None
    if odd or found is None:
        return odd or "its compressed pixel data ends before it says its size"
    if found != (rows, columns):
        return f"its compressed pixel data is of {found[0]} x {found[1]} pixels, its header says {rows} x {columns}"
    return None


_Size = tuple[int, int]


def _jpeg_2000(stream: bytes) -> tuple[_Size | None, str | None]:
    """The image area and the tiles of the SIZ segment (T.800 A.5.1, B.2, B.3)."""
    if len(stream) < 45 or stream[:4] != _JPEG_2000:
        return None, None
    right, bottom, left, top, tile_wide, tile_high, tiles_left, tiles_top = (
        int.from_bytes(stream[at : at + 4], "big") for at in range(8, 40, 4)
    )
    components = int.from_bytes(stream[40:42], "big")
    if not (tiles_left <= left < right and left < tiles_left + tile_wide
            and tiles_top <= top < bottom and top < tiles_top + tile_high):  # fmt: skip
        return None, "its JPEG 2000 tiles do not cover its image"
    if stream[43:45] != b"\x01\x01" and components == 1:
        return None, "its JPEG 2000 samples are spaced out"
    return (bottom - top, right - left), _grey(components)


def _jpeg(stream: bytes) -> tuple[_Size | None, str | None]:
    """The frame header, found by walking the marker segments up to the scan (T.81 B.2; JPEG-LS's SOF55, T.87 C.2.2)."""
    at, size, jpeg_ls = 2, None, False
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            return None, "its JPEG segments do not add up"
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at + 4 : at + 2 + length]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if length < 2 or len(segment) < length - 2:
            return None, "its JPEG segments do not add up"
        if marker == _SCAN:
            if jpeg_ls and _END not in stream[-16:]:  # which may be padded; CharLS runs on for seconds without one
                return None, "its JPEG-LS pixel data has no end"
            return size, "its JPEG scan is not of one component" if segment[:1] != b"\x01" else None
        if marker == _HUFFMAN and not _tables(segment):
            return None, "its JPEG Huffman tables do not add up"
        if (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == _JPEG_LS:
            if size is not None or len(segment) < 6:
                return None, "it has not one JPEG frame header"
            if odd := _grey(segment[5]):
                return None, odd
            size = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            jpeg_ls = marker == _JPEG_LS
        at += 2 + length
    return None, None


def _tables(segment: bytes) -> bool:
    """Whether a DHT segment holds whole Huffman tables (T.81 B.2.4.2): class and number, the count of codes of each
    length, as many values, and no more codes of a length than its bits can tell apart."""
    while segment:
        counts = segment[1:17]
        free = 1
        for count in counts:
            free = 2 * free - count
            if free < 0:
                return False
        total = sum(counts)
        if len(counts) < 16 or segment[0] >> 4 > 1 or segment[0] & 0xF > 3 or total > 256 or len(segment) < 17 + total:
            return False
        segment = segment[17 + total :]
    return True


def _grey(components: int) -> str | None:
    return None if components == 1 else f"its compressed pixel data has {components} components where grey has one"
