"""Bets on what labels say about stored probabilities, and on what probabilities alone say about prevalence."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from node.watch.bets import allowance
from node.watch.detector import Floats

_CUT = 1e-4  # probabilities are kept within [cut, 1 - cut]
_ODDS = ((0.6, 0.2), (0.35, 0.1), (1.7, 0.2), (3.0, 0.1))  # observed against expected, weight
_SLOPES = ((0.6, 0.25), (1.7, 0.15))  # of the logit, about that of the baseline's prevalence
_CELLS = 256


@dataclass(frozen=True)
class Calibration:
    """Bets on a label y given the probability p that was stored at inference: the odds are others, or the slope is.

    For y = 1 the e-value is r(p), for y = 0 (1 - p r) / (1 - p): the mean is 1 for every p. `edges`: of the cells of p,
    ascending; `ratios`: (cells, bets), r; `largest`: of each cell; `guard`: (bets,)
    what all is divided by.
    """

    edges: tuple[float, ...]
    ratios: Floats
    guard: Floats
    weights: Floats
    names: tuple[str, ...]
    largest: tuple[float, ...]

    def e(self, p: float, y: bool) -> Floats:
        """E-values of one labelled study."""
        p = min(max(p, _CUT), 1 - _CUT)
        cell = bisect_right(self.edges, p)
        r = self.ratios[cell]
        if self.largest[cell] > 0.995 / p:
            r = np.minimum(r, 0.995 / p)
        return (r if y else (1 - p * r) / (1 - p)) / self.guard

    def many(self, p: Floats, y: Floats) -> Floats:
        """(...) probabilities and labels -> (..., bets); the same numbers as `e` gives."""
        p = np.clip(p, _CUT, 1 - _CUT)[..., None]
        r = np.minimum(self.ratios[np.searchsorted(self.edges, p[..., 0], side="right")], 0.995 / p)
        return np.where(y[..., None] > 0.5, r, (1 - p * r) / (1 - p)) / self.guard


def calibration(prevalence: float, stored: Sequence[float] = (), size: float = math.inf) -> Calibration:
    """Bets about a model that is calibrated now.

    `prevalence`: of the finding in the baseline. `stored`: the baseline's probabilities, and `size`: how many labelled
    studies confirmed the calibration, for the guard band; without them there is none.
    """
    middle = math.log(prevalence / (1 - prevalence))
    ends = math.log(_CUT / (1 - _CUT))
    edge = 1 / (1 + np.exp(-np.linspace(ends, -ends, _CELLS + 1)))
    logit = (np.linspace(ends, -ends, _CELLS + 1)[:-1] + np.linspace(ends, -ends, _CELLS + 1)[1:]) / 2
    p = 1 / (1 + np.exp(-logit))
    columns, weights, names = [], [], []
    for factor, weight in _ODDS:
        columns.append(1 / (1 + np.exp(-(logit + math.log(factor)))) / p)
        weights.append(weight)
        names.append(f"odds x {factor:g}")
    for slope, weight in _SLOPES:
        columns.append(1 / (1 + np.exp(-(middle + slope * (logit - middle)))) / p)
        weights.append(weight)
        names.append(f"slope {slope:g}")
    ratios = np.stack(columns, axis=1)
    largest = tuple(float(one) for one in ratios.max(axis=1))
    edges = tuple(float(one) for one in edge[1:-1])
    found = Calibration(edges, ratios, np.ones(len(names)), np.array(weights), tuple(names), largest)
    if math.isinf(size) or not len(stored):
        return found
    known = np.clip(np.asarray(stored, dtype=float), _CUT, 1 - _CUT)
    yes, no = found.many(known, np.ones(len(known))), found.many(known, np.zeros(len(known)))
    square = (known[:, None] * yes**2 + (1 - known[:, None]) * no**2).mean(axis=0)
    guard = 1 + np.asarray(allowance(size, np.sqrt(np.maximum(square - 1, 0.0))))
    return replace(found, guard=guard)


@dataclass(frozen=True)
class Share:
    """Bets on the share of studies with the finding, from calibrated probabilities alone.

    Under a prevalence other than the baseline's, and nothing else, p has the density of the baseline times
    a p + b (1 - p) = b + (a - b) p. The e-value is the likelihood ratio of two prevalences; its mean is at most 1 for
    every prevalence within the dead band. `top`, `bottom`: (2, bets), b and a - b of the alternative and of the limit.
    """

    top: Floats
    bottom: Floats
    weights: Floats
    names: tuple[str, ...]
    temper: float = 1.0  # power of all e-values, where studies of one day resemble each other (`bets.tempered`)
    _lines: list[list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Single numbers beside the arrays: of one study they are quicker."""
        object.__setattr__(self, "_lines", np.concatenate([self.top, self.bottom]).T.tolist())

    def e(self, p: float) -> list[float]:
        """(bets,) e-values of one probability."""
        e = [(a + b * p) / (c + d * p) for a, b, c, d in self._lines]
        return e if self.temper == 1 else [one**self.temper for one in e]

    def many(self, p: Floats) -> Floats:
        """(...) probabilities -> (..., bets); the same numbers as `e` gives."""
        p = p[..., None]
        e = (self.top[0] + self.top[1] * p) / (self.bottom[0] + self.bottom[1] * p)
        return e if self.temper == 1 else e**self.temper


def share(stored: Sequence[float], size: float = math.inf, band: float = 0.4) -> Share:
    """From the probabilities of the baseline; `size`: how many studies it is worth; `band`: the dead band, relative."""
    p = np.asarray(stored, dtype=float)
    mean = float(p.mean())
    top: list[tuple[float, float]] = []
    bottom: list[tuple[float, float]] = []
    weights, names = [], []
    for way, factors in ((1, (1.6, 2.5, 6.0)), (-1, (1.6, 2.5))):
        limit = min(mean * (1 + way * band), 0.95)
        for factor, weight in zip(factors, (0.55, 0.3, 0.15), strict=False):
            odds = limit / (1 - limit) * factor**way
            other = odds / (1 + odds)
            for sides, one in ((top, other), (bottom, limit)):
                at_zero = (1 - one) / (1 - mean)
                sides.append((at_zero, one / mean - at_zero))
            weights.append(weight * (0.7 if way > 0 else 0.3 / 0.85))
            names.append(f"prevalence to {other:.3g}")
    found = Share(np.array(top).T, np.array(bottom).T, np.array(weights), tuple(names))
    e = found.many(p)
    under = found.bottom[0] + found.bottom[1] * p[:, None]  # the weight of each p at the limit
    spread = np.sqrt(np.maximum((under * e * e).mean(axis=0) - 1, 0.0))
    return Share(found.top / (1 + allowance(size, spread)), found.bottom, found.weights, found.names)


def observed_to_expected(p: Sequence[float], y: Sequence[bool]) -> tuple[float, float, float]:
    """Observed positives by expected ones, with its 95 % limits (Poisson, by Byar). ValueError: nothing is expected."""
    observed, promised = float(sum(map(bool, y))), float(sum(p))
    if promised <= 0:
        raise ValueError("the probabilities add up to 0: observed by expected is not defined")
    low = observed * (1 - 1 / (9 * observed) - 1.96 / (3 * math.sqrt(observed))) ** 3 if observed else 0.0
    above = observed + 1
    high = above * (1 - 1 / (9 * above) + 1.96 / (3 * math.sqrt(above))) ** 3
    return observed / promised, low / promised, high / promised
