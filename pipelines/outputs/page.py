"""Pages of a PDF: text in any script, tables, pictures. The same calls give the same bytes (ISO 32000-1).

Latin, Greek and Cyrillic are embedded from Noto Sans; Japanese, Korean and Chinese are named as the fonts that every
reader of PDF brings along (Adobe's character collections), for embedding them would cost megabytes in each report.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from io import BytesIO

import fontpkg
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from pipelines.outputs import wording

Colour = tuple[int, int, int]  # sRGB

WIDTH, HEIGHT = A4  # points, of which 72 are an inch
MARGIN = 42.0
INK, FAINT, RULE, ALERT = (20, 24, 30), (96, 104, 116), (196, 202, 210), (150, 20, 20)
_FONT = "NotoSans"
JAPANESE, KOREAN, CHINESE = "HeiseiKakuGo-W5", "HYGothic-Medium", "STSong-Light"
_LEADING = 1.38  # from one line to the next, as a multiple of the font's size


@cache
def _glyphs() -> frozenset[int]:
    """Code points of the embedded font; it and the others are made known to reportlab at the first call."""
    font = TTFont(_FONT, str(fontpkg.path("Noto Sans")))
    pdfmetrics.registerFont(font)
    for name in (JAPANESE, KOREAN, CHINESE):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return frozenset(font.face.charToGlyph)


def runs(text: str, ideographs: str = JAPANESE) -> list[tuple[str, str]]:
    """`text` as (font, part), each part in one font; `ideographs`: the font of Han characters, which languages share.
    A character without a glyph in any font becomes its plain form, or "?"."""
    found: list[tuple[str, str]] = []
    for character in unicodedata.normalize("NFC", text):
        font, shown = _placed(character, ideographs)
        if found and found[-1][0] == font:
            found[-1] = font, found[-1][1] + shown
        else:
            found.append((font, shown))
    return found


def _placed(character: str, ideographs: str) -> tuple[str, str]:
    name = unicodedata.name(character, "")
    if ord(character) in _glyphs() and not character.isspace():
        return _FONT, character
    if character.isspace():
        return _FONT, " "
    if name.startswith("HANGUL"):
        return KOREAN, character
    if name.startswith(("HIRAGANA", "KATAKANA", "FULLWIDTH", "HALFWIDTH")):
        return JAPANESE, character
    if name.startswith(("CJK", "IDEOGRAPHIC")):
        return ideographs, character
    return _FONT, wording.plain(character)


def width_of(text: str, size: float, ideographs: str = JAPANESE) -> float:
    """How wide a line of text is, points."""
    return sum(pdfmetrics.stringWidth(part, font, size) for font, part in runs(text, ideographs))


def wrapped(text: str, size: float, width: float, ideographs: str = JAPANESE) -> list[str]:
    """`text` in lines of at most `width` points, broken at spaces, and inside what is longer than a line."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if width_of(longer, size, ideographs) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            while width_of(word, size, ideographs) > width:
                fits = next(end for end in range(len(word) - 1, 0, -1)
                            if end == 1 or width_of(word[:end], size, ideographs) <= width)  # fmt: skip
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


class Pages:
    """A document that grows downwards; `heading` is drawn at the top of every page, the lines of `footing` (at
    most two) and the page's number below."""

    def __init__(
        self, title: str, author: str, created: datetime, heading: str, footing: Sequence[str], ideographs: str
    ) -> None:
        _glyphs()
        self._buffer = BytesIO()
        self._canvas = Canvas(self._buffer, pagesize=A4, pageCompression=1, invariant=1, initialFontName=_FONT)
        self._canvas.setTitle(title)
        self._canvas.setAuthor(author)
        self._canvas.setCreator(author)
        stamp = created.astimezone(UTC).strftime("D:%Y%m%d%H%M%SZ")
        self._canvas.setDateFormatter(lambda *_: stamp)
        self._heading, self._footing, self._ideographs = heading, footing, ideographs
        self._number = 0
        self.y = 0.0
        self._begin()

    def _begin(self) -> None:
        self._number += 1
        self._fill(ALERT)
        self._canvas.rect(0, HEIGHT - 26, WIDTH, 26, stroke=0, fill=1)
        self.put(MARGIN, HEIGHT - 18, self._heading, 11, (255, 255, 255), bold=True)
        for step, text in enumerate((*self._footing, f"Page {self._number}")):
            self.put(MARGIN, 34 - 10 * step, text, 7, FAINT)
        self.y = HEIGHT - 26 - 24

    def _fill(self, colour: Colour) -> None:
        self._canvas.setFillColorRGB(*(part / 255 for part in colour))

    def room(self, height: float) -> None:
        """Go on to a new page where less than `height` points are left."""
        if self.y - height < 50:
            self._canvas.showPage()
            self._begin()

    def put(self, x: float, y: float, text: str, size: float, colour: Colour = INK, bold: bool = False) -> None:
        """One line of text with its baseline at `y`."""
        self._canvas.saveState()
        self._fill(colour)
        line = self._canvas.beginText(x, y)
        if bold:  # the font has one weight: heavier letters are outlined in their own colour
            self._canvas.setStrokeColorRGB(*(part / 255 for part in colour))
            self._canvas.setLineWidth(size / 24)
            line.setTextRenderMode(2)
        for font, part in runs(text, self._ideographs):
            line.setFont(font, size)
            line.textOut(part)
        self._canvas.drawText(line)
        self._canvas.restoreState()

    def paragraph(
        self, text: str, size: float = 9, colour: Colour = INK, bold: bool = False, indent: float = 0
    ) -> None:
        """Text over the whole width."""
        for part in wrapped(text, size, WIDTH - 2 * MARGIN - indent, self._ideographs):
            self.room(size * _LEADING)
            self.y -= size * _LEADING
            self.put(MARGIN + indent, self.y, part, size, colour, bold)

    def title(self, text: str) -> None:
        """A heading with a rule below it."""
        self.room(64)
        self.y -= 22
        self.put(MARGIN, self.y, text, 11, INK, bold=True)
        self.y -= 5
        self.rule()

    def rule(self) -> None:
        """A thin line across the page."""
        self._canvas.setStrokeColorRGB(*(part / 255 for part in RULE))
        self._canvas.setLineWidth(0.5)
        self._canvas.line(MARGIN, self.y, WIDTH - MARGIN, self.y)

    def row(self, cells: Sequence[str], widths: Sequence[float], size: float = 9, bold: bool = False,
            colours: Sequence[Colour] | None = None) -> None:  # fmt: skip
        """One row of a table; cells wrap inside their widths (points)."""
        parts = [wrapped(cell, size, width - 8, self._ideographs) for cell, width in zip(cells, widths, strict=True)]
        height = max(len(part) for part in parts) * size * _LEADING
        self.room(height)
        x = MARGIN
        for index, (part, width) in enumerate(zip(parts, widths, strict=True)):
            colour = colours[index] if colours else INK
            for step, line in enumerate(part, 1):
                self.put(x, self.y - step * size * _LEADING, line, size, colour, bold)
            x += width
        self.y -= height

    def picture(self, picture: Image.Image, x: float, top: float, width: float, height: float) -> None:
        """A picture whose upper left corner lies at `x`, `top`, with a thin frame; as JPEG, which is small."""
        file = BytesIO()
        picture.save(file, "JPEG", quality=95, subsampling=0)
        file.seek(0)
        self._canvas.drawImage(ImageReader(file), x, top - height, width, height)
        self.line([(x, top), (x + width, top), (x + width, top - height), (x, top - height)], RULE, 0.5)

    def mark(self, x: float, y: float, letter: str) -> None:
        """A letter in white on black, legible on any picture."""
        self._fill((0, 0, 0))
        self._canvas.rect(x, y - 3, 13, 14, stroke=0, fill=1)
        self.put(x + 6.5 - width_of(letter, 10) / 2, y, letter, 10, (255, 255, 255), bold=True)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 1.0) -> None:
        """A closed line through points on the page."""
        self._canvas.setStrokeColorRGB(*(part / 255 for part in colour))
        self._canvas.setLineWidth(width)
        path = self._canvas.beginPath()
        path.moveTo(*points[0])
        for point in points[1:]:
            path.lineTo(*point)
        path.close()
        self._canvas.drawPath(path, stroke=1, fill=0)

    def content(self) -> bytes:
        """The file."""
        self._canvas.save()
        return self._buffer.getvalue()
