"""The statistics of performance that people read: rates with intervals, calibration, and what probabilities promise.

Calibration in the large and in the small: Cox 1958, as in Van Calster et al., "Calibration: the
Achilles heel of predictive analytics", BMC Medicine 2019. Expected calibration error against what a calibrated model
would show by chance: Broecker and Smith, "Increasing the reliability of reliability diagrams", 2007. Performance
without labels: Bialek et al., "Estimating Model Performance Under Covariate Shift Without Labels", arXiv:2401.08348.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.rates import Rate, Z, rate
from node.watch.calibration import observed_to_expected
from node.watch.detector import Floats

_CUT = 1e-6
_BINS = 10
_LEAST_IN_BIN = 10
_DRAWS, _FEWEST_DRAWS = 400, 100
_NUMBERS = 4_000_000  # that all draws of one sample may take, if that is enough of them
_AT_ONCE = 1_000_000  # numbers in memory
_SEED = 20260101  # the same data always give the same intervals
_MOST_STEPS = 50


@dataclass(frozen=True)
class Decisions:
    """Decisions against labels. `false`: reported negative among the model's positives; `missed`: reported positive
    among its negatives: the two directions of discordance, each with the denominator that it can be seen in."""

    sensitivity: Rate
    specificity: Rate
    predictive_value: Rate
    negative_predictive_value: Rate
    false: Rate
    missed: Rate


def decisions(said: Sequence[bool], reported: Sequence[bool]) -> Decisions:
    """From pairs of decision and label."""
    pairs = list(zip(map(bool, said), map(bool, reported), strict=True))
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    fn, tn = pairs.count((False, True)), pairs.count((False, False))
    return Decisions(
        rate(tp, tp + fn), rate(tn, tn + fp), rate(tp, tp + fp), rate(tn, tn + fn), rate(fp, tp + fp), rate(fn, tn + fn)
    )


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibrated:
    """Stored probabilities against labels. `large`: observed by expected positives (1: as promised); `intercept`: the
    shift of the logit at slope 1 (0: none); `slope`: of the logit (1: as sharp as promised, below: too sure of itself);
    `error`: expected calibration error; `by_chance`: the largest that a calibrated model shows in 95 of 100 such
    samples. None where the labels do not tell."""

    studies: int
    positives: int
    large: Estimate | None
    intercept: Estimate | None
    slope: Estimate | None
    error: Estimate | None
    by_chance: float | None


def calibrated(p: Sequence[float], y: Sequence[bool]) -> Calibrated:
    """See Calibrated."""
    stored, label = np.clip(np.asarray(p, dtype=float), _CUT, 1 - _CUT), np.asarray(y, dtype=float)
    if len(stored) != len(label):
        raise ValueError(f"{len(stored)} probabilities and {len(label)} labels")
    large = Estimate(*observed_to_expected(stored.tolist(), [bool(one) for one in label])) if len(stored) else None
    logit = np.log(stored / (1 - stored))
    intercept = _logistic(np.ones((len(label), 1)), label, offset=logit)
    slope = _logistic(np.stack([np.ones(len(label)), logit], axis=1), label, offset=np.zeros(len(label)))
    error, chance = _calibration_error(stored, label)
    return Calibrated(len(label), int(label.sum()), large, intercept, slope, error, chance)


def _logistic(x: Floats, y: Floats, offset: Floats) -> Estimate | None:
    """The last coefficient of a logistic regression, by Newton's steps, with Wald's interval; None where there is none:
    one kind of label only, or probabilities that part the kinds altogether."""
    if not len(y) or y.min() == y.max() or np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    beta = np.zeros(x.shape[1])
    for _ in range(_MOST_STEPS):
        eta = x @ beta + offset
        fitted = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
        weight = fitted * (1 - fitted)
        information = x.T @ (x * weight[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, x.T @ (y - fitted))
        beta += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-8:
            spread = Z * math.sqrt(np.linalg.inv(information)[-1, -1])
            return Estimate(float(beta[-1]), float(beta[-1] - spread), float(beta[-1] + spread))
    return None


def _bins(size: int) -> int:
    return max(1, min(_BINS, size // _LEAST_IN_BIN))


def _gaps(p: Floats, y: Floats) -> Floats:
    """(samples, studies) each -> (samples,) expected calibration error over bins with equally many studies: mean
    |observed - expected|, weighted. Probabilities ascend along the studies."""
    studies = p.shape[1]
    edges = np.linspace(0, studies, _bins(studies) + 1).astype(int)[:-1]
    return np.asarray(np.abs(np.add.reduceat(y - p, edges, axis=1)).sum(axis=1) / studies)


def _calibration_error(p: Floats, y: Floats) -> tuple[Estimate | None, float | None]:
    """The error less what bootstrapping says that it is too large by, and what chance alone gives.

    The error of a sample is never 0, not even for a calibrated model, and a resample's is larger by about as much
    again; so the interval is the basic bootstrap's: twice the error less the quantiles of the resamples.
    """
    size = len(p)
    if size < 2 * _LEAST_IN_BIN:
        return None, None
    random = np.random.default_rng(_SEED)
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    here = float(_gaps(p[None], y[None])[0])
    again, by_chance = [], []
    for start in range(0, _DRAWS, at_once := max(1, _AT_ONCE // size)):
        draws = min(at_once, _DRAWS - start)
        drawn = np.sort(random.integers(0, size, (draws, size)), axis=1)  # so that probabilities ascend
        again.append(_gaps(p[drawn], y[drawn]))
        by_chance.append(_gaps(np.broadcast_to(p, (draws, size)), (random.random((draws, size)) < p).astype(float)))
    low, middle, high = (2 * here - float(np.quantile(np.concatenate(again), q)) for q in (0.975, 0.5, 0.025))
    chance = float(np.quantile(np.concatenate(by_chance), 0.95))
    return Estimate(max(0.0, middle), max(0.0, low), max(0.0, high)), chance


@dataclass(frozen=True)
class Promised:
    """Performance that calibrated probabilities promise of decisions, without a label (see the head of this module);
    each None where its denominator is 0. It holds as far as the probabilities are calibrated. The limits are those
    between which labels of as many such studies would lie 95 times of 100, if they are."""

    studies: int
    prevalence: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    predictive_value: Estimate | None
    auroc: Estimate | None


def promised(p: Sequence[float], said: Sequence[bool]) -> Promised:
    """From stored probabilities and the decisions that were made on them, whatever their thresholds were."""
    stored, chosen = np.asarray(p, dtype=float), np.asarray(said, dtype=bool)
    size = len(stored)
    if size != len(chosen):
        raise ValueError(f"{size} probabilities and {len(chosen)} decisions")
    if not size:
        return Promised(0, None, None, None, None, None)
    values, at = np.unique(stored, return_inverse=True)
    here = _shown(stored[None], chosen[None], at[None], len(values))[:, 0]
    random = np.random.default_rng(_SEED)
    draws, again = min(_DRAWS, max(_FEWEST_DRAWS, _NUMBERS // size)), []
    for start in range(0, draws, at_once := max(1, _NUMBERS // (8 * size))):
        drawn = random.integers(0, size, (min(at_once, draws - start), size))  # other studies of the same kind,
        labels = (random.random(drawn.shape) < stored[drawn]).astype(float)  # with the labels that they may get
        again.append(_shown(labels, chosen[drawn], at[drawn], len(values)))
    return Promised(size, *(_within(one, drawn) for one, drawn in zip(here, np.hstack(again), strict=True)))


def _shown(y: Floats, chosen: NDArray[np.bool_], at: NDArray[np.int64], values: int) -> Floats:
    """(5, samples): prevalence, sensitivity, specificity, predictive value, AUROC; NaN where a denominator is 0.

    `y`: (samples, studies), labels or their probabilities; `at`: which of so many `values` of p each study has.
    """
    samples = len(y)
    cell = (at + values * np.arange(samples)[:, None]).ravel()
    yes, no = (np.bincount(cell, side.ravel(), samples * values).reshape(samples, values) for side in (y, 1 - y))
    true, false = (y * chosen).sum(axis=1), ((1 - y) * chosen).sum(axis=1)
    positive, negative = yes.sum(axis=1), no.sum(axis=1)
    # Pairs of which the one with the finding has the larger p, ties by half.
    better = (yes * (np.cumsum(no, axis=1) - no / 2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([y.mean(axis=1), true / positive, 1 - false / negative, true / (true + false),
                         better / (positive * negative)])  # fmt: skip


def _within(value: float, drawn: Floats) -> Estimate | None:
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(known):
        return None
    low, high = (float(np.quantile(known, q)) for q in (0.025, 0.975))
    return Estimate(float(value), min(low, float(value)), max(high, float(value)))
