"""Agreement of two readers, held against published and hand-made figures."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from node.agreement import Agreement, agreement, difference


def test_kappa_is_that_of_the_textbook() -> None:
    # Two readers of 50: 20 both yes, 5 and 10 one of them, 15 both no: observed .7, by chance .5, kappa .4.
    found = agreement([(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15)
    assert found == Agreement(20, 5, 10, 15)
    assert found.share == 0.7 and found.kappa == pytest.approx(0.4)
    low, high = found.interval or (0, 0)
    # Wilson's interval of 35 of 50 is .5625 to .8090.
    assert (low, high) == (pytest.approx(2 * 0.5625 - 1, abs=1e-3), pytest.approx(2 * 0.8090 - 1, abs=1e-3))


def test_full_agreement_on_few_studies_has_a_wide_interval() -> None:
    few, many = Agreement(2, 0, 0, 8), Agreement(200, 0, 0, 800)
    assert few.kappa == many.kappa == 1
    assert few.interval is not None and many.interval is not None
    assert few.interval[0] < 0.2 and many.interval[0] > 0.98


def test_kappa_is_not_defined_where_both_always_say_the_same_one_thing() -> None:
    assert Agreement(0, 0, 0, 9).kappa is None and Agreement(0, 0, 0, 9).interval is None
    assert agreement([]) is None


def test_differences_have_mean_interval_and_limits() -> None:
    found = difference([(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)])
    assert found is not None and (found.n, found.mean) == (3, 2.0)
    assert found.limits == (pytest.approx(2 - 1.96), pytest.approx(2 + 1.96))
    half = 4.3027 / math.sqrt(3)  # Student's t, 2 degrees of freedom
    assert found.interval == (pytest.approx(2 - half, abs=1e-3), pytest.approx(2 + half, abs=1e-3))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_figures_are_those_of_scipy_and_numpy(seed: int) -> None:
    draw = random.Random(seed)
    old = [draw.betavariate(2, 3) for _ in range(40)]
    new = [min(1.0, max(0.0, one + draw.gauss(0.05, 0.2))) for one in old]
    yes = np.array([[a >= 0.5 for a in old], [b >= 0.5 for b in new]])
    found = agreement(list(zip(*yes.tolist(), strict=True)))
    assert found is not None and found.kappa is not None and found.interval is not None
    table = np.histogram2d(*yes.astype(float), bins=2)[0]
    chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    off = ~np.eye(2, dtype=bool)
    assert found.kappa == pytest.approx(1 - table[off].sum() / chance[off].sum())
    wilson = stats.binomtest(int(np.trace(table)), 40).proportion_ci(0.95, method="wilson")
    by_chance = np.trace(chance) / 40
    assert found.interval == pytest.approx([max(-1, (p - by_chance) / (1 - by_chance)) for p in wilson], abs=1e-6)
    apart = difference(list(zip(old, new, strict=True)))
    assert apart is not None
    assert apart.interval == pytest.approx(tuple(stats.ttest_rel(new, old).confidence_interval(0.95)))
    subtracted = np.array(new) - np.array(old)
    assert apart.mean == pytest.approx(subtracted.mean())
    middle, spread = subtracted.mean(), 1.96 * subtracted.std(ddof=1)
    assert apart.limits == pytest.approx((middle - spread, middle + spread))


def test_a_single_study_has_a_difference_and_no_interval() -> None:
    found = difference([(1.0, 0.5)])
    assert found is not None and (found.mean, found.interval, found.limits) == (-0.5, None, None)
