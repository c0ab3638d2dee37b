"""What a channel can see, and in how many studies: said before anything happens, so that no blind chart is trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from node.watch import detector, embedding
from node.watch.bets import STEPS, Bets
from node.watch.detector import Floats

_STREAMS, _CAP = 20, 100.0  # of a simulation; times the threshold


def delay(threshold: float, growth: float) -> float:
    """Studies until the alarm: ln(h K) / K, for evidence that grows by K (in logs) with each study; h in studies.

    Infinite where it does not grow. At small h K, where that formula ends, it is never less than 1 / K or one study.
    """
    if growth <= 0:
        return math.inf
    return max(1.0, max(1.0, math.log(threshold * growth)) / growth)


@dataclass(frozen=True)
class Sight:
    """What one shift takes: `studies` until the alarm (infinite: never), the bet that sees it first, and days."""

    studies: float
    bet: str
    days: float


def sight(bets: Bets, shares: Floats, threshold: float, per_day: float) -> Sight:
    """For symbols that come with `shares` after the shift; `threshold`: the channel's own, h / w."""
    growth = shares @ np.log(bets.table)
    found = [delay(threshold / weight, float(k)) for weight, k in zip(bets.weights, growth, strict=True)]
    best = int(np.argmin(found))
    return Sight(found[best], bets.names[best], found[best] / per_day)


def moved(bets: Bets, shift: float = 0.0, scale: float = 1.0) -> Floats:
    """Shares of the steps of u when a normal number moves by `shift` standard deviations and spreads by `scale`."""
    z = ndtri(np.linspace(0, 1, STEPS + 1))
    shares = np.zeros(len(bets.table))
    shares[:STEPS] = np.diff(ndtr((z - shift) / scale))
    return shares


def happened(share: float) -> Floats:
    """Shares of the two symbols of an event."""
    return np.array([1 - share, share])


def learnt(normal: embedding.Normal, shift: float, threshold: float, within: int) -> float:
    """Studies until the bet on embeddings has found that all of them moved by `shift` standard deviations, in a
    direction of nobody's choosing: the mean of simulated streams of the baseline's own vectors; infinite where one in
    ten streams takes more than `within`. `threshold`: the channel's own, h / w."""
    rng = np.random.default_rng(17)
    vectors = rng.standard_normal((256, normal.parts)) if normal.sample is None else (normal.sample.T / normal.scale)
    way = rng.standard_normal((_STREAMS, normal.parts))
    way *= shift / np.linalg.norm(way, axis=1, keepdims=True)
    state = embedding.Learnt.nothing(normal.parts, (_STREAMS,))
    evidence, first = np.zeros((_STREAMS, len(embedding.WEIGHTS))), np.full(_STREAMS, math.inf)
    for count in range(1, within + 1):
        state, e = embedding.bet(state, vectors[rng.integers(0, len(vectors), _STREAMS)] + way, normal)
        evidence = detector.step(evidence, e, 1.0, _CAP * threshold)
        first[(detector.average(evidence, embedding.WEIGHTS) >= threshold) & np.isinf(first)] = count
        if np.isfinite(first).all():
            break
    late = np.isinf(first)
    return math.inf if late.mean() > 0.1 else float(np.where(late, within, first).mean())


def smallest(
    see: Callable[[float], Sight], studies: float, candidates: tuple[float, ...]
) -> tuple[float, Sight] | None:
    """The first of `candidates` (ascending shifts) that is seen within `studies`; None: it is blind to all of them."""
    for shift in candidates:
        found = see(shift)
        if found.studies <= studies:
            return shift, found
    return None
