"""Bets: tables of e-values, one row for each symbol that an observation can be, one column for each alternative.

Symbols are the categories of a channel, or 1,024 equal steps of the rank within the baseline. Every column has a mean
of at most 1 under all that counts as unchanged; `allowance` is by how much a finite baseline may be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, gammaincinv, ndtr, ndtri

from node.watch.detector import Floats

STEPS = 1024  # of the rank u in (0, 1)
SURE = 1.645  # one-sided 95 %
LARGE = 2000  # studies; a baseline from here on needs no guard band (docs/monitoring.md has what this costs)
_LOCATIONS = ((0.25, 0.24), (0.5, 0.1), (1.0, 0.04))  # in standard deviations, to either side; weight of each
_SCALES = ((1.3, 0.06), (0.75, 0.06), (2.0, 0.06), (0.5, 0.06))
_TAILS = ((0.75, 0.5), (0.5, 0.3), (0.25, 0.2))  # density k p^(k-1) of the tail probability p
_FLOOR = 0.02  # of every bet this share is not placed, so that one odd study does not wipe out the evidence
_UP = ((1.6, 0.65), (2.5, 0.2), (6.0, 0.08), (30.0, 0.04), (200.0, 0.03))  # odds of an event that became more frequent
_RARE = ((2.5, 0.3), (6.0, 0.4), (20.0, 0.2), (100.0, 0.1))  # of one that came in less than 2 % of studies
_NEW = ((5.0, 0.15), (20.0, 0.25), (100.0, 0.35), (500.0, 0.25))  # of what was never there
_DISCORDANT = ((2.0, 0.65), (4.0, 0.25), (10.0, 0.1))
_DOWN = ((1.6, 0.5), (2.5, 0.3), (6.0, 0.2))


@dataclass(frozen=True)
class Bets:
    """Alternatives of one channel. `table`: (symbols, bets) e-values; `weights` add up to 1."""

    table: Floats
    weights: Floats
    names: tuple[str, ...]

    def mean(self, shares: Floats) -> Floats:
        """Mean e-value of each bet where the symbols have these shares."""
        return shares @ self.table


def allowance(size: float, spread: Floats | float) -> Floats | float:
    """The guard band: what the mean of a function with this standard deviation may be off, from a baseline of `size`.

    For the mean of u itself this is 1.645 / sqrt(12 size). 0 from 2,000 studies on.
    """
    return spread * (SURE / math.sqrt(size) if size < LARGE else 0.0)


def _together(parts: Sequence[tuple[str, float, Floats]]) -> Bets:
    weights = np.array([weight for _, weight, _ in parts])
    table = np.ascontiguousarray(np.stack([column for _, _, column in parts], axis=1))
    return Bets(table, weights / weights.sum(), tuple(name for name, _, _ in parts))


def _placed(column: Floats, size: float) -> Floats:
    """A likelihood ratio on equal steps of u: mean 1 to the bit's width, floor, guard band."""
    column = (1 - _FLOOR) * column / column.mean() + _FLOOR
    return column / (1 + allowance(size, column.std()))


def ranks(size: float = math.inf, tail: bool = False) -> Bets:
    """Bets on the rank u of a number within a baseline of `size` studies: it moved, or spread, or narrowed.

    They are written as if the number were normal on some scale, which needs not be known. `tail`: only that large
    values became more frequent (a distance, an uncertainty).
    """
    edges = np.linspace(0, 1, STEPS + 1)
    parts: list[tuple[str, float, Floats]] = []
    if tail:
        for power, weight in _TAILS:
            mass = np.diff(edges**power)[::-1]  # u near 1 is a small tail probability
            parts.append((f"tail {power:g}", weight, _placed(mass * STEPS, size)))
        return _together(parts)
    z = ndtri(edges)
    for shift, weight in _LOCATIONS:
        for signed in (shift, -shift):
            parts.append((f"location {signed:+g} sd", weight, _placed(np.diff(ndtr(z - signed)) * STEPS, size)))
    for scale, weight in _SCALES:
        parts.append((f"scale x {scale:g}", weight, _placed(np.diff(ndtr(z / scale)) * STEPS, size)))
    return _together(parts)


def limits(count: float, size: float, band: float = 0.0) -> tuple[float, float]:
    """From `count` events among `size` studies of a baseline: the shares between which nothing has changed.

    The wider of the 90 % limits of Clopper and Pearson and the dead band (`band` = 0.4: +-40 % of the share).
    """
    share = count / size
    low = float(betaincinv(count, size - count + 1, 0.05)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, size - count, 0.95)) if count < size else 1.0
    return min(low, share * (1 - band)), min(1.0, max(high, share * (1 + band)))


def _odds(share: float, factor: float) -> float:
    return share * factor / (1 - share + share * factor)


def event(
    low: float, high: float, up: float = 0.8, most: float = 0.8, ups: Sequence[tuple[float, float]] | None = None
) -> list[tuple[str, float, float, float]]:
    """Bets on an event that has a share between `low` and `high` while nothing has changed.

    Gives (name, weight, e where it happened, e where not). The likelihood ratio against the nearer limit has a mean of
    at most 1 for every share between the limits. `up`: the weight of "more frequent" among all; shares above `most` are
    not bet on; `ups`: factors of the odds with their weights.
    """
    found = []
    for factor, weight in ups or (_UP if high >= 0.02 else _RARE):
        share = _odds(high, factor)
        if high > 0 and share <= most:
            found.append((f"up to {share:.3g}", up * weight, share / high, (1 - share) / (1 - high)))
    for factor, weight in _DOWN:
        share = _odds(low, 1 / factor)
        if low > 0 and up < 1:
            found.append((f"down to {share:.3g}", (1 - up) * weight, share / low, (1 - share) / (1 - low)))
    return found


def yes_or_no(low: float, high: float, up: float = 0.8) -> Bets:
    """Bets on one event; symbol 0: it did not happen, 1: it did."""
    return _together([(name, weight, np.array([no, yes])) for name, weight, yes, no in event(low, high, up)])


def categories(counts: Sequence[int], size: float, band: float = 0.0, unseen: float = 0.4) -> Bets:
    """Bets on a category. Symbols: those of the baseline in the order of `counts`, and last: any that it has not seen.

    `size`: how many studies the baseline is worth (fewer than were counted where days cluster). Unseen categories get
    the weight `unseen`; their share is bounded by Good and Turing's count of those that were seen once. Categories
    below 0.5 % are bet on together.
    """
    known, total = len(counts), sum(counts)
    worth = size / total
    once = sum(1 for count in counts if count == 1)
    new = min(0.5, float(gammaincinv(once + 1, 0.95)) / size)
    groups: list[tuple[str, float, list[int], float, float]] = [("unseen", unseen, [known], 0.0, new)]
    rare = [index for index, count in enumerate(counts) if count < 0.005 * total]
    single = [index for index in range(known) if index not in rare]
    each = (1 - unseen) / (len(single) + bool(rare))
    for index in single:
        groups.append((f"category {index}", each, [index], *limits(round(counts[index] * worth), size, band)))
    if rare:
        count = round(sum(counts[index] for index in rare) * worth)
        groups.append(("rare ones", each, rare, *limits(count, size, band)))
    parts = []
    for name, weight, symbols, low, high in groups:
        placed = event(low, high) if low > 0 else event(low, high, up=1.0, ups=_NEW)
        total_weight = sum(one[1] for one in placed)
        for what, share, yes, no in placed:
            column = np.full(known + 1, no)
            column[symbols] = yes
            parts.append((f"{name} {what}", weight * share / total_weight, column))
    return _together(parts)


def concordance(false: tuple[float, float], missed: tuple[float, float]) -> Bets:
    """Bets that the model and the reports disagree more often, by direction and in both.

    `false`: limits of the share of studies that the model calls positive among those reported negative; `missed`: of
    those it calls negative among those reported positive. Symbols: 0 both negative, 1 false, 2 both positive, 3 missed.
    The e-values are fair given what was reported, so that a change of prevalence alone is no discordance.
    """
    parts = []
    for name, weight, in_false, in_missed in (("false", 0.3, 1, 0), ("missed", 0.3, 0, 1), ("both", 0.4, 1, 1)):
        for factor, share in _DISCORDANT:
            column = np.ones(4)
            for first, limit, placed in ((0, false[1], in_false), (2, missed[1], in_missed)):
                more = _odds(limit, factor)
                if placed:
                    column[first : first + 2] = (1 - more) / (1 - limit), more / limit
            parts.append((f"{name} x {factor:g}", weight * share, column))
    return _together(parts)


def tempered(bets: Bets, design: float) -> Bets:
    """The same bets where studies of one day resemble each other: e to the power of 1 / `design` (design effect >= 1).

    The sum over a day then varies `design` times as much as that of independent studies, and for bets on a location the
    product over a day has a mean of 1 again. By Jensen's inequality each e-value keeps a mean of at most 1.
    """
    return bets if design <= 1 else Bets(bets.table ** (1 / design), bets.weights, bets.names)


def with_missing(bets: Bets, count: int, size: float) -> Bets:
    """The same, with one more symbol, the last: no value. `count` of the baseline's studies had none.

    Where a value is missing the other bets stand still; a tenth of the weight bets that missing became more or less
    frequent.
    """
    table = np.vstack([bets.table, np.ones(len(bets.weights))])
    placed = event(*limits(count, size))
    extra = np.empty((len(table), len(placed)))
    for column, (_, _, yes, no) in enumerate(placed):
        extra[:, column] = no
        extra[-1, column] = yes
    weights = np.array([one[1] for one in placed])
    return Bets(
        np.ascontiguousarray(np.hstack([table, extra])),
        np.concatenate([0.9 * bets.weights, 0.1 * weights / weights.sum()]),
        (*bets.names, *(f"missing {one[0]}" for one in placed)),
    )
