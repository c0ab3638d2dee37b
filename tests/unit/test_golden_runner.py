"""The golden set through a real model process: what its warm-up measured, a run on demand, and what a kill leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node.golden import Golden
from node.work import Work
from pipelines.golden import compare
from tests.nodes import wait_until
from tests.tiny import Working


def test_the_model_process_measures_at_its_start_and_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch)
    runner = working.runner
    runner.start()
    try:
        [first] = runner.take_golden()
        assert (first.pipeline, first.model["name"], first.features["device.Modality"]) == ("tiny", "none", "CT")
        assert runner.take_golden() == ()
        [again] = runner.golden().result(60)
        assert compare(first, again) == ()
        waiting = runner.golden()
    finally:
        runner.stop()
    assert waiting.cancelled() or waiting.done(), "nothing is left that could start another process"


def test_the_work_loop_puts_each_start_on_record_before_it_claims_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch, attempts=1)
    working.add("1.2.3", "kill")
    stop = threading.Event()
    working.runner.start()
    golden = Golden(working.store, working.runner, ("tiny",), every=0.5)
    work = Work(
        working.config, working.store, working.queries, working.spool, working.runner, "w", golden=golden
    )  # fmt: skip
    loop = threading.Thread(target=work.serve, args=(stop,))
    loop.start()
    try:
        working.wait(failed=1)
        wait_until(lambda: len(working.queries.events("pipeline/tiny")) >= 3, 120, "runs of the golden set")
    finally:
        stop.set()
        loop.join(60)
        working.runner.stop()
    assert not loop.is_alive()
    words = [one.type for one in working.queries.events("pipeline/tiny")]
    assert (words[0], set(words[1:])) == ("golden.recorded", {"golden.passed"})
    order = [one.type for one in working.queries.events() if one.type in ("golden.recorded", "job.claimed")]
    assert order[0] == "golden.recorded"
    assert working.job("1.2.3")["features"]["service.failure"] == "died"
