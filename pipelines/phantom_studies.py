"""Studies of made-up patients: the phantoms that the models train on, written as a scanner or a detector would."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.training.phantoms import chest_phantom
from pipelines.examples import ct_study, radiograph

_HEIGHT = 320.0  # mm: the whole of the lungs with some neck and abdomen
_FIELD = 360.0  # mm


def chest_study(folder: Path, seed: int, slices: int = 128, matrix: int = 512) -> list[Path]:
    """Write a chest CT of `slices` images of `matrix` x `matrix` that covers 320 x 360 x 360 mm; the paths in
    ascending order. The same seed and size give the same patient, pixels and UIDs."""
    spacing = (_HEIGHT / slices, _FIELD / matrix, _FIELD / matrix)
    phantom = chest_phantom(seed, (slices, matrix, matrix), spacing, posture="supine", quarter_turn=0.0)
    return ct_study(phantom.hu, spacing, folder, seed=f"chest {seed} {slices} {matrix}")


def radiograph_study(folder: Path, seed: int, size: int = 512) -> list[Path]:
    """Write a frontal chest radiograph (DX) of `size` x `size` pixels with some findings. The same seed and size give
    the same patient, pixels and UIDs."""
    from models.training.projections import project_patient
    from models.training.xray_samples import frontal_shot

    shot = frontal_shot(project_patient(seed, lower=False, coarse=1.8), np.random.default_rng(seed), size, share=0.5)
    image = np.rint(4095 * shot.image[shot.place.part]).astype(np.uint16)
    return radiograph(image, folder, seed=f"radiograph {seed} {size}")
