"""Named random draws: each value depends on the seed and its own name only, never on the order of drawing.

A phantom can therefore be rendered twice on two different grids, with some draws fixed by the caller, and stay
the same patient.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Draws:
    """Draws by name; ``fixed`` replaces the named ones, and everything drawn is remembered in ``facts``."""

    def __init__(self, seed: int, fixed: Mapping[str, Any] | None = None) -> None:
        self.seed = int(seed)
        self.fixed = dict(fixed or {})
        self.facts: dict[str, Any] = {}

    def rng(self, name: str) -> np.random.Generator:
        """A generator of its own for ``name``, for draws in bulk."""
        return np.random.default_rng([self.seed & 0xFFFFFFFF, self.seed >> 32 & 0xFFFFFFFF, zlib.crc32(name.encode())])

    def _take(self, name: str, value: Any) -> Any:
        self.facts[name] = self.fixed.get(name, value)
        return self.facts[name]

    def uniform(self, name: str, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return float(self._take(name, self.rng(name).uniform(low, high)))

    def normal(self, name: str, mean: float, deviation: float) -> float:
        """A normal draw, cut at 2.5 standard deviations so that no patient is impossible."""
        step = float(np.clip(self.rng(name).standard_normal(), -2.5, 2.5))
        return float(self._take(name, mean + deviation * step))

    def chance(self, name: str, probability: float) -> bool:
        """True with this probability."""
        return bool(self._take(name, bool(self.rng(name).random() < probability)))

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self._take(name, int(self.rng(name).integers(low, high + 1))))

    def choice(self, name: str, options: Sequence[Any], weights: Sequence[float] | None = None) -> Any:
        """One of ``options``, with ``weights`` that need not sum to 1."""
        share = None if weights is None else np.asarray(weights, float) / float(sum(weights))
        return self._take(name, options[int(self.rng(name).choice(len(options), p=share))])

    def unknown(self) -> list[str]:
        """Names that the caller fixed and that nothing has drawn: a misspelling."""
        return sorted(set(self.fixed) - set(self.facts))
