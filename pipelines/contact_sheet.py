"""One picture of a run: CT slices with segment contours, heatmap slices, the report as text, all read from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from pydicom.dataset import Dataset

from pipelines.outputs import reading
from pipelines.outputs.capture import patient_orientation
from pipelines.outputs.overlay import caption_font, window
from pipelines.study import Series, Study
from pipelines.volume import Volume

_WIDTH, _MARGIN, _GAP = 1800, 32, 12
_BACKGROUND, _PANEL, _INK, _FAINT, _RULE = (20, 23, 28), (30, 34, 41), (236, 239, 244), (150, 158, 170), (62, 70, 82)
_LUNG_WINDOW = (-500.0, 1500.0)
_TILES = 9  # CT slices, three in a row
_CAPTURES = 4  # heatmap slices, in one row


def contact_sheet(source_files: Sequence[Path], result_files: Sequence[Path], out_png: Path) -> None:
    """Draw `out_png` from the DICOM files of a study and of the results on it.

    Raises ValueError when the results hold no SEG, SR or heatmap, or name no series of the study; Unsuitable when the
    source series is no volume.
    """
    results = reading.stored(result_files)
    volume = Volume.from_series(_source(Study.from_files(source_files), results))
    masks = reading.masks(results.segmentations[0]) if results.segmentations else None
    tile = (_WIDTH * 2 // 3 - 2 * _MARGIN - 2 * _GAP) // 3
    shown = _pick_slices(volume, masks)
    slices = [_tile(volume, index, masks, tile) for index in shown]
    left = _grid(slices, 3)
    text_width = _WIDTH - left.width - 3 * _MARGIN
    text = (
        _report_panel(results.reports[0], text_width) if results.reports else Image.new("RGB", (text_width, 10), _PANEL)
    )
    wide = (_WIDTH - 2 * _MARGIN - (_CAPTURES - 1) * _GAP) // _CAPTURES
    captures = _grid(
        [_capture(one, wide) for one in _evenly(results.heatmaps, _CAPTURES)[:: -1 if volume.affine[2, 0] > 0 else 1]],
        _CAPTURES,
    )
    heading = 118
    middle = max(left.height + 56, text.height)
    sheet = Image.new("RGB", (_WIDTH, heading + middle + 90 + captures.height + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _heading(draw, results)
    sheet.paste(left, (_MARGIN, heading))
    if masks:
        _legend(draw, masks, heading + left.height + 16)
    sheet.paste(text, (left.width + 2 * _MARGIN, heading))
    below = heading + middle + 20
    title = (
        f"Heatmap: {len(results.heatmaps)} slices with signal" if results.heatmaps else "Heatmap: no slice with signal"
    )
    draw.line((_MARGIN, below, _WIDTH - _MARGIN, below), fill=_RULE, width=1)
    draw.text((_MARGIN, below + 16), title, font=caption_font(24), fill=_INK)
    sheet.paste(captures, (_MARGIN, below + 60))
    out_png.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out_png, optimize=True)


def _source(study: Study, results: reading.Stored) -> Series:
    """The series that the results were made from."""
    named = [reading.masks(one).series_uid for one in results.segmentations[:1]]
    named += [uid for report in results.reports for uid in reading.evidence_series(report)]
    held = {series.SeriesInstanceUID: series for series in study.series}
    for uid in named:
        if uid in held:
            return held[uid]
    of_instance = {one.SOPInstanceUID: series for series in study.series for one in series.instances}
    for one in results.heatmaps:
        if reading.source_of(one)[0] in of_instance:
            return of_instance[reading.source_of(one)[0]]
    raise ValueError("the results name no series of the study: give the source files that they were made from")


def _places(volume: Volume) -> list[reading.Place]:
    return [(one.SOPInstanceUID, number) for one, number in zip(volume.instances, volume.frame_numbers, strict=True)]


def _pick_slices(volume: Volume, masks: reading.Masks | None) -> list[int]:
    """Slices spread evenly over those that hold a segment, from the head down; over all where none does."""
    labelled = {place for _, place in masks.frames} if masks else set()
    indices = [index for index, place in enumerate(_places(volume)) if place in labelled] or list(
        range(len(volume.voxels))
    )
    if volume.affine[2, 0] > 0:
        indices = indices[::-1]
    return _evenly(indices, _TILES)


def _evenly(items: Sequence, count: int) -> list:
    """At most `count` items, spread evenly and away from the very ends."""
    if len(items) <= count:
        return list(items)
    return [items[int((step + 0.5) * len(items) / count)] for step in range(count)]


def _tile(volume: Volume, index: int, masks: reading.Masks | None, size: int) -> Image.Image:
    """One CT slice in a square of `size` pixels, its proportions in millimetres kept, with contours and side marks."""
    grey = Image.fromarray(window(volume.voxels[index], *_LUNG_WINDOW))
    height, width = grey.height * volume.spacing[1], grey.width * volume.spacing[2]
    inner = (max(1, round(size * width / max(height, width))), max(1, round(size * height / max(height, width))))
    picture = grey.resize(inner, Image.Resampling.BICUBIC).convert("RGB")
    place = _places(volume)[index]
    for segment in masks.segments if masks else ():
        mask = masks.frames.get((segment.number, place)) if masks else None
        if mask is not None:
            _draw_contour(picture, mask, segment.rgb)
    tile = Image.new("RGB", (size, size), (0, 0, 0))
    tile.paste(picture, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    draw = ImageDraw.Draw(tile)
    across = patient_orientation([*_unit(volume.affine[:3, 2]), *_unit(volume.affine[:3, 1])])[0]
    opposite = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
    for letter, x in ((opposite[across[0]], 10), (across[0], size - 26)):
        draw.text((x, size // 2 - 14), letter, font=caption_font(24), fill=_INK, stroke_width=2, stroke_fill=(0, 0, 0))
    position = volume.affine @ np.array([index, 0, 0, 1])
    draw.text((10, 8), f"slice {index + 1} of {len(volume.voxels)}", font=caption_font(15), fill=_INK, stroke_width=2,
              stroke_fill=(0, 0, 0))  # fmt: skip
    draw.text(
        (10, 27), f"z {position[2]:.1f} mm", font=caption_font(15), fill=_FAINT, stroke_width=2, stroke_fill=(0, 0, 0)
    )
    return tile


def _unit(vector: np.ndarray) -> list[float]:
    return [float(value) for value in vector / np.linalg.norm(vector)]


def _draw_contour(picture: Image.Image, mask: np.ndarray, rgb: tuple[int, int, int]) -> None:
    """A light fill and a two-pixel outline, smooth at the picture's own resolution."""
    shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)
    shape = shape.point(lambda value: 255 if value > 127 else 0)
    inside = shape.filter(ImageFilter.MinFilter(5))
    outline = Image.fromarray(np.asarray(shape) & ~np.asarray(inside))
    picture.paste(rgb, mask=shape.point(lambda value: 36 if value else 0))
    picture.paste(rgb, mask=outline)


def _capture(dataset: Dataset, width: int) -> Image.Image:
    picture = Image.fromarray(dataset.pixel_array)
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)


def _grid(tiles: Sequence[Image.Image], across: int) -> Image.Image:
    if not tiles:
        return Image.new("RGB", (1, 1), _BACKGROUND)
    width, height = tiles[0].width, max(one.height for one in tiles)
    rows = -(-len(tiles) // across)
    grid = Image.new("RGB", (across * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), _BACKGROUND)
    for index, one in enumerate(tiles):
        grid.paste(one, (index % across * (width + _GAP), index // across * (height + _GAP)))
    return grid


def _heading(draw: ImageDraw.ImageDraw, results: reading.Stored) -> None:
    every = (*results.segmentations, *results.reports, *results.heatmaps)
    if not every:
        raise ValueError("no SEG, SR or heatmap among the result files")
    draw.text((_MARGIN, 24), "Overread", font=caption_font(40), fill=_INK)
    versions = every[0].get("SoftwareVersions", "")
    versions = versions if isinstance(versions, str) else ", ".join(versions)
    draw.text((_MARGIN + 200, 28), versions, font=caption_font(19), fill=_INK)
    numbers = ", ".join(f"{what} {len(found)}" for what, found in (
        ("SEG", results.segmentations), ("SR", results.reports), ("heatmap", results.heatmaps)))  # fmt: skip
    draw.text((_MARGIN + 200, 54), f"Result objects as stored: {numbers}. AI result, not for primary diagnosis.",
              font=caption_font(17), fill=_FAINT)  # fmt: skip
    draw.line((_MARGIN, 96, _WIDTH - _MARGIN, 96), fill=_RULE, width=1)


def _legend(draw: ImageDraw.ImageDraw, masks: reading.Masks, top: int) -> None:
    x: float = _MARGIN
    for segment in masks.segments:
        draw.rectangle((x, top + 4, x + 22, top + 22), fill=segment.rgb)
        draw.text((x + 32, top), segment.label, font=caption_font(20), fill=_INK)
        x += 32 + caption_font(20).getlength(segment.label) + 36
    draw.text((x, top + 3), "R, L: the patient's own right and left", font=caption_font(16), fill=_FAINT)


def _report_panel(report: Dataset, width: int) -> Image.Image:
    """The report's lines, wrapped to `width`: headings bright, names faint, measured values large."""
    rows: list[tuple[int, str, int, tuple[int, int, int]]] = []
    for line in reading.report_lines(report):
        indent, measured = 20 + 18 * line.depth, line.name in ("Volume", "Attenuation Coefficient", "Probability")
        strong = (
            measured or not line.value or line.depth == 0 or line.name in ("Measurement Group", "Finding", "Comment")
        )
        size, ink = (22 if line.depth == 0 else 19 if strong else 16), (_INK if strong else _FAINT)
        text = f"{line.name}: {line.value}" if line.value else line.name
        rows += [(indent + (14 if part else 0), piece, size, ink) for part, piece in
                 enumerate(_wrap(text, caption_font(size), width - indent - 34))]  # fmt: skip
    panel = Image.new("RGB", (width, 36 + sum(size + 7 for _, _, size, _ in rows)), _PANEL)
    draw, y = ImageDraw.Draw(panel), 18
    for indent, piece, size, ink in rows:
        draw.text((indent, y), piece, font=caption_font(size), fill=ink)
        y += size + 7
    return panel


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in text.replace("–", "-").split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
