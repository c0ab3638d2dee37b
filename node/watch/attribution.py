"""What an alarm has to tell: since when, what is different, on which device, and whether prevalence explains it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc, kolmogorov

from node.watch.detector import Floats
from node.watch.ranks import is_missing

LEVEL = 0.01  # of the false discovery rate
_FEWEST = 5  # values on either side, for a test


def change_point(e: Floats) -> int:
    """The index of the first observation after the change: the start from which the evidence of a bet is largest.

    `e`: (observations,) or (observations, bets) e-values up to the alarm; of several bets the one with the most.
    ValueError: no observations.
    """
    if not len(e):
        raise ValueError("no observations: a change point cannot be named")
    logs = np.log(np.maximum(np.atleast_2d(e.T).T.astype(float), 1e-300))
    tails = np.cumsum(logs[::-1], axis=0)[::-1]
    return int(np.unravel_index(int(np.argmax(tails)), tails.shape)[0])


@dataclass(frozen=True)
class Difference:
    """One feature before and after, as summaries. `p`: of the test; `found`: whether Benjamini and Hochberg keep it.

    `size`: the largest difference between the distribution functions (numbers) or half the sum of differences of the
    shares (categories): 0 same, 1 nothing in common.
    """

    feature: str
    test: str
    p: float
    size: float
    before: Mapping[str, float]
    after: Mapping[str, float]
    found: bool = False


def summary(values: Sequence[Any]) -> dict[str, float]:
    """Count and share missing; of numbers mean, deviation, quartiles; of categories the ten largest shares."""
    known = [value for value in values if not is_missing(value)]
    found = {"count": float(len(values)), "missing": 1 - len(known) / len(values) if values else 0.0}
    if not known:
        return found
    if _are_numbers(known):
        x = np.asarray(known, dtype=float)
        low, middle, high = (float(one) for one in np.percentile(x, (25, 50, 75)))
        return found | {
            "mean": float(x.mean()), "deviation": float(x.std()), "p25": low, "p50": middle, "p75": high,
        }  # fmt: skip
    names, counts = np.unique([str(value) for value in known], return_counts=True)
    largest = sorted(zip(names, counts, strict=True), key=lambda one: (-one[1], one[0]))[:10]
    return found | {f"share of {name}": float(count) / len(values) for name, count in largest}


def compare(feature: str, before: Sequence[Any], after: Sequence[Any], weights: Floats | None = None) -> Difference:
    """Kolmogorov and Smirnov for numbers, chi-square for categories (missing is one). `weights`: of the studies before.

    p is 1 where a side has fewer than 5 values: nothing can be said.
    """
    tables = summary(before), summary(after)
    kept = np.array([not is_missing(value) for value in before], dtype=bool)
    first, second = [value for value in before if not is_missing(value)], [v for v in after if not is_missing(v)]
    if _are_numbers([*first, *second]) and len(first) >= _FEWEST and len(second) >= _FEWEST:
        weight = np.ones(len(first)) if weights is None else np.asarray(weights)[kept]
        size, p = _kolmogorov(np.asarray(first, dtype=float), np.asarray(second, dtype=float), weight)
        if len(first) == len(before) and len(second) == len(after):
            return Difference(feature, "Kolmogorov-Smirnov", p, size, *tables)
        gaps = [["missing" if is_missing(value) else "there" for value in side] for side in (before, after)]
        share, chance = _chi_square(gaps[0], gaps[1], weights)
        if chance < p:  # two tests, hence twice the smaller p
            return Difference(feature, "chi-square of missing", min(1.0, 2 * chance), share, *tables)
        return Difference(feature, "Kolmogorov-Smirnov", min(1.0, 2 * p), size, *tables)
    if min(len(before), len(after)) < _FEWEST:
        return Difference(feature, "too few", 1.0, 0.0, *tables)
    names = [["(missing)" if is_missing(value) else str(value) for value in side] for side in (before, after)]
    size, p = _chi_square(names[0], names[1], weights)
    return Difference(feature, "chi-square", p, size, *tables)


def compare_all(before: Mapping[str, Sequence[Any]], after: Mapping[str, Sequence[Any]]) -> list[Difference]:
    """Every feature that both sides have, the most different first, marked by Benjamini and Hochberg at 1 %."""
    return _marked([compare(name, before[name], after[name]) for name in sorted(before) if name in after])


def _marked(differences: list[Difference]) -> list[Difference]:
    ordered = sorted(differences, key=lambda one: (one.p, -one.size, one.feature))
    passing = [rank for rank, one in enumerate(ordered, 1) if one.p <= LEVEL * rank / len(ordered)]
    last = max(passing, default=0)
    return [
        Difference(one.feature, one.test, one.p, one.size, one.before, one.after, rank <= last)
        for rank, one in enumerate(ordered, 1)
    ]


def by_device(
    feature: str, before: Sequence[Any], after: Sequence[Any], devices: Sequence[str], later: Sequence[str]
) -> dict[str, Difference]:
    """The same test for each device that is among `later`: what came from it, against what it sent before.

    `devices`: of the studies before; `later`: of those after. A device that is new is held against all studies before.
    Marked by Benjamini and Hochberg over the devices; the most different first.
    """
    found = []
    for device in sorted(set(later)):
        mine = [value for value, name in zip(before, devices, strict=True) if name == device] or list(before)
        now = [value for value, name in zip(after, later, strict=True) if name == device]
        one = compare(feature, mine, now)
        found.append(Difference(device, one.test, one.p, one.size, one.before, one.after))
    return {one.feature: one for one in _marked(found)}


@dataclass(frozen=True)
class Cause:
    """`prevalence`, `acquisition`, `both` or `unclear`, with the prevalence before and after that explains most."""

    verdict: str
    before: float
    after: float
    plain: Difference
    adjusted: Difference


def prevalence_or_acquisition(
    feature: str, before: Sequence[Any], after: Sequence[Any], p_before: Sequence[float], p_after: Sequence[float]
) -> Cause:
    """Whether a change of prevalence alone explains the change of `feature`.

    `p_before`, `p_after`: the model's calibrated probabilities. The new prevalence is that of most likelihood (Saerens,
    Latinne and Decaestecker, 2002); the studies before are weighted to it, and the test is done again. ValueError: no
    probabilities.
    """
    first, second = np.asarray(p_before, dtype=float), np.asarray(p_after, dtype=float)
    if not len(first) or not len(second):
        raise ValueError("no probabilities: prevalence cannot be told from acquisition")
    old = float(first.mean())
    new, surprise = _prevalence(second, old)
    weights = first * new / old + (1 - first) * (1 - new) / (1 - old)
    plain, adjusted = compare(feature, before, after), compare(feature, before, after, weights)
    shifted = surprise < LEVEL
    if plain.p >= LEVEL and not shifted:
        verdict = "unclear"
    elif adjusted.p >= LEVEL:
        verdict = "prevalence" if shifted else "unclear"
    else:
        verdict = "both" if shifted and adjusted.size < 0.8 * plain.size else "acquisition"
    return Cause(verdict, old, new, plain, adjusted)


def _prevalence(p: Floats, old: float) -> tuple[float, float]:
    """The prevalence after, and the p-value of "it has not changed" (likelihood ratio)."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    new = old
    for _ in range(500):
        yes = p * new / old
        posterior = yes / (yes + (1 - p) * (1 - new) / (1 - old))
        last, new = new, float(np.clip(posterior.mean(), 1e-4, 1 - 1e-4))
        if abs(new - last) < 1e-7:
            break
    gain = float(np.log(p * new / old + (1 - p) * (1 - new) / (1 - old)).sum())
    return new, float(chdtrc(1, max(0.0, 2 * gain)))


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _kolmogorov(first: Floats, second: Floats, weight: Floats) -> tuple[float, float]:
    """Largest difference and asymptotic p; the size of the weighted side is Kish's."""
    order = np.argsort(first, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(weight[order])]) / weight.sum()
    at = np.concatenate([first, second])
    one = mass[np.searchsorted(first[order], at, side="right")]
    other = np.searchsorted(np.sort(second), at, side="right") / len(second)
    size = float(np.abs(one - other).max())
    count = weight.sum() ** 2 / (weight**2).sum()
    root = math.sqrt(count * len(second) / (count + len(second)))
    return size, float(kolmogorov((root + 0.12 + 0.11 / root) * size))  # Stephens' correction for few studies


def _chi_square(before: Sequence[str], after: Sequence[str], weights: Floats | None = None) -> tuple[float, float]:
    """Half the sum of differences of shares, and p; categories expected less than 5 times are put together."""
    weight = np.ones(len(before)) if weights is None else np.asarray(weights, dtype=float)
    names = sorted({*before, *after})
    code = {name: index for index, name in enumerate(names)}
    count = weight.sum() ** 2 / (weight**2).sum()
    first = np.bincount([code[name] for name in before], weight, len(names)) / weight.sum() * count
    second = np.bincount([code[name] for name in after], minlength=len(names)).astype(float)
    size = float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)
    both = first + second
    rare = both * min(first.sum(), second.sum()) / both.sum() < 5
    if rare.any():
        first = np.append(first[~rare], first[rare].sum())
        second = np.append(second[~rare], second[rare].sum())
        both = first + second
    first, second, both = first[both > 0], second[both > 0], both[both > 0]
    if len(both) < 2:
        return size, 1.0
    expected = np.outer([first.sum(), second.sum()], both) / both.sum()
    statistic = float((((np.stack([first, second]) - expected) ** 2) / expected).sum())
    return size, float(chdtrc(len(both) - 1, statistic))
