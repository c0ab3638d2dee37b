"""What a channel can see, and in how many studies: said before anything happens, so that no blind chart is trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from node.watch.bets import STEPS, Bets
from node.watch.detector import Floats


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


def smallest(
    see: Callable[[float], Sight], studies: float, candidates: tuple[float, ...]
) -> tuple[float, Sight] | None:
    """The first of `candidates` (ascending shifts) that is seen within `studies`; None: it is blind to all of them."""
    for shift in candidates:
        found = see(shift)
        if found.studies <= studies:
            return shift, found
    return None
