"""Courses and baselines in the node: growth as the library has it, labels, subgroups, what becomes which channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from node import audit
from node.audit import Event
from node.errors import GiveUp, IllegalMove
from node.queries import Queries
from node.schema import baselines, events
from node.store import Store
from node.watch import account, baseline, channels, course, kinds, normal, propose, sights
from node.watch.observation import Observation
from node.watch.observe import PATIENT, Units, day_of, seconds
from tests.conftest import Clock
from tests.watching import FAMILY, PER_DAY, Traffic, accepted, config, run, study, usual, watching


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline that grows soon: 40 newer studies, in batches of 20."""
    monkeypatch.setattr(course, "LAG_STUDIES", 40)
    monkeypatch.setattr(course, "BATCH", 20)


def test_studies_join_after_a_thousand_newer_ones_or_thirty_days_and_in_batches() -> None:
    def due(*waiting: tuple[int, int]) -> int:
        return course.due(course.Course(waiting=waiting))

    assert (due(), due((100, 1249)), due((100, 1250)), due((100, 1000), (101, 300))) == (0, 0, 250, 300)
    assert (due((100, 249), (130, 1)), due((100, 250), (129, 1)), due((100, 250), (130, 7))) == (0, 0, 250)


@pytest.mark.usefixtures("small_batches")
def test_a_baseline_grows_study_by_study_and_a_restart_goes_on_with_it(sqlite: str, clock: Clock) -> None:
    store, settings = Store(sqlite, clock), config()
    traffic = Traffic(store, clock)
    traffic.add(list(usual(400, 1)))
    key = accepted(store, settings, threshold=1e9)
    watch = watching(store, settings)
    run(watch)
    begun = watch.watcher.normals[FAMILY]
    later = list(usual(110, 2))
    at = []
    for one in later:
        traffic.add([one])
        at.append(clock())
    while watch.read_on():
        watch = watching(store, settings)
    grown = watching(store, settings)
    with store.engine.connect() as connection:
        grown.watcher.load(connection)
        rows = connection.execute(sa.select(baselines.c.state, baselines.c.version, baselines.c.parent)).all()
    wanted, waiting = begun.baseline, list[tuple[int, Any]]()
    for when, one in zip(at, later, strict=True):
        waiting.append((day_of(when), normal.observed(one, begun.white)))
        joining = max(len(waiting) - 40, sum(day <= day_of(when) - course.LAG_DAYS for day, _ in waiting))
        if joining >= 20:
            wanted, waiting = baseline.joined(wanted, waiting[:joining]), waiting[joining:]
    assert wanted.version > begun.baseline.version + 1
    assert grown.watcher.normals[FAMILY].baseline == wanted
    assert sum(count for _, count in grown.watcher.courses[FAMILY].waiting) == len(waiting)
    assert {tuple(row) for row in rows} == {("accepted", 1, None), ("grown", wanted.version, key)}, "older ones leave"
    store.dispose()


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(("resolution", "kept"), [("data-fixed", 0), ("false-alarm", 90)])
def test_a_baseline_does_not_grow_while_an_alarm_is_open_and_what_waited_joins_only_after_false_ones(
    sqlite: str, clock: Clock, resolution: str, kept: int
) -> None:
    store, settings = Store(sqlite, clock), config()
    traffic = Traffic(store, clock)
    traffic.add(list(usual(400, 1)))
    accepted(store, settings)
    watch = watching(store, settings)
    traffic.add(list(usual(90, 3, shift=3.0)))
    run(watch)
    frozen = watch.watcher.courses[FAMILY]
    assert frozen.frozen and frozen.version == 1 and sum(count for _, count in frozen.waiting) == 90
    for alarm in Queries(store.engine).alarms(open_only=True):
        store.resolve_alarm(alarm["id"], "Dr A", "a phantom", resolution)
    run(watch)
    after = watch.watcher.courses[FAMILY]
    assert not after.frozen and sum(count for _, count in after.waiting) == kept
    store.dispose()


def test_evidence_is_carried_over_when_a_baseline_grows() -> None:
    rng = np.random.default_rng(1)
    rows = [study(rng) for _ in range(300)]
    known, white = normal.learn(1, [row // PER_DAY for row in range(300)], rows)
    before = normal.Normal(1, known, white, {"model": 1000.0, "service": 1000.0}, PER_DAY)
    state = before.parts["model"].start()
    from node.watch import family

    for _ in range(50):
        state, _ = family.step(before.parts["model"], state, before.see(study(rng, shift=1.0)))
    more = [(20, normal.observed(study(rng, device="new"), white)) for _ in range(40)]
    after = before.grown(baseline.joined(known, more))
    carried = normal.carried(before.parts["model"], after.parts["model"], state)
    for name in before.parts["model"].names:
        old = before.parts["model"].names.index(name)
        new = after.parts["model"].names.index(name)
        was = float(
            (state.evidence[old] * before.parts["model"].weights[old]).sum() / before.parts["model"].shares[old]
        )
        now = float(
            (carried.evidence[new] * after.parts["model"].weights[new]).sum() / after.parts["model"].shares[new]
        )
        assert now == pytest.approx(was), name


def test_features_become_channels_by_prefix_and_content() -> None:
    rng = np.random.default_rng(2)
    rows = [
        {**study(rng), "device.StationName": None, "device.serial": f"id{row}", "completeness.why": None, "other.x": 1.0,
         "sex.F.concordance.nodule": (bool(row % 4), bool(row % 9)), "labelled.nodule": (0.2, row % 5 == 0),
         "concordance.nodule": (bool(row % 7), bool(row % 3)), "review.rejected": row % 20 == 0}
        for row in range(500)
    ]  # fmt: skip
    known, _ = normal.learn(1, list(range(500)), rows)
    made, left = kinds.make(known)
    found = {one.name: one for one in made[kinds.MODEL]}
    kind = {name: type(one) for name, one in found.items()}
    assert (
        kind["device.ManufacturerModelName"] is channels.Category and found["device.ManufacturerModelName"].weight == 2
    )
    assert kind["pixels.mean"] is channels.Number and kind["completeness.suitable"] is channels.Event
    assert kind["embedding"] is channels.Vector and kind["embedding.distance"] is channels.Number
    assert kind["output.nodule.prevalence"] is channels.Probability
    assert kind["labelled.nodule"] is channels.Labelled and found["labelled.nodule"].weight == 3
    assert kind["concordance.nodule"] is channels.Concordance and kind["review.rejected"] is channels.Event
    groups = [one for one in found.values() if kinds.group_of(one.name) == 12]
    assert sum(one.weight for one in groups) == pytest.approx(1)
    assert "sex.F.concordance.nodule" in found and "output.nodule.positive@patient.sex=F" in found
    assert "names studies" in left["device.serial"] and "no value" in left["device.StationName"]
    assert "other.x" not in found and {one.name for one in made[kinds.SERVICE]} == {"service.failed", "service.seconds"}


def test_a_subgroup_sees_only_its_own() -> None:
    rng = np.random.default_rng(3)
    known, white = normal.learn(1, [row // PER_DAY for row in range(900)], [study(rng) for _ in range(900)])
    found = normal.Normal(1, known, white, {"model": 1000.0, "service": 1000.0}, PER_DAY)
    assert "output.nodule.positive@patient.sex=M" in found.parts["model"].names
    seen = found.see(
        {"patient.sex": "F", "output.nodule.p": 0.4, "output.nodule.positive": 1.0, "pixels.mean": "bright"}
    )
    assert seen["output.nodule.positive@patient.sex=F"] == 1.0 and seen["output.nodule.prevalence"] == 0.4
    assert "output.nodule.positive@patient.sex=M" not in seen and seen["pixels.mean"] is None
    assert found.see({"pixels.mean": 1.0}) == {"pixels.mean": 1.0}


# -- labels ------------------------------------------------------------------------------------------------------------


def _labels(connection: sa.Connection, event: Event) -> list[Observation]:
    """As node.watch.concord tells them; the event's body has p and the label."""
    pair = (event.body["p"], event.body["value"])
    family = (FAMILY.split("|")[0], FAMILY.split("|")[1], "")
    return [
        Observation(event.seq, seconds(event), family, event.object.removeprefix("study/"), {"labelled.nodule": pair})
    ]


def test_labels_that_contradict_the_probabilities_raise_calibration_and_the_stop_rule(
    store: Store, queries: Queries, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(audit.TYPES, "label.added", "a label")  # type: ignore[index]
    settings, sources = config(), {"label.added": _labels}
    traffic, rng = Traffic(store, clock), np.random.default_rng(8)

    def label(rows: list[dict[str, Any]], odds: float) -> None:
        with store.engine.begin() as connection:
            for number, one in enumerate(rows, traffic.count - len(rows) + 1):
                p = one["output.nodule.p"]
                y = bool(rng.random() < p * odds / (1 - p + p * odds))
                audit.append(connection, clock(), "label.added", "t", f"study/1.2.826.{number}", {"p": p, "value": y})

    first = list(usual(500, 5))
    traffic.add(first)
    label(first, 1.0)
    accepted(store, settings, sources, threshold=2000.0)
    watch = watching(store, settings, sources)
    later = list(usual(250, 6))
    traffic.add(later)
    label(later, 0.15)
    run(watch)
    [alarm] = [one for one in queries.alarms() if one["channel"] == "labelled.nodule"]
    ratio, _, high = alarm["story"]["observed_to_expected"]
    assert ratio < 0.6 and high < 1 and alarm["stop"] == "due"
    from node.watch.watcher import replay

    with store.engine.connect() as connection:
        again = replay(connection, "main", watch.watcher.seq, sources)
    assert again.states({FAMILY}) == watch.watcher.states({FAMILY})
    [told] = [one for one in sights.of_family(watch.watcher.normals[FAMILY], watch.watcher.courses[FAMILY], {})
              if one.channel == "labelled.nodule"]  # fmt: skip
    assert told.level == "alarm" and told.sees.startswith("odds off by") and told.days is not None


# -- baselines ---------------------------------------------------------------------------------------------------------


def test_too_few_studies_make_no_baseline(sqlite: str, clock: Clock) -> None:
    store = Store(sqlite, clock)
    Traffic(store, clock).add(list(usual(120, 1)))
    with store.engine.connect() as connection, pytest.raises(GiveUp, match="120 studies are too few"):
        propose.propose(connection, FAMILY, "main", {}, {"model": 2.0, "service": 2.0}, 300)
    store.dispose()


def test_a_baseline_is_taken_between_its_days_and_says_what_to_mind(sqlite: str, clock: Clock) -> None:
    store, start = Store(sqlite, clock), clock()
    Traffic(store, clock).add(list(usual(900, 1)))
    with store.engine.connect() as connection:
        made = propose.propose(
            connection, FAMILY, "main", {}, {"model": 2.0, "service": 2.0}, 300, start + 2 * 86400, start + 34 * 86400
        )
    assert made.summary["studies"] == pytest.approx(32 * PER_DAY, abs=2)
    assert made.summary["thresholds"]["model"] >= made.summary["wanted"]["model"] == 365 * made.normal.per_day / 2
    assert any("no labels" in text for text in made.summary["cautions"])
    again = normal.Normal.from_text(0, made.normal.to_text())
    assert again.to_text() == made.normal.to_text()
    store.dispose()


def test_only_a_named_person_accepts_and_what_was_signed_for_is_checked(store: Store, clock: Clock) -> None:
    settings, traffic = config(), Traffic(store, clock)
    traffic.add(list(usual(320, 1)))
    with store.engine.connect() as connection:
        made = propose.propose(connection, FAMILY, "main", {}, {"model": 2.0, "service": 2.0}, 300)
    text = made.normal.to_text()
    key = store.propose_baseline(FAMILY, text, normal.digest(text), made.summary, "user/t")
    with pytest.raises(GiveUp, match="named person"):
        store.accept_baseline(key, " ", "why")
    store.accept_baseline(key, "Dr A", "why")
    with pytest.raises(IllegalMove, match="accepted"):
        store.accept_baseline(key, "Dr A", "again")
    with store.engine.begin() as connection:
        connection.execute(baselines.update().values(content=text.replace('"per_day":', '"per_day": ')))
    watch = watching(store, settings)
    with pytest.raises(ValueError, match="not what was signed for"):
        run(watch)
    with store.engine.connect() as connection:
        [event] = connection.execute(sa.select(events.c.body).where(events.c.type == "baseline.accepted")).scalars()
    assert normal.digest(text) in event and "Dr A" in event


def test_units_count_a_patient_once_a_day() -> None:
    units = Units()

    def seen(at: float, patient: str | None) -> bool:
        return units.counts(Observation(1, at, ("a", "b", "c"), "1", {} if patient is None else {PATIENT: patient}))

    assert [seen(10, "x"), seen(20, "x"), seen(30, "y"), seen(40, None)] == [True, False, True, False]
    assert [seen(86400 + 1, "x"), seen(86400 + 2, "x")] == [True, False]


def test_a_story_names_the_device_that_changed(sqlite: str, clock: Clock) -> None:
    store, settings = Store(sqlite, clock), config()
    traffic = Traffic(store, clock)
    traffic.add(list(usual(400, 1)))
    accepted(store, settings)
    rng = np.random.default_rng(4)
    devices = [str(one) for one in rng.choice(["A", "B"], size=150)]
    traffic.add([study(rng, device=one, shift=2.5 if one == "B" else 0.0) for one in devices])
    watch = watching(store, settings)
    run(watch)
    alarm = next(one for one in Queries(store.engine).alarms() if one["channel"] == "pixels.mean")
    found = {one["device"]: one["found"] for one in alarm["story"]["devices"]}
    assert found == {"A": False, "B": True}
    assert alarm["story"]["cause"] is None or alarm["story"]["cause"]["verdict"] in ("acquisition", "both", "unclear")
    assert account.says(alarm["story"]) == alarm["story"]["says"]
    store.dispose()
