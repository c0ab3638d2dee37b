"""The work loop with a runner that the test steers: what becomes of a job for each way that a run may end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from node.config import Config
from node.queries import Queries
from node.runners.base import Outcome, RunnerBroken, RunnerDied
from node.sections import Node, Peer, Route
from node.sections import Work as WorkSettings
from node.spool import Spool
from node.store import NewOutput, OutputFile, Store
from node.work import Work
from tests.conftest import Arrivals, Clock
from tests.steered import DONE, Steered


@pytest.fixture
def runner() -> Steered:
    return Steered()


@pytest.fixture
def work(store: Store, queries: Queries, spool: Spool, runner: Steered, clock: Clock) -> Work:
    settings = WorkSettings(attempts=2, retry_after=10, time_limit=60, lease=30)
    config = Config(node=Node(stop_grace=0.5), work=settings)
    return Work(config, store, queries, spool, runner, "w", timer=clock)


def _run(work: Work, store: Store, stop: threading.Event | None = None) -> None:
    job = store.claim_job("w", 30)
    assert job is not None
    work.run(job, stop or threading.Event())


def _while_it_runs(runner: Steered, *steps: tuple[float, Callable[[], None]]) -> None:
    """Do the steps, each some seconds after the one before, once the runner has the job."""

    def do() -> None:
        while not runner.requests:
            time.sleep(0.05)
        for seconds, step in steps:
            time.sleep(seconds)
            step()

    threading.Thread(target=do, daemon=True).start()


def _job(queries: Queries) -> dict[str, Any]:
    study = queries.study("1.2.3")
    assert study is not None
    return dict(study["jobs"][-1])


@pytest.fixture(autouse=True)
def due(arrivals: Arrivals, queries: Queries) -> None:
    arrivals.add(1, 2)
    arrivals.close(queries)


def test_a_done_job_has_outputs_and_deliveries(work: Work, store: Store, queries: Queries, runner: Steered) -> None:
    runner.ends = [DONE]
    _run(work, store)
    assert _job(queries)["state"] == "done"
    assert _job(queries)["outputs"][0]["deliveries"][0]["state"] == "due"
    assert len(runner.requests[0].files) == 2


def test_an_unsuitable_study_is_skipped_with_the_reason(
    work: Work, store: Store, queries: Queries, runner: Steered
) -> None:
    runner.ends = [Outcome("skipped", "too few slices")]
    _run(work, store)
    assert (_job(queries)["state"], _job(queries)["reason"]) == ("skipped", "too few slices")


def test_a_job_whose_process_died_is_tried_again_and_then_fails(
    work: Work, store: Store, queries: Queries, runner: Steered, clock: Clock
) -> None:
    runner.ends = [RunnerDied("ended by SIGSEGV"), RunnerDied("ended by SIGSEGV")]
    _run(work, store)
    assert (_job(queries)["state"], _job(queries)["reason"]) == ("due", "ended by SIGSEGV")
    assert clock() < _job(queries)["due_at"] <= clock() + 10
    clock.tick(11)
    _run(work, store)
    assert (_job(queries)["state"], _job(queries)["reason"]) == ("failed", "ended by SIGSEGV (2 attempts)")


@pytest.mark.parametrize("end", [Outcome("held", "OSError: No space left on device"), RunnerBroken("no weights")])
def test_a_job_that_finds_no_disk_or_no_model_process_waits_and_loses_no_attempt(
    work: Work, store: Store, queries: Queries, runner: Steered, end: Outcome | Exception
) -> None:
    runner.ends = [end] * 5
    for _ in range(5):
        _run(work, store)
        reason = str(end) if isinstance(end, Exception) else end.reason
        assert (_job(queries)["state"], _job(queries)["reason"], _job(queries)["attempts"]) == ("due", reason, 0)


def test_a_job_that_breaks_fails_at_once(work: Work, store: Store, queries: Queries, runner: Steered) -> None:
    runner.ends = [Outcome("failed", "InvalidOutput")]
    _run(work, store)
    assert _job(queries)["state"] == "failed"


def test_a_job_past_its_time_limit_is_ended(
    work: Work, store: Store, queries: Queries, runner: Steered, clock: Clock
) -> None:
    runner.ends = [None]
    _while_it_runs(runner, (1, lambda: clock.tick(61)))
    _run(work, store)
    assert runner.killed == ["over the time limit of 60 s"]
    assert _job(queries)["state"] == "due"


def test_a_long_job_keeps_its_lease(work: Work, store: Store, queries: Queries, runner: Steered, clock: Clock) -> None:
    runner.ends = [None]
    # past the first lease, not past the renewed one
    _while_it_runs(runner, (1, lambda: clock.tick(15)), (1, lambda: clock.tick(20)), (1, lambda: runner.kill("enough")))
    _run(work, store)
    assert "another worker took the job" not in runner.killed
    assert _job(queries)["reason"] == "enough"


def test_a_job_of_an_older_revision_is_not_run(
    work: Work, store: Store, queries: Queries, runner: Steered, arrivals: Arrivals
) -> None:
    arrivals.add(3)
    _run(work, store)
    assert (_job(queries)["state"], runner.requests) == ("skipped", [])
    assert _job(queries)["reason"].startswith("superseded")


def test_a_job_that_killed_its_worker_too_often_is_given_up(
    work: Work, store: Store, queries: Queries, runner: Steered
) -> None:
    for _ in range(2):
        store.claim_job("w", 30)
        store.release_jobs("w", "the worker died")
    _run(work, store)
    assert (_job(queries)["state"], runner.requests) == ("failed", [])


def test_a_later_revision_is_told_what_it_replaces(
    work: Work, store: Store, queries: Queries, runner: Steered, arrivals: Arrivals
) -> None:
    runner.ends = [DONE, DONE]
    _run(work, store)
    arrivals.add(3)
    arrivals.close(queries)
    _run(work, store)
    former = runner.requests[1].former
    assert former is not None and former["outputs"][0]["sop_uids"] == ["1.9.1"]


def test_stopping_the_node_gives_the_running_job_back(
    work: Work, store: Store, queries: Queries, runner: Steered
) -> None:
    runner.ends = [None]
    stop = threading.Event()
    _while_it_runs(runner, (1, stop.set))
    begun = time.monotonic()
    _run(work, store, stop)
    assert time.monotonic() - begun > 0.5, "it had its grace"
    assert (_job(queries)["state"], _job(queries)["reason"]) == ("due", "the node is stopping")
    assert _job(queries)["attempts"] == 0, "a stop is not the job's fault"


def test_a_job_that_ends_within_the_grace_is_done(
    work: Work, store: Store, queries: Queries, runner: Steered
) -> None:
    runner.ends = [None]
    stop = threading.Event()
    stop.set()
    _while_it_runs(runner, (0.1, lambda: runner._hanging.set_result(DONE)))  # type: ignore[union-attr]
    _run(work, store, stop)
    assert (_job(queries)["state"], runner.killed) == ("done", [])


def test_a_model_process_that_dies_while_the_node_stops_costs_an_attempt(
    work: Work, store: Store, queries: Queries, runner: Steered
) -> None:
    runner.ends = [RunnerDied("ended by SIGSEGV")]
    stop = threading.Event()
    stop.set()
    _run(work, store, stop)
    assert (_job(queries)["state"], _job(queries)["attempts"]) == ("due", 1)


def test_each_peer_gets_the_forms_of_its_profile(
    store: Store, queries: Queries, spool: Spool, runner: Steered, arrivals: Arrivals
) -> None:
    pacs = Peer(name="pacs", ae_title="PACS", host="h", port=1, profile="images-only")
    archive = Peer(name="archive", ae_title="ARCHIVE", host="h", port=1)
    config = Config(**{"peer": (pacs, archive)})
    made = [(str(form), form) for form in (*pacs.gets.forms, *(archive.gets.forms - pacs.gets.forms))] + [
        ("other", None)
    ]
    outputs = [NewOutput(name, f"1.8.{at}", "1.2", (OutputFile(f"1.8.{at}.1", f"results/{at}", "d", 1),), form)
               for at, (name, form) in enumerate(made)]  # fmt: skip
    runner.ends = [Outcome("done", outputs=tuple(outputs), result=DONE.result)]
    store.skip_job(store.claim_job("w", 30), "not this one")  # type: ignore[arg-type]
    arrivals.add(3)
    arrivals.close(queries, peers=("pacs", "archive", "gone"))
    _run(Work(config, store, queries, spool, runner, "w"), store)
    assert runner.requests[0].forms == pacs.gets.forms | archive.gets.forms
    sent = {output["name"]: [one["peer"] for one in output["deliveries"]] for output in _job(queries)["outputs"]}
    assert sent == {
        "burn-contours": ["pacs"], "heatmap=series": ["pacs", "archive", "gone"], "other": ["pacs", "archive", "gone"],
        "segmentation=binary": ["archive", "gone"], "report=tid1500": ["archive", "gone"],
    }  # fmt: skip
    done = [event for event in queries.events("study/1.2.3") if event.type == "job.done"][-1]
    assert done.body["outputs"]["burn-contours"]["form"] == "burn-contours"


def test_a_report_that_says_why_nothing_ran_is_sent_where_a_route_wants_it(
    store: Store, queries: Queries, spool: Spool, runner: Steered, arrivals: Arrivals
) -> None:
    config = Config(**{"route": (Route(name="chest", pipelines=("ct-lung",), say_unsuitable=True),)})
    runner.ends = [Outcome("skipped", "a phantom", DONE.outputs)]
    store.skip_job(store.claim_job("w", 30), "not this one")  # type: ignore[arg-type]
    arrivals.add(3)
    arrivals.close(queries)
    _run(Work(config, store, queries, spool, runner, "w"), store)
    assert runner.requests[0].say_unsuitable
    job = _job(queries)
    assert (job["state"], job["reason"]) == ("skipped", "a phantom")
    assert [one["peer"] for output in job["outputs"] for one in output["deliveries"]] == ["pacs"]


def test_what_is_known_of_a_job_that_ends_badly_is_stored_with_the_kind_of_its_end(
    work: Work, store: Store, queries: Queries, runner: Steered, arrivals: Arrivals, clock: Clock
) -> None:
    watched = {"completeness.why": "gap"}
    runner.ends = [Outcome("skipped", "gap: ...", features=watched)]
    _run(work, store)
    assert _job(queries)["features"]["completeness.why"] == "gap"
    ends: tuple[tuple[Outcome | Exception, str], ...] = (
        (Outcome("failed", "x", features={"device.Manufacturer": "X"}, cause="output"), "output"),
        (Outcome("retry", "x", cause="memory"), "memory"),
        (RunnerDied("ended by SIGSEGV"), "died"),
        (RunnerDied("over the time limit of 60 s"), "time-limit"),
    )
    for number, (end, kind) in enumerate(ends, 100):
        arrivals.add(number)
        arrivals.close(queries)
        runner.ends = [end, end]  # two attempts
        while _job(queries)["state"] == "due":
            _run(work, store)
            clock.tick(20)
        told = _job(queries)["features"]
        assert (told["service.failed"], told["service.failure"]) == (1.0, kind)
        assert told.get("device.Manufacturer") == ("X" if kind == "output" else None)
