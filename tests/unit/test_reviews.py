"""Modes and reviews in the store: what is held, what releases it, what withdraws it; on both databases."""

from __future__ import annotations

import pytest

from node.decisions import Decisions
from node.errors import GiveUp, IllegalMove
from node.modes import Mode
from node.queries import Queries
from node.store import Job, JobResult, NewJob, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock

RESULT = JobResult("1.2.3.1", "d", {"name": "m", "version": "1.0.0"}, {}, {})


def _claimed(store: Store) -> Job:
    job = store.claim_job("w", 30)
    assert job is not None
    return job


def _done(store: Store, uid: str = "1.9", configured: Mode = "live", job: Job | None = None) -> Job:
    """The job that is due ends, with one output for the peer."""
    job = job or _claimed(store)
    made = NewOutput("report", uid, "1.2", (OutputFile(f"{uid}.1", "p", "d", 1),))
    assert store.finish_job(job, [made], RESULT, wants=lambda peer: dict.fromkeys(job.routes, configured))
    return job


def _states(queries: Queries, study: str = "1.2.3") -> list[tuple[str, str | None]]:
    shown = queries.study(study)
    assert shown is not None
    return [(d["state"], d["reason"]) for job in shown["jobs"] for o in job["outputs"] for d in o["deliveries"]]


def _events(queries: Queries, type_: str) -> list[dict[str, object]]:
    return [dict(event.body) for event in queries.events() if event.type == type_]


@pytest.fixture
def study(arrivals: Arrivals, queries: Queries) -> Arrivals:
    arrivals.add(1)
    arrivals.close(queries)
    return arrivals


@pytest.fixture
def decisions(store: Store) -> Decisions:
    return Decisions(store.engine)


@pytest.mark.parametrize(
    ("configured", "stored", "states"),
    [("live", None, ["due"]), ("review", None, ["held"]), ("shadow", None, []), ("live", "review", ["held"]),
     ("review", "live", ["held"]), ("shadow", "review", []), ("live", "shadow", []), ("live", "off", [])],
)  # fmt: skip
def test_a_job_ends_under_the_mode_that_is_in_force_then(
    store: Store, queries: Queries, study: Arrivals, configured: Mode, stored: Mode | None, states: list[str]
) -> None:
    job = _claimed(store)
    if stored is not None:  # while it runs
        store.set_mode("chest", stored, "Dr A", "why")
    _done(store, configured=configured, job=job)
    assert [state for state, _ in _states(queries)] == states
    [told] = _events(queries, "job.done")
    assert told["release"] == {
        "pacs": stored if stored and (stored != "live") and configured != "shadow" else configured
    }
    assert len(_events(queries, "delivery.held")) == states.count("held")
    assert (store.claim_delivery("s", "pacs", 30) is not None) == ("due" in states)


def test_what_is_held_goes_out_once_a_person_accepts_it(
    store: Store, queries: Queries, decisions: Decisions, study: Arrivals, clock: Clock
) -> None:
    job = _done(store, configured="review")
    [waits] = decisions.held()
    assert (waits["job_id"], waits["study_uid"], waits["peers"]) == (job.id, "1.2.3", ["pacs"])
    assert waits["reason"] == "route chest is in review: each result waits until a person accepts it"
    assert store.claim_delivery("s", "pacs", 30) is None
    given = store.add_review(decisions.output_of("1.2.3"), "accepted", "Dr A", "looks right", "cli", clock())
    assert (given.outcome, given.job_id, given.sop_uid) == ("released", job.id, "1.9.1")
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None and delivery.attempts == 1
    assert queries.clearance(delivery.id).accepted_by == "Dr A"
    assert decisions.held() == []
    [said] = _events(queries, "review.given")
    assert {key: said[key] for key in ("job", "sop_uid", "verdict", "source", "by")} == {
        "job": job.id, "sop_uid": "1.9.1", "verdict": "accepted", "source": "cli", "by": "Dr A",
    }  # fmt: skip
    assert [body["by"] for body in _events(queries, "delivery.released")] == ["Dr A"]


@pytest.mark.parametrize("verdict", ["rejected", "changed"])
@pytest.mark.parametrize("mode", ["review", "live"])
def test_what_a_person_rejects_or_replaces_never_goes_out(
    store: Store, queries: Queries, study: Arrivals, clock: Clock, verdict: str, mode: Mode
) -> None:
    _done(store, configured=mode)
    given = store.add_review("1.9.1", verdict, "Dr A", "the wrong lung", "rest", clock())
    assert given.outcome == "withdrawn"
    assert _states(queries) == [("withdrawn", f"{verdict} by Dr A")]
    assert store.claim_delivery("s", "pacs", 30) is None
    again = store.add_review("1.9.1", "accepted", "Dr B", "after all", "rest", clock())
    assert again.outcome == "recorded" and _states(queries)[0][0] == "withdrawn"


def test_a_verdict_on_what_the_peer_has_is_recorded_and_said_again_changes_nothing(
    store: Store, queries: Queries, study: Arrivals, clock: Clock
) -> None:
    _done(store)
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    store.finish_delivery(delivery, [])
    first = store.add_review("1.9.1", "rejected", "Dr A", "wrong", "dicom", 5.0)
    assert first.outcome == "recorded" and _states(queries)[0][0] == "delivered"
    assert store.add_review("1.9.1", "rejected", "Dr A", "wrong", "dicom", 5.0).id == first.id
    assert len(_events(queries, "review.given")) == 1


@pytest.mark.parametrize(
    ("uid", "verdict", "by", "said"),
    [("1.2.3.4", "accepted", "Dr A", "none of our outputs"), ("1.9.1", "liked", "Dr A", "no verdict"),
     ("1.9.1", "accepted", " ", "want a name")],
)  # fmt: skip
def test_a_verdict_that_means_nothing_is_refused(
    store: Store, queries: Queries, study: Arrivals, uid: str, verdict: str, by: str, said: str
) -> None:
    _done(store, configured="review")
    with pytest.raises(GiveUp, match=said):
        store.add_review(uid, verdict, by, "why", "rest", 1.0)
    assert _states(queries)[0][0] == "held" and not _events(queries, "review.given")


def test_accepting_what_the_study_has_overtaken_withdraws_it(
    store: Store, queries: Queries, study: Arrivals, clock: Clock
) -> None:
    _done(store, configured="review")
    study.add(1, digest="f" * 64)  # the same instance came again with other content
    given = store.add_review("1.9.1", "accepted", "Dr A", "right", "cli", clock())
    assert given.outcome == "withdrawn" and "came again with other content" in given.reason
    assert _states(queries)[0][0] == "withdrawn" and store.claim_delivery("s", "pacs", 30) is None


def test_the_result_of_a_later_revision_replaces_what_is_held(store: Store, queries: Queries, study: Arrivals) -> None:
    _done(store, configured="review")
    study.add(2)
    study.close(queries)
    _done(store, "1.10", "review")
    assert _states(queries) == [
        ("withdrawn", "superseded: the result of revision 2 replaces it"),
        ("held", "route chest is in review: each result waits until a person accepts it"),
    ]


def test_setting_a_mode_holds_what_waits_and_live_releases_nothing(
    store: Store, queries: Queries, study: Arrivals, clock: Clock
) -> None:
    _done(store)
    assert store.set_mode("another", "review", "watch", "stop-rule") == 0
    assert store.set_mode("chest", "review", "watch", "stop-rule: calibration") == 1
    assert _states(queries)[0][0] == "held" and store.claim_delivery("s", "pacs", 30) is None
    assert store.set_mode("chest", "live", "Dr A", "recalibrated") == 0
    assert _states(queries)[0][0] == "held"
    told = [event for event in queries.events() if event.type == "route.mode"]
    assert [(e.actor, e.object, e.body["mode"], e.body["before"], e.body["held"]) for e in told] == [
        ("watch", "route/another", "review", None, 0), ("watch", "route/chest", "review", None, 1),
        ("user/Dr A", "route/chest", "live", "review", 0),
    ]  # fmt: skip
    store.add_review("1.9.1", "accepted", "Dr A", "right", "cli", clock())
    assert store.set_mode("chest", "review", "Dr A", "again") == 0, "it is accepted already"
    assert store.set_mode("chest", "shadow", "Dr A", "nothing goes out") == 1
    with pytest.raises(GiveUp, match="route chest is in shadow"):
        store.add_review("1.9.1", "accepted", "Dr A", "right", "cli", clock() + 1)


def test_a_route_that_does_not_want_a_peer_does_not_hold_what_goes_there(
    store: Store, arrivals: Arrivals, queries: Queries
) -> None:
    arrivals.add(1)
    study = queries.open_studies()[0]
    job = NewJob("ct-lung", ("chest", "research"), ("pacs", "archive"))
    assert store.close_study(study.id, study.last_received_at, "enough", [job], {})
    claimed = _claimed(store)
    made = NewOutput("report", "1.9", "1.2", (OutputFile("1.9.1", "p", "d", 1),))
    of: dict[str, dict[str, Mode]] = {"pacs": {"chest": "live"}, "archive": {"chest": "live", "research": "live"}}
    store.finish_job(claimed, [made], RESULT, wants=of.__getitem__)
    assert store.set_mode("research", "review", "Dr A", "a trial") == 1
    assert store.claim_delivery("s", "archive", 30) is None and store.claim_delivery("s", "pacs", 30) is not None


def test_a_former_result_that_nobody_has_is_not_replaced_and_a_rejected_one_stands(
    store: Store, queries: Queries, study: Arrivals, clock: Clock
) -> None:
    key = (queries.study("1.2.3") or {})["id"]
    _done(store, configured="review")
    held = queries.former_result(key, "ct-lung", 9)
    assert held is not None and held["outputs"] == [] and held["withdrawn"] is False
    store.add_review("1.9.1", "rejected", "Dr A", "wrong", "cli", clock())
    rejected = queries.former_result(key, "ct-lung", 9)
    assert rejected is not None and rejected["outputs"] == [] and rejected["withdrawn"] is False


def test_a_result_of_a_shadow_is_no_former_result(store: Store, queries: Queries, study: Arrivals) -> None:
    _done(store, configured="shadow")
    assert queries.former_result((queries.study("1.2.3") or {})["id"], "ct-lung", 9) is None


def test_an_urgent_result_that_nobody_sees_holds_nobody_up(store: Store, queries: Queries, study: Arrivals) -> None:
    job = _claimed(store)
    result = JobResult("s", "d", {}, {}, {}, urgent=True)
    store.finish_job(job, [], result, wants=lambda peer: {"chest": "shadow"})
    [told] = _events(queries, "job.done")
    assert "priority" not in told


def test_what_is_held_cannot_be_finished_by_a_sender_that_lost_it(
    store: Store, queries: Queries, study: Arrivals
) -> None:
    _done(store)
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    store.hold_delivery(delivery, "route chest is in review")
    with pytest.raises(IllegalMove):
        store.finish_delivery(delivery, [])
    assert _states(queries) == [("held", "route chest is in review")]
