"""Every bet is fair while nothing has changed, whatever the baseline's size, ties and gaps."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest

from node.watch import bets, calibration, channels, embedding
from node.watch.ranks import draw


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("size", [math.inf, 5000, 500])
def test_bets_on_ranks_have_a_mean_of_one_and_less_with_a_guard_band(size: float, tail: bool) -> None:
    found = bets.ranks(size, tail)
    mean = found.mean(np.full(bets.STEPS, 1 / bets.STEPS))
    assert found.weights.sum() == pytest.approx(1) and (found.table > 0).all()
    if size >= bets.LARGE:
        assert mean == pytest.approx(np.ones(len(mean)), abs=1e-12)
    else:
        assert (mean < 1).all() and (mean > 0.6).all()


def test_bets_on_location_rise_with_the_rank_and_those_on_tails_too() -> None:
    found = bets.ranks()
    for column, name in enumerate(found.names):
        steps = np.diff(found.table[:, column])
        if name.startswith("location +"):
            assert (steps >= -1e-12).all()
        elif name.startswith("location -"):
            assert (steps <= 1e-12).all()
    assert (np.diff(bets.ranks(tail=True).table, axis=0) >= -1e-12).all()


@pytest.mark.parametrize(("count", "size", "band"), [(0, 500, 0.0), (5, 500, 0.0), (500, 5000, 0.4), (5000, 5000, 0.0)])
def test_bets_on_an_event_are_fair_for_every_share_between_the_limits(count: int, size: int, band: float) -> None:
    low, high = bets.limits(count, size, band)
    assert low <= count / size <= high
    found = bets.yes_or_no(low, high, 1.0 if low == 0 else 0.8) if high < 1 else bets.yes_or_no(low, high, 0.5)
    for share in np.linspace(low, high, 7):
        assert (found.mean(np.array([1 - share, share])) <= 1 + 1e-12).all()
    beyond = min(1.0, high * 1.5)
    if beyond > high:
        assert found.mean(np.array([1 - beyond, beyond])).max() > 1


def test_bets_on_categories_are_fair_within_the_band_and_an_unseen_one_speaks_at_once() -> None:
    counts = [3000, 1500, 480, 12, 7, 1]
    found = bets.categories(counts, 5000, band=0.4)
    shares = np.array([*counts, 0]) / 5000
    assert (found.mean(shares) <= 1 + 1e-12).all()
    rng = np.random.default_rng(3)
    for _ in range(50):  # a mix that differs by less than the dead band
        other = shares * rng.uniform(0.9, 1.1, len(shares))
        assert (found.mean(other / other.sum()) <= 1 + 1e-9).all()
    assert found.table[-1] @ found.weights > 20 * found.table[:-1] @ found.weights @ shares[:-1]


def test_missing_values_are_bet_on_and_leave_the_other_bets_alone() -> None:
    found = bets.with_missing(bets.ranks(), 10, 5000)
    plain = len(bets.ranks().weights)
    assert (found.table[-1, :plain] == 1).all() and (found.table[-1, plain:] != 1).all()
    shares = np.full(bets.STEPS + 1, (1 - 0.002) / bets.STEPS)
    shares[-1] = 0.002
    assert (found.mean(shares) <= 1 + 1e-12).all() and found.weights.sum() == pytest.approx(1)


def test_ranks_are_uniform_also_where_most_values_are_the_same() -> None:
    rng = np.random.default_rng(4)
    table = bets.ranks().table
    total, runs = np.zeros(table.shape[1]), 4000
    for run in range(runs):  # a new baseline each time: the guarantee is over both
        values = rng.choice([80.0, 100.0, 120.0], 61, p=[0.1, 0.8, 0.1])
        channel = channels.Number("x", 1.0, bets.ranks(), array("d", sorted(values[:60])))
        symbol = channel.symbol(float(values[60]), draw(1, run))
        assert 0 <= symbol < bets.STEPS
        total += table[symbol]
    spread = table.std(axis=0) / math.sqrt(runs)
    assert (np.abs(total / runs - 1) < 4 * spread + 0.02).all()


def test_draws_are_uniform_differ_and_can_be_drawn_again() -> None:
    drawn = [draw(7, count) for count in range(4000)]
    assert drawn == [draw(7, count) for count in range(4000)] and len(set(drawn)) == 4000
    assert abs(np.mean(drawn) - 0.5) < 0.02 and abs(np.std(drawn) - math.sqrt(1 / 12)) < 0.01
    assert draw(8, 0) != drawn[0]


def test_bets_on_labels_are_fair_for_every_probability() -> None:
    found = calibration.calibration(0.1)
    for p in (0.0002, 0.01, 0.1, 0.5, 0.9, 0.9995):
        mean = p * found.e(p, True) + (1 - p) * found.e(p, False)
        assert mean == pytest.approx(np.ones(len(mean)), abs=1e-12)
        assert (found.e(p, True) > 0).all() and (found.e(p, False) > 0).all()
    stored = np.linspace(0.01, 0.6, 400)
    guarded = calibration.calibration(0.1, stored, 300)
    assert (guarded.e(0.3, True) < found.e(0.3, True)).all()
    assert (found.many(np.array([0.3, 0.3]), np.array([1.0, 0.0])) == [found.e(0.3, True), found.e(0.3, False)]).all()


def test_bets_on_prevalence_are_fair_within_the_dead_band_and_gain_beyond() -> None:
    rng = np.random.default_rng(5)
    stored = rng.beta(0.6, 4, 4000)
    found = calibration.share(stored, band=0.4)
    mean = stored.mean()
    for prevalence in (mean * 0.6, mean, mean * 1.4, mean * 2.2):
        weights = stored * prevalence / mean + (1 - stored) * (1 - prevalence) / (1 - mean)
        e = (weights[:, None] * found.many(stored)).mean(axis=0)
        assert (e <= 1 + 1e-9).all() if prevalence < 1.5 * mean else e.max() > 1.02


def test_bets_on_embeddings_are_fair_for_any_distribution_and_learn_a_shift() -> None:
    rng = np.random.default_rng(6)
    raw = rng.exponential(1.0, (3000, 12)) @ rng.standard_normal((12, 12))
    white = embedding.whitening(raw, parts=6)
    z, _ = white.apply(raw)
    assert z.shape == (3000, 6) and np.abs(z.mean(axis=0)).max() < 0.1 and abs(z.std() - 1) < 0.1
    normal = embedding.Normal.of(z, len(z))
    streams = 200
    state, total = embedding.Learnt.nothing(6, (streams,)), np.zeros(len(embedding.SPEEDS))
    for _ in range(100):
        state, e = embedding.bet(state, z[rng.integers(0, 3000, streams)], normal)
        total += e.mean(axis=0)
    assert (total / 100 < 1.02).all()
    shifted = z + np.array([1.0, 0, 0, 0, 0, 0])
    logs = np.zeros(len(embedding.SPEEDS))
    for step in range(240):
        state, e = embedding.bet(state, shifted[rng.integers(0, 3000, streams)], normal)
        logs += np.log(e).mean(axis=0) if step >= 200 else 0
    assert (logs / 40 > 0.1).all()


def test_one_probability_gives_what_many_give() -> None:
    found = calibration.share([0.05, 0.1, 0.3], 300)
    assert (found.many(np.array([0.2, 0.7])) == [found.e(0.2), found.e(0.7)]).all()


def test_an_embedding_that_does_not_vary_is_left_out() -> None:
    raw = np.column_stack([np.random.default_rng(1).standard_normal(50), np.full(50, 7.0)])
    assert embedding.whitening(raw).matrix.shape == (1, 2)
    with pytest.raises(ValueError, match="at least 2"):
        embedding.whitening(raw[:1])
