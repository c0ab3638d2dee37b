"""The threshold where the studies of one day resemble each other: days of the baseline, drawn again as whole days.

Correlation within a day makes evidence come in bursts; the guarantee of an e-detector is for studies that are
exchangeable. The threshold is therefore raised until streams made of the baseline's own days have the wanted run
length; it is never lowered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.watch import detector
from node.watch.baseline import Baseline
from node.watch.channels import Category, Event, Number, Probability
from node.watch.detector import Floats
from node.watch.family import Family
from node.watch.ranks import draw, is_missing

STREAMS = 64
FEWEST_DAYS = 30
_LONGEST = 3.0  # times the wanted run length, of each stream
_HIGHEST = 100.0  # times the wanted run length, of the threshold


def values(family: Family, baseline: Baseline) -> Floats:
    """E-values (studies, channels, bets) of the baseline's own studies, each ranked among all of them.

    1 for what has no value there, and for channels that learn or need labels: of those the baseline says nothing.
    """
    found = np.ones((len(baseline.days), *family.weights.shape))
    for index, channel in enumerate(family.channels):
        if channel.name not in baseline.columns:
            continue
        column = baseline.columns[channel.name]
        if isinstance(channel, Number | Category | Event):
            asked = [row for row, value in enumerate(column) if value is not None or not isinstance(channel, Event)]
            symbols = [channel.symbol(column[row], draw(family.seed, row)) for row in asked]
            found[asked, index, : len(channel.bets.weights)] = channel.bets.table[symbols]
        elif isinstance(channel, Probability):
            p = np.array([np.nan if is_missing(value) else value for value in column], dtype=float)
            there = ~np.isnan(p)
            found[there, index, : len(channel.share.weights)] = channel.share.many(p[there])
    return found


def threshold(
    days: Sequence[int], e: Floats, weights: Floats, wanted: float, seed: int = 0, streams: int = STREAMS
) -> float:
    """h >= `wanted` at which streams of days drawn from the baseline run `wanted` studies between alarms.

    `e`: (studies, channels, bets); `weights`: (channels, bets), of each bet in the family's statistic. The run length
    is (studies run) / (streams that reached h), each stream counted up to then. ValueError: fewer than 30 days.
    """
    numbers = np.asarray(days)
    blocks = [np.flatnonzero(numbers == day) for day in np.unique(numbers)]
    if len(blocks) < FEWEST_DAYS:
        raise ValueError(
            f"a baseline of {len(blocks)} days is too short to draw days from; give at least {FEWEST_DAYS}"
        )
    rng = np.random.default_rng(seed)
    length = int(_LONGEST * wanted)
    order = np.stack([_order(blocks, length, rng) for _ in range(streams)])
    return _where(_peaks(order, e, weights, wanted), wanted)


def _order(blocks: list[NDArray[np.int64]], length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of one stream: days drawn with replacement, the studies of each in a new order."""
    drawn: list[NDArray[np.int64]] = []
    had = 0
    while had < length:
        block = blocks[rng.integers(len(blocks))]
        drawn.append(rng.permutation(block))
        had += len(block)
    return np.concatenate(drawn)[:length]


def _peaks(order: NDArray[np.int64], e: Floats, weights: Floats, wanted: float) -> list[list[tuple[int, float]]]:
    """Of each stream (studies run, how high) at every new highest value of the statistic above wanted / 4."""
    streams, length = order.shape
    flat, weight = e.reshape(len(e), -1), weights.ravel()
    evidence = np.zeros((streams, len(weight)))
    cap = _HIGHEST * wanted / float(weight[weight > 0].min())
    highest = np.full(streams, wanted / 4)
    peaks: list[list[tuple[int, float]]] = [[] for _ in range(streams)]
    for t in range(length):
        evidence = detector.step(evidence, flat[order[:, t]], 1.0, cap)
        statistic = evidence @ weight
        for stream in np.flatnonzero(statistic > highest):
            highest[stream] = statistic[stream]
            peaks[stream].append((t + 1, float(statistic[stream])))
    for heights in peaks:
        heights.append((length, np.inf))
    return peaks


def _where(peaks: list[list[tuple[int, float]]], wanted: float) -> float:
    """The lowest h >= wanted, to 1 %, with the wanted run length."""

    def run_length(h: float) -> float:
        first = [next(one for one in stream if one[1] >= h) for stream in peaks]
        alarms = sum(1 for _, height in first if np.isfinite(height))
        return sum(when for when, _ in first) / alarms if alarms else np.inf

    low, high = wanted, _HIGHEST * wanted
    if run_length(low) >= wanted:
        return low
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if run_length(middle) >= wanted else (middle, high)
    return high
