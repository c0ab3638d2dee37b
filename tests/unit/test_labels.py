"""Labels: added once, corrected with history, counted in order of arrival, matured into negatives; on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from node import persons
from node.concordance import Concordances
from node.errors import GiveUp
from node.labels import MATURITY, NewLabel, date_of, finding_of, moment_of, value_of
from node.persons import Person
from node.queries import Queries
from node.schema import labels
from node.store import Store
from tests.conftest import Arrivals, Clock
from tests.labelled import LAG, finish, label

STUDY = "1.2.3"


def stored(store: Store) -> list[tuple[str, bool | None, str, bool]]:
    """(finding, value, source, whether it counts), oldest first."""
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(labels).order_by(labels.c.id)).all()
    return [(row.finding, None if row.value is None else bool(row.value), row.source, row.replaced_at is None) for row in rows]


def told(queries: Queries, study: str = STUDY) -> list[dict[str, object]]:
    return [dict(event.body) for event in queries.events(f"study/{study}") if event.type == "label.added"]


def test_the_same_label_again_changes_nothing(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    arrivals.add(1)
    assert [one.word for one in store.add_labels([label(), label()])] == ["added", "same"]
    assert [one.word for one in store.add_labels([label(finding="  EFFUSION ")])] == ["same"]
    assert stored(store) == [("effusion", True, "ris", True)] and len(told(queries)) == 1


def test_a_corrected_value_replaces_and_the_former_stays_as_history(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1)
    assert store.add_labels([label()])[0].word == "added"
    assert store.add_labels([label(value=False, date="2026-11-03")])[0].word == "replaced"
    assert stored(store) == [("effusion", True, "ris", False), ("effusion", False, "ris", True)]
    assert [(one["first"], one.get("before")) for one in told(queries)] == [(True, None), (False, True)]
    assert store.add_labels([label()])[0].word == "same", "the first file again must not turn it back"
    assert store.add_labels([label(date="2026-11-02")])[0].word == "older"
    assert Concordances(store.engine).current_labels() == [
        {"study_uid": STUDY, "finding": "effusion", "value": False, "source": "ris", "date": "2026-11-03",
         "added_at": store.clock(), "before": [True]}]  # fmt: skip


def test_a_withdrawal_leaves_nothing_that_counts_and_happens_once(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    finish(store, queries, arrivals, STUDY, effusion=(0.9, True))
    gone = label(value=None, date="2026-11-02T10:00:00")
    assert [one.word for one in store.add_labels([gone, label(), gone, gone, label()])] == [
        "same", "added", "withdrawn", "same", "same"], "neither it nor the label counts twice, whoever sends them again"  # fmt: skip
    assert stored(store) == [("effusion", True, "ris", False), ("effusion", None, "ris", True)]
    [event] = [event for event in queries.events() if event.type == "label.withdrawn"]
    assert (event.body["before"], event.body["finding"], event.body["source"]) == (True, "effusion", "ris")
    assert Concordances(store.engine).of(None, 0, 4e9)[0].findings[0].parts[0].labelled == 0
    assert Concordances(store.engine).current_labels()[0]["value"] is None
    assert store.add_labels([label(value=False, date="2026-11-01T09:00:00")])[0].word == "older"
    assert store.add_labels([label(value=False, date="2026-11-02T11:00:00")])[0].word == "added"
    assert [one["first"] for one in told(queries)] == [True, False] and "before" not in told(queries)[1]
    assert Concordances(store.engine).of(None, 0, 4e9)[0].findings[0].parts[0].labelled == 1


def test_another_source_counts_where_one_withdrew(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    finish(store, queries, arrivals, STUDY, effusion=(0.9, True))
    store.add_labels([label(source="panel", value=False), label(date="2026-11-03"), label(value=None, date="2026-11-04")])
    [finding] = Concordances(store.engine).of(None, 0, 4e9)[0].findings
    assert dict(finding.sources) == {"panel": 1} and finding.parts[0].decisions.false.count == 1


def test_of_one_day_the_times_decide_and_a_whole_day_is_not_older(store: Store, arrivals: Arrivals) -> None:
    arrivals.add(1)
    moments = [(True, "2026-11-02T09:00:00"), (False, "2026-11-02T10:00:00"), (True, "2026-11-02T11:00:00"), (False, "2026-11-02T08:00:00")]
    assert [store.add_labels([label(value=value, date=date)])[0].word for value, date in moments] == ["added", "replaced", "replaced", "older"]
    assert store.add_labels([label(value=False, date="2026-11-02")])[0].word == "replaced"
    assert store.add_labels([label(value=True, date="2026-11-01")])[0].word == "older"


def test_what_was_withdrawn_does_not_mature(store: Store, queries: Queries, arrivals: Arrivals, clock: Clock) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.9, True))
    finish(store, queries, arrivals, "1.2.4", effusion=(0.9, True))
    store.add_labels([label(), label(study="1.2.4"), label(value=None, date="2026-11-02")])
    clock.tick(2 * LAG)
    store.add_labels([label(study="1.2.4", finding="other")])
    assert mature(store) == 0


def test_sources_stand_beside_each_other_and_only_the_first_label_is_the_first(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1)
    assert [
        one.word for one in store.add_labels([label(), label(source="panel", value=False), label(finding="nodule")])
    ] == ["added"] * 3
    assert [one["first"] for one in told(queries)] == [True, False, True]


def test_a_study_that_is_not_here_is_told_and_nothing_is_kept(store: Store) -> None:
    assert store.add_labels([label()])[0].word == "unknown" and not stored(store)
    assert store.add_labels([NewLabel("A77", "accession", "effusion", True, "", "ris")])[0].studies == ()


def test_an_accession_number_finds_its_studies_and_never_stands_in_the_log(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    arrivals.add(1)
    arrivals.add(2, study="1.2.4")
    with store.engine.begin() as connection:
        for study in ("1.2.3", "1.2.4", "1.2.5"):  # the last one is not here
            persons.remember(connection, study, [("d", Person("P1", accession="SECRET-77"))], 0.0)
    [one] = store.add_labels([NewLabel("SECRET-77", "accession", "effusion", True, "", "ris")])
    assert (one.word, one.studies) == ("added", ("1.2.3", "1.2.4"))
    [body] = told(queries)
    assert body["accession"] == store.accession_digest("SECRET-77") and body["by"] == "accession"
    assert "SECRET" not in str(queries.events())


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"finding": "a.b"}, "finding"), ({"source": "maturity"}, "source"), ({"source": ""}, "source"), ({"date": "3.11.2026"}, "date"),
     ({"study": "Doe^Jane"}, "study UID"), ({"study": ""}, "study UID")],
)  # fmt: skip
def test_what_is_no_label_is_refused_in_one_line_and_nothing_of_the_batch_is_kept(
    store: Store, arrivals: Arrivals, change: dict[str, str], reason: str
) -> None:
    arrivals.add(1)
    with pytest.raises(GiveUp, match=reason) as caught:
        store.add_labels([label(), label(**change)])  # type: ignore[arg-type]
    assert not stored(store) and "Doe" not in str(caught.value) and "\n" not in str(caught.value)


def test_words_and_dates_are_read_and_others_are_not() -> None:
    assert [value_of(word) for word in (" Yes", "0", "POSITIVE", "absent", "maybe", "")] == [
        True,
        False,
        True,
        False,
        None,
        None,
    ]
    assert [date_of(text) for text in ("2026-02-28", "20260228101500", "2026-02-30", "28.2.2026", "2026-02-281")] == [
        "2026-02-28", "2026-02-28", None, None, None]  # fmt: skip
    assert [moment_of(text) for text in ("20260228", "20260228101500.123+0100", "202602281015", "2026-02-28T10:15:09", "20260228996000", "x")] == [
        "2026-02-28", "2026-02-28T10:15:00", "2026-02-28T10:15:00", "2026-02-28T10:15:09", None, None]  # fmt: skip
    assert [finding_of(text) for text in ("Pleural  Effusion", "a.b", "", "x" * 65)] == [
        "pleural effusion",
        None,
        None,
        None,
    ]


def mature(store: Store) -> int:
    return store.mature_labels(LAG)


def test_nothing_reported_becomes_a_negative_only_after_the_lag(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    finish(store, queries, arrivals, "1.2.3", effusion=(0.9, True))
    finish(store, queries, arrivals, "1.2.4", effusion=(0.2, False), nodule=(0.1, False))
    clock.tick(10)
    store.add_labels([label()])
    clock.tick(LAG - 11)
    assert mature(store) == 0
    clock.tick(2)
    assert mature(store) == 0, "nothing came in since: the source may be silent"
    finish(store, queries, arrivals, "1.2.5")
    store.add_labels([label(study="1.2.5", finding="fracture")])
    assert mature(store) == 1 and mature(store) == 0
    assert stored(store)[-1] == ("effusion", False, MATURITY, True)
    [body] = told(queries, "1.2.4")
    assert body["source"] == MATURITY and body["value"] is False and body["first"] is True
    assert store.add_labels([label(study="1.2.4")])[0].word == "added", "a late report stands beside it"
    assert told(queries, "1.2.4")[-1]["first"] is False
    assert queries.verify()[1] is None


def test_a_finding_that_nobody_ever_reports_on_never_matures(
    store: Store, queries: Queries, arrivals: Arrivals, clock: Clock
) -> None:
    finish(store, queries, arrivals, "1.2.3", nodule=(0.9, True))
    clock.tick(2 * LAG)
    finish(store, queries, arrivals, "1.2.4", nodule=(0.9, True))
    store.add_labels([label(study="1.2.4"), label(study="1.2.4", finding="nodule")])
    clock.tick(2 * LAG)
    assert mature(store) == 0, "when reports of nodules began, the time of the first study was long over"


def test_many_negatives_mature_bit_by_bit(store: Store, queries: Queries, arrivals: Arrivals, clock: Clock) -> None:
    for number in range(3):
        finish(store, queries, arrivals, f"1.2.{number}", effusion=(0.1, False))
    finish(store, queries, arrivals, "1.9", effusion=(0.9, True))
    store.add_labels([label(study="1.9")])
    clock.tick(LAG)
    store.add_labels([label(study="1.9", finding="other")])
    assert [store.mature_labels(LAG, most=2) for _ in range(3)] == [2, 1, 0]


def test_documents_are_recorded_as_read_once(store: Store, queries: Queries, arrivals: Arrivals) -> None:
    arrivals.add(1)
    for _ in range(2):
        store.document_read(1, STUDY, "1.2.3.1.1", 2, 0)
    assert [event.body["labels"] for event in queries.events() if event.type == "document.read"] == [2]
