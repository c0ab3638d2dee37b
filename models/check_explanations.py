"""The sanity check of a package's explanations: run when a package is installed or first loaded by a command, on
radiographs of a made-up patient, and held against what the card says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from models import explain
from models.radiographs import LoadedClassifier

PATIENT = 986_000_000  # a phantom seed of no training run; see models.training.splits
IMAGES = 4


def check(model: LoadedClassifier, methods: Iterable[str] = explain.METHODS) -> dict[str, dict[str, Any]]:
    """Method -> what :func:`models.explain.sanity_check` finds of it on a few phantom radiographs. Grad-CAM takes some
    seconds, the others up to a minute each."""
    from models.training.projections import project_patient
    from models.training.xray_samples import frontal_shot

    patient = project_patient(PATIENT, lower=False, coarse=1.4)
    shots = [frontal_shot(patient, np.random.default_rng(k), model.net.size, share=0.6) for k in range(IMAGES)]
    x = torch.from_numpy(np.stack([shot.image for shot in shots])).to(model.runtime.device)
    with torch.no_grad():
        likeliest = model.net.finding_logits(x)[0].mean(0).argmax(1).tolist()
    return {method: explain.sanity_check(model.net, x, likeliest, method, seeds=(0,)) for method in methods}


def problems(model: LoadedClassifier, methods: Iterable[str] = ("grad-cam",)) -> list[str]:
    """One line for each method that the card allows and that fails now; none when all is well."""
    allowed = [method for method in methods if model.card.explanations.get(method, {}).get("passed")]
    return [
        f"{model.card.name} {model.card.version}: {method!r} fails its sanity check: with random weights its maps stay "
        f"alike by {found['all']}, the limit is {found['limit']}; do not use it with this model"
        for method, found in check(model, allowed).items()
        if not found["passed"]
    ]
