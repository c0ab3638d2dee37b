"""What a viewer should show of a result, computed from the result, and how far its screen is from that.

A screen is uint8 (rows, columns, 3). An image is fitted into it: as large as it goes, centred, its proportions kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MARGIN = 4  # pixels at the screen's edge in which viewers draw the frame of what is chosen
HUE = 20.0  # degrees by which a viewer's conversion of CIELab may turn a segment's colour
CHROMA = 30  # the least difference between the largest and smallest channel of a pixel that counts as coloured
SMOOTH = 3.0  # grey levels by which a viewer's own interpolation may differ from ours


@dataclass(frozen=True)
class Fit:
    """An image of `rows` x `columns` on the screen: pixels of the screen for each of its pixels, and its upper left corner."""

    rows: int
    columns: int
    down: float
    right: float
    top: float
    left: float

    @classmethod
    def of(cls, matrix: tuple[int, int], spacing: tuple[float, float], screen: tuple[int, int]) -> Fit:
        """Fit a matrix (rows, columns) with its pixel spacing (mm between rows, between columns) to a screen."""
        height, width = matrix[0] * spacing[0], matrix[1] * spacing[1]
        each_mm = min(screen[0] / height, screen[1] / width)
        return cls(*matrix, spacing[0] * each_mm, spacing[1] * each_mm,
                   (screen[0] - height * each_mm) / 2, (screen[1] - width * each_mm) / 2)  # fmt: skip

    def indices(self, screen: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The row and column of the image, as floats with 0 at the first pixel's centre, under each row and column of the screen."""
        rows = (np.arange(screen[0]) + 0.5 - self.top) / self.down - 0.5
        columns = (np.arange(screen[1]) + 0.5 - self.left) / self.right - 0.5
        return rows, columns

    def nearest(self, mask: np.ndarray, screen: tuple[int, int]) -> np.ndarray:
        """A mask of the image as it lies on the screen, each of its pixels a block."""
        rows, columns = self.indices(screen)
        shown = np.pad(mask, 1)  # what lies outside the image
        rows = np.clip(np.rint(rows).astype(int) + 1, 0, self.rows + 1)
        columns = np.clip(np.rint(columns).astype(int) + 1, 0, self.columns + 1)
        return shown[rows][:, columns]

    def smooth(self, rgb: np.ndarray, screen: tuple[int, int]) -> np.ndarray:
        """An image (rows, columns, 3) as it lies on the screen, interpolated linearly; floats."""
        places = np.meshgrid(*self.indices(screen), indexing="ij")
        channels = [
            ndimage.map_coordinates(rgb[..., one].astype(np.float32), places, order=1, mode="nearest")
            for one in range(3)
        ]
        return np.stack(channels, axis=-1)

    def inside(self, screen: tuple[int, int], pixels: float = 1.0) -> np.ndarray:
        """Where the screen shows the image, `pixels` of the image away from its edge and MARGIN away from the screen's."""
        rows, columns = self.indices(screen)
        within = (rows >= pixels)[:, None] & (rows <= self.rows - 1 - pixels)[:, None]
        within = within & (columns >= pixels) & (columns <= self.columns - 1 - pixels)
        within[:MARGIN] = within[-MARGIN:] = within[:, :MARGIN] = within[:, -MARGIN:] = False
        return within

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) of an outline as in Graphic Data (column, row; 0.5 at a pixel's centre) as x, y on the screen."""
        return np.asarray(points, dtype=float) * (self.right, self.down) + (self.left, self.top)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A segment that should be on the screen: its label, its recommended colour, and its mask (rows, columns) there."""

    label: str
    rgb: tuple[int, int, int]
    mask: np.ndarray


def hue(rgb: np.ndarray) -> np.ndarray:
    """The angle of colours (..., 3) on the colour circle, in degrees: red 0, green 120, blue -120."""
    red, green, blue = np.moveaxis(np.asarray(rgb, dtype=np.float64), -1, 0)
    return np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))


def coloured(screen: np.ndarray) -> np.ndarray:
    """Which pixels are coloured, not grey."""
    return screen.max(axis=-1).astype(int) - screen.min(axis=-1) > CHROMA


def in_colour(screen: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Which pixels have the hue of `rgb`: it may be laid over grey, which changes lightness but not hue."""
    found = coloured(screen)
    turned = (hue(screen[found]) - hue(np.array(rgb)) + 180) % 360 - 180
    found[found] = np.abs(turned) <= HUE
    return found


def centre(mask: np.ndarray) -> np.ndarray:
    """The centroid of a mask (row, column)."""
    return np.argwhere(mask).mean(axis=0)


def segment_differences(screen: np.ndarray, fit: Fit, drawn: Sequence[Drawn]) -> list[str]:
    """How the screen differs from segments drawn in their own colours; nothing when it shows them, and only them.

    A pixel may differ where a segment's edge is smoothed: 0.3 % of the segment's pixels, and 12 at least, which is less
    than a shift by half a pixel of a lung's outline makes.
    """
    size = screen.shape[0], screen.shape[1]
    inside = fit.inside(size, 0)
    told = []
    unexplained = coloured(screen) & inside
    for one in drawn:
        wanted = fit.nearest(one.mask, size) & inside
        found = in_colour(screen, one.rgb) & inside
        unexplained &= ~found
        allowed = max(12, round(0.003 * np.count_nonzero(wanted)))
        counts = np.count_nonzero(wanted), np.count_nonzero(found)
        lacking, extra = np.count_nonzero(wanted & ~found), np.count_nonzero(found & ~wanted)
        if lacking > allowed or extra > allowed:
            told.append(
                f"{one.label}: {counts[1]} pixels in its colour instead of {counts[0]}: {lacking} lack, {extra} are too many"
            )
        if min(counts) > 200 and (apart := float(np.linalg.norm(centre(found) - centre(wanted)))) > 0.5:
            told.append(f"{one.label}: its centre is {apart:.1f} pixels off")
    if (count := np.count_nonzero(unexplained)) > 12:
        told.append(f"{count} coloured pixels in no segment's colour")
    return told


def image_differences(screen: np.ndarray, fit: Fit, rgb: np.ndarray) -> list[str]:
    """How the screen differs from an image (rows, columns, 3) that it should show; nothing when it shows it."""
    size = screen.shape[0], screen.shape[1]
    inside = fit.inside(size)
    apart = np.abs(fit.smooth(rgb, size) - screen)[inside].max(axis=-1)
    wrong = float((apart > SMOOTH).mean())
    return [f"{wrong:.1%} of the image's pixels differ by up to {apart.max():.0f} levels"] if wrong > 0.001 else []


def outline_differences(shown: Sequence[np.ndarray], fit: Fit, wanted: np.ndarray) -> list[str]:
    """How far the shown lines (each (n, 2), x and y on the screen) are from one outline in Graphic Data.

    A pixel of the source on either axis is allowed: viewers differ in whether a pixel's place is its corner or its centre.
    """
    places = fit.points(wanted)
    for line in shown:
        gaps = np.abs(line[:, None] - places[None]) / (fit.right, fit.down)
        nearest = gaps.max(axis=-1)
        if nearest.min(axis=1).max() <= 1 and nearest.min(axis=0).max() <= 1:
            return []
    return [f"none of {len(shown)} lines is the outline of {len(wanted)} points"]


def sides(screen: np.ndarray, fit: Fit, colours: Mapping[str, tuple[int, int, int]]) -> dict[str, str]:
    """On which half of the screen most pixels of each colour are: name -> "left" or "right"; nothing where it has none."""
    inside = fit.inside((screen.shape[0], screen.shape[1]), 0)
    found = {name: in_colour(screen, rgb) & inside for name, rgb in colours.items()}
    return {
        name: "left" if centre(mask)[1] < screen.shape[1] / 2 else "right" for name, mask in found.items() if mask.any()
    }
