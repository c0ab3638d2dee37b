"""The Shiryaev-Roberts e-detector: evidence that adds up since whenever a change began.

An e-value e >= 0 has a mean of at most 1 while nothing has changed, given the past. Each bet keeps
R = (R + 1) e; R less the number of observations is then a supermartingale, so that the mean number of observations
until R (or an average of several, whatever their dependence) first reaches h is at least h: the threshold is the wanted
average run length without a change (ARL0). Shin, Ramdas and Rinaldo, "E-detectors", 2022.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def step(evidence: Floats, e: Floats, gain: Floats | float, cap: Floats | float) -> Floats:
    """Evidence R after one study.

    `evidence`, `e`: same shape, the last axis is that of the bets. `gain`: 1 where there was an observation, 1 / rate
    where only that share of the studies is observed, 0 where there was none (there e must be 1, and nothing changes).
    `cap`: R never exceeds it, which keeps the guarantee and lets R come down again after an alarm. Only +, * and min of
    single numbers, so that a replay is the same to the bit.
    """
    return np.minimum(grow(evidence, e, gain), cap)


def grow(evidence: Floats, e: Floats, gain: Floats | float) -> Floats:
    """The same without a cap, for evidence that is known to be far from it."""
    return (evidence + gain) * e


def average(evidence: Floats, weights: Floats) -> Floats:
    """The statistic: the weighted average of the bets (last axis); weights are >= 0 and add up to 1 or less."""
    return np.add.reduce(evidence * weights, axis=-1)
