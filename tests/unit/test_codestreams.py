"""Compressed pixel data that lies about itself is found out from its own header, before a decoder sees it."""

from __future__ import annotations

import struct

import pytest

from pipelines.codestreams import fault


def jpeg_2000(right: int = 60, bottom: int = 64, left: int = 0, top: int = 0, tile: tuple[int, int, int, int] = (60, 64, 0, 0),
              components: int = 1, step: bytes = b"\x01\x01") -> bytes:  # fmt: skip
    """SOC and SIZ (ITU-T T.800 A.5.1). `tile`: wide, high, left, top."""
    siz = struct.pack(">H8IH", 0, right, bottom, left, top, *tile, components) + (b"\x0f" + step) * components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz + b"\xff\x52"


SCAN, END = b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00", b"\xff\xd9"


def jpeg(marker: int, rows: int = 64, columns: int = 60, components: int = 1, before: bytes = b"") -> bytes:
    """SOI, segments, a frame header and a scan header (ITU-T T.81 B.2.2, B.2.3)."""
    frame = struct.pack(">BHHB", 16, rows, columns, components) + b"\x01\x11\x00" * components
    return b"\xff\xd8" + before + bytes([0xFF, marker]) + struct.pack(">H", len(frame) + 2) + frame + SCAN + END


COMMENT = b"\xff\xfe\x00\x06abcd"
TABLE = b"\xff\xcc\x00\x05abc"  # DAC: in the range of the frame markers, but none
HUFFMAN = b"\xff\xc4\x00\x15\x00" + bytes((0, 2)) + bytes(14) + b"ab"  # two codes of two bits
FILL = b"\xff\xff\xff\xfe\x00\x02"


@pytest.mark.parametrize(
    "codestream",
    [jpeg_2000(), jpeg_2000(70, 74, 10, 10, (60, 64, 10, 10)), b"\0\0\0\x0cjP  \r\n\x87\n" + jpeg_2000(),
     jpeg(0xC0), jpeg(0xC1), jpeg(0xC3), jpeg(0xF7), jpeg(0xC3, before=COMMENT + TABLE + HUFFMAN + FILL), b"\x01\0\0\0" * 30],
)  # fmt: skip
def test_a_header_that_agrees_is_good(codestream: bytes) -> None:
    assert fault(codestream, 64, 60) is None


@pytest.mark.parametrize("codestream", [jpeg_2000(40000, 40000, 0, 0, (40000, 40000, 0, 0)), jpeg(0xC3, 40000, 40000),
                                        jpeg(0xF7, 40000, 40000)])  # fmt: skip
def test_another_size_is_told_with_both(codestream: bytes) -> None:
    assert fault(codestream, 64, 60) == "its compressed pixel data is of 40000 x 40000 pixels, its header says 64 x 60"


@pytest.mark.parametrize("codestream", [jpeg_2000(components=4000), jpeg_2000(components=3), jpeg(0xF7, components=250),
                                        jpeg(0xC0, components=3), jpeg_2000(components=0) + b"\0\x01\x01"])  # fmt: skip
def test_more_components_than_grey_has_are_refused_before_memory_is_taken_for_them(codestream: bytes) -> None:
    assert "components where grey has one" in str(fault(codestream, 64, 60))


@pytest.mark.parametrize("tile", [(0, 64, 0, 0), (60, 0, 0, 0), (60, 64, 1, 0), (60, 64, 0, 1), (5, 64, 2**31, 0)])
def test_tiles_that_do_not_cover_the_image_are_refused(tile: tuple[int, int, int, int]) -> None:
    assert fault(jpeg_2000(tile=tile), 64, 60) == "its JPEG 2000 tiles do not cover its image"


def test_subsampled_grey_is_refused() -> None:
    assert "spaced out" in str(fault(jpeg_2000(step=b"\x02\x02"), 64, 60))


@pytest.mark.parametrize("whole", [jpeg_2000(), jpeg(0xC3), jpeg(0xF7, before=COMMENT)])
def test_a_header_that_is_cut_off_anywhere_is_refused(whole: bytes) -> None:
    for length in range(4, len(whole) - 10):
        assert fault(whole[:length], 64, 60) is not None, length


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [(jpeg(0xC3, before=HUFFMAN[:-1]), "segments do not add up"), (jpeg(0xC3, before=b"d9"), "segments do not add up"),
     (jpeg(0xC3, before=HUFFMAN.replace(b"\0\x02", b"\0\x09")), "Huffman tables"),
     (jpeg(0xC3, before=b"\xff\xc4\x00\x15\x00\x03" + bytes(15) + b"ab"), "Huffman tables"),
     (jpeg(0xC3).replace(b"\x08\x01\x01", b"\x08\x03\x01"), "scan is not of one component"),
     (jpeg(0xC3).replace(SCAN, jpeg(0xC3)[2:]), "not one JPEG frame")],
)  # fmt: skip
def test_jpeg_headers_on_which_a_decoder_ended_its_process_are_refused(damaged: bytes, reason: str) -> None:
    assert reason in str(fault(damaged, 64, 60))


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 14])
def test_jpeg_ls_without_an_end_is_refused(padding: bytes) -> None:
    assert fault(jpeg(0xF7) + padding, 64, 60) is None
    assert fault(jpeg(0xF7).removesuffix(END) + padding, 64, 60) == "its JPEG-LS pixel data has no end"


def test_run_lengths_that_are_too_few_are_refused() -> None:
    assert fault(b"\x01" + b"\0" * 99, 16000, 16000) == "100 bytes cannot hold 16000 x 16000 pixels"
