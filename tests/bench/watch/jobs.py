"""The runs of the benchmark: each is one function of plain arguments, so that two processes can share them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from node.watch import baseline, bootstrap, calibration, channels, family
from node.watch.family import Family
from tests.bench.watch import common, published, world
from tests.bench.watch.ours import Waits, first_alarms
from tests.bench.watch.world import NAMES, PER_DAY, PRODUCT, Arrays, Habit, Shift

ARL0 = 10_000.0
WARM = 500  # studies without a change before it
# name: (shift, the channel that is to see it, studies to wait at most, (to reach alone, in a family of 12))
SHIFTS: dict[str, tuple[Shift, str, int, tuple[int, int] | None]] = {
    "new scanner, 20 % of studies": (Shift(new_scanner=0.2), "scanner", 400, (16, 22)),
    "embedding + 2 sd, 20 % of studies": (Shift(offset=2.0), "embedding", 2500, (180, 250)),
    "score + .25 sd": (Shift(score=0.25), "score", 2500, (200, 300)),
    "score x 1.25": (Shift(scale=1.25), "score", 2500, (200, 260)),
    "positives 10 -> 20 %": (Shift(positive=0.2), "positive", 4000, (320, 500)),
    "odds x .5, labelled": (Shift(odds=0.5), "calibration", 5000, (450, 680)),
    "odds x 2, labelled": (Shift(odds=2.0), "calibration", 4000, (320, 470)),
    "slope .5, labelled": (Shift(slope=0.5), "calibration", 3000, (210, 300)),
}
SEEN_BY = {
    "new scanner, 20 % of studies": ("chi2(50) on the scanner",),
    "embedding + 2 sd, 20 % of studies": ("MMD(200) on embeddings", "KS(200) on each component"),
    "score + .25 sd": ("KS(200) on the score", "PSI(500) on the score", "ADWIN on the score"),
    "score x 1.25": ("PSI(500) on the score", "KS(200) on the score"),
    "positives 10 -> 20 %": ("positives(200)",),
    "odds x .5, labelled": ("ECE(500)",),
    "odds x 2, labelled": ("ECE(500)",),
    "slope .5, labelled": ("ECE(500)",),
}


def _weights(watched: Family, channel: str | None, threshold: float = ARL0) -> dict[str, tuple[Any, float]]:
    count = len(watched.names)
    found = {
        "family": (np.full(count, 1 / count), threshold),
        "weighted": (np.array(PRODUCT) / sum(PRODUCT), threshold),
    }
    if channel is not None:
        found["single"] = (np.eye(count)[watched.names.index(channel)], threshold)
    return found


def _make(streams: int, shift: Shift, habit: Habit, days: int, seed: int) -> Any:
    day_of = (
        np.random.default_rng(seed).standard_normal((days, streams, 8)) if habit.correlation else np.zeros((1, 1, 8))
    )

    def make(rng: np.random.Generator, first: int, count: int, changed: bool) -> Arrays:
        return world.studies(rng, streams, first, count, shift if changed else Shift(), habit, day_of)

    return make


def delay(name: str, streams: int, seed: int, size: int | None = None, labelled: bool = False) -> dict[str, Waits]:
    """Of one shift. `size`: of the baseline, or None: its law is known. `labelled`: 30 % have a label, else all."""
    shift, channel, limit, _ = SHIFTS[name]
    white = None
    watched = world.ideal(ARL0)
    if size is not None:
        known, white = world.accepted(np.random.default_rng(seed + 1), size, Habit())
        watched = world.learnt(known, ARL0)
    make = _make(streams, shift, Habit(), 1, seed)
    limit = limit * (4 if labelled else 1)
    return first_alarms(watched, make, streams, limit, seed, _weights(watched, channel), WARM, white=white,
                        labelled=labelled)  # fmt: skip


def false_alarms(
    streams: int, limit: int, seed: int, size: int | None = None, habit: Habit = Habit(), blocks: bool = False,
    threshold: float = ARL0,
) -> dict[str, Waits]:  # fmt: skip
    """Waits until a false alarm. `blocks`: also with the threshold raised by the day-block bootstrap."""
    white = None
    watched = world.ideal(threshold)
    more: dict[str, tuple[Any, float]] = {}
    if size is not None:
        known, white = world.accepted(np.random.default_rng(seed + 1), size, habit)
        watched = world.learnt(known, threshold)
        if blocks:
            e = bootstrap.values(watched, known)
            raised = bootstrap.threshold(known.days, e, watched.weights, threshold, seed, streams=32)
            more = {"blocks": (np.full(len(NAMES), 1 / len(NAMES)), raised)}
    make = _make(streams, Shift(), habit, limit // PER_DAY + 1, seed)
    weights = _weights(watched, None, threshold) | more
    weights |= {f"{name} alone": (np.eye(len(NAMES))[index], threshold) for index, name in enumerate(NAMES)}
    return first_alarms(watched, make, streams, limit, seed, weights, white=white, labelled=size is not None)


def prevalence(streams: int, seed: int, band: float) -> Waits:
    """A prevalence of 10 -> 20 % seen through calibrated probabilities, without labels. `band`: the dead band."""
    p = world.studies(np.random.default_rng(9), 1, 0, 20_000, Shift(), Habit(), np.zeros((1, 1, 8)))["p"][:, 0]
    watched = Family([channels.Probability("p", 1.0, calibration.share(p.tolist(), band=band))], ARL0)
    make = _make(streams, Shift(prevalence=0.2), Habit(), 1, seed)
    return first_alarms(watched, make, streams, 5000, seed, {"one": (np.ones(1), ARL0)}, WARM)["one"]


def usual(method: str, streams: int, length: int, seed: int) -> dict[str, dict[str, Any]]:
    """One of the common choices: its threshold at ARL0 10,000, and its delay for each shift that it looks at."""
    path_of, look = common.methods()[method]

    def stream(count: int, shift: Shift, changed_from: int, seed: int, many: int) -> Arrays:
        rng = np.random.default_rng(seed)
        day = np.zeros((1, 1, 8))
        vectors = "embedding" in method or "component" in method
        parts = [world.studies(rng, many, 0, changed_from, Shift(), Habit(), day, vectors)]
        if count > changed_from:
            parts.append(world.studies(rng, many, changed_from, count - changed_from, shift, Habit(), day, vectors))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    paths = []
    for part in range(0, streams, 10):  # ten at a time, for the memory
        first, path = path_of(stream(length, Shift(), length, seed + 1 + part, 10))
        paths.append(path)
    null = np.concatenate(paths, axis=1)
    threshold = common.equal(null, look, ARL0)
    found: dict[str, dict[str, Any]] = {
        "": {"threshold": threshold, "alarms": int((null > threshold).any(axis=0).sum())}
    }
    for name, seen_by in SEEN_BY.items():
        if method not in seen_by:
            continue
        change = max(first, 600)
        shift, _, limit, _ = SHIFTS[name]
        waits = []
        for part in range(0, max(streams, 100), 20):
            data = stream(change + min(limit, 2500), shift, change, seed + 5000 + part, 20)
            waits.append(common.delays(path_of(data)[1], look, first, change, threshold))
        found[name] = Waits(np.concatenate([one.studies for one in waits]), waits[0].limit,
                            sum(one.early for one in waits)).report()  # fmt: skip
    return found


def sorin(streams: int, seed: int) -> dict[str, Any]:
    """The rule and ours, in days; ours also at the run length that the rule turned out to have."""
    found: dict[str, Any] = {}
    for name, shares in published.SHARED.items():
        free = published.rule(seed, streams, 6000, shares, None).run_length()
        found[name] = {"rule, days between false alarms": free}
        for what, change in published.changes(shares).items():
            mine = published.concordance(seed + 2, streams, 9000, shares, change, 594 * published.PER_DAY)
            same = published.concordance(seed + 2, streams, 9000, shares, change, free["arl"] * published.PER_DAY)
            found[name][what] = {
                "rule": published.rule(seed + 1, streams, 400, shares, change).report(),
                "ours": _in_days(mine, published.PER_DAY),
                "ours, as seldom false": _in_days(same, published.PER_DAY),
            }
    return found


def zamzmi(streams: int, seed: int) -> dict[str, Any]:
    """Ours, in days of 100 studies."""
    return _in_days(published.strangers(seed, streams, 3000, 0.04), 100)


def _in_days(waits: Waits, per_day: int) -> dict[str, float]:
    return Waits(waits.studies / per_day, max(1, waits.limit // per_day), waits.early).report()


def cost(studies: int) -> dict[str, float]:
    """Microseconds a study for 30 channels, live, and seconds to replay 100,000, from observations in memory: of the
    processor's time, so that what else runs on the machine counts little."""
    rng = np.random.default_rng(3)

    def study() -> dict[str, Any]:
        p = float(rng.beta(0.5, 4))
        found: dict[str, Any] = {f"number{k}": float(rng.standard_normal()) for k in range(16)}
        found |= {f"category{k}": str(rng.integers(0, 4)) for k in range(8)}
        found |= {f"event{k}": bool(rng.random() < 0.1) for k in range(3)}
        return found | {"p": p, "embedding": rng.standard_normal(16).tolist()}

    known = baseline.build(1, [row // PER_DAY for row in range(5000)], [study() for _ in range(5000)])
    made: list[Any] = [channels.number(known, f"number{k}") for k in range(16)]
    made += [channels.category(known, f"category{k}") for k in range(8)]
    made += [channels.event(known, f"event{k}") for k in range(3)]
    made += [
        channels.probability(known, "p"),
        channels.vector(known, "embedding"),
        channels.labelled(known, "label", "p"),
    ]
    watched = Family(made, ARL0)
    stream = [one | {"label": (one["p"], bool(rng.random() < one["p"]))} for one in (study() for _ in range(studies))]
    state = watched.start()
    batches = []
    for start in range(0, studies, 50):
        began = time.process_time()
        state, _ = family.replay(watched, state, stream[start : start + 50])
        batches.append((time.process_time() - began) / len(stream[start : start + 50]) * 1e6)
    return {"channels": len(made), "microseconds a study, median": round(float(np.median(batches)), 1),
            "microseconds a study, fastest tenth": round(float(np.quantile(batches, 0.1)), 1),
            "replay of 100,000, seconds": round(float(np.mean(batches)) / 10, 2)}  # fmt: skip
