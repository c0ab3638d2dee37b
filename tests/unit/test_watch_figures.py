"""A part of the benchmark of monitoring, with fewer streams: the figures of `make bench-watch` are near to be had."""

from __future__ import annotations

import numpy as np
import pytest

from node.watch import bets, channels, family
from tests.bench import bench_watch
from tests.bench.watch import common, jobs, published, world
from tests.bench.watch.ours import Waits, symbols

STREAMS = 40


@pytest.mark.parametrize("name", ["new scanner, 20 % of studies", "embedding + 2 sd, 20 % of studies", "score x 1.25"])
def test_a_shift_is_seen_about_as_soon_as_the_table_says(name: str) -> None:
    reach = jobs.SHIFTS[name][3]
    assert reach is not None
    found = jobs.delay(name, STREAMS, seed=3)
    for combination, wanted in zip(("single", "family"), reach, strict=True):
        report = found[combination].report()
        assert report["censored"] == 0 and report["low"] <= wanted, (combination, report)


def test_nothing_alarms_more_often_than_the_budget_also_with_what_a_baseline_taught() -> None:
    found = jobs.false_alarms(STREAMS, 1500, seed=4, size=2000, threshold=500.0)
    for combination in ("family", "weighted"):
        assert found[combination].run_length()["high"] >= 500, found[combination].run_length()


def test_the_benchmark_steps_as_the_node_does() -> None:
    rng = np.random.default_rng(5)
    known, white = world.accepted(rng, 600, world.Habit())
    watched = world.learnt(known, 1000.0)
    study = {
        key: value[:, 0]
        for key, value in world.studies(rng, 1, 0, 30, world.Shift(), world.Habit(), np.zeros((1, 1, 8))).items()
    }
    tie = np.array([0.0] * 30)
    for channel in watched.channels:
        if isinstance(channel, channels.Number | channels.Category | channels.Event):
            values = white.apply(study["embedding"])[1] if channel.name == "distance" else study[channel.name]
            one_by_one = [channel.symbol(value, 0.0) for value in values.tolist()]
            assert symbols(channel, values, tie).tolist() == one_by_one, channel.name
    state = watched.start()
    for row in range(30):
        seen = {name: study[name][row].item() for name in ("score", "positive", "scanner")}
        state, _ = family.step(watched, state, seen | {"calibration": (float(study["p"][row]), bool(study["y"][row]))})
    index = watched.names.index("calibration")
    labelled = watched.channels[index]
    assert isinstance(labelled, channels.Labelled)
    evidence = np.zeros(len(labelled.calibration.weights))
    for e in labelled.calibration.many(study["p"], study["y"]):
        evidence = (evidence + 1) * e
    assert state.evidence[index, : len(evidence)] == pytest.approx(evidence, rel=1e-12)


def test_common_choices_get_a_threshold_at_which_they_run_as_long() -> None:
    rng = np.random.default_rng(6)
    path = common.kolmogorov(rng.random((6000, 20)), 200)
    threshold = common.equal(path, common.LOOK, 2000.0)
    first = [next((k + 1 for k, value in enumerate(stream) if value > threshold), len(path)) for stream in path.T]
    alarms = sum(1 for stream in path.T if (stream > threshold).any())
    assert sum(first) * common.LOOK / alarms == pytest.approx(2000, rel=0.2)
    shifted = np.concatenate([rng.random((400, 20)), rng.random((400, 20)) ** 0.5])
    waits = common.delays(common.kolmogorov(shifted, 200), common.LOOK, 200, 400, threshold)
    assert waits.report()["censored"] == 0 and 10 <= waits.mean() < 150


def test_the_windows_of_the_common_choices_hold_what_they_say() -> None:
    rng = np.random.default_rng(7)
    u = rng.random((700, 3))
    from scipy import stats

    assert common.kolmogorov(u, 200)[4, 1] == pytest.approx(stats.kstest(u[40:240, 1], "uniform").statistic)
    counts = np.histogram(u[30:530, 2], bins=10, range=(0, 1))[0] / 500
    assert common.stability(u, 500)[3, 2] == pytest.approx(((counts - 0.1) * np.log(counts / 0.1)).sum())
    p, y = rng.random((520, 2)), rng.random((520, 2)) < 0.3
    cell = np.minimum((p[:500, 0] * 10).astype(int), 9)
    gaps = [abs((y[:500, 0] - p[:500, 0])[cell == one].sum()) for one in range(10)]
    assert common.calibration_error(p, y, 500)[0, 0] == pytest.approx(sum(gaps) / 500)
    steady, moved = rng.random((4, 320)).T, np.concatenate([rng.random((160, 4)), 0.4 + 0.6 * rng.random((160, 4))])
    assert (common.adaptive_window(moved)[-1] > common.adaptive_window(steady)[-1]).all()


def test_our_adwin_alarms_where_river_does() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.random((600, 6)), np.clip(rng.random((1400, 6)) * 0.8 + 0.2, 0, 1)])
    path = common.adaptive_window(values)
    # First alarms of river 0.26.1's ADWIN on the same streams.
    for delta, theirs in ((0.002, [1056, 800, 992, 1568, 800, 1152]), (0.1, [736, 704, 768, 960, 704, 832])):
        over = path > -np.log(delta)
        assert (64 + 32 * over.argmax(axis=0)).tolist() == theirs


def test_the_published_rule_is_slower_than_ours_for_the_change_that_it_was_made_for() -> None:
    usual = published.SHARED["sensitivity 90 %"]
    change = published.changes(usual)["specificity -2 points"]
    rule = published.rule(1, STREAMS, 200, usual, change)
    ours = published.concordance(2, STREAMS, 4000, usual, change, 594 * published.PER_DAY)
    assert 25 <= rule.mean() <= 50 and ours.mean() / published.PER_DAY < rule.mean()


def test_waits_that_did_not_end_are_said() -> None:
    waits = Waits(np.array([10.0, 30.0, np.inf, np.inf]), 100)
    assert waits.mean() == 60 and waits.report()["censored"] == 0.5
    assert waits.run_length()["arl"] == 120 and waits.run_length()["alarms"] == 2


def test_the_table_stands_beside_what_is_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Waits(np.array([10.0, 20.0]), 100).report()
    run = Waits(np.array([10.0, 20.0]), 100).run_length()
    labelled = [name for name in jobs.SHIFTS if "labelled" in name]
    both = {name: {"single": report, "family": report} for name in jobs.SHIFTS}
    sorin = {name: {"rule, days between false alarms": run} | {
        what: {"rule": report, "ours": report, "ours, as seldom false": report} for what in published.changes(shares)
    } for name, shares in published.SHARED.items()}  # fmt: skip
    found = {
        "delay": both, "delay, baseline of 5,000": both, "common choices": {"KS": {"score x 1.25": report}},
        "delay, 30 % labelled, 7 days later": {name: both[name] for name in labelled},
        "delay, prevalence without labels": {"dead band 0%": report}, "published": {"sorin": sorin, "zamzmi": report},
        "false alarms": {name: {"score alone": run, "family": run, "weighted": run} for name in ("known law", *bench_watch.STRESS)},
        "cost": {"microseconds a study, median": 1.0, "replay of 100,000, seconds": 1.0},
    }  # fmt: skip
    table = bench_watch.rows(found)
    assert {len(row) for row in table} == {8}
    assert [row[0] for row in table[1:9]] == list(jobs.SHIFTS) and "KS 15" in table[4][7]


def test_the_shares_of_the_published_site_are_those_that_were_printed() -> None:
    false, missed = published.SHARED["as counted"]
    assert false * (1 - published.PREVALENCE) + missed * published.PREVALENCE == pytest.approx(373 / 11_999)
    false, missed = published.SHARED["sensitivity 90 %"]
    assert false * (1 - published.PREVALENCE) + missed * published.PREVALENCE == pytest.approx(373 / 11_999)
    assert len(bets.concordance((false, false), (missed, missed)).names) == 9
