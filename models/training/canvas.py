"""A voxel canvas on which phantoms are painted: signed distances at a few millimetres, composed at any resolution.

Positions are millimetres in the patient's axes (z to the Head, y to Posterior, x to the Left), always in the order
(z, y, x). Shapes are evaluated on a *field grid* of some millimetres; where the image is finer than that, the
distances (smooth functions) are interpolated linearly, so that edges come out sharp with right partial volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.training.draws import Draws

OUTSIDE, LEFT, RIGHT, AIRWAY, GUT_GAS, BODY = range(6)
KINDS = ("outside", "left lung", "right lung", "airway", "gas in the gut", "body")

Box = tuple[slice, slice, slice]
Hu = float | np.ndarray


def spline_weights(places: np.ndarray, step: float, count: int) -> np.ndarray:
    """Uniform cubic B-spline basis that repeats after ``count`` control points, shape (len(places), count)."""
    t = np.asarray(places, float) / step
    base = np.floor(t).astype(int)
    f = t - base
    weights = np.zeros((len(places), count), np.float32)
    rows = np.arange(len(places))
    parts = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    for offset, part in zip((-1, 0, 1, 2), parts, strict=True):
        weights[rows, (base + offset) % count] += (part / 6).astype(np.float32)
    return weights


def smooth_noise(rng: np.random.Generator, wavelength: float, places: tuple[np.ndarray, ...]) -> np.ndarray:
    """Smooth noise of unit deviation, a function of position only; ``places`` are the z, y and x of a grid in mm.

    It repeats after 29 wavelengths along z and 24 across, farther than anyone will look for it.
    """
    counts = (29, 24, 24)
    control = rng.standard_normal(counts, dtype=np.float32) * 3.0
    bz, by, bx = (spline_weights(p, wavelength, n) for p, n in zip(places, counts, strict=True))
    out = (bz @ control.reshape(counts[0], -1)).reshape(len(bz), counts[1], counts[2])
    return np.matmul(np.matmul(by, out), bx.T)


@dataclass(frozen=True)
class Steps:
    """Linear interpolation along one axis: each place lies ``share`` of the way from sample ``base`` to the next.

    Plain indexing, not matrix products: BLAS threads that wait for each other on a busy machine are many times slower.
    """

    base: np.ndarray
    share: np.ndarray

    @classmethod
    def between(cls, coarse: np.ndarray, fine: np.ndarray) -> Steps:
        """From the samples at ``coarse`` to the places ``fine``, both rising, in mm."""
        base = np.clip(np.searchsorted(coarse, fine, side="right") - 1, 0, len(coarse) - 2)
        share = (fine - coarse[base]) / (coarse[base + 1] - coarse[base])
        return cls(base, np.clip(share, 0, 1).astype(np.float32))

    def part(self, render: slice, start: int) -> Steps:
        """For the places ``render`` on an array that begins at sample ``start``."""
        return Steps(self.base[render] - start, self.share[render])

    def within(self, start: int, stop: int) -> slice:
        """The places that lie between the samples ``start`` and ``stop - 1``."""
        first = int(np.searchsorted(self.base, start))
        last = int(np.searchsorted(self.base, stop - 1))
        return slice(first, max(first, last))

    def along(self, values: np.ndarray, axis: int) -> np.ndarray:
        """``values`` interpolated along ``axis``."""
        share = self.share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        low, high = values.take(self.base, axis), values.take(self.base + 1, axis)
        high -= low
        high *= share
        high += low
        return high


@dataclass(frozen=True)
class Pose:
    """How the patient lies on the scanner: shift (z, y, x) mm, turn about the long axis and tilts in radians, warp
    mm."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    warp: float = 0.0
    warp_wavelength: float = 110.0


class Canvas:
    """HU and kinds on a render grid; ``z``, ``y``, ``x`` on the field grid are positions in the patient's body."""

    def __init__(self, places: tuple[np.ndarray, ...], pose: Pose, draws: Draws, step: float = 3.0) -> None:
        self.places = tuple(np.asarray(p, np.float32) for p in places)
        self.pose, self.draws = pose, draws
        self.spacing = tuple(float(p[1] - p[0]) if len(p) > 1 else step for p in self.places)
        fields: list[np.ndarray] = []
        self._steps: list[Steps | None] = []
        for p, gap in zip(self.places, self.spacing, strict=True):
            if gap > 0.75 * step:
                fields.append(p)
                self._steps.append(None)
            else:
                field = np.arange(p[0], p[-1] + step + 1e-3, step, dtype=np.float32)
                fields.append(field)
                self._steps.append(Steps.between(field, p))
        self.fields: tuple[np.ndarray, ...] = tuple(fields)
        # The edge of a shape is as soft as a voxel is wide; slices are thin, only their in-plane size counts.
        self.softness = max(self.spacing[1], self.spacing[2], min(self.spacing[0], 5.0) * 0.5)
        self.hu = np.full([len(p) for p in self.places], -1000.0, np.float32)
        self.kind = np.zeros(self.hu.shape, np.uint8)
        self._place_body()

    def _place_body(self) -> None:
        pose = self.pose
        gz = self.fields[0][:, None, None] - pose.shift[0]
        gy = self.fields[1][None, :, None] - pose.shift[1]
        gx = self.fields[2][None, None, :] - pose.shift[2]
        cos, sin = np.float32(np.cos(pose.turn)), np.float32(np.sin(pose.turn))
        around = np.float32(-60.0)
        self.x = cos * gx + sin * gy + np.float32(pose.lean[0]) * (gz - around)
        self.y = -sin * gx + cos * gy + np.float32(pose.lean[1]) * (gz - around)
        self.z = np.broadcast_to(gz, self.x.shape) - np.float32(pose.lean[1]) * gy
        if pose.warp:
            for axis, coordinate in zip("zyx", (self.z, self.y, self.x), strict=True):
                coordinate += pose.warp * self.noise(f"warp_{axis}", pose.warp_wavelength)
        self._low, self._high = [], []
        for across in range(3):
            others = tuple(a for a in range(3) if a != across)
            self._low.append(np.stack([c.min(others) for c in (self.z, self.y, self.x)]))
            self._high.append(np.stack([c.max(others) for c in (self.z, self.y, self.x)]))

    def noise(self, name: str, wavelength: float, box: Box | None = None) -> np.ndarray:
        """Smooth noise of unit deviation on the field grid (or on ``box`` of it)."""
        places = self.fields if box is None else tuple(f[s] for f, s in zip(self.fields, box, strict=True))
        return smooth_noise(self.draws.rng(name), wavelength, places)

    @property
    def all(self) -> Box:
        """The whole field grid."""
        n = self.x.shape
        return slice(0, n[0]), slice(0, n[1]), slice(0, n[2])

    def box(self, low: tuple[float, ...], high: tuple[float, ...]) -> Box | None:
        """The part of the field grid that may hold body positions between ``low`` and ``high``; None if it has none."""
        parts = []
        for axis in range(3):
            first, last = self._low[axis], self._high[axis]
            inside = np.all([(first[c] <= high[c]) & (last[c] >= low[c]) for c in range(3)], axis=0)
            where = np.flatnonzero(inside)
            if not len(where):
                return None
            parts.append(slice(max(0, int(where[0]) - 1), min(len(inside), int(where[-1]) + 2)))
        return parts[0], parts[1], parts[2]

    def at(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Body positions z, y, x (mm) in ``box``."""
        return self.z[box], self.y[box], self.x[box]

    def _span(self, axis: int, part: slice) -> tuple[slice, Steps | None]:
        """The render places that ``part`` of a field axis determines, and how they lie between its samples."""
        steps = self._steps[axis]
        if steps is None:
            return part, None
        stop = part.stop if part.stop < len(self.fields[axis]) else part.stop + 1
        render = steps.within(part.start, stop)
        return render, steps.part(render, part.start)

    def paint(
        self,
        box: Box | None,
        distance: np.ndarray,
        hu: Hu,
        kind: int | None = None,
        sheet: float | None = None,
        cover: float = 1.0,
    ) -> None:
        """Lay ``hu`` where ``distance`` (mm, negative inside, on the field grid's ``box``) says so.

        ``sheet`` paints not the inside but a sheet of that half thickness (mm) on the surface; ``cover`` below 1 is a
        translucent layer.
        """
        if box is None:
            return
        distance = np.asarray(distance, np.float32)
        hus = np.asarray(hu, np.float32) if isinstance(hu, np.ndarray) else None
        # Distances are interpolated over one step of the field grid, so what is near enough is known before refining.
        near = self.softness * 0.5 + (0.0 if sheet is None else sheet + 6.0)
        rz, z_steps = self._span(0, box[0])
        for k in range(rz.start, rz.stop, 16):
            block = slice(k, min(k + 16, rz.stop))
            rows = slice(block.start - rz.start, block.stop - rz.start)
            d = _rows(distance, z_steps, rows)
            touched = np.asarray((d if sheet is None else np.abs(d)) <= near)
            if not touched.any():
                continue
            cy, cx = (_around(np.asarray(touched.any(others))) for others in ((0, 2), (0, 1)))
            ry, y_steps = self._span(1, slice(box[1].start + cy.start, box[1].start + cy.stop))
            rx, x_steps = self._span(2, slice(box[2].start + cx.start, box[2].start + cx.stop))
            d = _refined(d[:, cy, cx], y_steps, x_steps)
            if sheet is not None:
                d = np.abs(d) - sheet
            alpha = d * np.float32(-1 / self.softness)
            alpha += 0.5
            np.clip(alpha, 0.0, 1.0, out=alpha)
            if kind is not None:
                self.kind[block, ry, rx][alpha > 0.5] = kind
            if cover != 1.0:
                alpha *= np.float32(cover)
            view = self.hu[block, ry, rx]
            alpha *= (
                np.float32(hu) if hus is None else _refined(_rows(hus, z_steps, rows)[:, cy, cx], y_steps, x_steps)
            ) - view
            view += alpha


def _rows(values: np.ndarray, steps: Steps | None, rows: slice) -> np.ndarray:
    return values[rows] if steps is None else steps.part(rows, 0).along(values, 0)


def _refined(values: np.ndarray, y_steps: Steps | None, x_steps: Steps | None) -> np.ndarray:
    if x_steps is not None:
        values = x_steps.along(values, 2)
    return values if y_steps is None else y_steps.along(values, 1)


def _around(touched: np.ndarray) -> slice:
    where = np.flatnonzero(touched)
    return slice(max(0, int(where[0]) - 1), min(len(touched), int(where[-1]) + 2))
