"""Odd real files sent over DICOM: each study ends in a definite state with a reason that `overread show` prints, nothing
crashes, the node still answers, and what was acknowledged is on disk byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node import part10, peers
from node.errors import OverreadError
from node.spool import Spool
from pipelines.study import is_dicom
from tests.commands import overread
from tests.nodes import RunningNode, StandInPacs, as_modality, running_node, stand_in_pacs, wait_until
from tests.peers import real_data

CASES = ["o06-ct-fruit-study-adit1001", "o10-transfer-syntaxes", "o11-odd-geometry", "o12-odd-files", "o13-foreign-results",
         "o14-other-modalities", "o15-mr-brain-t1-fnndsc"]  # fmt: skip


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInPacs]:
    with stand_in_pacs(tmp_path_factory.mktemp("odd") / "pacs") as pacs:
        yield pacs


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs: StandInPacs) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("odd-node"), pacs.port) as node:
        yield node


def _send_all(node: RunningNode, files: list[Path]) -> list[peers.Answer]:
    """Everything that can be sent at all; a broken association must not keep the rest back."""
    config, peer = as_modality(node)
    answers: list[peers.Answer] = []
    for path in files:
        try:
            answers.extend(peers.store(config, peer, [path]))
        except OverreadError as error:
            answers.append(peers.Answer(path, "", None, str(error), stored=False, final=True))
    return answers


@pytest.mark.parametrize("case", CASES)
def test_every_study_of_the_case_ends_in_a_definite_state(case: str, node: RunningNode) -> None:
    files = [
        path
        for path in sorted(real_data(case).rglob("*"))
        if path.is_file() and path.suffix not in (".md", ".json", ".gz") and is_dicom(path)
    ]
    pids = {name: node.loop(name).pid for name in ("node", "receive", "close", "work", "send", "models")}
    before = _revisions(node)
    answers = _send_all(node, files)
    stored = [answer for answer in answers if answer.stored]
    assert stored, [answer.reason for answer in answers]
    wait_until(lambda: not node.queries.open_studies(), 60, "every study closed")

    spool, held = Spool(node.config.node.spool), {}
    for uid, _ in sorted(_revisions(node) - before):
        settled = node.wait_settled(uid)
        for one in node.queries.stored_instances(settled["id"]):
            held.setdefault(one.sop_uid, set()).add(_dataset(spool.path(one.path)))
        closed = [event for event in node.queries.events(f"study/{uid}") if event.type == "study.closed"][-1]
        reasons = [job["reason"] or job["state"] for job in settled["jobs"]] or [closed.body["refused"]]
        assert all(job["state"] in ("done", "skipped") for job in settled["jobs"]), reasons
        shown = overread("show", uid, "-c", node.path)
        assert shown.returncode == 0 and all(reason[:60] in shown.stdout.replace("\n", " ") for reason in reasons)
    last = {answer.sop_uid: answer.path for answer in stored}  # of one UID sent with other bytes the newest counts
    for uid, path in last.items():
        assert _dataset(path) in held[uid], path.name
    config, peer = as_modality(node)
    assert peers.echo(config, peer).ok
    assert {name: node.loop(name).pid for name in pids} == pids, "a process died on the way"
    assert node.queries.verify()[1] is None


def _revisions(node: RunningNode) -> set[tuple[str, int]]:
    return {(study["study_uid"], study["revision"]) for study in node.queries.recent_studies(500)}


def _dataset(path: Path) -> bytes:
    return path.read_bytes()[part10.read_head(path).offset :]
