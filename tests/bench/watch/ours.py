"""Our detectors over many streams at once: the node's tables, bets and recursion, with the streams as a leading axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.watch import bets, detector, embedding
from node.watch.channels import Category, Concordance, Event, Labelled, Number, Probability, Vector, weights_of
from node.watch.detector import Floats
from node.watch.family import Family
from tests.bench.watch.world import LABELLED, Arrays

CHUNK = 50  # studies that are made at once
CAP = 1e12

Make = Callable[[np.random.Generator, int, int, bool], Arrays]  # (rng, first, count, changed) -> (count, streams, ...)


def symbols(channel: Any, values: NDArray[Any], tie: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of the channel's table for an array of values: what `symbol` gives for each."""
    if isinstance(channel, Number):
        below = np.searchsorted(channel.ordered, values.ravel(), side="left").reshape(values.shape)
        above = np.searchsorted(channel.ordered, values.ravel(), side="right").reshape(values.shape)
        u = (below + tie * (above - below + 1)) / (len(channel.ordered) + 1)
        return (u * bets.STEPS).astype(np.int64)
    if isinstance(channel, Category):
        codes = np.array([channel.codes.get(str(k), len(channel.codes)) for k in range(int(values.max()) + 1)])
        return codes[values]
    assert isinstance(channel, Event | Concordance)
    return values.astype(np.int64)


def statistics(
    family: Family, make: Make, streams: int, studies: int, seed: int, changed_from: int | None,
    white: embedding.Whitening | None = None, labelled: bool = False,
) -> Iterator[tuple[int, Floats]]:  # fmt: skip
    """After each study (how many so far, (streams, channels): each channel's average of its bets, unweighted).

    `labelled`: only the studies that the world labels have a label; otherwise all.
    """
    rng = np.random.default_rng(seed)
    widest = family.widest
    evidence = np.zeros((streams, len(family.channels), widest))
    own = np.stack([np.pad(weights_of(one), (0, widest - len(weights_of(one)))) for one in family.channels])
    vectors = [(index, one) for index, one in enumerate(family.channels) if isinstance(one, Vector)]
    states = {one.name: embedding.Learnt.nothing(one.normal.parts, (streams,)) for _, one in vectors}
    done = 0
    while done < studies:
        count = min(CHUNK, studies - done)
        if changed_from is not None and done < changed_from:
            count = min(count, changed_from - done)
        chunk = make(rng, done, count, changed_from is not None and done >= changed_from)
        if white is not None:
            chunk["embedding"], chunk["distance"] = white.apply(chunk["embedding"])
        tie = rng.random((count, streams))
        e = np.ones((count, streams, len(family.channels), widest))
        gain = np.ones((count, streams, len(family.channels), 1))
        for index, channel in enumerate(family.channels):
            if isinstance(channel, Vector):
                continue
            width = len(weights_of(channel))
            if isinstance(channel, Labelled):
                e[:, :, index, :width] = channel.calibration.many(chunk["p"], chunk["y"])
                if labelled:
                    e[:, :, index] = np.where(chunk["labelled"][:, :, None], e[:, :, index], 1.0)
                    gain[:, :, index] = chunk["labelled"][:, :, None] / LABELLED
            elif isinstance(channel, Probability):
                e[:, :, index, :width] = channel.share.many(chunk["p"])
            else:
                e[:, :, index, :width] = channel.bets.table[symbols(channel, chunk[channel.name], tie)]
        for t in range(count):
            now = e[t]
            for index, vector in vectors:
                states[vector.name], bet = embedding.bet(states[vector.name], chunk[vector.name][t], vector.normal)
                now[:, index, : bet.shape[-1]] = bet
            evidence = detector.step(evidence, now, gain[t], CAP)
            yield done + t + 1, detector.average(evidence, own)
        done += count


@dataclass(frozen=True)
class Waits:
    """Studies until the alarm of each stream, infinite where it was not reached within `limit`; `early`: streams that
    alarmed before the change, which count as false alarms and not as delays."""

    studies: Floats
    limit: int
    early: int = 0

    def mean(self) -> float:
        """Mean; what was not reached counts with the limit, so that it is too small where `censored` is above 0."""
        return float(np.minimum(self.studies, self.limit).mean())

    def report(self) -> dict[str, float]:
        """Mean with its 95 % interval, p90, and the share that was not reached."""
        at = np.minimum(self.studies, self.limit)
        half = 1.96 * float(at.std()) / max(1.0, float(np.sqrt(len(at))))
        return {"mean": round(self.mean(), 1), "low": round(self.mean() - half, 1), "high": round(self.mean() + half, 1),
                "p90": round(float(np.quantile(at, 0.9)), 1), "censored": round(float(np.isinf(self.studies).mean()), 4),
                "streams": len(at), "early": self.early}  # fmt: skip

    def run_length(self) -> dict[str, float]:
        """Studies run by alarms seen: the mean of an exponential time that was not always waited for, with 95 % limits."""
        ran = float(np.minimum(self.studies, self.limit).sum())
        seen = int(np.isfinite(self.studies).sum())
        spread = 1.96 / float(np.sqrt(max(seen, 1)))
        arl = ran / max(seen, 1)
        return {"arl": round(arl), "low": round(arl * float(np.exp(-spread))), "high": round(arl * float(np.exp(spread))),
                "alarms": seen, "streams": len(self.studies),
                "p10": round(float(np.quantile(np.minimum(self.studies, self.limit), 0.1)))}  # fmt: skip


def first_alarms(
    family: Family, make: Make, streams: int, limit: int, seed: int, weights: dict[str, tuple[Floats, float]],
    warm: int = 0, **more: Any,
) -> dict[str, Waits]:  # fmt: skip
    """For each named combination (weights of the channels, threshold): studies from the change at `warm` to the alarm.

    `warm` = 0: there is no change, and the wait is the time to a false alarm.
    """
    first, early = np.full((streams, len(weights)), np.inf), np.zeros((streams, len(weights)), dtype=bool)
    together = np.stack([weight / threshold for weight, threshold in weights.values()], axis=1)
    changed_from = warm if warm else None
    for studies, average in statistics(family, make, streams, warm + limit, seed, changed_from, **more):
        over = average @ together >= 1
        if studies <= warm:
            early |= over
        elif over.any():
            first[over & np.isinf(first)] = studies - warm
            if (np.isfinite(first) | early).all():
                break
    return {
        name: Waits(first[~early[:, index], index], limit, int(early[:, index].sum()))
        for index, name in enumerate(weights)
    }
