"""The golden set: what is silent, what is found, and what stands in the log afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.golden import Golden
from node.queries import Queries
from node.runners.base import RunnerBroken, RunnerDied
from node.store import Store
from pipelines.golden import Measured, Moved, compare
from tests.conftest import Clock

FEATURES = {
    "output.Nodule.p": 0.4, "output.Left lung.volume": 1800.0, "output.Left lung.empty": 0.0, "pixels.mean": -522.96,
    "uncertainty.entropy": 0.31, "embedding": "[3.0,4.0]", "device.StationName": None, "objects": "report 1",
}  # fmt: skip
MODEL = {"name": "ct-lung", "version": "1.0.0", "digest": "a" * 64}
RUN = Measured("ct-lung", "ct-lung", "1.0.0", MODEL, "5" * 64, {"torch": "2.5", "device": "cpu"}, FEATURES)


def changed(**features: float | str | None) -> Measured:
    return replace(RUN, features=FEATURES | {name.replace("__", "."): value for name, value in features.items()})


def test_the_same_is_silent_and_so_is_what_processors_differ_by() -> None:
    assert compare(RUN, RUN) == ()
    near = {"output.Nodule.p": 0.404, "output.Left lung.volume": 1808.0, "pixels.mean": -522.97,
            "uncertainty.entropy": 0.319, "embedding": "[3.02,4.02]"}  # fmt: skip
    assert compare(RUN, replace(RUN, features=FEATURES | near)) == ()


@pytest.mark.parametrize(
    ("name", "value", "by"),
    [
        ("output.Nodule.p", 0.41, 0.01),
        ("output.Left lung.volume", 1815.0, 15.0),
        ("output.Left lung.empty", 1.0, 1.0),
        ("pixels.mean", -521.0, 1.96),
        ("embedding", "[3.0,4.1]", 0.02),
        ("embedding", "[3.0,4.0,0.0]", 1.0),
        ("device.StationName", "CT1", None),
        ("objects", "report 1, heatmap 3", None),
        ("output.Nodule.p", None, None),
        ("output.Nodule.p", float("nan"), float("nan")),
    ],
)
def test_what_moves_beyond_its_tolerance_is_named_with_how_far(
    name: str, value: float | str | None, by: float | None
) -> None:
    [moved] = compare(RUN, replace(RUN, features=FEATURES | {name: value}))
    assert moved.name == name
    assert moved.by == (None if by is None else pytest.approx(by, nan_ok=True))
    assert name in moved.words()


def test_what_is_no_longer_told_is_found_and_what_is_new_is_not() -> None:
    less = {name: value for name, value in FEATURES.items() if name != "pixels.mean"}
    assert [one.name for one in compare(RUN, replace(RUN, features=less))] == ["pixels.mean"]
    assert compare(RUN, replace(RUN, features=FEATURES | {"pixels.new": 1.0})) == ()


def test_another_model_under_the_same_name_and_version_is_found_though_its_numbers_are_the_same() -> None:
    assert compare(RUN, replace(RUN, model=MODEL | {"digest": "b" * 64})) == (
        Moved("model.digest", "a" * 64, "b" * 64),
    )


def test_runs_of_different_studies_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different studies"):
        compare(RUN, replace(RUN, study="6" * 64))


def words(queries: Queries) -> list[str]:
    return [one.type for one in queries.events("pipeline/ct-lung")]


def test_the_first_run_is_the_record_and_later_ones_are_held_against_it(
    store: Store, queries: Queries, clock: Clock
) -> None:
    assert store.settle_golden(RUN, "work").word == "recorded"
    clock.tick(86400)
    assert store.settle_golden(RUN, "work").word == "passed"
    off = changed(output__Nodule__p=0.9)
    verdict = store.settle_golden(replace(off, software={"torch": "2.6", "device": "cuda"}), "work")
    assert (verdict.word, verdict.since, verdict.then["torch"]) == ("mismatch", clock() - 86400, "2.5")
    assert store.settle_golden(off, "work").word == "mismatch", "a mismatch does not become the record"
    assert words(queries) == ["golden.recorded", "golden.passed", "golden.mismatch", "golden.mismatch"]
    body = queries.events("pipeline/ct-lung")[2].body
    assert body["moved"] == [{"name": "output.Nodule.p", "before": 0.4, "now": 0.9, "by": 0.5, "allowed": 0.005}]
    assert (body["software_then"]["torch"], body["software"]["torch"]) == ("2.5", "2.6")
    assert queries.verify()[1] is None


def test_a_person_makes_a_run_the_record_with_a_reason(store: Store, queries: Queries) -> None:
    store.settle_golden(RUN, "work")
    off = changed(output__Nodule__p=0.9)
    verdict = store.settle_golden(off, "user/anna", accept="new GPU")
    assert (verdict.word, verdict.moved[0].name) == ("accepted", "output.Nodule.p")
    assert store.settle_golden(off, "work").word == "passed"
    assert store.settle_golden(RUN, "work").word == "mismatch"
    event = queries.events("pipeline/ct-lung")[1]
    assert (event.type, event.actor, event.body["reason"]) == ("golden.accepted", "user/anna", "new GPU")


def test_a_new_version_of_model_or_pipeline_has_a_record_of_its_own(store: Store) -> None:
    store.settle_golden(RUN, "work")
    for other in (replace(RUN, model=MODEL | {"version": "1.1.0"}), replace(RUN, pipeline_version="1.1.0"),
                  replace(RUN, study="6" * 64)):  # fmt: skip
        assert store.settle_golden(other, "work").word == "recorded"
    assert store.settle_golden(replace(RUN, model=MODEL | {"digest": "b" * 64}), "work").word == "mismatch"


def test_a_fault_in_a_twin_is_a_mismatch_from_the_first_run_on_and_nobody_can_accept_it(
    store: Store, queries: Queries
) -> None:
    wrong = replace(RUN, twins=(Moved("twin in MONOCHROME1", "read as the example", "other in 1 of 1 images"),))
    assert store.settle_golden(wrong, "work").word == "mismatch"
    verdict = store.settle_golden(wrong, "user/anna", accept="it was always so")
    assert (verdict.word, [one.name for one in verdict.moved]) == ("mismatch", ["twin in MONOCHROME1"])
    assert store.settle_golden(RUN, "work").word == "recorded", "what was wrong is no record"
    assert store.settle_golden(wrong, "work").moved == wrong.twins
    assert words(queries) == ["golden.mismatch", "golden.mismatch", "golden.recorded", "golden.mismatch"]
    assert queries.events("pipeline/ct-lung")[0].body["moved"][0]["now"] == "other in 1 of 1 images"


def test_versions_of_a_model_are_told_apart_and_each_is_held_against_its_own_record(
    store: Store, queries: Queries
) -> None:
    store.settle_golden(RUN, "work")
    candidate = replace(RUN, variant="ct-lung@1.1.0", model=MODEL | {"version": "1.1.0"})
    store.settle_golden(candidate, "work")
    store.settle_golden(replace(candidate, features=FEATURES | {"pixels.mean": 0.0}), "work")
    store.settle_golden(RUN, "work")
    assert words(queries) == ["golden.recorded", "golden.passed"], "what a candidate does is not said of the live one"
    assert [one.type for one in queries.events("pipeline/ct-lung@1.1.0")] == ["golden.recorded", "golden.mismatch"]
    assert store.settle_golden(replace(RUN, model=candidate.model), "work").word == "passed", (
        "the record is the model's"
    )


class Runs:
    """A runner whose golden runs the test gives."""

    def __init__(self) -> None:
        self.at_start: tuple[Measured, ...] = (RUN,)
        self.asked: list[Future[tuple[Measured, ...]]] = []

    def take_golden(self) -> tuple[Measured, ...]:
        found, self.at_start = self.at_start, ()
        return found

    def golden(self) -> Future[tuple[Measured, ...]]:
        self.asked.append(Future())
        return self.asked[-1]


Watch = Callable[[], tuple[Golden, Runs, list[tuple[str, str]]]]


@pytest.fixture
def watch(store: Store, clock: Clock) -> Watch:
    def make() -> tuple[Golden, Runs, list[tuple[str, str]]]:
        runs, stopped = Runs(), []
        return Golden(store, runs, ("ct-lung",), lambda *told: stopped.append(told), 86400, clock), runs, stopped

    return make


def test_it_is_looked_at_once_for_each_start_and_daily_and_never_waited_for(
    watch: Watch, queries: Queries, clock: Clock
) -> None:
    golden, runs, stopped = watch()
    golden.look()
    golden.look()
    assert (words(queries), runs.asked) == (["golden.recorded"], [])
    clock.tick(86401)
    golden.look()
    golden.look()
    assert len(runs.asked) == 1 and len(words(queries)) == 1
    runs.asked[0].set_result((RUN,))
    golden.look()
    assert words(queries) == ["golden.recorded", "golden.passed"]
    runs.at_start = (changed(pixels__mean=0.0),)  # the model process was started again, and is not what it was
    golden.look()
    assert words(queries)[-1] == "golden.mismatch"
    runs.at_start = (replace(changed(pixels__mean=0.0), variant="ct-lung@1.0.0"),)
    golden.look()
    (pipeline, why), (variant, _) = stopped
    assert pipeline == "ct-lung" and "pixels.mean was -522.96, is 0" in why
    assert variant == "ct-lung@1.0.0", "the stop-rule must know whether it is the live one"


def test_a_golden_set_that_cannot_be_run_is_a_mismatch(watch: Watch, queries: Queries, clock: Clock) -> None:
    golden, runs, stopped = watch()
    golden.look()
    clock.tick(86401)
    golden.look()
    runs.asked[0].set_exception(RunnerDied("the model process ended by SIGSEGV"))
    golden.look()
    event = queries.events("pipeline/ct-lung")[-1]
    assert (event.type, event.body["reason"]) == (
        "golden.mismatch", "the golden set cannot be run: the model process ended by SIGSEGV")  # fmt: skip
    assert [pipeline for pipeline, _ in stopped] == ["ct-lung"]


@pytest.mark.parametrize("end", [RunnerBroken("no model process starts"), ()])
def test_a_golden_set_that_was_not_run_says_nothing(
    watch: Watch, queries: Queries, clock: Clock, end: RunnerBroken | tuple[Measured, ...]
) -> None:
    golden, runs, stopped = watch()
    golden.look()
    clock.tick(86401)
    golden.look()
    if isinstance(end, RunnerBroken):
        runs.asked[0].set_exception(end)
    else:
        runs.asked[0].set_result(end)
    golden.look()
    assert (words(queries), stopped) == (["golden.recorded"], [])


def test_what_was_measured_waits_for_a_database_that_is_away(
    watch: Watch, store: Store, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.errors import TryAgain

    golden, _, _ = watch()

    def away(*_: object) -> None:
        raise TryAgain("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "settle_golden", away)
        with pytest.raises(TryAgain):
            golden.look()
    golden.look()
    assert words(queries) == ["golden.recorded"]


def test_records_hold_plain_numbers(store: Store, tmp_path: Path) -> None:
    json.dumps(RUN.features, allow_nan=False)
    assert store.settle_golden(changed(pixels__mean=float(np.float32(1.5))), "work").word == "recorded"
