"""The statistics of performance: known values, coverage by simulation, and what they say where there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest

from node.watch.performance import calibrated, decisions, promised, rate


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def test_wilson_intervals_are_those_of_the_literature() -> None:
    # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29
    for count, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        one = rate(count, of)
        assert (one.low, one.high) == pytest.approx((low, high), abs=5e-5)
    assert rate(0, 0).value is None and rate(20, 20).high == 1.0
    with pytest.raises(ValueError, match="3 of 2"):
        rate(3, 2)


def test_each_direction_has_its_own_denominator() -> None:
    held = decisions([True] * 10 + [False] * 90, [True] * 8 + [False] * 2 + [True] * 4 + [False] * 86)
    assert (held.false.count, held.false.of) == (2, 10) and (held.missed.count, held.missed.of) == (4, 90)
    assert (held.sensitivity.value, held.specificity.value) == pytest.approx((8 / 12, 86 / 88))
    assert (held.predictive_value.value, held.negative_predictive_value.value) == pytest.approx((0.8, 86 / 90))


def test_a_calibrated_model_is_found_to_be_one_in_nearly_every_sample() -> None:
    random = np.random.default_rng(1)
    inside = np.zeros(4)
    for _ in range(40):
        p = 1 / (1 + np.exp(-random.normal(-1.5, 1.2, 600)))
        found = calibrated(p.tolist(), (random.random(600) < p).tolist())
        assert found.large and found.intercept and found.slope and found.error and found.by_chance
        inside += [found.large.low <= 1 <= found.large.high, found.intercept.low <= 0 <= found.intercept.high,
                   found.slope.low <= 1 <= found.slope.high, found.error.low <= found.by_chance]  # fmt: skip
    assert (inside >= 34).all(), inside


def test_what_is_wrong_with_the_calibration_is_told_apart() -> None:
    random = np.random.default_rng(2)
    p = 1 / (1 + np.exp(-random.normal(-1, 1.5, 20_000)))
    shifted = 1 / (1 + np.exp(-(logit(p) + np.log(2))))
    found = calibrated(p.tolist(), (random.random(len(p)) < shifted).tolist())
    assert found.intercept and found.slope and found.large
    assert found.intercept.value == pytest.approx(np.log(2), abs=0.05) and found.slope.low <= 1 <= found.slope.high
    assert found.large.value == pytest.approx(shifted.mean() / p.mean(), rel=0.03)
    blunt = 1 / (1 + np.exp(-(-1 + 0.5 * (logit(p) + 1))))
    found = calibrated(p.tolist(), (random.random(len(p)) < blunt).tolist())
    assert found.slope and found.slope.value == pytest.approx(0.5, abs=0.03)
    assert found.error and found.by_chance and found.error.low > found.by_chance
    assert found.error.value == pytest.approx(np.abs(blunt - p).mean(), abs=0.01)


def test_the_error_of_a_small_calibrated_sample_is_not_taken_for_miscalibration() -> None:
    random = np.random.default_rng(3)
    p = random.uniform(0.05, 0.95, 60)
    found = calibrated(p.tolist(), (random.random(60) < p).tolist())
    assert found.error and found.by_chance and found.error.low == 0 and found.by_chance > 0.05


@pytest.mark.parametrize("labels", [[], [True], [False] * 30, [True] * 30])
def test_labels_that_do_not_tell_give_no_number(labels: list[bool]) -> None:
    found = calibrated([0.5] * len(labels), labels)
    assert found.slope is None and found.intercept is None
    assert (found.error is None) is (len(labels) < 20)
    assert calibrated(np.linspace(0.1, 0.9, 20).tolist(), [False] * 10 + [True] * 10).slope is None, (
        "they part altogether"
    )


def test_what_probabilities_promise_is_what_calibrated_ones_keep() -> None:
    random = np.random.default_rng(4)
    p = 1 / (1 + np.exp(-random.normal(-1.5, 1.5, 50_000)))
    y, said = random.random(len(p)) < p, p >= 0.3
    found = promised(p.tolist(), said.tolist())
    real = decisions(said.tolist(), y.tolist())
    assert found.sensitivity and found.specificity and found.predictive_value and found.auroc and found.prevalence
    assert (found.sensitivity.value, found.specificity.value, found.predictive_value.value) == pytest.approx(
        (real.sensitivity.value, real.specificity.value, real.predictive_value.value), abs=0.015)  # fmt: skip
    ranks = p.argsort().argsort() + 1
    auroc = (ranks[y].sum() - y.sum() * (y.sum() + 1) / 2) / (y.sum() * (~y).sum())
    assert (
        found.auroc.value == pytest.approx(auroc, abs=0.01) and found.prevalence.low < y.mean() < found.prevalence.high
    )
    assert promised([], []).sensitivity is None and promised([0.5], [False]).predictive_value is None
    with pytest.raises(ValueError, match="decisions"):
        promised([0.5], [])


def test_labels_of_a_calibrated_model_lie_within_the_promised_limits_about_as_often_as_they_say() -> None:
    random, held, runs = np.random.default_rng(5), np.zeros(3), 150
    for _ in range(runs):
        p = 1 / (1 + np.exp(-random.normal(-1.0, 1.5, 120)))
        y, said = random.random(len(p)) < p, p >= 0.3
        found, real = promised(p.tolist(), said.tolist()), decisions(said.tolist(), y.tolist())
        ranks = p.argsort().argsort() + 1
        auroc = (ranks[y].sum() - y.sum() * (y.sum() + 1) / 2) / (y.sum() * (~y).sum())
        pairs = (
            (found.sensitivity, real.sensitivity.value),
            (found.specificity, real.specificity.value),
            (found.auroc, auroc),
        )
        held += [one is not None and value is not None and one.low <= value <= one.high for one, value in pairs]
    assert (0.93 * runs <= held).all(), held / runs


def test_promised_limits_are_wide_for_few_studies_and_ties_count_by_half() -> None:
    few, many = (
        promised([0.1, 0.3, 0.7] * 10, [False, False, True] * 10),
        promised([0.1, 0.3, 0.7] * 300, [False, False, True] * 300),
    )
    assert few.auroc and many.auroc and few.auroc.value == pytest.approx(many.auroc.value)
    assert few.auroc.high - few.auroc.low > 3 * (many.auroc.high - many.auroc.low) > 0
    alike = promised([0.4] * 5, [True] * 5)
    assert (
        alike.auroc and alike.auroc.value == pytest.approx(0.5) and alike.specificity and alike.specificity.value == 0
    )
