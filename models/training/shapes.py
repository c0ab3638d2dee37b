"""Signed distances (mm, negative inside) of the few shapes that phantoms are made of, on body positions (z, y, x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from models.training.canvas import Box, Canvas, Hu

Point = tuple[float, float, float]


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """A union without a crease: polynomial smooth minimum over ``k`` mm (I. Quilez)."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * (k / 4)


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """An intersection without a crease; see :func:`smooth_min`."""
    return -smooth_min(-a, -b, k)


def ellipsoid(at: tuple[np.ndarray, ...], centre: Point, radii: Point) -> np.ndarray:
    """First-order distance to an ellipsoid."""
    inner: Any = np.float32(1e-6)
    steep: Any = np.float32(1e-9)
    for p, c, r in zip(at, centre, radii, strict=True):
        q = (p - np.float32(c)) / np.float32(r)
        inner = inner + q * q
        steep = steep + (q / np.float32(r)) ** 2
    level = np.sqrt(inner)
    return level * (level - 1) / np.sqrt(steep)


def capsule(
    at: tuple[np.ndarray, ...], a: Point, b: Point, radius: float, end_radius: float | None = None
) -> np.ndarray:
    """Distance to a rounded rod from ``a`` to ``b`` whose radius may change along it."""
    axis = np.subtract(b, a).astype(np.float32)
    length2 = float(axis @ axis) or 1.0
    t = sum((p - np.float32(c)) * v for p, c, v in zip(at, a, axis, strict=True)) / np.float32(length2)
    t = np.clip(t, 0.0, 1.0)
    d2 = sum((p - np.float32(c) - t * v) ** 2 for p, c, v in zip(at, a, axis, strict=True))
    thick = radius if end_radius is None else radius + t * (end_radius - radius)
    return np.sqrt(d2) - thick


def cross_section(y: np.ndarray, x: np.ndarray, depth: np.ndarray, width: np.ndarray, power: float) -> np.ndarray:
    """Radial distance to a superellipse with half axes ``depth`` (y) and ``width`` (x), which may vary by position."""
    q = (np.abs(y / depth) ** power + np.abs(x / width) ** power + 1e-6) ** (1.0 / power)
    r = np.sqrt(y * y + x * x + 1e-3)
    return r * (1 - 1 / q)


def along(z: np.ndarray, knots: Sequence[tuple[float, float]]) -> np.ndarray:
    """A smooth curve through (z, value) knots, evaluated at ``z``; constant beyond the ends."""
    zs, values = zip(*sorted(knots), strict=True)
    table = np.arange(zs[0], zs[-1] + 4, 4.0)
    return np.interp(z, table, PchipInterpolator(zs, values)(np.clip(table, zs[0], zs[-1]))).astype(np.float32)


def paint_ellipsoid(
    canvas: Canvas,
    centre: Point,
    radii: Point,
    hu: Hu,
    kind: int | None = None,
    inside: np.ndarray | None = None,
    cover: float = 1.0,
) -> None:
    """Paint an ellipsoid, only within the field ``inside`` (a distance on the whole field grid) if given."""
    reach = max(radii) + 8
    box = canvas.box(
        tuple(c - min(r + 8, reach) for c, r in zip(centre, radii, strict=True)),
        tuple(c + min(r + 8, reach) for c, r in zip(centre, radii, strict=True)),
    )
    if box is None:
        return
    d = ellipsoid(canvas.at(box), centre, radii)
    canvas.paint(
        box,
        d if inside is None else np.maximum(d, inside[box]),
        hu[box] if isinstance(hu, np.ndarray) else hu,
        kind,
        cover=cover,
    )


def tube_box(canvas: Canvas, a: Point, b: Point, radius: float) -> Box | None:
    """The part of the field grid around a rod from ``a`` to ``b``; None if it has none."""
    margin = radius + 8
    return canvas.box(
        tuple(min(p, q) - margin for p, q in zip(a, b, strict=True)),
        tuple(max(p, q) + margin for p, q in zip(a, b, strict=True)),
    )


def paint_tube(
    canvas: Canvas,
    points: Sequence[Point],
    radius: float | Sequence[float],
    hu: Hu,
    kind: int | None = None,
    inside: np.ndarray | None = None,
    cover: float = 1.0,
) -> None:
    """Paint a chain of capsules through ``points``."""
    radii = [radius] * len(points) if isinstance(radius, (int, float)) else list(radius)
    for (a, ra), (b, rb) in zip(
        list(zip(points, radii, strict=True))[:-1], list(zip(points, radii, strict=True))[1:], strict=True
    ):
        box = tube_box(canvas, a, b, max(ra, rb))
        if box is None:
            continue
        d = capsule(canvas.at(box), a, b, ra, rb)
        canvas.paint(
            box,
            d if inside is None else np.maximum(d, inside[box]),
            hu[box] if isinstance(hu, np.ndarray) else hu,
            kind,
            cover=cover,
        )


def curve(points: Sequence[Point], count: int) -> list[Point]:
    """``count`` points on a smooth curve through ``points``."""
    p = np.asarray(points, float)
    t = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    q = PchipInterpolator(t, p)(np.linspace(0, t[-1], count))
    return [(float(a), float(b), float(c)) for a, b, c in q]
