"""The stop of a whole node: what runs may finish, nothing new begins, nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest

from node import peers
from node.errors import TryAgain
from node.sections import Peer
from tests.nodes import RunningNode, wait_until
from tests.peers import listening, node_config
from tests.senders import Sender, instance, write
from tests.versions import Place


def _job_in_mid_run(node: RunningNode) -> str:
    """A study whose job is claimed and cannot end, because the model process is held still. Its StudyInstanceUID."""
    node.loop("models").suspend()
    with Sender(node.port, ae_title="MODALITY") as sender:
        for number in range(3):
            assert sender.send(instance(number, study="1.2.7"))[0] == 0
    wait_until(
        lambda: any(job["state"] == "running" for job in (node.study("1.2.7") or {}).get("jobs", [])), 90, "a job"
    )
    return "1.2.7"


def _events(node: RunningNode) -> list[str]:
    return [event.type for event in node.queries.events("node")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_a_stop_lets_a_sender_finish_its_study_and_gives_the_running_job_back(place: Place) -> None:
    with place.node(changes={"quiet-time": "stop-grace = 8\nquiet-time"}) as (node, _):
        uid = _job_in_mid_run(node)
        with Sender(node.port, ae_title="MODALITY") as sender:
            assert sender.send(instance(1))[0] == 0
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "node.draining" in _events(node), 20, "node.draining")
            for number in range(2, 6):
                time.sleep(0.3)
                assert sender.send(instance(number))[0] == 0, "it was in the middle of its study"
            with pytest.raises(TryAgain, match="cannot be reached"):
                Sender(node.port, ae_title="MODALITY")
        assert node.process.wait(60) == 0
        [job] = node.study(uid)["jobs"]
        assert (job["state"], job["reason"], job["attempts"]) == ("due", "the node is stopping", 0)
        other = node.study("1.2.3")
        assert other is not None and other["instances"] == 5
        ends = [event.body["how"] for event in node.queries.events() if event.type == "association.ended"]
        assert ends[-1] == "released"
        assert _events(node) == ["node.started", "node.draining", "node.stopped"]
        assert node.queries.events("node")[-1].body == {"drained": True}
        node.start()
        wait_until(lambda: node.study(uid)["jobs"][0]["state"] == "skipped", 120, "the job after the start")
        assert node.study(uid)["jobs"][0]["attempts"] == 1


def test_a_second_signal_ends_the_node_at_once(place: Place) -> None:
    with place.node(changes={"quiet-time": "stop-grace = 200\nquiet-time"}) as (node, _):
        _job_in_mid_run(node)
        assert node.process is not None
        family = psutil.Process(node.process.pid).children(recursive=True)
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "node.draining" in _events(node), 20, "node.draining")
        time.sleep(1)
        assert node.process.poll() is None, "the job has its grace"
        node.process.send_signal(signal.SIGINT)
        assert node.process.wait(30) == 1
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
        assert node.queries.events("node")[-1].body == {"drained": False}
        assert node.queries.verify()[1] is None


def test_a_sender_that_falls_silent_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    begun = time.monotonic()
    with contextlib.ExitStack() as ending:
        with listening(tmp_path, stop_grace=60) as node:
            sender = ending.enter_context(Sender(node.port))
            assert sender.send(instance(1))[0] == 0
            begun = time.monotonic()
        assert 2 < time.monotonic() - begun < 15
        assert node.instances()[0]["file"].exists()


@pytest.mark.parametrize("at_once", [1, 2])
def test_answers_that_nobody_waits_for_any_more_end_in_a_release(tmp_path: Path, at_once: int) -> None:
    files = [write(tmp_path / "files", instance(number)) for number in range(1, 200)]
    with listening(tmp_path / "node") as node:
        config = node_config(tmp_path / "sender", ae_title="SENDER")
        peer = {"name": "node", "ae-title": "OVERREAD", "host": "127.0.0.1", "port": node.port, "associations": at_once}
        answers = peers.store(config, Peer(**peer), files)
        assert next(answers).stored
        answers.close()
        wait_until(lambda: len(node.events("association.ended")) == at_once, 20, "the end of each")
        assert {event["how"] for event in node.events("association.ended")} == {"released"}
        assert 1 <= len(node.instances()) < 199
