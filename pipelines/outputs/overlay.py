"""Pixels of a heatmap slice: windowed grey, colour laid over it by value, captions and the colour scale burned in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.outputs.colours import heat_colours

SMALLEST = 480  # pixels on the shorter side, below which captions would not be legible
LARGEST = 1600  # pixels on the longer side of a radiograph; more only make files large
FREE_ROWS = 40  # rows at the top left alone: viewers draw their own overlays there
_STRONGEST = 0.55  # alpha at the highest value: the image must stay readable below
_LEVELS = 256


def magnification(rows: int, columns: int) -> int:
    """The integer factor at which a source matrix is drawn, 1 for matrices that are large enough."""
    return max(1, -(-SMALLEST // min(rows, columns)))


def window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Values to uint8 by a linear window (PS3.3 C.11.2.1.2.1)."""
    shown = (np.asarray(values, dtype=np.float32) - np.float32(centre - 0.5)) * np.float32(1 / max(width - 1, 1)) + 0.5
    return (np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8)


def reduction(rows: int, columns: int) -> int:
    """The integer factor by which a large radiograph is drawn coarser, as far as captions stay legible."""
    return max(1, min(-(-max(rows, columns) // LARGEST), min(rows, columns) // SMALLEST))


def averaged(frame: np.ndarray, step: int) -> np.ndarray:
    """A frame in which the mean of a block of `step` by `step` pixels is one; the last blocks repeat the last pixel."""
    return frame if step == 1 else _blocks(frame, step).mean(axis=(1, 3), dtype=np.float32)


def highest(frame: np.ndarray, step: int) -> np.ndarray:
    """Like `averaged`, with the highest value: a small spot must not fade."""
    return frame if step == 1 else _blocks(frame, step).max(axis=(1, 3))


def _blocks(frame: np.ndarray, step: int) -> np.ndarray:
    whole = np.pad(frame, [(0, -count % step) for count in frame.shape], mode="edge")
    return whole.reshape(whole.shape[0] // step, step, whole.shape[1] // step, step)


def ends_of(voxels: np.ndarray) -> tuple[float, float]:
    """The 1st and the 99th percentile of about a million pixels of an image; its ends where they are equal."""
    every = max(1, round((voxels[0].size * len(voxels) / 2**20) ** 0.5))
    some = voxels[:, ::every, ::every]
    low, high = (float(value) for value in np.percentile(some, (1, 99)))
    return (low, high) if high > low else (float(some.min()), float(some.max()))


def stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values to uint8, `low` and below black, `high` and above white; a flat image is black."""
    scale = 255 / (high - low) if high > low else 0.0
    return (np.clip((np.asarray(values, np.float32) - np.float32(low)) * np.float32(scale), 0, 255) + 0.5).astype(
        np.uint8
    )


def levels(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values to 0 (below `low`: nothing is drawn) and 1..255 between `low` and `high`."""
    scaled = (np.asarray(value, dtype=np.float32) - np.float32(low)) * np.float32((_LEVELS - 2) / (high - low))
    return np.where(scaled < 0, 0, np.clip(scaled + 0.5, 0, _LEVELS - 2) + 1).astype(np.uint8)


class Scale:
    """`levels` of the largest of several arrays, by a table where it can be: for half floats, and for uint8 as 0..1."""

    def __init__(self, low: float, high: float) -> None:
        halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16)  # the bits of 0 up to the largest finite one
        self._halves = levels(np.minimum(halves.astype(np.float32), 2 * high), low, high)
        self._bytes = levels(np.arange(256, dtype=np.float32) / 255, low, high)
        self._low, self._high = low, high

    def shows(self, several: Sequence[np.ndarray]) -> bool:
        """Whether anything at all would be drawn."""
        if several[0].dtype == np.float16:
            return bool(self([one.view(np.uint16).max(keepdims=True).view(np.float16) for one in several]).any())
        return bool(self([one.max(keepdims=True) for one in several]).any())

    def __call__(self, several: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays of one shape and type, values of 0 and more, to uint8 levels of that shape."""
        if several[0].dtype == np.float16:  # half floats that are not negative are in the order of their bits
            return self._halves.take(_largest([one.view(np.uint16) for one in several]), mode="clip")
        largest = _largest(several)
        return self._bytes[largest] if largest.dtype == np.uint8 else levels(largest, self._low, self._high)


def _largest(several: Sequence[np.ndarray]) -> np.ndarray:
    return several[0] if len(several) == 1 else np.maximum.reduce(several)


def caption_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, `size` pixels high. Raises ValueError where Pillow lacks FreeType."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType: install a Pillow wheel that has it")
    return font


def _length(font: ImageFont.FreeTypeFont, text: str) -> float:
    return sum(font.getlength(part) for part in text.split("–")) + text.count("–") * font.size * 0.6


def _write(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: ImageFont.FreeTypeFont) -> None:
    """White text; the dash, which Pillow's own font lacks, is drawn as a line."""
    x, y = at
    for index, part in enumerate(text.split("–")):
        if index:
            draw.line((x + font.size * 0.05, y + font.size * 0.62, x + font.size * 0.5, y + font.size * 0.62),
                      fill=(255, 255, 255, 255), width=max(1, round(font.size / 12)))  # fmt: skip
            x += font.size * 0.6
        draw.text((x, y), part, font=font, fill=(255, 255, 255, 255))
        x += font.getlength(part)


class Blend:
    """Lays colours over grey with an alpha that grows with the level: one table look-up for each pixel and channel."""

    def __init__(self) -> None:
        colours = heat_colours(_LEVELS).astype(np.float32)
        alpha = np.linspace(0.18, _STRONGEST, _LEVELS, dtype=np.float32)
        alpha[0] = 0
        grey = np.arange(256, dtype=np.float32)
        mixed = grey[None, :, None] * (1 - alpha)[:, None, None] + (colours * alpha[:, None])[:, None, :]
        # Four bytes, so that a pixel is one number: looked up in a tenth of the time that three take.
        self._table = np.zeros((_LEVELS * 256, 4), np.uint8)
        self._table[:, :3] = np.round(mixed).reshape(_LEVELS * 256, 3)

    def __call__(self, grey: np.ndarray, level: np.ndarray) -> np.ndarray:
        """uint8 (rows, columns) twice to RGB uint8 (rows, columns, 3)."""
        pixels = self._table.view(np.uint32)[:, 0].take(level.astype(np.uint16) * 256 + grey, mode="clip")
        size = pixels.shape[::-1] if pixels.ndim == 2 else (pixels.size, 1)
        rgb = np.array(Image.frombuffer("RGBX", size, pixels, "raw", "RGBX", 0, 1).convert("RGB"))
        return rgb.reshape(*pixels.shape, 3)


@dataclass(frozen=True)
class Captions:
    """What is burned into each slice: a warning above, lines below, a colour scale between two values at the right."""

    warning: str
    lines: Sequence[str]
    scale_name: str
    low: float
    high: float


class Stamp:
    """Captions drawn once for a matrix size, and put on slice after slice; only the last line differs."""

    def __init__(self, rows: int, columns: int, captions: Captions, longest_last_line: str) -> None:
        self._rows, self._columns = rows, columns
        size = max(11, round(min(rows, columns) / 44))
        lines = [*captions.lines, longest_last_line]
        while size > 7 and max(caption_font(size).getlength(line) for line in lines) > columns - 8:
            size -= 1
        self._font = caption_font(size)
        self._step = size + 3
        self._top_of_last = rows - self._step - 4
        canvas = Image.new("RGBA", (columns, rows))
        draw = ImageDraw.Draw(canvas)
        boxes = [self._draw_warning(draw, captions.warning)]
        top = rows - self._step * len(lines) - 4
        draw.rectangle((0, top - 2, columns, rows), fill=(0, 0, 0, 170))
        for index, line in enumerate(captions.lines):
            draw.text((4, top + index * self._step), line, font=self._font, fill=(255, 255, 255, 255))
        boxes += [(top - 2, rows, 0, columns), self._draw_scale(canvas, draw, captions)]
        stamp = np.asarray(canvas, dtype=np.float32)
        self._glyphs: dict[str, tuple[np.ndarray, float]] = {}
        self._boxes: list[tuple[tuple[slice, slice], np.ndarray, np.ndarray]] = []
        for first, last, left, right in boxes:
            part = slice(max(0, first), last), slice(max(0, left), right)
            alpha = stamp[part][..., 3:] / 255
            self._boxes.append((part, 1 - alpha, stamp[part][..., :3] * alpha + 0.5))

    def _draw_warning(self, draw: ImageDraw.ImageDraw, warning: str) -> tuple[int, int, int, int]:
        """The box that it takes: first and last row, first and last column (beyond the end)."""
        size = max(13, round(min(self._rows, self._columns) / 32))
        font = caption_font(size)
        width, top = _length(font, warning), FREE_ROWS + 4
        draw.rectangle((2, top - 2, width + 14, top + size + 5), fill=(120, 0, 0, 215))
        _write(draw, (8, top), warning, font)
        return top - 2, top + size + 6, 2, round(width) + 16

    def _draw_scale(
        self, canvas: Image.Image, draw: ImageDraw.ImageDraw, captions: Captions
    ) -> tuple[int, int, int, int]:
        height, wide = max(120, self._rows // 3), max(10, self._columns // 44)
        right, top = self._columns - 6, (self._rows - height) // 2
        labels = [f"{captions.high:.2f}", f"{(captions.high + captions.low) / 2:.2f}", f"{captions.low:.2f}"]
        room = max(self._font.getlength(text) for text in [*labels, captions.scale_name]) + 8
        name_top = top - self._step - 10
        draw.rectangle(
            (right - room - wide - 2, name_top - 3, self._columns, top + height + self._step // 2), fill=(0, 0, 0, 150)
        )
        draw.text((right - self._font.getlength(captions.scale_name) - 2, name_top), captions.scale_name,
                  font=self._font, fill=(255, 255, 255, 255))  # fmt: skip
        bar = heat_colours(height)[::-1, None, :].repeat(wide, axis=1)
        canvas.paste(Image.fromarray(bar), (right - wide, top))
        for index, text in enumerate(labels):
            y = top + index * (height - 1) / 2
            draw.line((right - wide - 4, y, right, y), fill=(255, 255, 255, 255))
            draw.text((right - wide - 6 - self._font.getlength(text), y - self._step / 2), text, font=self._font,
                      fill=(255, 255, 255, 255))  # fmt: skip
        return int(name_top) - 3, top + height + self._step // 2 + 1, int(right - room - wide) - 3, self._columns

    def put(self, rgb: np.ndarray, last_line: str) -> None:
        """Burn the captions into `rgb` (rows, columns, 3), in place, with `last_line` as the last one."""
        for part, left, colour in self._boxes:
            rgb[part] = rgb[part] * left + colour
        strip = rgb[self._top_of_last : self._top_of_last + self._step, 4:]
        x = 0.0
        for character in last_line:  # from drawn characters: drawing a line anew takes longer than all the rest
            glyph, width = self._glyph(character)
            left_edge = round(x)
            under = strip[:, left_edge : left_edge + glyph.shape[1]]
            np.maximum(under, glyph[:, : under.shape[1]], out=under)
            x += width

    def _glyph(self, character: str) -> tuple[np.ndarray, float]:
        """A character in white on black, (rows, columns, 1), and how far the next one stands from it."""
        if character not in self._glyphs:
            width = self._font.getlength(character)
            drawn = Image.new("L", (int(width) + 2, self._step))
            ImageDraw.Draw(drawn).text((0, 0), character, font=self._font, fill=255)
            self._glyphs[character] = np.asarray(drawn)[..., None], width
        return self._glyphs[character]
