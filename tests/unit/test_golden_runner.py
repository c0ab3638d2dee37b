"""The golden set through a real model process: what its warm-up measured, a run on demand, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from node import __version__
from node.cli import app
from node.golden import Golden
from node.runners.base import RunnerBroken
from node.runners.local import Local
from node.runners.record import code_digest
from node.spool import MAKING
from node.work import Work
from pipelines import registry
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
        told = {"overread": __version__, "pydicom": version("pydicom"), "code": code_digest()}
        assert told.items() <= first.software.items()
        assert (first.pipeline, first.model["name"], first.features["device.Modality"]) == ("tiny", "none", "CT")
        assert runner.take_golden() == ()
        [again] = runner.golden().result(60)
        assert compare(first, again) == ()
        waiting = runner.golden()
    finally:
        runner.stop()
    assert waiting.cancelled() or waiting.done(), "nothing is left that could start another process"


def test_a_golden_set_without_an_end_is_given_up_and_jobs_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch)
    runner = Local(working.config, ("tiny",))
    runner.start()
    try:
        runner.take_golden()
        runner._limit = 0.3
        os.kill(int(runner.pid or 0), signal.SIGSTOP)
        with pytest.raises(RunnerBroken, match="was not over after 0.3 s; the model process was ended"):
            runner.golden().result(60)
        assert runner.pid is None
        runner._limit = 200
        [again] = runner.golden().result(200)
        assert again.pipeline == "tiny"
    finally:
        runner.stop()


def test_the_command_gives_up_after_its_limit_and_leaves_the_files_of_a_running_node_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch)
    making = working.spool.incoming / MAKING.replace("*", "one")
    making.write_bytes(b"what the node's own model process writes")
    monkeypatch.setattr(registry, "_modules", lambda: {"tiny": "tiny"})
    config = tmp_path / "overread.toml"
    config.write_text(
        f'[node]\nspool = "{working.spool.root}"\ndatabase = "sqlite:///{tmp_path / "overread.db"}"\n'
        '[work]\ndevice = "cpu"\n[[route]]\nname = "all"\npipelines = ["tiny"]\n'
    )

    def said(*words: str) -> Result:
        return CliRunner().invoke(app, ["golden", "-c", str(config), *words])

    assert "tiny: the first run" in said().output and making.exists()
    monkeypatch.setenv("TINY_EXAMPLE", "hang")
    began = time.monotonic()
    done = said("--limit", "5")
    assert isinstance(done.exception, RunnerBroken) and "not ready after 5 s" in str(done.exception)
    assert time.monotonic() - began < 60, "the pipeline hangs for ten minutes"
    assert [one.type for one in working.queries.events("pipeline/tiny")] == ["golden.recorded"]


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
