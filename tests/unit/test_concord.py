"""What labels and reviews show monitoring: each study once, in the log's order, the same at a replay as live."""

from __future__ import annotations

import sqlalchemy as sa

from node import audit
from node.audit import Event
from node.concordance import Concordances
from node.queries import Queries
from node.schema import reviews
from node.store import Store
from node.watch.concord import of_job, of_label, of_review
from node.watch.observation import Observation
from tests.conftest import Arrivals, Clock
from tests.labelled import LAG, MODEL, finish, label

FAMILY = ("cxr-triage", "cxr 1.0.0 abababababab", "")
SHOW = {"label.added": of_label, "job.done": of_job, "review.given": of_review}


def observed(store: Store, after: int = 0) -> list[Observation]:
    """What the whole log shows, read now."""
    found: list[Observation] = []
    with store.engine.connect() as connection:
        for event in list(audit.read(connection, after=after)):
            if event.type in SHOW:
                found += SHOW[event.type](connection, event)
    return found


def newest(store: Store) -> list[Observation]:
    """What the newest event shows."""
    return [one for one in observed(store) if one.seq == _last(store).seq]


def _last(store: Store) -> Event:
    with store.engine.connect() as connection:
        return list(audit.read(connection))[-1]


def review(store: Store, job: int, verdict: str, study: str = "1.2.3") -> None:
    body = {"job": job, "sop_uid": "1.2", "verdict": verdict, "source": "cli", "by": "x"}
    row = {"job_id": job, "sop_uid": "1.2", "verdict": verdict, "given_by": "x", "why": "seen", "source": "cli"}
    with store.engine.begin() as connection:
        known = connection.execute(sa.select(sa.func.count()).select_from(reviews)).scalar_one()
        connection.execute(reviews.insert().values(**row, at=float(known), recorded_at=store.clock()))
        audit.append(connection, store.clock(), "review.given", "user/x", f"study/{study}", body)


def test_a_label_is_held_against_the_decision_and_the_stored_probability(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True), nodule=(0.1, False))
    store.add_labels([label(value=False)])
    [one] = newest(store)
    assert (one.family, one.study_uid) == (FAMILY, "1.2.3") and one.seq == _last(store).seq
    assert {key: value for key, value in one.seen.items() if "." not in key.removesuffix(".effusion")} == {
        "concordance.effusion": (True, False), "labelled.effusion": (0.8, False)}  # fmt: skip
    assert one.seen["sex.F.concordance.effusion"] == (True, False) and one.seen["device.X1.labelled.effusion"] == (0.8, False)
    assert len(one.seen) == 2 + 2 * 3


def test_only_the_first_label_of_a_study_and_finding_counts(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True), nodule=(0.1, False))
    store.add_labels([label(value=False), label(value=True, source="panel"), label(value=True, date="2026-11-09"), label(finding="nodule")])
    assert [sorted(key for key in one.seen if key.startswith("conc")) for one in observed(store)] == [["concordance.effusion"], ["concordance.nodule"]]
    store.add_labels([label(finding="fracture")])
    assert newest(store) == [], "no model speaks of it"


def test_a_withdrawal_is_no_observation_and_the_next_label_does_not_count_again(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True))
    store.add_labels([label(), label(value=None, date="2026-11-02"), label(value=False, date="2026-11-03")])
    assert [one.seen["labelled.effusion"] for one in observed(store)] == [(0.8, True)]
    finish(store, queries, arrivals, "1.2.3", number=2, model=MODEL | {"version": "2.0.0"}, effusion=(0.4, False))
    assert newest(store)[0].seen["labelled.effusion"] == (0.4, False), "the other model has the label that stands"


def test_what_was_withdrawn_before_the_result_is_not_seen_with_it_and_a_later_label_is(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1)
    store.add_labels([label(), label(finding="nodule"), label(value=None, date="2026-11-02")])
    store.add_labels([label(finding="nodule", value=False, date="2026-11-03")])
    finish(store, queries, arrivals, "1.2.3", number=2, effusion=(0.8, True), nodule=(0.3, False))
    [one] = observed(store)
    assert one.seen["labelled.nodule"] == (0.3, False), "corrected before it was seen"
    assert "labelled.effusion" not in one.seen
    store.add_labels([label(date="2026-11-04")])
    assert [one.seen["labelled.effusion"] for one in newest(store)] == [(0.8, True)]
    store.add_labels([label(finding="nodule", date="2026-11-05")])
    assert newest(store) == [], "seen with the result"


def test_a_label_before_its_result_is_seen_with_the_first_result_only(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1)
    store.add_labels([label()])
    assert observed(store) == []
    finish(store, queries, arrivals, "1.2.3", number=2, effusion=(0.8, True))
    assert [one.seen["labelled.effusion"] for one in newest(store)] == [(0.8, True)]
    finish(store, queries, arrivals, "1.2.3", number=3, effusion=(0.7, True))
    assert newest(store) == [], "the next revision is the same study"


def test_a_replay_shows_what_was_seen_live_though_results_and_labels_came_since(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    live: list[Observation] = []

    def step(*done: object) -> None:
        live.extend(one for one in observed(store) if one.seq > (live[-1].seq if live else 0))

    arrivals.add(1, study="1.2.9")
    step(store.add_labels([label(study="1.2.9")]))
    step(finish(store, queries, arrivals, "1.2.9", number=2, effusion=(0.3, False)))
    job = finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True))
    step(review(store, job, "rejected"))
    step(store.add_labels([label()]))
    step(finish(store, queries, arrivals, "1.2.3", number=2, model=MODEL | {"version": "2.0.0"}, effusion=(0.4, False)))
    step(review(store, job, "accepted"))
    step(store.add_labels([label(value=False, date="2026-11-08")]))
    finish(store, queries, arrivals, "1.2.4", effusion=(0.1, False))
    clock.tick(LAG + 1)
    step(store.add_labels([label(study="1.2.9", finding="x")]))
    step(store.mature_labels(LAG))
    assert live[-1].seen["labelled.effusion"] == (0.1, False)
    assert observed(store) == live and len(live) == 5


def test_each_model_that_read_the_study_is_told(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True))
    finish(store, queries, arrivals, "1.2.3", number=2, model=MODEL | {"version": "2.0.0"}, effusion=(0.3, False))
    finish(store, queries, arrivals, "1.2.3", number=3, effusion=(0.9, True))
    store.add_labels([label()])
    assert [(one.family[1][:9], one.seen["labelled.effusion"]) for one in newest(store)] == [
        ("cxr 1.0.0", (0.9, True)), ("cxr 2.0.0", (0.3, True))]  # fmt: skip


def test_a_review_is_discordance_by_direction_and_never_a_label(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    job = finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True))
    review(store, job, "changed")
    [one] = newest(store)
    assert one.seen["review.rejected"] is True and one.seen["review.concordance"] == (True, False)
    assert one.seen["sex.F.review.rejected"] is True and not any("labelled" in key for key in one.seen)
    review(store, job, "accepted")
    assert newest(store) == [], "the same result counts once"
    job = finish(store, queries, arrivals, "1.2.4", effusion=(0.1, False))
    review(store, job, "rejected", "1.2.4")
    assert newest(store)[0].seen["review.concordance"] == (False, True)
    job = finish(store, queries, arrivals, "1.2.5", other={"output.lung.volume": 5.0})
    review(store, job, "accepted", "1.2.5")
    assert newest(store)[0].seen["review.rejected"] is False and "review.concordance" not in newest(store)[0].seen


def test_concordance_counts_each_study_once_with_the_newest_result_and_the_label_that_counts(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    job = finish(store, queries, arrivals, "1.2.3", effusion=(0.8, True))
    finish(store, queries, arrivals, "1.2.3", number=2, effusion=(0.2, False))
    newer = finish(store, queries, arrivals, "1.2.4", effusion=(0.9, True), other={"patient.sex": "M"})
    store.add_labels([label(), label(study="1.2.4"), label(study="1.2.4", value=False, date="2026-11-05", source="panel")])
    review(store, job, "rejected")
    [one] = Concordances(store.engine).of(None, 0, clock() + 1)
    everything, *groups = one.findings[0].parts
    assert (one.pipeline, one.results, everything.labelled) == ("cxr-triage", 2, 2)
    assert (everything.decisions.missed.count, everything.decisions.false.count) == (1, 1)
    assert {part.group: part.studies for part in groups}[("sex", "M")] == 1
    assert one.accepted.of == 0, "the review was of an older result"
    review(store, newer, "rejected", "1.2.4")
    review(store, newer, "accepted", "1.2.4")
    [one] = Concordances(store.engine).of(None, 0, clock() + 1)
    assert (one.accepted.count, one.accepted.of) == (1, 1), "a person's last word counts"
    assert dict(one.findings[0].sources) == {"panel": 1, "ris": 1}
    assert Concordances(store.engine).of("ct-lung", 0, clock() + 1) == []
    assert Concordances(store.engine).of(None, clock() + 1, clock() + 2) == []
    with store.engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from labels")).scalar() == 3
