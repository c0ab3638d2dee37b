"""A world of studies for the benchmark: what is normal in it, and each shift of the table.

Where the table leaves something open, it was chosen so that the common choices have about the delays that the table
gives for them: a finding in 10 % of studies that the model's score tells with d' = 1.9 (area under the curve .91).
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, expit, logit, ndtr, ndtri

from node.watch import baseline, bets, calibration, channels, embedding
from node.watch.family import Family

Arrays = dict[str, NDArray[Any]]
PREVALENCE, APART, PARTS, PER_DAY = 0.1, 1.9, 16, 20
SCANNERS = (0.5, 0.3, 0.2)
PROTOCOLS = (0.4, 0.3, 0.15, 0.1, 0.05)
VOLTAGES = (0.1, 0.3, 0.6)
INCOMPLETE, LABELLED = 0.01, 0.3
NAMES = ("incomplete", "scanner", "protocol", "voltage", "slices", "pixels", "embedding", "distance", "score", "positive",
         "opposite", "calibration")  # fmt: skip
PRODUCT = (2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 2, 3)  # the weights of section 3 of the specification


@dataclass(frozen=True)
class Shift:
    """What is other than in the baseline. Shares of studies; `score`, `offset` in standard deviations."""

    new_scanner: float = 0.0
    offset: float = 0.0  # of the embedding of `offset_share` of the studies, in one random direction
    offset_share: float = 0.2
    score: float = 0.0
    scale: float = 1.0
    positive: float = PREVALENCE
    prevalence: float = PREVALENCE
    odds: float = 1.0  # of the finding, against the stored probability
    slope: float = 1.0


@dataclass(frozen=True)
class Habit:
    """How studies come while nothing has changed. `correlation` within a day; `wave`: of the prevalence over a year,
    relative; `weekend`: two days of seven have another mix of protocols and 30 % more findings."""

    correlation: float = 0.0
    wave: float = 0.0
    weekend: bool = False


def studies(
    rng: np.random.Generator,
    streams: int,
    first: int,
    count: int,
    shift: Shift,
    habit: Habit,
    day_of: NDArray[Any],
    embeddings: bool = True,
) -> Arrays:
    """`count` studies of each of `streams` streams, (count, streams, ...). `first`: number of the first; `day_of`:
    (days, streams, 8) standard normal effects of each day, used where there is a correlation.
    `embeddings`: whether they are made, which takes longest."""
    shape = (count, streams)
    days = (first + np.arange(count)) // PER_DAY
    share = math.sqrt(habit.correlation)

    def normal(which: int) -> NDArray[Any]:
        z = rng.standard_normal(shape)
        return z if not share else share * day_of[days % len(day_of), :, which] + math.sqrt(1 - habit.correlation) * z

    relative = 1 + habit.wave * np.sin(2 * np.pi * days / 365.25)
    weekend = (days % 7 >= 5) & habit.weekend
    relative = np.where(weekend, 1.3, 1 - 0.12 * habit.weekend) * relative
    prevalence = (shift.prevalence * relative)[:, None]
    found: Arrays = {}
    finding = ndtr(normal(0)) < prevalence
    z = rng.standard_normal(shape)
    p = expit(logit(PREVALENCE) + APART * (z + APART * finding) - APART**2 / 2)
    found["p"], found["y"] = p, finding  # at the baseline's prevalence the share of findings among studies of p is p
    if shift.odds != 1 or shift.slope != 1:
        tilted = logit(PREVALENCE) + shift.slope * (logit(p) - logit(PREVALENCE)) + math.log(shift.odds)
        found["y"] = rng.random(shape) < expit(tilted)
    found["positive"] = ndtr(normal(1)) < (shift.positive * relative)[:, None]
    found["incomplete"] = ndtr(normal(2)) < INCOMPLETE
    found["opposite"] = rng.random(shape) < 0.05
    scanner = np.searchsorted(np.cumsum(SCANNERS)[:-1], rng.random(shape))
    found["scanner"] = np.where(rng.random(shape) < shift.new_scanner, len(SCANNERS), scanner)
    mix = np.array(PROTOCOLS)
    other = mix * (1, 1.2, 0.9, 0.8, 0.8)
    v = rng.random(shape)
    usual = np.searchsorted(np.cumsum(mix)[:-1], v)
    found["protocol"] = np.where(weekend[:, None], np.searchsorted(np.cumsum(other / other.sum())[:-1], v), usual)
    found["voltage"] = np.searchsorted(np.cumsum(VOLTAGES)[:-1], rng.random(shape)).astype(float)
    found["slices"], found["pixels"] = normal(3), normal(4)
    found["score"] = shift.score + shift.scale * normal(5)
    found["labelled"] = rng.random(shape) < LABELLED
    if not embeddings:
        return found
    x = rng.standard_normal((*shape, PARTS))
    if share:
        x = share * day_of[days % len(day_of)][:, :, 6:7] + math.sqrt(1 - habit.correlation) * x
    if shift.offset:
        way = np.random.default_rng(71).standard_normal((streams, PARTS))  # of each stream
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        x = x + shift.offset * way * (rng.random(shape) < shift.offset_share)[..., None]
    found["embedding"] = x
    found["distance"] = np.sqrt((x * x).mean(axis=-1))
    return found


def ideal(threshold: float) -> Family:
    """All channels as if the law of the baseline were known."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    normal = array("d", ndtri(grid))
    distance = array("d", np.sqrt(chdtri(PARTS, 1 - grid) / PARTS))
    voltage = array("d", (float(k) for k, share in enumerate(VOLTAGES) for _ in range(int(share * 2000))))
    one = 1.0
    return Family(
        [
            channels.Event("incomplete", one, bets.yes_or_no(INCOMPLETE, INCOMPLETE)),
            channels.Category("scanner", one, bets.categories([int(5000 * k) for k in SCANNERS], 5000, 0.4), _codes(3)),
            channels.Category("protocol", one, bets.categories([int(5000 * k) for k in PROTOCOLS], 5000, 0.4), _codes(5)),
            channels.Number("voltage", one, bets.ranks(), voltage),
            channels.Number("slices", one, bets.ranks(), normal),
            channels.Number("pixels", one, bets.ranks(), normal),
            channels.Vector("embedding", one, embedding.Normal.standard(PARTS)),
            channels.Number("distance", one, bets.ranks(tail=True), distance),
            channels.Number("score", one, bets.ranks(), normal),
            channels.Event("positive", one, bets.yes_or_no(0.6 * PREVALENCE, 1.4 * PREVALENCE)),
            channels.Event("opposite", one, bets.yes_or_no(0.05, 0.05)),
            channels.Labelled("calibration", one, calibration.calibration(PREVALENCE)),
        ],
        threshold,
    )  # fmt: skip


def _codes(count: int) -> dict[str, int]:
    return {str(code): code for code in range(count)}


def accepted(rng: np.random.Generator, size: int, habit: Habit) -> tuple[baseline.Baseline, embedding.Whitening]:
    """A baseline of `size` studies of this world, and how its embeddings were whitened."""
    day_of = rng.standard_normal((size // PER_DAY + 1, 1, 8))
    one = studies(rng, 1, 0, size, Shift(), habit, day_of)
    rows = {name: one[name][:, 0] for name in NAMES if name != "calibration"} | {"p": one["p"][:, 0]}
    white = embedding.whitening(rows["embedding"], PARTS)
    columns: dict[str, Any] = {name: values.tolist() for name, values in rows.items()}
    for name in ("scanner", "protocol"):
        columns[name] = [str(value) for value in columns[name]]
    z, distance = white.apply(rows["embedding"])
    columns |= {"embedding": z.tolist(), "distance": distance.tolist()}
    days = tuple(row // PER_DAY for row in range(size))
    return baseline.Baseline(1, days, {name: tuple(values) for name, values in columns.items()}), white


def learnt(known: baseline.Baseline, threshold: float) -> Family:
    """The same channels from a baseline, as the node builds them. Labels: 30 % of the baseline's studies had one."""
    one = 1.0
    labels = LABELLED * len(known.days)
    return Family(
        [
            channels.event(known, "incomplete", one), channels.category(known, "scanner", one, 0.4),
            channels.category(known, "protocol", one, 0.4), channels.number(known, "voltage", one),
            channels.number(known, "slices", one), channels.number(known, "pixels", one),
            channels.vector(known, "embedding", one), channels.number(known, "distance", one, tail=True),
            channels.number(known, "score", one), channels.event(known, "positive", one, 0.4),
            channels.event(known, "opposite", one),
            channels.labelled(known, "calibration", "p", one, max(labels, bets.LARGE)),
        ],
        threshold,
    )  # fmt: skip
