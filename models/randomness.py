"""Whether anything random ran: the generators that a process shares are set to one seed, and looked at again later.

A generator that somebody made for himself (``numpy.random.default_rng``) is not seen; it has a seed of its own.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

SEED = 0


class Dice:
    """From now on: whatever draws from a shared generator draws what it would have drawn in any other job."""

    def __init__(self) -> None:
        random.seed(SEED)
        np.random.seed(SEED)
        torch = sys.modules.get("torch")  # a process that never loaded a model has none
        if torch is not None:
            torch.manual_seed(SEED)  # of every device
        self._before = _states()

    def drawn(self) -> list[str]:
        """The generators of which somebody took a number: python, numpy, torch, cuda. Empty: nothing random ran."""
        now = _states()
        return [name for name, state in self._before.items() if now[name] != state]


def _states() -> dict[str, Any]:
    kind, words, *rest = np.random.get_state()
    found: dict[str, Any] = {"python": random.getstate(), "numpy": (kind, np.asarray(words).tobytes(), *rest)}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.get_rng_state().numpy().tobytes()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["cuda"] = torch.cuda.get_rng_state().numpy().tobytes()
    return found
