"""Storage commitment in the store, on SQLite and PostgreSQL: what peers asked of us, and what we asked of them."""

from __future__ import annotations

from typing import Any

import pytest

from node.close import Close
from node.commitment import Reference, Report, Request
from node.config import Config
from node.counting import Counting
from node.errors import IllegalMove
from node.queries import Queries
from node.routes import Routes
from node.sections import Node, Peer, Route
from node.spool import Spool
from node.store import Answer, JobResult, NewOutput, OutputFile, Store
from tests.builders import bare
from tests.conftest import Arrivals, Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
FILES = tuple(OutputFile(f"1.9.{number}", f"results/{number}", "d", 1) for number in range(3))


def named(*numbers: int, study: str = "1.2.3", sop_class: str = CT) -> tuple[Reference, ...]:
    return tuple(Reference(sop_class, f"{study}.1.{number}") for number in numbers)


def types(queries: Queries, about: str = "study/1.2.3") -> list[str]:
    return [event.type for event in queries.events(about) if "commit" in event.type or "ask" in event.type]


# -- what peers asked of us ------------------------------------------------------------------------------------------


def test_a_request_is_due_at_its_time_and_answered_once(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1, 2)
    key = store.add_commitment("modality", Request("2.25.1", named(1, 2, 3)), clock() + 3)
    assert key is not None and store.claim_commitment("send", "modality", 30) is None
    clock.tick(3)
    assert store.claim_commitment("send", "another", 30) is None
    asked = store.claim_commitment("send", "modality", 30)
    assert asked is not None and set(asked.references) == set(named(1, 2, 3))
    assert store.claim_commitment("send", "modality", 30) is None
    store.finish_commitment(asked, {named(3)[0]: 0x0112})
    assert store.claim_commitment("send", "modality", 30) is None
    assert types(queries) == ["commitment.asked", "commitment.reported"]
    [told] = [event.body for event in queries.events("study/1.2.3") if event.type == "commitment.reported"]
    assert (told["committed"], told["failed"]) == (2, {"0x0112": 1})


def test_the_same_request_again_is_answered_again_without_a_second_row(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1)
    first = store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    assert store.add_commitment("modality", Request("2.25.1", named(1)), clock()) == first
    asked = store.claim_commitment("send", "modality", 30)
    assert asked is not None
    store.finish_commitment(asked, {})
    assert store.add_commitment("modality", Request("2.25.1", named(1)), clock()) == first
    again = store.claim_commitment("send", "modality", 30)
    assert again is not None and again.id == first
    assert types(queries) == ["commitment.asked", "commitment.repeated", "commitment.reported", "commitment.repeated"]


def test_a_transaction_uid_stands_for_one_set_of_instances_of_one_peer(store: Store, clock: Clock) -> None:
    first = store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    assert store.add_commitment("modality", Request("2.25.1", named(1, 2)), clock()) is None
    assert store.add_commitment("another", Request("2.25.1", named(1, 2)), clock()) not in (None, first)


def test_a_request_whose_teller_died_is_taken_up_and_the_dead_one_cannot_finish_it(store: Store, clock: Clock) -> None:
    store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    old = store.claim_commitment("receive", "modality", 30)
    assert old is not None and store.claim_commitment("send", "modality", 30) is None
    clock.tick(31)
    new = store.claim_commitment("send", "modality", 30)
    assert new is not None and new.attempts == 2
    with pytest.raises(IllegalMove, match="lost its lease"):
        store.finish_commitment(old, {})
    assert store.release_commitments("another") == 0
    assert store.release_commitments("send") == 1
    assert store.claim_commitment("send", "modality", 30) is not None


def test_an_answer_that_cannot_be_told_waits_and_may_be_given_up(store: Store, queries: Queries, clock: Clock) -> None:
    store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    asked = store.claim_commitment("send", "modality", 30)
    assert asked is not None
    store.retry_commitment(asked, "away", clock() + 10)
    assert store.claim_commitment("send", "modality", 30) is None
    clock.tick(10)
    asked = store.claim_commitment("send", "modality", 30)
    assert asked is not None
    store.fail_commitment(asked, "away (2 attempts)")
    clock.tick(1000)
    assert store.claim_commitment("send", "modality", 30) is None
    assert types(queries, "peer/modality") == ["commitment.asked", "commitment.retried", "commitment.failed"]


def test_held_is_what_has_a_row_and_its_whole_file(arrivals: Arrivals, queries: Queries, spool: Spool) -> None:
    kinds = {1: b"x" * 10, 2: b"x" * 9, 3: None, 4: b"x" * 10}
    for number, content in kinds.items():
        arrivals.add(number, size=10, path=f"studies/{number}")
        if content is not None:
            (spool.root / "studies" / str(number)).write_bytes(content)
    other_class = Reference("1.2.840.10008.5.1.4.1.1.4", named(4)[0].sop_uid)
    asked = (*named(1, 2, 3, 5), other_class)
    assert queries.not_held(asked, spool.path) == {
        named(2)[0]: 0x0112, named(3)[0]: 0x0112, named(5)[0]: 0x0112, other_class: 0x0119,
    }  # fmt: skip


def test_more_instances_than_one_statement_takes_are_looked_up(
    arrivals: Arrivals, queries: Queries, spool: Spool
) -> None:
    arrivals.add(*range(1200), size=0, path="studies/empty")
    (spool.root / "studies" / "empty").touch()
    assert list(queries.not_held(named(*range(1201)), spool.path)) == list(named(1200))


@pytest.mark.parametrize(
    ("asked", "complete"),
    [
        ([(1, 2)], True),
        ([(1,)], False),  # another instance of it came
        ([(1, 2, 3)], False),  # one that we do not hold may belong to it
        ([(1,), (2,)], False),
        ([(1,), (1, 2)], True),
    ],
)
def test_a_request_that_names_all_that_came_and_nothing_else_is_evidence(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock, asked: list[tuple[int, ...]], complete: bool
) -> None:
    arrivals.add(1, 2)
    for number, numbers in enumerate(asked):
        store.add_commitment("modality", Request(f"2.25.{number}", named(*numbers)), clock())
    assert queries.open_studies()[0].commitment_by == ("modality" if complete else None)


def test_a_peer_that_sent_nothing_of_a_study_does_not_complete_it(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1)
    store.add_commitment("viewer", Request("2.25.1", named(1)), clock())
    assert queries.open_studies()[0].commitment_by is None


def test_instances_of_another_sender_that_the_request_does_not_name_keep_the_study_open(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1)
    arrivals.add(2, peer="ultrasound")
    store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    assert queries.open_studies()[0].commitment_by is None


def test_a_request_about_the_former_revision_says_nothing_about_a_late_instance(
    arrivals: Arrivals, store: Store, queries: Queries, clock: Clock
) -> None:
    arrivals.add(1)
    store.add_commitment("modality", Request("2.25.1", named(1, study="1.2.3")), clock())
    arrivals.close(queries)
    clock.tick(5)
    arrivals.add(2)
    assert queries.open_studies()[0].commitment_by is None
    clock.tick(1)
    store.add_commitment("modality", Request("2.25.2", named(2)), clock())
    assert queries.open_studies()[0].commitment_by == "modality"


def test_a_study_closes_without_its_quiet_time_on_that_evidence_with_its_reason(
    arrivals: Arrivals, store: Store, queries: Queries, spool: Spool, clock: Clock
) -> None:
    (spool.root / "studies" / "x").write_bytes(bare())
    arrivals.add(1, path="studies/x")
    pacs = Peer(name="pacs", ae_title="PACS", host="h", port=1)
    route = Route(name="chest", match={"Modality": "CT"}, pipelines=("ct-lung",), send_to=("pacs",))
    config = Config(node=Node(), peer=(pacs,), route=(route,))
    close = Close(store, queries, spool, Routes(config, ["ct-lung"]), Counting(config))
    assert not close.look(queries.open_studies()[0])
    store.add_commitment("modality", Request("2.25.1", named(1)), clock())
    assert not close.look(queries.open_studies()[0])  # a modality that asks after each image is about to send the next
    clock.tick(1)
    assert close.look(queries.open_studies()[0])
    study = queries.study("1.2.3")
    assert study is not None and study["reason"] == "storage commitment asked for by modality"


# -- what we asked of peers ------------------------------------------------------------------------------------------


@pytest.fixture
def delivered(arrivals: Arrivals, queries: Queries, store: Store) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("heatmap", "1.9", CT, FILES)], JobResult("s", "d", {}, {}, {}))
    deliver(store, ask=True)


def deliver(store: Store, ask: bool = True) -> list[str]:
    """Deliver what is due; gives the UIDs that went out."""
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    store.finish_delivery(delivery, [Answer(one.sop_uid, True, 0) for one in delivery.files], ask)
    return [one.sop_uid for one in delivery.files]


def the_delivery(queries: Queries) -> dict[str, Any]:
    study = queries.study("1.2.3")
    assert study is not None
    return dict(study["jobs"][0]["outputs"][0]["deliveries"][0])


def answer(transaction_uid: str, failed: dict[int, int] | None = None, silent: tuple[int, ...] = ()) -> Report:
    failed = failed or {}
    kept = [Reference(CT, f"1.9.{number}") for number in range(3) if number not in failed and number not in silent]
    return Report(transaction_uid, tuple(kept), tuple((Reference(CT, f"1.9.{n}"), why) for n, why in failed.items()))


def asked(store: Store, clock: Clock) -> str:
    """Claim and send the next request of ours; gives its transaction UID."""
    asking = store.claim_asking("s", "pacs", 30)
    assert asking is not None and [one.sop_uid for one in asking.references] == ["1.9.0", "1.9.1", "1.9.2"]
    assert {one.sop_class for one in asking.references} == {CT}
    store.asked(asking, clock() + 100)
    return asking.transaction_uid


def test_a_peer_that_is_not_to_be_asked_is_not(store: Store, arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    store.finish_job(job, [NewOutput("heatmap", "1.9", CT, FILES)], JobResult("s", "d", {}, {}, {}))
    deliver(store, ask=False)
    assert store.claim_asking("s", "pacs", 30) is None


def test_a_delivery_is_committed_when_the_peer_keeps_every_instance(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    uid = asked(store, clock)
    assert uid.startswith("2.25.") and len(uid) <= 64
    assert the_delivery(queries)["commitment"] == {"transaction_uid": uid, "state": "asked", "reason": None}
    assert store.take_report("another", answer(uid), 3, clock(), "receive") is None
    assert store.take_report("pacs", answer("2.25.99"), 3, clock(), "receive") is None
    assert store.take_report("pacs", answer(uid), 3, clock(), "receive") == "committed"
    assert store.take_report("pacs", answer(uid), 3, clock(), "receive") == "same"
    assert the_delivery(queries)["state"] == "committed"
    assert types(queries) == ["delivery.asked", "delivery.committed"]
    clock.tick(1000)
    assert store.end_waiting("pacs", 3) == [] and store.claim_asking("s", "pacs", 30) is None


@pytest.mark.parametrize(("failed", "silent"), [({1: 0x0112}, ()), ({}, (1,))], ids=["failed", "not named"])
def test_what_the_peer_does_not_keep_is_sent_again_and_nothing_else(
    delivered: None, store: Store, queries: Queries, clock: Clock, failed: dict[int, int], silent: tuple[int, ...]
) -> None:
    uid = asked(store, clock)
    assert store.take_report("pacs", answer(uid, failed, silent), 3, clock() + 5, "receive") == "due"
    shown = the_delivery(queries)
    assert shown["state"] == "due" and "pacs does not keep 1 of 3 instances" in shown["reason"]
    assert store.claim_delivery("s", "pacs", 30) is None
    clock.tick(5)
    assert deliver(store) == ["1.9.1"]
    assert store.take_report("pacs", answer(asked(store, clock)), 3, clock(), "receive") == "committed"


def test_a_peer_that_never_keeps_an_instance_fails_the_delivery_until_a_person_asks(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    assert store.take_report("pacs", answer(asked(store, clock), {2: 0x0110}), 2, clock(), "send") == "due"
    deliver(store)
    assert store.take_report("pacs", answer(asked(store, clock), {2: 0x0110}), 2, clock(), "send") == "failed"
    shown = the_delivery(queries)
    assert (shown["state"], shown["reason"]) == ("failed", "pacs does not keep 1 of 3 instances: 1 x 0x0110")
    assert shown["answers"] == {"0x0000": 2, "0x0110": 1}
    store.reset_delivery(shown["id"], "user/x")
    assert deliver(store) == ["1.9.2"]
    assert store.take_report("pacs", answer(asked(store, clock), {2: 0x0110}), 2, clock(), "send") == "due"


def test_without_an_answer_the_peer_is_asked_again_and_then_left_with_what_it_has(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    first = asked(store, clock)
    assert store.end_waiting("pacs", 2) == []
    clock.tick(100)
    assert store.end_waiting("pacs", 2) == [("1.2.3", "heatmap", True)]
    second = asked(store, clock)
    assert second != first
    clock.tick(100)
    assert store.end_waiting("pacs", 2) == [("1.2.3", "heatmap", False)]
    assert store.claim_asking("s", "pacs", 30) is None
    assert the_delivery(queries)["state"] == "delivered"
    assert types(queries) == ["delivery.asked"] * 2
    # A PACS that answers after days is still heard, also under the first transaction.
    assert store.take_report("pacs", answer(first), 2, clock(), "receive") == "committed"


def test_an_answer_about_a_former_sending_does_not_send_again(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    first = asked(store, clock)
    clock.tick(100)
    store.end_waiting("pacs", 3)
    assert store.take_report("pacs", answer(asked(store, clock), {0: 0x0112}), 3, clock(), "receive") == "due"
    clock.tick(1)
    deliver(store)
    assert store.take_report("pacs", answer(first, {0: 0x0112}), 3, clock(), "receive") == "same"
    assert the_delivery(queries)["state"] == "delivered"


def test_an_answer_that_is_quicker_than_our_own_record_counts(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    asking = store.claim_asking("s", "pacs", 30)
    assert asking is not None
    assert store.take_report("pacs", answer(asking.transaction_uid), 3, clock(), "receive") == "committed"
    store.asked(asking, clock() + 100)
    assert (the_delivery(queries)["state"], the_delivery(queries)["commitment"]["state"]) == ("committed", "answered")


def test_a_peer_that_cannot_be_asked_is_tried_again_or_left(
    delivered: None, store: Store, queries: Queries, clock: Clock
) -> None:
    asking = store.claim_asking("s", "pacs", 30)
    assert asking is not None
    store.retry_asking(asking, "away", clock() + 10)
    assert store.claim_asking("s", "pacs", 30) is None
    clock.tick(10)
    again = store.claim_asking("s", "pacs", 30)
    assert again is not None and (again.transaction_uid, again.attempts) == (asking.transaction_uid, 2)
    store.give_up_asking(again, "pacs does not take it")
    assert store.claim_asking("s", "pacs", 30) is None
    assert the_delivery(queries)["commitment"] | {"transaction_uid": ""} == {
        "transaction_uid": "", "state": "unasked", "reason": "pacs does not take it"}  # fmt: skip


def test_an_asker_that_starts_again_asks_under_the_same_transaction(delivered: None, store: Store) -> None:
    before = store.claim_asking("s", "pacs", 1000)
    assert before is not None and store.release_askings("s") == 1
    after = store.claim_asking("s", "pacs", 30)
    assert after is not None and after.transaction_uid == before.transaction_uid


# -- the schema ------------------------------------------------------------------------------------------------------
