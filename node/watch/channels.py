"""Channels: how one feature of a study becomes e-values."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from node.watch import bets, calibration, embedding
from node.watch.baseline import Baseline, design_effect
from node.watch.bets import Bets
from node.watch.detector import Floats
from node.watch.ranks import is_missing

MISSING = "(missing)"


def category_of(value: Any) -> str:
    """The category that a value is: its text, or `(missing)`."""
    if value.__class__ is str:
        return str(value)
    return MISSING if is_missing(value) else str(value)


@dataclass(frozen=True)
class Number:
    """Rank of a number among the baseline's. `ordered`: those, ascending, side by side in memory, since a search jumps
    about in them. Symbols: steps of u, then missing."""

    name: str
    weight: float
    bets: Bets
    ordered: array[float]

    def symbol(self, value: Any, tie: float) -> int:
        """Row of the table for this value: the step of its rank u, or missing. `tie` in [0, 1) chooses its place among
        equal ones: exchangeable with the baseline's, the value has a rank that is exactly uniform."""
        if value is None or value != value:
            return bets.STEPS
        ordered = self.ordered
        below, size = bisect_left(ordered, value), len(ordered)
        if below < size and ordered[below] == value:
            tie *= bisect_right(ordered, value, below) - below + 1
        return int((below + tie) / (size + 1) * bets.STEPS)


@dataclass(frozen=True)
class Category:
    """A category, `(missing)` among them. `codes`: those of the baseline; any other one is unseen."""

    name: str
    weight: float
    bets: Bets
    codes: Mapping[str, int]

    def symbol(self, value: Any, tie: float) -> int:
        """Row of the table for this value."""
        return self.codes.get(category_of(value), len(self.codes))

    def is_new(self, value: Any) -> bool:
        """Whether the baseline has never seen it: a notice, before any statistics."""
        return self.symbol(value, 0.0) == len(self.codes)


@dataclass(frozen=True)
class Event:
    """Something that happened or not: a refusal, an empty mask, a positive decision. `rate`: how often it is asked."""

    name: str
    weight: float
    bets: Bets
    rate: float = 1.0

    def symbol(self, value: Any, tie: float) -> int:
        """Row of the table for this value."""
        return 1 if value else 0


@dataclass(frozen=True)
class Concordance:
    """What the model said and what was reported. `rate`: the share of studies that have a report to hold it against."""

    name: str
    weight: float
    bets: Bets
    rate: float = 1.0

    def symbol(self, value: Any, tie: float) -> int:
        """Row of the table for (model positive, reported positive)."""
        said, reported = value
        return (2 + (not said)) if reported else int(bool(said))


@dataclass(frozen=True)
class Probability:
    """A calibrated probability, as a witness of the prevalence."""

    name: str
    weight: float
    share: calibration.Share

    def e(self, value: Any) -> list[float]:
        """E-values; value: p."""
        return self.share.e(value)


@dataclass(frozen=True)
class Labelled:
    """A label and the probability that was stored at inference. `rate`: the share of studies that get a label."""

    name: str
    weight: float
    calibration: calibration.Calibration
    rate: float = 1.0

    def e(self, value: Any) -> Floats:
        """E-values; value: (p, label)."""
        return self.calibration.e(value[0], value[1])


@dataclass(frozen=True)
class Vector:
    """A whitened embedding."""

    name: str
    weight: float
    normal: embedding.Normal


Tabled = Number | Category | Event | Concordance
Direct = Probability | Labelled
Channel = Tabled | Direct | Vector


def weights_of(channel: Channel) -> Floats:
    """Weights of its bets; they add up to 1."""
    if isinstance(channel, Number | Category | Event | Concordance):
        return channel.bets.weights
    if isinstance(channel, Probability):
        return channel.share.weights
    return channel.calibration.weights if isinstance(channel, Labelled) else embedding.WEIGHTS


def number(baseline: Baseline, name: str, weight: float = 1.0, tail: bool = False) -> Number:
    """From a column of numbers. `tail`: only that large values become more frequent. ValueError: it is empty."""
    values = _some(baseline, name)
    size = baseline.worth(name)
    missing = len(baseline.days) - len(values)
    table = bets.with_missing(bets.ranks(size, tail), missing, float(len(baseline.days)))
    return Number(
        name, weight, bets.tempered(table, baseline.design(name)), array("d", sorted(float(value) for value in values))
    )


def category(baseline: Baseline, name: str, weight: float = 2.0, band: float = 0.0) -> Category:
    """From a column of categories; missing is one of them. `band`: the dead band (0.4 for the mix of studies)."""
    counts: dict[str, int] = {}
    for value in baseline.columns[name]:
        counts[category_of(value)] = counts.get(category_of(value), 0) + 1
    if not counts:
        raise ValueError(f"the baseline has no studies for channel {name!r}")
    names = sorted(counts)
    worth = min(baseline.worth(name) or math.inf, float(len(baseline.days)))
    table = bets.categories([counts[key] for key in names], worth, band)
    return Category(
        name, weight, bets.tempered(table, baseline.design(name)), {key: code for code, key in enumerate(names)}
    )


def rate_of(channel: Channel) -> float:
    """The share of studies that the channel observes. Each observation stands for 1 / rate studies."""
    return channel.rate if isinstance(channel, Event | Concordance | Labelled) else 1.0


def event(baseline: Baseline, name: str, weight: float = 1.0, band: float = 0.0, up: float = 0.8) -> Event:
    """From a column of true, false and None: not asked. `band`: the dead band; `up`: the weight of "more frequent"."""
    values = [float(bool(value)) for value in _some(baseline, name)]
    size = baseline.worth(name)
    low, high = bets.limits(sum(values) / len(values) * size, size, band)
    table = bets.tempered(bets.yes_or_no(low, high, up if low > 0 else 1.0), baseline.design(name))
    return Event(name, weight, table, len(values) / len(baseline.days))


def concordance(
    name: str, false: tuple[int, int], missed: tuple[int, int], weight: float = 2.0, rate: float = 1.0
) -> Concordance:
    """From counts of the time that was accepted. `false`: (how many the model called positive, reported negative);
    `missed`: (how many it called negative, reported positive)."""
    return Concordance(name, weight, bets.concordance(bets.limits(*false), bets.limits(*missed)), rate)


def probability(baseline: Baseline, name: str, weight: float = 1.0, band: float = 0.4) -> Probability:
    """From a column of calibrated probabilities."""
    found = calibration.share(_some(baseline, name), baseline.worth(name), band)
    return Probability(name, weight, replace(found, temper=1 / baseline.design(name)))


def labelled(
    baseline: Baseline, name: str, stored: str, weight: float = 3.0, labels: float = math.inf, rate: float = 1.0
) -> Labelled:
    """Channel `name` from the column `stored` of probabilities; `labels`: labelled studies that confirmed them;
    `rate`: the share of studies that get one."""
    values: Sequence[float] = _some(baseline, stored)
    return Labelled(name, weight, calibration.calibration(float(np.mean(values)), values, labels), rate)


def vector(baseline: Baseline, name: str, weight: float = 1.0) -> Vector:
    """From a column of whitened vectors."""
    z = np.array(_some(baseline, name), dtype=float)
    days = [day for day, value in zip(baseline.days, baseline.columns[name], strict=True) if not is_missing(value)]
    design = np.array([design_effect(part.tolist(), days) for part in z.T])
    return Vector(name, weight, embedding.Normal.of(z, float(len(z)), design))


def _some(baseline: Baseline, name: str) -> list[Any]:
    values = baseline.known(name)
    if not values:
        raise ValueError(f"the baseline has no value for channel {name!r}; leave the channel out or build it anew")
    return values
