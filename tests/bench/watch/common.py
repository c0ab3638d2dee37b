"""The common choices, each with the threshold at which it, too, runs 10,000 studies between false alarms.

A method gives the path of a statistic (looks, streams), one value each `LOOK` studies from its first full window on. The
law of the baseline is known to all of them, as it is to ours in the same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tests.bench.watch.ours import Waits
from tests.bench.watch.world import PREVALENCE, SCANNERS, Arrays

LOOK = 10  # studies between two looks

Path = NDArray[np.float64]  # (looks, streams)
Method = Callable[[Arrays], tuple[int, Path]]  # values (studies, streams, ...) -> (studies in the first window, path)


def kolmogorov(values: NDArray[Any], window: int) -> Path:
    """Largest difference between the window's distribution function and the known one; `values`: u in (0, 1)."""
    found = []
    upper, lower = np.arange(1, window + 1)[:, None] / window, np.arange(window)[:, None] / window
    for end in range(window, len(values) + 1, LOOK):
        u = np.sort(values[end - window : end], axis=0)
        found.append(np.maximum(upper - u, u - lower).max(axis=0))
    return np.array(found)


def shares(codes: NDArray[Any], kinds: int, window: int) -> NDArray[np.float64]:
    """(looks, kinds, streams): counts of each code in the window."""
    found = []
    for kind in range(kinds):
        total = np.concatenate([np.zeros((1, codes.shape[1])), np.cumsum(codes == kind, axis=0)])
        found.append((total[window:] - total[:-window])[::LOOK])
    return np.stack(found, axis=1)


def stability(values: NDArray[Any], window: int, cells: int = 10) -> Path:
    """Population stability index over equal steps of u; an empty cell counts as half a study."""
    share = np.maximum(shares((values * cells).astype(np.int8), cells, window), 0.5) / window
    return ((share - 1 / cells) * np.log(share * cells)).sum(axis=1)


def chi_square(codes: NDArray[Any], expected: tuple[float, ...], window: int) -> Path:
    """Against the baseline's shares; a category that it never saw is expected with one study in 5,000."""
    law = np.array([*expected, 1 / 5000])
    law = (law / law.sum() * window)[:, None]
    return ((shares(codes, len(law), window) - law) ** 2 / law).sum(axis=1)


def discrepancy(vectors: NDArray[Any], window: int, features: int = 96) -> Path:
    """Squared maximum mean discrepancy with a Gaussian kernel as wide as the usual distance, by random features."""
    rng = np.random.default_rng(11)
    parts = vectors.shape[-1]
    width = math.sqrt(2 * parts)
    way, phase = rng.standard_normal((parts, features)) / width, rng.uniform(0, 2 * np.pi, features)
    law = np.cos(phase) * np.exp(-(way * way).sum(axis=0) / 2)  # mean of cos(way z + phase) over standard normal z
    blocks = []  # means of LOOK studies
    for start in range(0, len(vectors) - LOOK + 1, LOOK):
        blocks.append(np.cos(vectors[start : start + LOOK] @ way + phase).mean(axis=0) - law)
    total = np.cumsum([np.zeros_like(blocks[0]), *blocks], axis=0)
    wide = window // LOOK
    return (((total[wide:] - total[:-wide]) / wide) ** 2).mean(axis=-1)


def calibration_error(p: NDArray[Any], y: NDArray[Any], window: int, cells: int = 10) -> Path:
    """Expected calibration error over ten equal cells of p, of the last `window` labelled studies."""
    found = np.zeros(((len(p) - window) // LOOK + 1, p.shape[1]))
    cell = np.minimum((p * cells).astype(np.int8), cells - 1)
    for one in range(cells):
        total = np.concatenate([np.zeros((1, p.shape[1])), np.cumsum(np.where(cell == one, y - p, 0.0), axis=0)])
        found += np.abs((total[window:] - total[:-window])[::LOOK]) / window
    return found


def adaptive_window(values: NDArray[Any], look: int = 32, each: int = 5) -> Path:
    """ADWIN (Bifet and Gavalda, 2007) up to its first alarm: minus the log of the largest delta that would not alarm.

    Values in [0, 1]. Up to the first alarm nothing is dropped, so that the buckets (five of each power of two) are the
    same for all streams and the delta of every cut can be had from one pass. Looks every 32 studies, like the original.
    """
    sizes: list[int] = []  # newest first
    sums: list[NDArray[Any]] = []
    squares = np.zeros(values.shape[1])
    total = np.zeros(values.shape[1])
    found, highest = [], np.full(values.shape[1], -np.inf)
    for t, x in enumerate(values, 1):
        sizes.insert(0, 1)
        sums.insert(0, x)
        total = total + x
        squares = squares + x * x
        size = 1
        while sizes.count(size) > each:
            oldest = len(sizes) - 1 - sizes[::-1].index(size)
            sums[oldest - 1] = sums[oldest - 1] + sums[oldest]
            sizes[oldest - 1] = 2 * size
            del sums[oldest], sizes[oldest]
            size *= 2
        if t % look or t < 64:
            continue
        variance = np.maximum(squares / t - (total / t) ** 2, 1e-9)
        newest, count = np.zeros_like(total), 0
        best = np.full_like(total, -np.inf)
        for size, part in zip(sizes[:-1], sums[:-1], strict=True):
            count, newest = count + size, newest + part
            if min(count, t - count) < 5:
                continue
            gap = np.abs(newest / count - (total - newest) / (t - count))
            inverse = 1 / count + 1 / (t - count)  # gap > sqrt(2 inverse variance L) + 2/3 inverse L, solved for L
            a, b = 2 / 3 * inverse, np.sqrt(2 * inverse * variance)
            root = (-b + np.sqrt(b * b + 4 * a * gap)) / (2 * a)
            best = np.maximum(best, root * root - math.log(2 * math.log(t)))
        highest = best
        found.append(highest)
    return np.array(found)


def methods() -> dict[str, tuple[Method, int]]:
    """Name -> (path of the statistic, studies between two looks)."""
    return {
        "KS(200) on the score": (lambda x: (200, kolmogorov(ndtr(x["score"]), 200)), LOOK),
        "PSI(500) on the score": (lambda x: (500, stability(ndtr(x["score"]), 500)), LOOK),
        "ADWIN on the score": (lambda x: (64, adaptive_window(ndtr(x["score"]))), 32),
        "chi2(50) on the scanner": (lambda x: (50, chi_square(x["scanner"], SCANNERS, 50)), LOOK),
        "MMD(200) on embeddings": (lambda x: (200, discrepancy(x["embedding"], 200)), LOOK),
        "KS(200) on each component": (
            lambda x: (200, np.max([kolmogorov(ndtr(x["embedding"][..., k]), 200)
                                    for k in range(x["embedding"].shape[-1])], axis=0)), LOOK),
        "ECE(500)": (lambda x: (500, calibration_error(x["p"], x["y"], 500)), LOOK),
        "positives(200)": (lambda x: (200, np.abs(shares(x["positive"], 2, 200)[:, 1] / 200 - PREVALENCE)), LOOK),
    }  # fmt: skip


def equal(path: Path, look: int, wanted: float) -> float:
    """The threshold of a path without a change at which streams run `wanted` studies between alarms."""
    peaks = np.maximum.accumulate(path, axis=0)

    def run_length(threshold: float) -> float:
        over = peaks > threshold
        first = np.where(over.any(axis=0), over.argmax(axis=0) + 1, len(path))
        return float(first.sum() * look / max(1, over.any(axis=0).sum()))

    low, high = float(peaks.min()), float(peaks.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if run_length(middle) >= wanted else (middle, high)
    return high


def delays(path: Path, look: int, first: int, change: int, threshold: float) -> Waits:
    """Studies from the change (after `change` studies) to the alarm; streams that alarmed before are left out."""
    at = first + look * np.arange(len(path))
    over = path > threshold
    early = over[at <= change].any(axis=0)
    later = over[at > change][:, ~early]
    when = (at[at > change] - change).astype(float)
    waits = np.where(later.any(axis=0), when[later.argmax(axis=0)], np.inf)
    return Waits(waits, int(when[-1]), int(early.sum()))
