"""A model process that is killed, breaks, hangs or eats all memory: its study fails with the reason, the others go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.nodes import wait_until
from tests.tiny import Working

BAD = {
    "kill": ("the model process ended by SIGKILL (2 attempts)", 2),
    "segfault": ("the model process ended by SIGSEGV (2 attempts)", 2),
    "memory": ("out of memory at ", 2),
    "raise": ("ValueError at ", 1),  # a defect is the same each time
}


def test_poisonous_studies_fail_with_their_reasons_and_hold_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch, memory_limit=10**9)
    for number, how in enumerate(BAD):
        working.add(f"1.2.{number}.1", how)
        working.add(f"1.2.{number}.2")
    with working.running():
        assert Path(f"/proc/{working.runner.pid}/oom_score_adj").read_text().strip() == "500", "before the listener"
        working.wait(done=len(BAD), failed=len(BAD))
    runs = [uid for uid in working.runs() if uid.startswith("1.2.")]
    for number, (how, (reason, attempts)) in enumerate(BAD.items()):
        job = working.job(f"1.2.{number}.1")
        assert job["state"] == "failed" and job["reason"].startswith(reason), (how, job["reason"])
        assert job["attempts"] == runs.count(f"1.2.{number}.1") == attempts
    first = len(BAD) * 2
    assert len(set(runs[:first])) == first, "every study runs once before any runs again"
    assert working.queries.verify()[1] is None


def test_a_study_that_hangs_is_ended_at_the_limit_while_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch, time_limit=8)
    working.add("1.2.1", "hang")
    working.add("1.2.2")
    with working.running():
        wait_until(lambda: "1.2.1" in working.runs(), 100, "it runs")
        working.add("1.2.3")  # after the first attempt began, and yet before the second
        working.wait(300, done=2, failed=1)
    assert working.job("1.2.1")["reason"] == "over the time limit of 8 s (2 attempts)"
    assert [uid for uid in working.runs() if uid.startswith("1.2.")] == ["1.2.1", "1.2.2", "1.2.3", "1.2.1"]


def test_a_model_process_that_dies_idle_or_does_not_start_costs_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Working(tmp_path, monkeypatch)
    with working.running():
        text = working.module.read_text()
        working.module.write_text("raise RuntimeError('the device is gone')")
        assert working.runner.pid is not None
        os.kill(working.runner.pid, signal.SIGKILL)
        for number in range(3):
            working.add(f"1.2.{number}")
        wait_until(lambda: "RuntimeError" in str(working.job("1.2.0")["reason"]), 200, "a job that waits")
        assert working.queries.counts()["jobs"].keys() <= {"due", "running"}
        working.module.write_text(text)
        working.wait(done=3)
    assert {working.job(f"1.2.{number}")["attempts"] for number in range(3)} == {1}
