"""How the reference models are made: phantoms, splits, fit, evaluate, card writer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import ModelError

if TYPE_CHECKING:
    from models.card import ModelCard

# model -> module and function
TRAINERS = {
    "ct-lung": ("models.training.ct_lung", "train_ct_lung"),
    "cxr-triage": ("models.training.cxr_triage", "train_cxr_triage"),
}


def train(model: str, out: Path, seed: int, minutes: float, log: Callable[[str], None]) -> ModelCard:
    """Train the reference model ``model`` into the package folder ``out``. Raises ModelError for an unknown name."""
    if model not in TRAINERS:
        raise ModelError(f"no training for {model!r}; there is: {', '.join(TRAINERS)}")
    module, function = TRAINERS[model]  # imports torch only now
    card: ModelCard = getattr(importlib.import_module(module), function)(out, seed, minutes, log)
    return card
