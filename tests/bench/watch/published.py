"""The two published monitors of the last rows: their rule, replicated, and ours at the same rate of false alarms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from node.watch import bets, channels
from node.watch.family import Family
from tests.bench.watch.ours import Waits, first_alarms
from tests.bench.watch.world import Arrays

# Sorin et al., J Am Coll Radiol 2025 (doi 10.1016/j.jacr.2025.06.036): 11,999 CT of the pulmonary arteries in 414 days,
# 1,285 with an embolism, 373 discordant, of which 111 positive to the device only.
DAYS, CASES, POSITIVE, FALSE, DISCORDANT = 414, 11_999, 1_285, 111, 373
PER_DAY = 29
PREVALENCE = POSITIVE / CASES
# Shares (of false positives among those reported negative, of missed among those reported positive). The delays that the
# table gives for the published rule do not tell how discordance was shared out; those for ours fit a sensitivity of 90 %.
SHARED = {
    "as counted": (FALSE / (CASES - POSITIVE), (DISCORDANT - FALSE) / POSITIVE),
    "sensitivity 90 %": ((DISCORDANT / CASES - 0.1 * PREVALENCE) / (1 - PREVALENCE), 0.1),
}


def changes(usual: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """The three changes of the table, from the usual shares."""
    return {
        "specificity -2 points": (usual[0] + 0.02, usual[1]),
        "discordance x 2": (2 * usual[0], 2 * usual[1]),
        "sensitivity -10 points": (usual[0], usual[1] + 0.1),
    }


def _answers(rng: np.random.Generator, shape: tuple[int, int], false: float, missed: float) -> np.ndarray[Any, Any]:
    """Symbols of `bets.concordance`: 0 both negative, 1 false, 2 both positive, 3 missed."""
    reported = rng.random(shape) < PREVALENCE
    wrong = rng.random(shape) < np.where(reported, missed, false)
    return 2 * reported + wrong


def rule(
    seed: int, streams: int, days: int, usual: tuple[float, float], change: tuple[float, float] | None, warm: int = 80
) -> Waits:
    """The published rule: the discordance of the last 60 days lies above its 95 % interval on seven days in a row.

    Gives days from the change (after `warm` days), or without a change from the first day with 60 days behind it.
    """
    rng = np.random.default_rng(seed)
    total = warm + days
    before = _answers(rng, (warm * PER_DAY, streams), *usual)
    after = _answers(rng, (days * PER_DAY, streams), *(change or usual))
    wrong = np.concatenate([before, after]) % 2
    daily = wrong.reshape(total, PER_DAY, streams).sum(axis=1)
    run = np.concatenate([np.zeros((1, streams)), np.cumsum(daily, axis=0)])
    share = (run[60:] - run[:-60]) / (60 * PER_DAY)  # of the 60 days up to day 60, 61, ...
    level = DISCORDANT / CASES
    above = share > level + 1.96 * math.sqrt(level * (1 - level) / (60 * PER_DAY))
    row = np.zeros(streams, dtype=int)
    first, early = np.full(streams, np.inf), np.zeros(streams, dtype=bool)
    begin = warm if change else 60
    for index, over in enumerate(above):
        day = 60 + index
        row = np.where(over, row + 1, 0)
        alarm = row >= 7
        if day <= begin:
            early |= alarm
            continue
        first[alarm & np.isinf(first)] = day - begin
    return Waits(first[~early], total - begin, int(early.sum()))


def concordance(
    seed: int,
    streams: int,
    limit: int,
    usual: tuple[float, float],
    change: tuple[float, float] | None,
    threshold: float,
) -> Waits:
    """Ours: the channel of concordance alone, in studies."""
    table = bets.concordance((usual[0], usual[0]), (usual[1], usual[1]))
    channel = channels.Concordance("concordance", 1.0, table)

    def make(rng: np.random.Generator, first: int, count: int, changed: bool) -> Arrays:
        shares = change if changed and change else usual
        return {"concordance": _answers(rng, (count, streams), *shares)}

    weights = {"one": (np.ones(1), threshold)}
    return first_alarms(
        Family([channel], threshold), make, streams, limit, seed, weights, warm=80 * PER_DAY if change else 0
    )["one"]


def strangers(seed: int, streams: int, limit: int, after: float | None, threshold: float = 10_000) -> Waits:
    """Zamzmi et al., 2024: studies that are out of distribution, .5 % of 100 a day, then `after`; ours, in studies."""
    channel = channels.Event("stranger", 1.0, bets.yes_or_no(0.005, 0.005))

    def make(rng: np.random.Generator, first: int, count: int, changed: bool) -> Arrays:
        return {"stranger": rng.random((count, streams)) < (after if changed and after else 0.005)}

    weights = {"one": (np.ones(1), threshold)}
    return first_alarms(Family([channel], threshold), make, streams, limit, seed, weights, warm=300 if after else 0)[
        "one"
    ]
