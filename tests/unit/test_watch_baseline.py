"""What is normal: built, and grown; and thresholds where days cluster."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from node.watch import baseline, bets, bootstrap, channels
from node.watch.baseline import Baseline
from node.watch.family import Family


def _built(studies: int = 300) -> Baseline:
    return baseline.build(
        1, [row // 10 for row in range(studies)], [{"x": float(row), "c": "A"} for row in range(studies)]
    )


def test_a_baseline_comes_back_from_json_and_has_a_value_of_each_column_for_each_study() -> None:
    built = _built()
    assert Baseline.from_json(json.loads(json.dumps(built.to_json()))) == built
    with pytest.raises(ValueError, match="'x' has 2 values for 1 studies"):
        Baseline(1, (0,), {"x": (1.0, 2.0)})


def test_what_a_study_lacks_is_missing_and_not_dropped() -> None:
    built = baseline.build(1, [0, 0, 1], [{"x": 1.0}, {"x": float("nan"), "c": "A"}, {"c": None}])
    assert built.columns == {"x": (1.0, None, None), "c": (None, "A", None)} and built.known("x") == [1.0]
    found = channels.category(built, "c")
    assert found.codes == {"(missing)": 0, "A": 1} and found.is_new("B") and not found.is_new(None)


def test_what_joins_comes_last_and_of_too_many_the_oldest_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "LARGEST", 302)
    grown = baseline.joined(_built(), [(100, {"x": 1000.0, "c": "B"}), (101, {"c": "B", "y": 1.0}), (102, {})])
    assert grown.version == 2 and len(grown.days) == 302 and grown.days[-3:] == (100, 101, 102)
    assert grown.columns["x"][0] == 1.0 and grown.columns["x"][-3:] == (1000.0, None, None) and "y" not in grown.columns


def _days(correlation: float, days: int, per_day: int, seed: int) -> tuple[list[int], list[float]]:
    rng = np.random.default_rng(seed)
    of_day = rng.standard_normal(days) * np.sqrt(correlation)
    number = [row // per_day for row in range(days * per_day)]
    return number, [float(of_day[day] + np.sqrt(1 - correlation) * rng.standard_normal()) for day in number]


@pytest.mark.parametrize(("correlation", "low", "high"), [(0.0, 1.0, 1.15), (0.1, 2.2, 4.0), (0.5, 8.0, 13.0)])
def test_studies_of_days_that_cluster_are_worth_fewer(correlation: float, low: float, high: float) -> None:
    number, values = _days(correlation, 200, 20, 3)
    assert low <= baseline.design_effect(values, number) <= high  # 1 + 19 x correlation


def test_a_column_of_one_value_or_one_day_is_worth_all_its_studies() -> None:
    assert baseline.design_effect([1.0] * 10, [0, 1] * 5) == 1.0 == baseline.design_effect([1.0, 2.0], [3, 3])
    built = baseline.build(1, [0, 0, 1], [{"c": "A", "z": [0.1]}, {"c": "A", "z": [0.2]}, {"c": None, "z": [0.3]}])
    assert built.worth("z") == 3.0


def _threshold(correlation: float) -> float:
    number, values = _days(correlation, 60, 20, 5)
    known = baseline.build(1, number, [{"x": value} for value in values])
    built = channels.number(known, "x")  # its bets are tempered already; here, as if nobody had thought of days
    watched = Family([dataclasses.replace(built, bets=bets.with_missing(bets.ranks(), 0, len(values)))], 400.0)
    return bootstrap.threshold(number, bootstrap.values(watched, known), watched.weights, 400.0, seed=2, streams=48)


def test_the_threshold_is_raised_where_days_cluster_and_never_lowered() -> None:
    assert 400.0 <= _threshold(0.0) < 800.0
    assert _threshold(0.3) > 1.5 * _threshold(0.0)


def test_too_few_days_say_nothing_about_days() -> None:
    with pytest.raises(ValueError, match="29 days"):
        bootstrap.threshold(list(range(29)), np.ones((29, 1, 1)), np.ones((1, 1)), 400.0)


def test_values_of_the_baseline_are_those_of_its_channels() -> None:
    rng = np.random.default_rng(8)
    studies: list[dict[str, Any]] = [
        {
            "x": float(rng.normal()),
            "c": "AB"[int(rng.random() < 0.3)],
            "p": float(rng.beta(1, 5)),
            "e": bool(rng.random() < 0.2),
        }
        for _ in range(400)
    ]
    known = baseline.build(1, list(range(400)), studies)
    watched = Family([channels.number(known, "x"), channels.category(known, "c"), channels.probability(known, "p"),
                      channels.event(known, "e"), channels.labelled(known, "labels", "p")], 1000.0)  # fmt: skip
    e = bootstrap.values(watched, known)
    assert e.shape == (400, *watched.weights.shape) and (e[:, 4] == 1).all()
    assert (e[:, :4].mean(axis=0) <= 1.02).all() and (e[:, :4].std(axis=0)[watched.weights[:4] > 0] > 0).all()


def test_evidence_counts_less_where_days_cluster() -> None:
    number, values = _days(0.3, 150, 20, 9)
    known = baseline.build(1, number, [{"x": value} for value in values])
    clustered, design = channels.number(known, "x"), known.design("x")
    alone = channels.number(baseline.build(1, list(range(len(number))), [{"x": value} for value in values]), "x")
    assert 4 < design < 10
    # A day that lies one of its own deviations off: independent bets take it for evidence, tempered ones hardly.
    rng = np.random.default_rng(10)
    growth = {}
    for name, channel in (("tempered", clustered), ("independent", alone)):
        of_day = np.sqrt(0.3) * rng.standard_normal((4000, 1)) + np.sqrt(0.7) * rng.standard_normal((4000, 20))
        symbols = np.array([channel.symbol(float(value), 0.5) for value in of_day[:800].ravel()]).reshape(800, 20)
        growth[name] = channel.bets.table[symbols].prod(axis=1).mean(axis=0)  # e-value of a whole day
    near = [
        index for index, name in enumerate(clustered.bets.names) if name in ("location +0.25 sd", "location -0.25 sd")
    ]
    assert (growth["tempered"][near] < 1.15).all() and (growth["independent"][near] > 1.4).all()


def test_embeddings_that_move_together_from_day_to_day_are_no_evidence() -> None:
    rng = np.random.default_rng(11)
    number = [row // 20 for row in range(2000)]
    z = rng.standard_normal((2000, 4))
    z[:, 0] = np.sqrt(0.3) * rng.standard_normal(100)[number] + np.sqrt(0.7) * z[:, 0]
    known = baseline.build(1, number, [{"z": row.tolist()} for row in z])
    design = channels.vector(known, "z").normal.design
    assert design[0] > 4 and (design[1:] < 1.5).all()
