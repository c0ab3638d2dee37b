"""Chest CT studies of made-up patients: the phantoms that the models train on, written as a scanner would."""

from __future__ import annotations

from pathlib import Path

from models.training.phantoms import chest_phantom
from pipelines.examples import ct_study

_HEIGHT = 320.0  # mm: the whole of the lungs with some neck and abdomen
_FIELD = 360.0  # mm


def chest_study(folder: Path, seed: int, slices: int = 128, matrix: int = 512) -> list[Path]:
    """Write a chest CT of `slices` images of `matrix` x `matrix` that covers 320 x 360 x 360 mm; the paths in
    ascending order. The same seed and size give the same patient, pixels and UIDs."""
    spacing = (_HEIGHT / slices, _FIELD / matrix, _FIELD / matrix)
    phantom = chest_phantom(seed, (slices, matrix, matrix), spacing, posture="supine", quarter_turn=0.0)
    return ct_study(phantom.hu, spacing, folder, seed=f"chest {seed} {slices} {matrix}")
