"""A bet on vectors that learns where to look: the embedding's mean, whitened on the baseline.

The alternative is a shift by mu, which is estimated from what has been seen before, at several speeds. Its likelihood
ratio is divided by its own mean over the baseline, so that the bet holds also where embeddings are not normal.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from node.watch.detector import Floats

SPEEDS = np.array([1 / 60, 1 / 200])  # of the running means
WEIGHTS = np.array([0.5, 0.5])
EVERY = 8  # observations between two looks at the baseline
_TAKEN = SPEEDS[:, None] * (1 - SPEEDS[:, None]) ** np.arange(EVERY)[::-1]  # (speeds, observations)
_LEFT = (1 - SPEEDS[:, None]) ** EVERY
_OLD = 8000  # observations; a running mean of more has all of its level
_LONGEST = 1.5  # of mu, in standard deviations
_NORMALISER = 512  # vectors of the baseline that a bet is normalised on
_FOUND = 0.5  # of the error of the baseline's mean
_WIDEST = 6.0  # standard deviations; what lies beyond is for the channel of distances


@dataclass(frozen=True)
class Whitening:
    """`matrix` (parts, D) @ (x - `mean` (D,)): the first principal parts, each with variance 1 on the baseline."""

    mean: Floats
    matrix: Floats

    def apply(self, x: Floats) -> tuple[Floats, Floats]:
        """(..., D) -> (..., parts), each cut at +-6; and (...), the root of the mean square of the parts: how far from
        the middle of the baseline, for the channel of tails."""
        z = (x - self.mean) @ self.matrix.T
        distance = np.sqrt(np.add.reduce(z * z, axis=-1) / z.shape[-1])
        return np.minimum(np.maximum(z, -_WIDEST), _WIDEST), distance

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {"mean": self.mean.tolist(), "matrix": self.matrix.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Whitening:
        """What `to_json` gave."""
        return cls(np.array(data["mean"]), np.array(data["matrix"]))


def whitening(x: Floats, parts: int = 16) -> Whitening:
    """From the baseline's embeddings (m, D). Parts without variance are left out. ValueError: fewer than 2 vectors."""
    if len(x) < 2:
        raise ValueError(f"a baseline of {len(x)} embeddings cannot be whitened; give at least 2")
    mean = x.mean(axis=0)
    _, singular, axes = np.linalg.svd(x - mean, full_matrices=False)
    deviation = singular / math.sqrt(len(x) - 1)
    kept = min(parts, int((deviation > 1e-9 * max(deviation[0], 1e-300)).sum()))
    return Whitening(mean, axes[:kept] / deviation[:kept, None])


@dataclass(frozen=True)
class Normal:
    """What whitened vectors are while nothing has changed. `size`: studies of the baseline.

    `design`: (parts,) design effects; each part is multiplied by `scale`, 1 / root of its own, so that sums over many
    days have variance 1 for each study again; `inverse`: 1 / `design`. `sample`: (parts, n), so scaled, or None for
    standard normal ones.
    """

    parts: int
    sample: Floats | None
    size: float
    design: Floats
    scale: Floats
    inverse: Floats

    @classmethod
    def of(cls, z: Floats, size: float, design: Floats | None = None) -> Normal:
        """From whitened vectors of the baseline: every n-th of them, moved and scaled to have the means of all."""
        some = z[:: max(1, math.ceil(len(z) / _NORMALISER))]
        spread = np.maximum(some.std(axis=0), 1e-12)
        some = (some - some.mean(axis=0)) * (z.std(axis=0) / spread) + z.mean(axis=0)
        design = np.ones(z.shape[1]) if design is None else design
        scale = 1 / np.sqrt(design)
        return cls(z.shape[1], np.ascontiguousarray((some * scale).T), size, design, scale, 1 / design)

    @classmethod
    def standard(cls, parts: int) -> Normal:
        """Where the law is known to be standard normal, and studies independent."""
        return cls(parts, None, math.inf, np.ones(parts), np.ones(parts), np.ones(parts))


class Learnt(NamedTuple):
    """State. `means`: (..., speeds, parts), up to `recent`: the vectors since the last look at the baseline, which the
    means have not taken in; `mu`: the alternatives of now; `half`: log of what they are divided by."""

    studies: int
    means: Floats
    mu: Floats
    half: Floats
    recent: tuple[Floats, ...] = ()

    @classmethod
    def nothing(cls, parts: int, streams: tuple[int, ...] = ()) -> Learnt:
        """Before the first observation; `streams`: leading axes, for simulations."""
        empty = np.zeros((*streams, len(SPEEDS), parts))
        return cls(0, empty, empty, np.zeros((*streams, len(SPEEDS))))

    def to_json(self) -> dict[str, Any]:
        """Plain lists; floats keep every bit."""
        return {
            "studies": self.studies,
            "means": self.means.tolist(),
            "mu": self.mu.tolist(),
            "half": self.half.tolist(),
            "recent": [one.tolist() for one in self.recent],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Learnt:
        """What `to_json` gave."""
        means, mu, half = (np.array(data[key]) for key in ("means", "mu", "half"))
        return cls(int(data["studies"]), means, mu, half, tuple(np.array(one) for one in data["recent"]))


def bet(state: Learnt, z: Floats, normal: Normal) -> tuple[Learnt, Floats]:
    """The e-values (..., speeds) of a whitened vector (..., parts), and the state that has learnt it.

    The bet depends on earlier vectors only.
    """
    scaled = z * normal.scale
    e = np.exp((state.mu @ scaled[..., None])[..., 0] - state.half)
    count, recent = state.studies + 1, (*state.recent, scaled)
    if len(recent) < EVERY:
        return Learnt(count, state.means, state.mu, state.half, recent), e
    # Exponential running means after all of them at once: the newest weighs `speed`, each one before it less.
    means = _LEFT * state.means + _TAKEN @ np.stack(recent, axis=-2)
    mu = _alternatives(means, count)
    return Learnt(count, means, mu, _log_mean(mu, normal)), e


@functools.lru_cache(1024)
def _young(count: int) -> tuple[Floats, Floats]:
    """Of an exponential mean of `count` terms that began at 0: what it has of its level (speeds, 1), and its noise."""
    kept = 1 - (1 - SPEEDS) ** count
    noise = SPEEDS / (2 - SPEEDS) * (1 - (1 - SPEEDS) ** (2 * count)) / kept**2
    return kept[:, None], noise


def _alternatives(means: Floats, count: int) -> Floats:
    """The running means without the part of their length that is noise (James and Stein), and not too long."""
    kept, noise = _young(min(count, _OLD))
    level = means / kept
    square = np.maximum(np.add.reduce(level * level, axis=-1), 1e-12)
    shrunk = np.maximum(0.0, 1 - max(means.shape[-1] - 2, 1) * noise / square)
    length = np.maximum(shrunk * np.sqrt(square), 1e-12)
    return level * (shrunk * np.minimum(1.0, _LONGEST / length))[..., None]


def _log_mean(mu: Floats, normal: Normal) -> Floats:
    """Log of the mean of exp(mu z) while nothing has changed, with the guard band.

    mu was chosen by looking, and finds the error of the baseline's own mean, whose usual length is sqrt(parts / size);
    it was seen to find about half of it. Where days cluster the mean is raised to the power of the design effect along
    mu, as `bets.tempered` does.
    """
    squares = mu * mu
    square = np.add.reduce(squares, axis=-1)
    if normal.sample is None:
        return square / 2
    value = np.log(np.add.reduce(np.exp(mu @ normal.sample), axis=-1) / normal.sample.shape[-1])
    along = square / np.maximum(squares @ normal.inverse, 1e-12)
    guard = _FOUND * math.sqrt(normal.parts / normal.size) * np.sqrt(square)
    return value * np.maximum(along, 1.0) + guard
