"""Release modes with a real node and a stand-in PACS: nothing arrives that must not, and what may arrives once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from node import faults
from node.decisions import Decisions
from tests.commands import Done, overread
from tests.nodes import RunningNode, StandInPacs, wait_until
from tests.versions import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def _command(node: RunningNode, *words: str) -> Done:
    return overread(*words, "-c", node.path)


def _process(node: RunningNode, *words: str, armed: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own: one that can die at a fault point, and that knows the pipeline of the tests."""
    environment = dict(os.environ) | ({faults.VARIABLE: str(armed)} if armed else {})
    command = [sys.executable, "-m", "node.cli", *words, "-c", str(node.path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def _states(node: RunningNode, study: str) -> list[tuple[str, str, list[str]]]:
    """Pipeline, state and states of deliveries of each job."""
    shown = node.study(study)
    assert shown is not None
    return [(job["pipeline"], job["state"], [d["state"] for o in job["outputs"] for d in o["deliveries"]])
            for job in shown["jobs"]]  # fmt: skip


def _said(pacs: StandInPacs) -> list[str]:
    """What the reports that arrived say, each as often as it arrived."""
    files = [path for files in pacs.stored().values() for path in files]
    return sorted(one for file in files for one in set(re.findall(r"Tiny \d\.\d\.\d\.", str(dcmread(file)))))


def _stays(true: Callable[[], bool], seconds: float = 1.5) -> bool:
    """Whether something holds for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not true():
            return False
        time.sleep(0.1)
    return True


SIGNED = ("--by", "Dr A", "--why", "a test")


def test_review_lets_out_what_a_person_accepts_once_and_nothing_else(place: Place, tmp_path: Path) -> None:
    armed = tmp_path / "faults"
    armed.mkdir()
    with place.node('mode = "review"') as (node, pacs):
        for study in ("1.2.3", "1.2.4"):
            place.send(node, study)
            node.wait_settled(study)
            assert _states(node, study) == [("tiny", "done", ["held"])]
        assert _stays(lambda: pacs.stored() == {})
        (armed / "review.releasing").write_text("kill")
        died = _process(node, "review", "accept", "1.2.3", *SIGNED, armed=armed)
        assert died.returncode == -signal.SIGKILL
        assert _states(node, "1.2.3") == [("tiny", "done", ["held"])], "killed before the commit: nothing is released"
        assert not [e for e in node.queries.events() if e.type == "review.given"]
        done = _command(node, "review", "accept", "1.2.3", *SIGNED)
        assert (done.returncode, "due now" in done.stdout) == (0, True), done.stderr
        assert _command(node, "review", "reject", "1.2.4", *SIGNED).returncode == 0
        wait_until(lambda: pacs.stored(), 60, "the accepted report")
        wait_until(lambda: _states(node, "1.2.3")[0][2] == ["delivered"], 60, "delivered")
        assert _command(node, "review", "accept", "1.2.3", *SIGNED).returncode == 0
        assert _stays(lambda: len(_said(pacs)) == 1)
        assert _states(node, "1.2.4") == [("tiny", "done", ["withdrawn"])]
        assert {str(dcmread(f).StudyInstanceUID) for files in pacs.stored().values() for f in files} == {"1.2.3"}
        assert _command(node, "review", "list").stdout == "nothing is held\n"
        refused = _command(node, "review", "accept", "9.9.9", *SIGNED)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1
        assert node.queries.verify()[1] is None


def test_a_job_that_runs_when_its_route_goes_into_review_does_not_slip_out(place: Place) -> None:
    with place.node() as (node, pacs):
        place.waits.touch()
        place.send(node, "1.2.3")
        wait_until(lambda: place.runs, 60, "a job that runs")
        done = _command(node, "route", "mode", "ct", "review", *SIGNED)
        assert done.returncode == 0, done.stderr
        node.loop("work").kill()  # the rerun meets the mode as well
        place.waits.unlink()
        node.wait_settled("1.2.3")
        assert _states(node, "1.2.3") == [("tiny", "done", ["held"])]
        assert _stays(lambda: pacs.stored() == {})
        assert _command(node, "route", "mode", "ct", "off", *SIGNED).returncode == 0
        place.send(node, "1.2.5")
        node.wait_settled("1.2.5")
        assert _states(node, "1.2.5") == []
        [closed] = [e.body for e in node.queries.events("study/1.2.5") if e.type == "study.closed"]
        assert closed["routes"] == {"ct": "matches, but is off: no job"}
        assert _command(node, "route", "mode", "ct", "live", *SIGNED).returncode == 0
        assert "held" in _states(node, "1.2.3")[0][2]
        place.send(node, "1.2.6")
        wait_until(lambda: _said(pacs) == ["Tiny 1.1.0."], 60, "a live result, of the highest version on the shelf")


def test_a_candidate_reads_the_same_studies_sends_nothing_and_goes_live_when_a_person_says_so(place: Place) -> None:
    place.add_code("2.0.0")
    with place.node('shadow = ["tiny@1.1.0", "tiny@code-2.0.0"]') as (node, pacs):
        place.send(node, "1.2.3")
        node.wait_settled("1.2.3")
        assert _states(node, "1.2.3") == [
            ("tiny", "done", ["delivered"]), ("tiny@1.1.0", "done", []), ("tiny@code-2.0.0", "done", []),
        ]  # fmt: skip
        found = Decisions(node.queries.engine).compare("1.0.0", "1.1.0")
        assert found.studies == 1 and found.findings[0].positive is not None
        assert found.findings[0].positive.only_new == 1 and found.findings[0].numbers["p"].mean == pytest.approx(0.5)
        told = _command(node, "compare", "1.0.0", "1.1.0")
        assert "tiny: model 1.0.0 (old) and 1.1.0 (new) on 1 studies that both read" in told.stdout, told.stderr
        uids = {file["sop_uid"] for job in node.study("1.2.3")["jobs"] for o in job["outputs"] for file in o["files"]}
        assert len(uids) == 3, "a candidate's objects are never those that go out"
        of_code = Decisions(node.queries.engine).compare("code-1.0.0", "code-2.0.0")
        assert of_code.studies == 1 and of_code.findings[0].numbers["p"].mean == pytest.approx(0.1)
        refused = _process(node, "promote", "tiny", "7.0.0", *SIGNED)
        assert refused.returncode == 1 and "no such model" in refused.stderr and refused.stderr.count("\n") == 1
        done = _process(node, "promote", "tiny", "1.1.0", *SIGNED)
        assert "1.0.0 is retired. Both have read 1 studies" in done.stdout, done.stderr
        [told] = [e.body for e in node.queries.events("pipeline/tiny") if e.type == "model.promoted"]
        assert (told["version"], told["replaced"], told["by"]) == ("1.1.0", "1.0.0", "Dr A")
        done = _process(node, "promote", "tiny", "code-2.0.0", *SIGNED)
        assert "code-1.0.0 is retired. Both have read 1 studies" in done.stdout, done.stderr
        assert node.queries.promoted() == {"tiny": "1.1.0+code-2.0.0"}
        place.send(node, "1.2.4")
        node.wait_settled("1.2.4")
        assert _states(node, "1.2.4") == [("tiny", "done", ["delivered"])], "live now, and not run twice"
        assert _said(pacs) == ["Tiny 1.0.0.", "Tiny 1.1.0."]
        made_by = node.study("1.2.4")["jobs"][0]["model"]
        assert (made_by["version"], made_by["pipeline_version"]) == ("1.1.0", "2.0.0")


def test_shadow_runs_and_records_and_sends_nothing(place: Place) -> None:
    with place.node('mode = "shadow"') as (node, pacs):
        place.send(node, "1.2.3")
        settled = node.wait_settled("1.2.3")
        assert _states(node, "1.2.3") == [("tiny", "done", [])]
        assert settled["jobs"][0]["features"]["output.spot.p"] == 0.8
        assert settled["jobs"][0]["outputs"][0]["files"]
        assert _stays(lambda: pacs.stored() == {})
        [closed] = [e.body for e in node.queries.events("study/1.2.3") if e.type == "study.closed"]
        assert closed["routes"] == {"ct": "matches; shadow: runs and records, sends nothing"}
