"""The findings of chest radiographs, painted in three dimensions as what they add to a healthy patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.training.canvas import Canvas
from models.training.draws import Draws
from models.training.shapes import ellipsoid, smooth_min
from models.training.torso import Torso

FINDINGS = ("Pneumothorax", "Effusion", "Opacity", "Cardiomegaly", "Nodule")
SIDES = (("left", 1), ("right", -1))


@dataclass(frozen=True)
class Lesion:
    """``hu``: what is added to the patient's HU (z, y, x); ``place``: 0..1, the lesion itself; it is seen where rays
    pass through at least ``least_mm`` of it."""

    hu: np.ndarray
    place: np.ndarray
    least_mm: float


def lesions_of(canvas: Canvas, d: Draws, t: Torso) -> Iterator[tuple[str, Lesion]]:
    """Variants of every finding but nodules (:mod:`models.training.nodules`), some sixteen in all; none for a patient
    with hardly any lung."""
    if min(int((lung < -6).sum()) for lung in (t.left, t.right)) < 500:
        return
    for side, sign in SIDES:
        lung = t.left if sign > 0 else t.right
        yield "Effusion", _effusion(canvas, d, t, side, lung)
        for k in range(3):
            yield "Pneumothorax", _pneumothorax(canvas, d, t, f"{side}{k}", lung)
            yield "Opacity", _opacity(canvas, d, f"{side}{k}", lung)
    for k in range(2):
        yield "Cardiomegaly", _cardiomegaly(canvas, d, t, k)


def _cover(canvas: Canvas, distance: np.ndarray) -> np.ndarray:
    """The share of each voxel that lies inside."""
    return np.clip(0.5 - distance / canvas.softness, 0, 1).astype(np.float32)


def _pneumothorax(canvas: Canvas, d: Draws, t: Torso, side: str, lung: np.ndarray) -> Lesion:
    """Free air between the chest wall and the lung, wider toward the apex, with the visceral pleura as a line. What is
    left of the lung is denser, for it has kept all its vessels."""
    z = canvas.z[lung < 0]
    low, high = np.quantile(z, (0.25, 0.97))
    up = np.clip((canvas.z - low) / (high - low), 0, 1.3)
    width = d.uniform(f"ptx_base_{side}", 8, 22) + d.uniform(f"ptx_apex_{side}", 36, 85) * up ** d.uniform(
        f"ptx_shape_{side}", 0.7, 2.0
    )
    # Mostly beside the lung: in front of it and behind it there is less.
    beside = np.clip(1.5 * np.abs(canvas.x) / (np.abs(canvas.x) + 0.8 * np.abs(canvas.y) + 20), 0.15, 1)
    inner = -t.cage - width * np.maximum(beside, up - 0.55) + 4 * canvas.noise(f"ptx_edge_{side}", 45.0)
    space = np.maximum(lung, inner)
    air, whole = _cover(canvas, space), _cover(canvas, lung)
    line = _cover(canvas, np.maximum(np.abs(inner - 1.5) - 1.5, lung)) * d.uniform(f"ptx_line_{side}", 200, 500)
    collapse = d.uniform(f"ptx_collapse_{side}", 60, 220)
    hu = air * (-1000 - canvas.hu) + (whole - air) * collapse + line
    return Lesion(hu.astype(np.float32), air, 12.0)


def _effusion(canvas: Canvas, d: Draws, t: Torso, side: str, lung: np.ndarray) -> Lesion:
    """Fluid at the base of an upright patient, with the meniscus that climbs the chest wall."""
    share = d.uniform(f"effusion_share_{side}", 0.06, 0.45)
    level = float(np.quantile(canvas.z[lung < 0], share))
    climb = d.uniform(f"meniscus_{side}", 12, 40) * np.exp(np.clip(t.cage, -80, 0) / 14.0)
    fluid = canvas.z - level - climb + 4 * canvas.noise(f"effusion_edge_{side}", 45.0)
    place = _cover(canvas, np.maximum(lung, fluid))
    return Lesion((place * (d.uniform(f"effusion_hu_{side}", -5, 30) - canvas.hu)).astype(np.float32), place, 14.0)


def _clear(lung: np.ndarray, rng: np.random.Generator, depth: float) -> tuple[int, ...]:
    """A voxel deep in the lung, where rays from the front pass through much lung and little else."""
    inside = lung < 0
    chord = inside.sum(1)
    good = (lung < -depth) & (chord > 0.55 * np.quantile(chord[chord > 0], 0.95))[:, None, :]
    where = np.argwhere(good if good.any() else inside)
    return tuple(int(v) for v in where[int(rng.integers(len(where)))])


def _at(canvas: Canvas, index: tuple[int, ...]) -> tuple[float, float, float]:
    return float(canvas.z[index]), float(canvas.y[index]), float(canvas.x[index])


def _opacity(canvas: Canvas, d: Draws, name: str, lung: np.ndarray) -> Lesion:
    """Consolidation: air spaces filled in patches, denser in the middle, without the smooth edge of a nodule."""
    rng = d.rng(f"opacity_{name}")
    centre = _at(canvas, _clear(lung, rng, 14))
    radii = rng.uniform(30, 58, 3)
    blob = ellipsoid(canvas.at(canvas.all), centre, (float(radii[0]), float(radii[1]), float(radii[2])))
    ragged = blob + rng.uniform(5, 13) * canvas.noise(f"opacity_edge_{name}", float(rng.uniform(13, 24)))
    fade = np.clip(0.5 - ragged / rng.uniform(12, 30), 0, 1) * _cover(canvas, lung)
    filled = fade * rng.uniform(0.65, 1.0)
    return Lesion((filled * (20 - canvas.hu)).astype(np.float32), filled.astype(np.float32), 12.0)


def _cardiomegaly(canvas: Canvas, d: Draws, t: Torso, k: int) -> Lesion:
    """The heart grown to 1.4 to 1.8 times its width, most to the left; `place` is the whole heart."""
    grown = d.facts["heart"] * d.uniform(f"cardiomegaly_{k}", 1.4, 1.75)
    sz, sy, sx = t.size
    at = canvas.z / sz, canvas.y / sy, canvas.x / sx
    y = d.facts["heart_y"]
    tall = 52 + 0.12 * 60 * (grown - 1)
    heart = ellipsoid(at, (-72, y, 22 * grown), (tall, 44 * min(grown, 1.2), 60 * grown))
    heart = smooth_min(heart, ellipsoid(at, (-62, y + 4, -16 * grown), (46, 40, 36 * grown)), 18) * ((sx + sz) / 2)
    place = _cover(canvas, heart)
    lungs = np.minimum(t.left, t.right)
    added = place * _cover(canvas, lungs) * np.maximum(45 - canvas.hu, 0)
    return Lesion(added.astype(np.float32), place, 25.0)
