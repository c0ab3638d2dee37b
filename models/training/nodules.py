"""Nodules, drawn for each image anew: the ray sums through an ellipsoid are known in closed form, so that they need no
voxels, and no two images have the same."""

from __future__ import annotations

import numpy as np

from models.training.projections import PIXEL, Finding, Patient

LUNG = -850.0  # HU that a nodule takes the place of


def nodule(patient: Patient, rng: np.random.Generator, covered: np.ndarray | None = None) -> Finding | None:
    """A round solid nodule or mass of 24 to 44 mm, often with some calcium, where rays pass through much lung and not
    through what is ``covered`` (bool, as the frontal view: fluid hides nodules); None where there is no such place."""
    depth = patient.depth.astype(np.float32)
    inside = depth[patient.lungs]
    if not inside.size:
        return None
    clear = depth > 0.65 * np.quantile(inside, 0.9)
    places = np.argwhere(clear if covered is None else clear & ~covered)
    if not len(places):
        return None
    row, column = places[int(rng.integers(len(places)))] + rng.uniform(-0.5, 0.5, 2)
    radius = float(rng.uniform(12, 22))
    tall, wide, deep = radius * rng.uniform(0.88, 1.15, 3)
    turn = rng.uniform(0, np.pi)
    reach = int(1.2 * radius / PIXEL) + 2
    first = max(0, int(row) - reach), max(0, int(column) - reach)
    last = min(depth.shape[0], int(row) + reach + 1), min(depth.shape[1], int(column) + reach + 1)
    y, x = np.mgrid[first[0] : last[0], first[1] : last[1]]
    y, x = (y - row) * PIXEL, (x - column) * PIXEL
    c, s = np.cos(turn), np.sin(turn)
    far = ((c * y + s * x) / tall) ** 2 + ((c * x - s * y) / wide) ** 2
    chord = 2 * deep * np.sqrt(np.clip(1 - far, 0, 1))
    value = float(rng.choice([40.0, 120.0, 300.0], p=[0.5, 0.3, 0.2]))
    return Finding((chord * (value - LUNG) / 1000).astype(np.float16), far < 0.97, first)
