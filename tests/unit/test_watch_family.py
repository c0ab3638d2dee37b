"""The family of channels: its budget of false alarms, its levels, and that a replay is what was live."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from node.watch import baseline, channels, detector, family
from node.watch.family import ALARM, QUIET, WATCH, Family, State

STUDIES = 600
PER_DAY = 20


def _study(rng: np.random.Generator, shift: float = 0.0, model: str | None = None) -> dict[str, Any]:
    p = float(rng.beta(0.5, 4))
    return {
        "KVP": float(rng.choice([100.0, 120.0])), "mean": None if rng.random() < 0.02 else float(rng.normal(shift)),
        "ManufacturerModelName": model or str(rng.choice(["A", "B"], p=[0.7, 0.3])), "empty": bool(rng.random() < 0.05),
        "p": p, "embedding": rng.standard_normal(4).tolist(),
    }  # fmt: skip


def _baseline(seed: int = 1) -> baseline.Baseline:
    rng = np.random.default_rng(seed)
    return baseline.build(1, [day // PER_DAY for day in range(STUDIES)], [_study(rng) for _ in range(STUDIES)])


def _family(threshold: float = 2000.0) -> Family:
    known = _baseline()
    return Family(
        [
            channels.number(known, "KVP"), channels.number(known, "mean"), channels.category(known, "ManufacturerModelName"),
            channels.event(known, "empty"), channels.probability(known, "p"), channels.vector(known, "embedding"),
            channels.labelled(known, "labels", "p", labels=STUDIES),
        ],
        threshold, seed=9,
    )  # fmt: skip


def _stream(count: int, seed: int, shift: float = 0.0, model: str | None = None) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        study = _study(rng, shift, model)
        if index % 3 == 0:
            study["labels"] = (study["p"], bool(rng.random() < study["p"]))
        if index % 7 == 0:
            del study["KVP"]
        found.append(study)
    return found


def _same(one: State, other: State) -> bool:
    return json.dumps(one.to_json()) == json.dumps(other.to_json())


def test_a_replay_gives_the_state_of_live_watching_to_the_bit_also_through_json() -> None:
    watched, stream = _family(), _stream(300, 2, shift=0.3)
    live = watched.start()
    for study in stream:
        live, _ = family.step(watched, live, study)
        live = State.from_json(json.loads(json.dumps(live.to_json())))  # as if it had been stored after each study
    from_log = [json.loads(json.dumps(study)) for study in stream]
    replayed, _ = family.replay(_family(), watched.start(), from_log)
    assert _same(live, replayed)
    halfway, _ = family.replay(watched, watched.start(), stream[:150])
    assert _same(family.replay(watched, halfway, stream[150:])[0], live)
    other, _ = family.replay(watched, watched.start(), [*stream[:10], *stream[11:]])
    assert not _same(other, live)


def test_a_channel_that_was_not_observed_stands_still_and_a_step_changes_nothing_of_what_it_was_given() -> None:
    watched = _family()
    before, _ = family.replay(watched, watched.start(), _stream(40, 3))
    text = json.dumps(before.to_json())
    after, _ = family.step(watched, before, {"empty": True})
    assert json.dumps(before.to_json()) == text
    moved = [
        name
        for name, old, new in zip(watched.names, before.evidence, after.evidence, strict=True)
        if (old != new).any()
    ]
    assert moved == ["empty"] and after.studies == before.studies + 1
    assert all(after.learnt[name].studies == before.learnt[name].studies for name in after.learnt)


def test_the_threshold_is_the_wanted_run_length() -> None:
    assert family.threshold(per_day=20, budget=2) == 3650
    assert family.threshold(per_day=100) == 18250
    for per_day, budget in ((0, 2), (20, 0)):
        with pytest.raises(ValueError, match="above 0"):
            family.threshold(per_day, budget)


def test_a_family_must_make_sense() -> None:
    one = channels.event(_baseline(), "empty")
    for wrong in ([], [one, one], [channels.Event("x", 0.0, one.bets)]):
        with pytest.raises(ValueError):
            Family(wrong, 1000)
    with pytest.raises(ValueError, match="no value for channel 'gone'"):
        channels.number(baseline.build(1, [0], [{"gone": None}]), "gone")


def test_false_alarms_come_no_more_often_than_the_budget_says() -> None:
    wanted, streams = 300.0, 400
    table = channels.number(_baseline(), "mean").bets
    rng = np.random.default_rng(11)
    evidence, first = np.zeros((streams, 4, len(table.weights))), np.zeros(streams)
    for count in range(1, 4 * int(wanted)):
        symbols = rng.integers(0, 1024, (streams, 4))
        evidence = detector.step(evidence, table.table[symbols], 1.0, 1e9)
        alarm = detector.average(evidence, table.weights).mean(axis=1) >= wanted
        first[alarm & (first == 0)] = count
    ran = np.where(first > 0, first, 4 * wanted)
    assert ran.sum() / (first > 0).sum() >= wanted


def test_a_channel_goes_from_quiet_to_watch_to_alarm_and_back_only_below_a_hundredth() -> None:
    watched = _family(threshold=5000.0)
    quiet, _ = family.replay(watched, watched.start(), _stream(60, 5))
    state, changes = family.replay(watched, quiet, _stream(120, 6, shift=2.0))
    mine = [(one.before, one.after) for one in changes if one.channel == "mean"]
    assert mine in ([(QUIET, WATCH), (WATCH, ALARM)], [(WATCH, ALARM)])
    index = watched.names.index("mean")
    assert state.levels[index] == ALARM
    levels = []
    for study in _stream(800, 7):
        state, _ = family.step(watched, state, study)
        levels.append((state.levels[index], family.standing(watched, state)[index]))
    back = next(at for at, (level, _) in enumerate(levels) if level == QUIET)
    assert all(standing >= 50.0 for _, standing in levels[:back]) and levels[back][1] < 50.0


def test_evidence_has_a_cap_that_still_lets_one_bet_alone_raise_the_alarm() -> None:
    watched = _family(threshold=200.0)
    state = watched.start()
    for study in _stream(400, 8, model="NEW"):
        state, reading = family.step(watched, state, study)
    assert np.isfinite(state.evidence).all() and reading.new == (("ManufacturerModelName", "NEW"),)
    placed = watched.weights > 0
    assert (watched.cap[placed] * watched.weights[placed] > watched.threshold).all()
    assert "ManufacturerModelName" in dict(zip(watched.names, state.levels, strict=True)) and state.levels[2] == ALARM


def test_a_cleared_channel_begins_anew_and_the_others_do_not() -> None:
    watched = _family(threshold=200.0)
    state, _ = family.replay(watched, watched.start(), _stream(120, 9, shift=2.0))
    after = family.clear(watched, state, "mean")
    index = watched.names.index("mean")
    assert state.levels[index] == ALARM and after.levels[index] == QUIET and not after.evidence[index].any()
    others = np.arange(len(watched.names)) != index
    assert (after.evidence[others] == state.evidence[others]).all()
    with pytest.raises(KeyError):
        family.clear(watched, state, "no such channel")


def test_an_open_alarm_does_not_hide_another_channel() -> None:
    watched = _family(threshold=5000.0)
    state, _ = family.replay(watched, watched.start(), _stream(120, 10, shift=2.0))
    state, reading = family.step(watched, state, _stream(1, 11)[0])
    assert reading.statistic < watched.threshold <= family.standing(watched, state)[watched.names.index("mean")]
    _, changes = family.replay(watched, state, _stream(60, 12, model="NEW"))
    assert any(one.channel == "ManufacturerModelName" and one.after == ALARM for one in changes)


def test_channels_that_reach_the_threshold_only_together_raise_the_alarm_of_the_leading_one() -> None:
    watched = _family(threshold=200.0)
    state = watched.start()
    evidence = state.evidence.copy()
    for index in (0, 1):  # each stands at 140 of 200
        evidence[index, 0] = (140 - 20 * index) / watched.weights[index, 0]
    state = State(state.studies, evidence, state.levels, state.learnt)
    after, reading = family.step(watched, state, {})
    assert [(one.channel, one.after, one.alone) for one in reading.changes] == [
        ("KVP", ALARM, False), ("mean", WATCH, True),
    ]  # fmt: skip
    assert after.levels[:2] == (ALARM, WATCH)


def test_a_channel_that_sees_one_study_in_five_still_runs_the_wanted_studies_between_false_alarms() -> None:
    wanted, streams, rate = 300.0, 300, 0.2
    table = channels.event(_baseline(), "empty").bets
    one = channels.Event("answer", 1.0, table, rate)
    assert channels.rate_of(one) == rate
    watched, rng = Family([one], wanted), np.random.default_rng(13)
    evidence, first = np.zeros((streams, len(table.weights))), np.zeros(streams)
    for count in range(1, 4 * int(wanted)):
        asked, happened = rng.random(streams) < rate, (rng.random(streams) < 0.05).astype(int)
        e = np.where(asked[:, None], table.table[happened], 1.0)
        evidence = detector.step(evidence, e, asked[:, None] / rate, 1e9)
        first[(detector.average(evidence, table.weights) >= wanted) & (first == 0)] = count
    assert np.where(first > 0, first, 4 * wanted).sum() / (first > 0).sum() >= wanted
    state, _ = family.step(watched, watched.start(), {"answer": True})
    assert state.evidence[0] == pytest.approx(table.table[1] / rate)
    state, _ = family.step(watched, watched.start(), {"answer": None})
    assert not state.evidence.any()


def test_concordance_is_fair_whatever_the_prevalence_and_knows_the_direction() -> None:
    one = channels.concordance("reports", (20, 1000), (15, 150))
    low, high = 0.02, 0.1
    for prevalence in (0.01, 0.13, 0.6):
        shares = [(1 - prevalence) * (1 - low), (1 - prevalence) * low, prevalence * (1 - high), prevalence * high]
        assert (one.bets.mean(np.array(shares)) <= 1 + 1e-12).all()
    assert [one.symbol(value, 0.5) for value in ((False, False), (True, False), (True, True), (False, True))] == [
        0,
        1,
        2,
        3,
    ]
    by_name = dict(zip(one.bets.names, one.bets.table.T, strict=True))
    assert by_name["false x 4"][1] > 1 and (by_name["false x 4"][2:] == 1).all()
    assert by_name["missed x 4"][3] > 1 and (by_name["missed x 4"][:2] == 1).all()
    assert by_name["both x 2"][1] > 1 and by_name["both x 2"][3] > 1
