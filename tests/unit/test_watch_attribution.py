"""What an alarm tells: since when, what, on which device, and whether it is the prevalence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from node.watch import attribution, bets, calibration, embedding, power

RNG = np.random.default_rng


def test_the_change_point_is_found_where_it_was_planted() -> None:
    table = bets.ranks()
    rng, found = RNG(1), []
    z = np.concatenate([rng.standard_normal((40, 300)), rng.standard_normal((40, 120)) + 0.8], axis=1)
    from scipy.special import ndtr

    for stream in z:
        symbols = np.minimum((ndtr(stream) * bets.STEPS).astype(int), bets.STEPS - 1)
        found.append(attribution.change_point(table.table[symbols]))
    assert abs(float(np.median(found)) - 300) <= 5 and np.mean(np.abs(np.array(found) - 300) <= 25) >= 0.8
    assert attribution.change_point(np.array([0.5, 0.5, 2.0, 0.9, 3.0])) == 2
    with pytest.raises(ValueError, match="no observations"):
        attribution.change_point(np.empty((0, 2)))


def _features(rng: np.random.Generator, count: int, shift: float, device: str | None = None) -> dict[str, list]:
    found: dict[str, list] = {f"quiet{index}": rng.standard_normal(count).tolist() for index in range(8)}
    found["mean"] = rng.normal(shift, 1, count).tolist()
    found["kernel"] = [
        str(one) for one in rng.choice(["B30f", "B70f"], count, p=[0.9, 0.1] if not shift else [0.5, 0.5])
    ]
    found["device"] = (
        [str(one) for one in rng.choice(["CT1", "CT2", "CT3"], count)] if device is None else [device] * count
    )
    return found


def test_only_what_was_changed_is_named() -> None:
    rng = RNG(2)
    before, after = _features(rng, 2000, 0.0), _features(rng, 200, 0.5)
    found = attribution.compare_all(before, after)
    assert {one.feature for one in found if one.found} == {"mean", "kernel"}
    assert [one.p for one in found] == sorted(one.p for one in found)
    kernel = next(one for one in found if one.feature == "kernel")
    assert kernel.test == "chi-square" and 0.3 < kernel.size < 0.5
    assert kernel.before["share of B30f"] == pytest.approx(0.9, abs=0.03) and kernel.after["count"] == 200


def test_without_a_change_nothing_is_named_but_now_and_then() -> None:
    rng, wrong = RNG(3), 0
    for _ in range(40):
        wrong += any(one.found for one in attribution.compare_all(_features(rng, 300, 0.0), _features(rng, 80, 0.0)))
    assert wrong <= 3


def test_the_tests_agree_with_scipy() -> None:
    from scipy import stats

    rng = RNG(4)
    x, y = rng.standard_normal(400), rng.standard_normal(150) + 0.2
    ours, theirs = attribution.compare("x", x.tolist(), y.tolist()), stats.ks_2samp(x, y, method="asymp")
    assert ours.size == pytest.approx(theirs.statistic) and ours.p == pytest.approx(theirs.pvalue, rel=0.25)
    first, second = ["a"] * 60 + ["b"] * 40, ["a"] * 30 + ["b"] * 45
    chi = stats.chi2_contingency([[60, 40], [30, 45]], correction=False)
    assert attribution.compare("c", first, second).p == pytest.approx(chi.pvalue, rel=1e-9)


def test_values_that_went_missing_are_a_difference() -> None:
    rng = RNG(5)
    before = rng.standard_normal(500).tolist()
    after = [value if rng.random() < 0.7 else None for value in rng.standard_normal(100)]
    found = attribution.compare("x", before, after)
    assert found.test == "chi-square of missing" and found.p < 1e-6 and found.after["missing"] > 0.1
    assert attribution.compare("x", before, [None, 1.0]).p == 1.0


def test_the_planted_device_is_named_and_a_new_one_is_held_against_all() -> None:
    rng = RNG(6)
    devices = [str(one) for one in rng.choice(["CT1", "CT2", "CT3"], 1500)]
    later = [str(one) for one in rng.choice(["CT1", "CT2", "CT3", "CT9"], 400)]
    before = rng.standard_normal(1500).tolist()
    after = [float(rng.normal(1.0 if name in ("CT2", "CT9") else 0.0)) for name in later]
    found = attribution.by_device("mean", before, after, devices, later)
    assert {name for name, one in found.items() if one.found} == {"CT2", "CT9"}
    assert found["CT9"].before["count"] == 1500 and found["CT2"].before["count"] == devices.count("CT2")


def _scores(rng: np.random.Generator, count: int, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities at a prevalence of 10 %, and a feature that depends on the finding."""
    y = rng.random(count) < prevalence
    p = expit(logit(0.1) + 1.9 * (rng.standard_normal(count) + 1.9 * y) - 1.9**2 / 2)
    return p, rng.normal(1.5 * p, 0.2)


@pytest.mark.parametrize(
    ("prevalence", "shift", "verdict"),
    [(0.1, 0.0, "unclear"), (0.35, 0.0, "prevalence"), (0.1, 0.3, "acquisition"), (0.35, 0.12, "both")],
)
def test_prevalence_is_told_from_acquisition(prevalence: float, shift: float, verdict: str) -> None:
    rng = RNG(7)
    p, x = _scores(rng, 4000, 0.1)
    later, y = _scores(rng, 400, prevalence)
    found = attribution.prevalence_or_acquisition(
        "volume", x.tolist(), (y + shift).tolist(), p.tolist(), later.tolist()
    )
    assert found.verdict == verdict
    assert found.after == pytest.approx(prevalence, abs=0.06) and found.before == pytest.approx(0.1, abs=0.02)
    with pytest.raises(ValueError, match="no probabilities"):
        attribution.prevalence_or_acquisition("volume", [1.0], [1.0], [], [0.1])


def test_observed_by_expected_has_limits_that_hold_the_truth() -> None:
    ratio, low, high = calibration.observed_to_expected([0.1] * 1000, [True] * 200 + [False] * 800)
    assert ratio == pytest.approx(2.0) and 1.7 < low < 2 < high < 2.35
    assert calibration.observed_to_expected([0.5], [False])[:2] == (0.0, 0.0)
    with pytest.raises(ValueError, match="not defined"):
        calibration.observed_to_expected([0.0], [False])


def test_the_delay_is_said_before_and_is_what_happens() -> None:
    table = bets.ranks()
    said = power.sight(table, power.moved(table, shift=0.5), 10_000, per_day=20)
    assert said.bet == "location +0.5 sd" and said.days == said.studies / 20
    rng, streams = RNG(9), 300
    shares = power.moved(table, shift=0.5)
    evidence, first = np.zeros((streams, len(table.weights))), np.zeros(streams)
    for count in range(1, 400):
        evidence = (evidence + 1) * table.table[rng.choice(bets.STEPS, streams, p=shares / shares.sum())]
        first[(first == 0) & (evidence @ table.weights >= 10_000)] = count
    assert (first > 0).all() and 0.6 < said.studies / first.mean() < 1.6


def test_what_a_learning_bet_sees_is_simulated_and_is_what_happens() -> None:
    rng, h = RNG(10), 3000.0
    z = (rng.gamma(9.0, 1.0, (2000, 6)) - 9) / 3
    normal = embedding.Normal.of(z, len(z))
    said = {shift: power.learnt(normal, shift, h, 800) for shift in (0.1, 0.75, 1.5)}
    assert said[0.1] == float("inf") > said[0.75] > 2 * said[1.5]
    found, state, evidence = 0, embedding.Learnt.nothing(6, (40,)), np.zeros((40, 2))
    way = rng.standard_normal((40, 6))
    way *= 0.75 / np.linalg.norm(way, axis=1, keepdims=True)
    first = np.zeros(40)
    while (first == 0).any() and found < 800:
        found += 1
        state, e = embedding.bet(state, z[rng.integers(0, 2000, 40)] + way, normal)
        evidence = (evidence + 1) * e
        first[(first == 0) & (evidence.mean(axis=1) >= h)] = found
    assert (first > 0).all() and 0.7 < said[0.75] / first.mean() < 1.4


def test_a_blind_channel_says_so() -> None:
    table = bets.ranks()

    def see(shift: float) -> power.Sight:
        return power.sight(table, power.moved(table, shift=shift), 10_000, 20)

    assert see(0.0).studies == float("inf") and power.delay(1000, -0.1) == float("inf")
    delays = [see(shift).studies for shift in (0.2, 0.4, 0.8, 1.6)]
    assert delays == sorted(delays, reverse=True) and power.delay(1e4, 0.05) == pytest.approx(np.log(500) / 0.05)
    found = power.smallest(see, 100, (0.1, 0.25, 0.5, 1.0))
    assert found is not None and found[0] == 0.5
    assert power.smallest(see, 2, (0.1, 0.25, 0.5)) is None
    event = bets.yes_or_no(*bets.limits(500, 5000))
    assert (
        power.sight(event, power.happened(0.3), 1e4, 20).studies
        < power.sight(event, power.happened(0.15), 1e4, 20).studies
    )
