"""Results meet the study as it is when they are released and when they are sent: corrections stop what they contradict."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from node import peers, send
from node.config import Config
from node.errors import TryAgain
from node.queries import Queries
from node.runners.base import Outcome
from node.sections import Peer
from node.spool import Spool
from node.store import JobResult, NewOutput, OutputFile, Store
from node.work import Work
from tests.conftest import Arrivals
from tests.released import CONFIG, PACS, Source, send_all, stores_all
from tests.senders import instance
from tests.steered import DONE, Steered


@pytest.fixture
def source(arrivals: Arrivals, queries: Queries, spool: Spool, tmp_path: Path) -> Source:
    source = Source(arrivals, queries, spool, tmp_path / "made")
    source.comes(1)
    source.comes(2)
    arrivals.close(queries)
    return source


@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A PACS that stores all; the SOP Instance UIDs that it got."""
    return stores_all(monkeypatch)


def test_what_was_corrected_while_the_pacs_was_down_is_withdrawn_and_made_anew(
    source: Source, store: Store, spool: Spool, queries: Queries, pacs: list[str]
) -> None:
    source.done(store)
    for number in (1, 2):
        source.comes(number, PatientName="Corrected^Name")
    send_all(store, spool)
    reason = "superseded: what it was made of came again with other content (revision 3)"
    assert (source.deliveries(), pacs) == ([("withdrawn", reason)], [])
    [told] = [one.body for one in queries.events("study/1.2.3") if one.type == "delivery.withdrawn"]
    assert (told["reason"], told["already_there"], told["revision"]) == (reason, 0, 1)
    source.arrivals.close(queries)
    source.done(store, "1.10", PatientName="Corrected^Name")
    send_all(store, spool)
    assert [state for state, _ in source.deliveries()] == ["withdrawn", "delivered"] and pacs == ["1.10.1"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientName", "Other^Name"), ("PatientBirthDate", "19800101"), ("PatientSex", "F"), ("PatientID", "OTHER"),
     ("IssuerOfPatientID", "OTHER")],
)  # fmt: skip
def test_a_late_series_of_another_patient_stops_what_still_waits(
    source: Source, store: Store, spool: Spool, pacs: list[str], keyword: str, value: str
) -> None:
    source.done(store, PatientBirthDate="19700101", PatientSex="M", IssuerOfPatientID="HERE")
    source.comes(5, series="1.2.3.10", **{keyword: value})
    send_all(store, spool)
    reason = f"superseded: revision 2 of the study names another patient ({keyword} differ)"
    assert (source.deliveries(), pacs) == ([("withdrawn", reason)], [])


def test_a_late_series_of_the_same_patient_stops_nothing(
    source: Source, store: Store, spool: Spool, pacs: list[str]
) -> None:
    source.done(store)
    source.comes(5, series="1.2.3.10", PatientName="SECRET^NAME^^", PatientBirthDate="19700101")
    source.comes(5, series="1.2.3.10", PatientBirthDate="19700102")  # it came again; the pipeline never read it
    send_all(store, spool)
    assert source.deliveries() == [("delivered", None)] and len(pacs) == 1


def test_a_result_that_a_later_one_replaces_is_not_sent_after_it(
    source: Source, store: Store, spool: Spool, queries: Queries, pacs: list[str]
) -> None:
    source.done(store)
    source.comes(3)
    source.arrivals.close(queries)
    source.done(store, "1.10")
    send_all(store, spool)
    assert source.deliveries() == [
        ("withdrawn", "superseded: the result of revision 2 replaces it"),
        ("delivered", None),
    ]


def test_what_cannot_be_compared_is_not_sent(source: Source, store: Store, spool: Spool, pacs: list[str]) -> None:
    source.done(store)
    source.comes(5, series="1.2.3.10")
    study = source.queries.study("1.2.3")
    assert study is not None
    late = source.queries.stored_instances(study["id"])[-1]
    spool.path(late.path).unlink()
    send_all(store, spool)
    [(state, reason)] = source.deliveries()
    assert state == "failed" and "cannot be compared with revision 2" in str(reason) and not pacs


def test_a_correction_that_comes_while_an_output_is_sent_stops_the_rest_of_it(
    source: Source, store: Store, spool: Spool, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.claim_job("w", 30)
    assert job is not None
    paths = [
        source.put(instance(number, SOPInstanceUID=f"1.9.{number}", pixels=20), f"{number + 80:064x}")
        for number in (1, 2, 3)
    ]
    files = tuple(OutputFile(f"1.9.{number}", path, "d", 1) for number, path in enumerate(paths, 1))
    assert store.finish_job(job, [NewOutput("heatmap", "1.9", "1.2", files)], JobResult("1.2.3.9", "d", {}, {}, {}))
    monkeypatch.setattr(send, "LOOK_AGAIN", 0)
    got: list[int] = []

    def slowly(_config: Config, _peer: Peer, files: Sequence[Path]) -> Iterator[peers.Answer]:
        for number, path in enumerate(files, 1):
            if number == 2:
                source.comes(1, PatientName="Corrected^Name")
            got.append(number)
            yield peers.Answer(path, f"1.9.{number}", 0, "", stored=True, final=True)

    monkeypatch.setattr(peers, "store", slowly)
    send_all(store, spool)
    assert got == [1, 2] and source.deliveries()[0][0] == "withdrawn"
    told = [one.body for one in queries.events("study/1.2.3") if one.type == "delivery.withdrawn"]
    assert told[0]["already_there"] == 2


@pytest.mark.parametrize(
    "outcome", [DONE, Outcome("skipped", "too few slices", DONE.outputs)], ids=["result", "declined"]
)
def test_a_correction_that_comes_while_the_job_runs_keeps_its_result_from_release(
    source: Source, store: Store, queries: Queries, spool: Spool, outcome: Outcome
) -> None:
    runner = Steered()
    held: list[Any] = []
    started = threading.Event()

    def run(request: Any) -> Any:
        held.append(Future())
        started.set()
        return held[0]

    runner.run = run  # type: ignore[method-assign]
    job = store.claim_job("w", 30)
    assert job is not None
    work = threading.Thread(target=Work(CONFIG, store, queries, spool, runner, "w").run, args=(job, threading.Event()))
    work.start()
    assert started.wait(30)
    source.comes(1, PatientName="Corrected^Name")
    held[0].set_result(outcome)
    work.join(60)
    study = queries.study("1.2.3")
    assert study is not None
    [shown] = study["jobs"]
    reason = "superseded: revision 2 of the study came while it ran; nothing of it is sent"
    assert (shown["state"], shown["reason"], shown["outputs"]) == ("skipped", reason, [])
    source.comes(2, PatientName="Corrected^Name")
    source.arrivals.close(queries)
    again = store.claim_job("w", 30)
    assert again is not None and again.revision == 3
    assert queries.former_result(again.study_id, "ct-lung", again.revision) is None


def test_a_result_that_was_withdrawn_everywhere_is_replaced_by_none(
    source: Source, store: Store, spool: Spool, queries: Queries, pacs: list[str]
) -> None:
    source.done(store)
    source.comes(1, PatientName="Wrong^Name")
    send_all(store, spool)
    assert [state for state, _ in source.deliveries()] == ["withdrawn"]
    study = queries.study("1.2.3")
    assert study is not None
    assert queries.former_result(study["id"], "ct-lung", 9) is None, "no peer has it: nothing is replaced, all is made"


def test_a_result_that_one_of_two_peers_has_is_named_as_replaced_and_made_anew_for_both(
    arrivals: Arrivals, store: Store, spool: Spool, queries: Queries, pacs: list[str], tmp_path: Path
) -> None:
    source = Source(arrivals, queries, spool, tmp_path / "made")
    source.comes(1)
    arrivals.close(queries, peers=("pacs", "archive"))
    source.done(store)
    send_all(store, spool)
    source.comes(1, PatientName="Other^Name")
    delivery = store.claim_delivery("s", "archive", 30)
    assert delivery is not None
    send.Sender(CONFIG, PACS, store, spool, threading.Event()).deliver(delivery)
    assert [state for state, _ in source.deliveries()] == ["delivered", "withdrawn"]
    former = queries.former_result(1, "ct-lung", 9)
    assert former is not None and former["withdrawn"] and former["outputs"][0]["sop_uids"] == ["1.9.1"]


@pytest.mark.parametrize(("withdrawn", "ran"), [(False, False), (True, True)])
def test_what_is_unchanged_runs_again_where_its_result_was_withdrawn(
    tmp_path: Path, withdrawn: bool, ran: bool
) -> None:
    from node.runners import child
    from node.runners.base import Request
    from node.runners.ready import Ready
    from pipelines.base import Unsuitable
    from pipelines.match import Match
    from pipelines.study import Study
    from tests import builders

    class Counts:
        name, version, model = "counts", "1", {"name": "m", "version": "1", "digest": "0" * 64}
        accepts = Match()
        runs = 0

        def select(self, study: Study) -> Any:
            return study.series[0]

        def run(self, study: Study, series: Any) -> Any:
            self.runs += 1
            raise Unsuitable("it is a test")

    files = {path: f"{number:064x}" for number, path in enumerate(builders.axial(tmp_path))}
    [series] = Study.from_files(files).series
    former = {"revision": 1, "series_uid": series.SeriesInstanceUID, "input_digest": series.digest, "outputs": [],
              "model": {**Counts.model, "pipeline_version": "1"}, "withdrawn": withdrawn}  # fmt: skip
    named = {str(path): digest for path, digest in files.items()}
    pipeline = Counts()
    study = Study.from_files(files).StudyInstanceUID
    outcome = child.answer(pipeline, Request(study, 2, "counts", 0.0, named, tmp_path, former), Ready(), {})  # type: ignore[arg-type]
    assert (outcome.word, bool(pipeline.runs)) == ("skipped", ran)
    assert outcome.reason.startswith("it is a test" if ran else "unchanged")
    assert outcome.features["completeness.why"] == ("other" if ran else "unchanged")
    assert outcome.features.get("completeness.suitable") == (0.0 if ran else None)
    assert ("device.Manufacturer" in outcome.features) == ran


def test_without_a_database_nothing_is_sent(
    source: Source, store: Store, spool: Spool, queries: Queries, pacs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source.done(store)

    def away(_self: Queries, _job: int) -> None:
        raise TryAgain("the database does not answer")

    monkeypatch.setattr(Queries, "standing", away)
    delivery = store.claim_delivery("s", "pacs", 30)
    assert delivery is not None
    send.Sender(CONFIG, PACS, store, spool, threading.Event()).deliver(delivery)
    assert source.deliveries() == [("due", "the database does not answer")] and not pacs
