"""What stands beside a picture and on it in words: a panel with a warning and a legend to its right, side letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.outputs.overlay import FREE_ROWS, caption_font

Colour = tuple[int, int, int]
_OPPOSITE = str.maketrans("LRAPFH", "RLPAHF")
_RED = (120, 0, 0)
_BACK, _INK, _FAINT = (18, 18, 18), (240, 240, 240), (150, 150, 150)
_SMALLEST_TEXT = 10  # pixels, below which a list is cut instead


@dataclass(frozen=True)
class Entry:
    """One item of a legend: its number (0: of nothing that is drawn), colour, label, and what is said below it."""

    number: int
    rgb: Colour
    label: str
    lines: tuple[str, ...] = ()


class Panel:
    """The strip to the right of a picture, as high as it; nothing of the picture lies below it.

    `columns`: how wide it is. `warning` stands at its top, then `heading`, the entries, and `foot` at its bottom; long
    texts go on in the next line. Where entries do not fit, letters get smaller, then what is said below a label is left
    out, first of those that are not drawn; and then those that are drawn come first, and the number of the others is
    told.
    """

    def __init__(
        self, rows: int, warning: str, heading: Sequence[str], entries: Sequence[Entry], foot: Sequence[str]
    ) -> None:
        self._rows, self._heading, self._entries, self._foot = rows, heading, entries, foot
        self._warning = warning.replace("–", "-")  # the font has no dash
        self._largest = max(12, round(rows / 40))
        self.columns = 19 * self._largest

    def draw(self, shown: frozenset[int], last_line: str) -> np.ndarray:
        """The panel, uint8 (rows, columns, 3): entries whose number is not in `shown` stand back."""
        image = Image.new("RGB", (self.columns, self._rows), _BACK)
        draw = ImageDraw.Draw(image)
        foot = [*self._foot, last_line]
        entries, size = self._fitting(shown, foot)
        more = len(self._entries) - len(entries)
        font, step = caption_font(size), size + 4
        y = self._draw_warning(draw)
        for text in self._wrapped(self._heading, font):
            draw.text((8, y), text, font=font, fill=_FAINT)
            y += step
        y += step // 2
        for entry in entries:
            seen = entry.number in shown
            if entry.number:
                box = (8, y + 2, 8 + size - 2, y + size)
                draw.rectangle(box, fill=entry.rgb if seen else None, outline=entry.rgb, width=2)
            for text in self._said(entry, font):
                draw.text((14 + size, y), text, font=font, fill=_INK if seen or not entry.number else _FAINT)
                y += step
            y += _gap(entry, step)
        if more:
            draw.text((14 + size, y), f"and {more} more", font=font, fill=_INK)
        lines = self._wrapped(foot, font)
        for at, text in enumerate(lines):
            draw.text((8, self._rows - (len(lines) - at) * step - 4), text, font=font, fill=_FAINT)
        return np.asarray(image)

    def _draw_warning(self, draw: ImageDraw.ImageDraw) -> int:
        """The first row below it."""
        font, step = caption_font(self._largest + 2), self._largest + 6
        lines = self._wrapped([self._warning], font)
        below = FREE_ROWS + len(lines) * step + 6
        draw.rectangle((2, FREE_ROWS, self.columns - 3, below), fill=_RED)
        for at, text in enumerate(lines):
            draw.text((8, FREE_ROWS + 3 + at * step), text, font=font, fill=(255, 255, 255))
        return below + step // 2

    def _fitting(self, shown: frozenset[int], foot: Sequence[str]) -> tuple[list[Entry], int]:
        """The entries that there is room for, as long as they can be, and the size of their letters."""
        whole = list(self._entries)
        shorter = [one if one.number in shown or not one.number else replace(one, lines=()) for one in whole]
        short = [replace(one, lines=()) for one in whole]
        for entries in (whole, shorter, short):
            for size in range(self._largest, _SMALLEST_TEXT - 1, -1):
                if self._height(entries, foot, size) <= self._rows:
                    return entries, size
        short.sort(key=lambda one: one.number not in shown)
        while short and self._height(short, foot, _SMALLEST_TEXT, 1) > self._rows:
            short.pop()
        return short, _SMALLEST_TEXT

    def _said(self, entry: Entry, font: ImageFont.FreeTypeFont) -> list[str]:
        return self._wrapped([entry.label, *entry.lines], font, round(font.size) + 14)

    def _height(self, entries: Sequence[Entry], foot: Sequence[str], size: int, extra: int = 0) -> int:
        font, step = caption_font(size), size + 4
        lines = sum(len(self._said(one, font)) for one in entries) + extra
        lines += len(self._wrapped(self._heading, font)) + len(self._wrapped(foot, font)) + 1
        warning = len(self._wrapped([self._warning], caption_font(self._largest + 2))) * (self._largest + 6)
        above = FREE_ROWS + warning + 6 + (self._largest + 6) // 2
        return above + lines * step + sum(_gap(one, step) for one in entries) + 8

    def _wrapped(self, texts: Sequence[str], font: ImageFont.FreeTypeFont, left: int = 8) -> list[str]:
        room = self.columns - left - 6
        return [line for text in texts for line in wrapped(text, font, room)]


def _gap(entry: Entry, step: int) -> int:
    """Rows below an entry: lists of labels alone stand close."""
    return step // 3 if entry.lines or not entry.number else 0


def wrapped(text: str, font: ImageFont.FreeTypeFont, room: int) -> list[str]:
    """A text in lines of at most `room` pixels, broken between words, and within a word that is longer than a line."""
    lines, line = [], ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > room:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
        while font.getlength(line) > room and len(line) > 1:
            fits = next(
                count for count in range(len(line) - 1, 0, -1) if font.getlength(line[:count]) <= room or count == 1
            )
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line or not lines else lines


class Marks:
    """What is burned into the picture itself, drawn once: at the middle of each edge, the side of the patient that lies
    there."""

    def __init__(self, rows: int, columns: int, orientation: Sequence[str]) -> None:
        """`orientation`: Patient Orientation of the rows and of the columns, such as L and P."""
        canvas = Image.new("RGBA", (columns, rows))
        draw = ImageDraw.Draw(canvas)
        size = max(16, round(min(rows, columns) / 28))
        font = caption_font(size)
        if len(orientation) == 2:
            right, bottom = orientation
            left, top = right.translate(_OPPOSITE), bottom.translate(_OPPOSITE)
            places = ((6, rows / 2, left, "lm"), (columns - 6, rows / 2, right, "rm"),
                      (columns / 2, FREE_ROWS + 4, top, "mt"), (columns / 2, rows - 8, bottom, "mb"))  # fmt: skip
            for x, y, letters, anchor in places:
                draw.text((x, y), letters, font=font, fill=(255, 255, 255, 255), anchor=anchor,
                          stroke_width=2, stroke_fill=(0, 0, 0, 255))  # fmt: skip
        stamp = np.asarray(canvas, dtype=np.float32)
        drawn = np.argwhere(stamp[..., 3] > 0)
        self._where = tuple(drawn.T)
        alpha = stamp[self._where][:, 3:] / 255
        self._left, self._colour = 1 - alpha, stamp[self._where][:, :3] * alpha + 0.5

    def put(self, rgb: np.ndarray) -> None:
        """Burn the marks into `rgb` (rows, columns, 3), in place."""
        rgb[self._where] = rgb[self._where] * self._left + self._colour
