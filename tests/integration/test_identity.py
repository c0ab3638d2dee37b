"""Corrections of demographics meet a real node: while a job runs, and while the PACS is down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node import peers
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.nodes import RunningNode, StandInPacs, as_modality, running_node, wait_until
from tests.peers import free_port

WRONG, RIGHT = "Wrong^Name", "Right^Name"


def written(folder: Path, seed: int, name: str) -> list[Path]:
    """The study of a seed, each time the same instance for instance, of a patient of this name."""
    paths = chest_study(folder, seed=seed, slices=32, matrix=128)
    for path in paths:
        dataset = dcmread(path)
        dataset.PatientName = name
        dataset.save_as(path)
    return paths


def push(node: RunningNode, paths: list[Path]) -> None:
    config, peer = as_modality(node)
    assert all(answer.stored for answer in peers.store(config, peer, paths))


def shown(node: RunningNode, uid: str) -> dict[str, Any]:
    return node.study(uid) or {"revision": 0, "jobs": [], "state": ""}


def deliveries(study: dict[str, Any]) -> list[tuple[int, str]]:
    """(revision, state) of each."""
    return [(job["revision"], d["state"]) for job in study["jobs"] for o in job["outputs"] for d in o["deliveries"]]


def names(pacs: StandInPacs) -> set[str]:
    """The patients' names on all that the PACS holds."""
    files = [path for of_series in pacs.stored().values() for path in of_series]
    return {str(dcmread(path, stop_before_pixels=True).PatientName) for path in files}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node on each database; its PACS is down until a test starts one."""
    url = "sqlite:///overread.db" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    with running_node(tmp_path_factory.mktemp("identity"), free_port(), database=url) as running:
        yield running


@contextmanager
def pacs_of(node: RunningNode, folder: Path) -> Iterator[StandInPacs]:
    """The node's PACS, empty, while it is up."""
    folder.mkdir()
    pacs = StandInPacs(folder, node.config.peer("pacs").port)
    try:
        yield pacs
    finally:
        pacs.stop()


def test_a_correction_while_the_job_runs_stops_its_result(tmp_path: Path, node: RunningNode) -> None:
    wrong, right = written(tmp_path / "wrong", 4711, WRONG), written(tmp_path / "right", 4711, RIGHT)
    uid = Study.from_files(wrong).StudyInstanceUID
    with pacs_of(node, tmp_path / "pacs") as pacs:
        models = node.loop("models")
        models.suspend()
        try:
            push(node, wrong)
            wait_until(lambda: [j for j in shown(node, uid)["jobs"] if j["state"] == "running"], 90, "a job that runs")
            push(node, right)
        finally:
            models.resume()
        wait_until(lambda: len(shown(node, uid)["jobs"]) > 1, 90, "the job of the corrected study")
        study = node.wait_settled(uid, 240)
        first, last = study["jobs"][0], study["jobs"][-1]
        assert (first["state"], first["outputs"]) == ("skipped", []) and first["reason"].startswith(
            "superseded: revision"
        )
        assert last["state"] == "done" and len(pacs.stored()) == 3 and names(pacs) == {RIGHT}
        assert node.queries.verify()[1] is None


def test_a_correction_while_the_pacs_is_down_withdraws_what_waits_for_it(tmp_path: Path, node: RunningNode) -> None:
    wrong, right = written(tmp_path / "wrong", 4712, WRONG), written(tmp_path / "right", 4712, RIGHT)
    uid = Study.from_files(wrong).StudyInstanceUID
    push(node, wrong)
    wait_until(lambda: deliveries(shown(node, uid)), 240, "deliveries that wait")
    push(node, right)
    with pacs_of(node, tmp_path / "pacs") as pacs:
        wait_until(lambda: len(shown(node, uid)["jobs"]) > 1, 90, "the job of the corrected study")
        study = node.wait_settled(uid, 240)
        assert names(pacs) == {RIGHT} and pacs.modalities() == ["OT", "SEG", "SR"]
    told = deliveries(study)
    newest = study["revision"]
    assert {state for revision, state in told if revision == 1} == {"withdrawn"}
    assert [state for revision, state in told if revision == newest] == ["delivered"] * 3
    reasons = {one.body["reason"] for one in node.queries.events(f"study/{uid}") if one.type == "delivery.withdrawn"}
    assert all(reason.startswith("superseded: ") and "Name" not in reason for reason in reasons)
