"""The store, on SQLite and on PostgreSQL: every state change and its event are one transaction."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import sqlalchemy as sa

from node import audit, states
from node.errors import IllegalMove, TryAgain
from node.inventory import Inventory
from node.queries import Queries
from node.store import Answer, JobResult, NewOutput, OutputFile, Store
from tests.conftest import Arrivals, Clock

FILES = (OutputFile("1.9.1", "results/a", "d1", 10), OutputFile("1.9.2", "results/b", "d2", 10))
RESULT = JobResult(
    "1.2.3.1",
    "digest",
    {"name": "m", "version": "1", "digest": "x"},
    {"run": 1.0},
    {"ml": 3.0},
    {"f": 1.5, "t": "word", "n": None},
)


def _types(queries: Queries) -> list[str]:
    return [event.type for event in queries.events("study/1.2.3")]


def test_a_new_instance_opens_a_study_and_leaves_an_event(arrivals: Arrivals, queries: Queries) -> None:
    assert arrivals.add(1, 2) == ["new", "new"]
    study = queries.study("1.2.3")
    assert study is not None
    assert (study["state"], study["revision"], study["instances"]) == ("receiving", 1, 2)
    assert _types(queries) == ["instance.received"] * 2


def test_the_same_bytes_again_make_no_second_row(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    assert arrivals.add(1) == ["same"]
    assert len(queries.stored_instances(1)) == 1
    assert _types(queries) == ["instance.received", "instance.repeated"]


def test_the_same_bytes_again_do_not_reopen_a_closed_study(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    assert arrivals.add(1) == ["same"]
    assert queries.open_studies() == []


def test_other_bytes_under_the_same_uid_count_and_raise_the_revision(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    assert arrivals.add(1, digest="f" * 64) == ["changed"]
    assert [one.digest for one in queries.stored_instances(1)] == ["f" * 64]
    assert queries.open_studies()[0].revision == 2
    assert _types(queries) == ["instance.received", "study.reopened", "instance.changed"]


def test_a_late_instance_reopens_the_study_as_the_next_revision(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    assert arrivals.add(2) == ["late"]
    study = queries.open_studies()[0]
    assert (study.revision, len(queries.stored_instances(study.id))) == (2, 2)


def test_one_sop_uid_in_two_studies_is_two_instances(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    assert arrivals.add(1, study="4.5.6", sop_uid="1.2.3.1.1", digest="e" * 64) == ["new"]
    assert len(queries.stored_instances(1)) == 1


def test_our_own_result_is_kept_but_makes_no_study(arrivals: Arrivals, queries: Queries) -> None:
    assert arrivals.add(7, ours=True) == ["ours"]
    assert queries.open_studies() == []
    assert "studies/1.2.3/7.dcm" in Inventory(queries.engine).known_paths("1.2.3")
    assert arrivals.add(7, ours=True) == ["same"]


def test_closing_fails_when_an_instance_came_in_between(arrivals: Arrivals, queries: Queries, clock: Clock) -> None:
    arrivals.add(1)
    seen = queries.open_studies()[0]
    clock.tick(1)
    arrivals.add(2)
    assert not arrivals.store.close_study(seen.id, seen.last_received_at, "too early", [], {})
    assert queries.open_studies()[0].id == seen.id


def test_an_urgent_result_goes_before_all_others_and_so_do_the_studys_further_jobs(
    arrivals: Arrivals, queries: Queries, store: Store
) -> None:
    arrivals.add(1)
    arrivals.close(queries, "first", "second", peers=("pacs",))
    job = store.claim_job("w", 30)
    assert job is not None and job.pipeline == "first"
    store.finish_job(job, [NewOutput("report", "1.9", "1.2", FILES[:1])], dataclasses.replace(RESULT, urgent=True))
    second = store.claim_job("w", 30)
    assert second is not None
    store.finish_job(second, [NewOutput("report", "1.8", "1.2", FILES[1:])], RESULT)
    with store.engine.connect() as connection:
        assert connection.execute(sa.text("select priority from deliveries")).scalars().all() == [states.STAT] * 2
    told = [event.body for event in queries.events("study/1.2.3") if event.type == "job.done"]
    assert [body.get("priority") for body in told] == ["STAT", None]


def test_a_job_is_claimed_once_and_by_priority(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries, "slow-one")
    arrivals.add(1, study="9.9")
    arrivals.close(queries, "urgent", priority=5)
    first, second = store.claim_job("w", 30), store.claim_job("w", 30)
    assert first is not None and second is not None
    assert (first.pipeline, second.pipeline) == ("urgent", "slow-one")
    assert store.claim_job("w", 30) is None


def test_a_job_whose_lease_ran_out_is_claimed_again_and_its_old_worker_cannot_finish_it(
    arrivals: Arrivals, queries: Queries, store: Store, clock: Clock
) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    old = store.claim_job("old", 30)
    assert old is not None and store.renew_job(old, 30)
    clock.tick(31)
    new = store.claim_job("new", 30)
    assert new is not None and (new.id, new.attempts) == (old.id, 2)
    assert not store.renew_job(old, 30)
    with pytest.raises(IllegalMove, match="lost its lease"):
        store.finish_job(old, [], RESULT)
    store.finish_job(new, [], RESULT)


def test_a_worker_that_starts_again_takes_back_what_it_held(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    store.claim_job("w", 1000)
    assert store.release_jobs("another", "x") == 0
    assert store.release_jobs("w", "died") == 1
    again = store.claim_job("w", 30)
    assert again is not None and again.attempts == 2


def test_a_finished_job_leaves_outputs_features_and_one_delivery_for_each_peer(
    arrivals: Arrivals, queries: Queries, store: Store
) -> None:
    arrivals.add(1)
    arrivals.close(queries, peers=("pacs", "archive"))
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("report", "1.9", "1.2", FILES[:1])], RESULT)
    study = queries.study("1.2.3")
    assert study is not None
    [shown] = study["jobs"]
    given = {name: value for name, value in shown["features"].items() if not name.startswith("service.")}
    assert (shown["state"], given) == ("done", {"f": 1.5, "n": None, "t": "word"})
    assert [d["peer"] for d in shown["outputs"][0]["deliveries"]] == ["pacs", "archive"]
    former = queries.former_result(job.study_id, "ct-lung", before=2)
    assert former is not None and former["outputs"][0]["sop_uids"] == ["1.9.1"]
    with pytest.raises(IllegalMove):
        store.finish_job(job, [], RESULT)


def test_a_retried_job_waits_until_it_is_due(arrivals: Arrivals, queries: Queries, store: Store, clock: Clock) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.retry_job(job, "out of memory", clock() + 10)
    assert store.claim_job("w", 30) is None
    clock.tick(11)
    assert store.claim_job("w", 30) is not None


def test_a_failed_job_runs_again_only_when_a_person_asks(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    with pytest.raises(IllegalMove):
        store.reset_job(job.id, "user/x")
    store.fail_job(job, "broken", {"device.Manufacturer": "X"}, "memory")
    assert store.claim_job("w", 30) is None
    assert queries.failed()["jobs"] == [job.id]
    store.reset_job(job.id, "user/x")
    assert store.claim_job("w", 30) is not None
    with pytest.raises(IllegalMove, match="no such job"):
        store.reset_job(999, "user/x")


def _features(queries: Queries) -> dict[str, float | str | None]:
    study = queries.study("1.2.3")
    assert study is not None
    return dict(study["jobs"][-1]["features"])


def test_features_are_stored_however_a_job_ends_and_its_last_end_counts(
    arrivals: Arrivals, queries: Queries, store: Store, clock: Clock
) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    clock.tick(7)
    job = store.claim_job("w", 30)
    assert job is not None
    clock.tick(2)
    store.retry_job(job, "out of memory", clock())
    assert _features(queries) == {}, "it has not ended"
    job = store.claim_job("w", 30)
    assert job is not None
    clock.tick(3)
    store.fail_job(job, "broken", {"device.Manufacturer": "X", "pixels.mean": float("nan")}, "memory")
    service = {"service.wait": 9.0, "service.attempts": 2.0, "service.seconds": 3.0, "service.failed": 1.0,
               "service.failure": "memory"}  # fmt: skip
    assert _features(queries) == {"device.Manufacturer": "X", "pixels.mean": None, **service}
    store.reset_job(job.id, "user/x")
    again = store.claim_job("w", 30)
    assert again is not None
    store.skip_job(again, "few slices", features={"completeness.why": "few-slices"})
    told = _features(queries)
    assert (told["completeness.why"], told["service.failed"], told["service.failure"]) == ("few-slices", 0.0, None)
    assert "device.Manufacturer" not in told


def test_a_job_that_a_correction_overtakes_says_only_that(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    arrivals.add(2)
    assert not store.finish_job(job, [], RESULT)
    told = _features(queries)
    assert told["completeness.why"] == "superseded"
    assert "f" not in told and "completeness.suitable" not in told


@pytest.fixture
def delivery_of_two(arrivals: Arrivals, queries: Queries, store: Store) -> int:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("heatmap", "1.9", "1.2", FILES)], RESULT)
    return job.id


def test_a_retried_delivery_sends_only_what_the_peer_has_not_stored(
    delivery_of_two: int, queries: Queries, store: Store, clock: Clock
) -> None:
    first = store.claim_delivery("s", "pacs", 30)
    assert first is not None and len(first.files) == 2
    assert store.claim_delivery("s", "another-peer", 30) is None
    store.retry_delivery(first, [Answer("1.9.1", True, 0), Answer("1.9.2", False, 0xA700, "full")], "full", clock() + 5)
    clock.tick(6)
    second = store.claim_delivery("s", "pacs", 30)
    assert second is not None and [one.sop_uid for one in second.files] == ["1.9.2"]
    store.finish_delivery(second, [Answer("1.9.2", True, 0xB000)])
    study = queries.study("1.2.3")
    assert study is not None
    [sent] = study["jobs"][0]["outputs"][0]["deliveries"]
    assert (sent["state"], sent["answers"]) == ("delivered", {"0x0000": 1, "0xB000": 1})


def test_a_failed_delivery_is_sent_again_only_when_a_person_asks(
    delivery_of_two: int, queries: Queries, store: Store
) -> None:
    one = store.claim_delivery("s", "pacs", 30)
    assert one is not None
    store.fail_delivery(one, [Answer("1.9.1", False, 0xC000, "cannot understand")], "refused")
    assert store.claim_delivery("s", "pacs", 30) is None
    store.reset_delivery(queries.failed()["deliveries"][0], "user/x")
    assert store.claim_delivery("s", "pacs", 30) is not None


def test_a_sender_that_starts_again_takes_back_what_it_held(delivery_of_two: int, store: Store) -> None:
    store.claim_delivery("s", "pacs", 1000)
    assert store.release_deliveries("s", "died") == 1
    assert store.claim_delivery("s", "pacs", 30) is not None


def test_the_events_of_a_whole_life_chain_and_hold(delivery_of_two: int, queries: Queries) -> None:
    count, broken = queries.verify()
    assert broken is None and count == len(queries.events())


def test_nothing_may_update_or_delete_an_event(arrivals: Arrivals, store: Store) -> None:
    arrivals.add(1)
    for statement in ("UPDATE events SET actor = 'x'", "DELETE FROM events"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.engine.begin() as connection:
            connection.execute(sa.text(statement))


def test_a_failure_inside_the_transaction_leaves_neither_row_nor_event(
    arrivals: Arrivals, store: Store, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(queries.events())

    def broken(*_: object) -> None:
        raise RuntimeError("the audit log cannot be written")

    monkeypatch.setattr(audit, "append_all", broken)
    with pytest.raises(RuntimeError):
        arrivals.add(1)
    monkeypatch.undo()
    assert queries.open_studies() == [] and len(queries.events()) == before


def test_many_writers_at_once_keep_one_chain_and_lose_nothing(store: Store, queries: Queries) -> None:
    def add(number: int) -> None:
        arrivals = Arrivals(store)
        for k in range(10):
            assert arrivals.add(number * 100 + k) == ["new"]

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queries.stored_instances(queries.open_studies()[0].id)) == 40
    assert queries.verify()[1] is None


def test_a_database_that_is_away_is_a_reason_to_try_again() -> None:
    store = Store("postgresql://overread@127.0.0.1:1/none")
    with pytest.raises(TryAgain, match="database"):
        store.open_association("A", "B", "127.0.0.1")
    with pytest.raises(TryAgain):
        Queries(store.engine).open_studies()


def test_patient_digests_tell_patients_apart_without_naming_them(store: Store) -> None:
    one = store.patient_digest("Müller-4711")
    assert one == store.patient_digest(" Müller-4711 ") != store.patient_digest("4712")
    assert "4711" not in one and len(one) == 32
