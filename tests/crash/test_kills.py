"""kill -9 of each process at each stage, then the node again: nothing acknowledged is lost, nothing arrives twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from node import peers
from node.errors import OverreadError
from node.spool import Spool
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.nodes import RunningNode, StandInPacs, as_modality, stand_in_pacs, wait_until


def _send_until_taken(node: RunningNode, study: Study, acknowledged: set[str]) -> None:
    """A modality that keeps its images until it hears success, as real ones do."""
    config, peer = as_modality(node)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        waiting = [one.path for one in study.instances if one.SOPInstanceUID not in acknowledged]
        if not waiting:
            return
        try:
            for answer in peers.store(config, peer, waiting):
                if answer.stored:
                    acknowledged.add(answer.sop_uid)
        except OverreadError:
            time.sleep(0.2)


def _stage(node: RunningNode, uid: str, stage: str) -> bool:
    study = node.study(uid)
    if study is None:
        return False
    if stage == "receiving":
        return study["instances"] >= 3
    if stage == "closing":
        return study["state"] == "receiving" and study["instances"] >= 24
    if stage == "running":
        return any(job["state"] == "running" for job in study["jobs"])
    return any(
        d["state"] == "sending" or d["state"] == "delivered"
        for job in study["jobs"]
        for o in job["outputs"]
        for d in o["deliveries"]
    )


@pytest.mark.parametrize(
    ("victim", "stage"),
    [("receive", "receiving"), ("close", "closing"), ("work", "running"), ("models", "running"), ("send", "sending"),
     ("node", "receiving"), ("node", "running"), ("node", "sending")],
)  # fmt: skip
def test_a_killed_process_loses_nothing_and_sends_nothing_twice(tmp_path: Path, victim: str, stage: str) -> None:
    chest_study(tmp_path / "study", seed=7, slices=32, matrix=128)
    study = Study.from_folder(tmp_path / "study")
    uid = study.StudyInstanceUID
    acknowledged: set[str] = set()
    with stand_in_pacs(tmp_path / "pacs") as pacs:
        node = RunningNode(tmp_path / "node", pacs.port)
        node.start()
        try:
            sender = threading.Thread(target=_send_until_taken, args=(node, study, acknowledged))
            sender.start()
            wait_until(lambda: _stage(node, uid, stage), 60, f"stage {stage}")
            node.loop(victim).kill()
            before = set(acknowledged)
            if victim == "node":
                assert node.process is not None
                node.process.wait()
                node.start()
            sender.join(90)
            assert not sender.is_alive() and len(acknowledged) == len(study.instances)
            settled = node.wait_settled(uid)
            _check(node, pacs, study, settled["id"], before | acknowledged)
        finally:
            node.stop()


def _check(node: RunningNode, pacs: StandInPacs, study: Study, study_id: int, acknowledged: set[str]) -> None:
    stored = {one.sop_uid: one for one in node.queries.stored_instances(study_id)}
    assert acknowledged <= set(stored)
    spool = Spool(node.config.node.spool)
    for one in study.instances:
        assert spool.path(stored[one.SOPInstanceUID].path).read_bytes().endswith(one.path.read_bytes()[-4096:])
    newest = node.study(study.StudyInstanceUID)
    assert newest is not None
    done = [job for job in newest["jobs"] if job["state"] == "done"]
    assert done and done[-1]["revision"] == newest["revision"]
    # One series of each kind for the newest revision, complete, and nothing that no job made.
    made = {output["series_uid"]: {f["sop_uid"] for f in output["files"]} for job in done for output in job["outputs"]}
    came = pacs.stored()
    assert set(came) == set(made)
    for series, uids in made.items():
        assert len(came[series]) == len(uids)
    if newest["revision"] == 1:
        assert pacs.modalities() == ["OT", "SEG", "SR"]
    assert node.queries.verify()[1] is None
