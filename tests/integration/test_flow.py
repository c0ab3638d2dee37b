"""The main way with real processes: a study goes in over DICOM, results come back to a PACS."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from node import peers
from node.telling import story
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests import recorded
from tests.commands import overread
from tests.nodes import RunningNode, StandInPacs, as_modality, running_node, stand_in_pacs, wait_until
from tests.peers import free_port


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInPacs]:
    with stand_in_pacs(tmp_path_factory.mktemp("pacs") / "store") as pacs:
        yield pacs


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs: StandInPacs) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node"), pacs.port) as node:
        yield node


@pytest.fixture
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Study:
    chest_study(tmp_path / "study", seed=zlib.crc32(request.node.name.encode()) % 10_000, slices=32, matrix=128)
    return Study.from_folder(tmp_path / "study")


def _send(node: RunningNode, study: Study, *paths: Path) -> None:
    config, peer = as_modality(node)
    answers = list(peers.store(config, peer, list(paths) or [one.path for one in study.instances]))
    assert all(answer.stored for answer in answers)


def _new_series(pacs: StandInPacs, study: Study) -> dict[str, list[Path]]:
    return {uid: files for uid, files in pacs.stored().items()
            if dcmread(files[0], stop_before_pixels=True).StudyInstanceUID == study.StudyInstanceUID}  # fmt: skip


def test_a_study_comes_back_as_segmentation_report_and_heatmap(
    node: RunningNode, pacs: StandInPacs, study: Study
) -> None:
    _send(node, study)
    settled = node.wait_settled(study.StudyInstanceUID)
    assert settled["reason"] == "association released, then quiet for 1 s"
    assert [output["name"] for output in settled["jobs"][0]["outputs"]] == ["segmentation", "report", "heatmap"]
    came = _new_series(pacs, study)
    heads = [dcmread(files[0], stop_before_pixels=True) for files in came.values()]
    assert sorted(head.Modality for head in heads) == ["OT", "SEG", "SR"]
    source = study.instances[0].header
    assert {(head.PatientID, str(head.PatientName)) for head in heads} == {(source.PatientID, str(source.PatientName))}
    assert node.queries.verify()[1] is None
    uid = study.StudyInstanceUID
    told = story.tell(uid, node.queries.events(f"study/{uid}"), node.queries.association)
    assert recorded.missing(told) == [], "the log holds all that the specification lists of an inference"


def test_a_late_instance_makes_a_second_revision_whose_report_names_the_first(
    node: RunningNode, pacs: StandInPacs, study: Study
) -> None:
    last = study.instances[-1].path
    _send(node, study, *[one.path for one in study.instances if one.path != last])
    first = node.wait_settled(study.StudyInstanceUID)
    _send(node, study, last)
    wait_until(lambda: node.study(study.StudyInstanceUID)["revision"] == 2, 20, "revision 2")
    second = node.wait_settled(study.StudyInstanceUID)
    assert [(job["revision"], job["state"]) for job in second["jobs"]] == [(1, "done"), (2, "done")]
    old = next(o["files"][0]["sop_uid"] for o in first["jobs"][0]["outputs"] if o["name"] == "report")
    new = next(o["files"][0]["sop_uid"] for o in second["jobs"][1]["outputs"] if o["name"] == "report")
    report = next(dcmread(path) for files in _new_series(pacs, study).values() for path in files
                  if dcmread(path, stop_before_pixels=True).SOPInstanceUID == new)  # fmt: skip
    named = [item.ReferencedSOPInstanceUID for study_item in report.PredecessorDocumentsSequence
             for series in study_item.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]  # fmt: skip
    assert old in named
    # Whatever a viewer sorts by, the newest comes last.
    heads = [dcmread(files[0], stop_before_pixels=True) for files in _new_series(pacs, study).values()]
    numbers = {one.SOPInstanceUID: int(one.SeriesNumber) for one in heads}
    times = {one.SOPInstanceUID: one.ContentDate + one.ContentTime for one in heads}
    assert numbers[new] > numbers[old] and times[new] > times[old]


def test_a_late_series_that_the_pipeline_does_not_read_does_not_run_it_again(
    node: RunningNode, pacs: StandInPacs, study: Study, tmp_path: Path
) -> None:
    _send(node, study)
    node.wait_settled(study.StudyInstanceUID)
    note = dcmread(study.instances[0].path)
    note.SeriesInstanceUID, note.SOPInstanceUID = note.SeriesInstanceUID + ".9", note.SOPInstanceUID + ".9"
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    note.save_as(tmp_path / "note.dcm")
    _send(node, study, tmp_path / "note.dcm")
    wait_until(lambda: node.study(study.StudyInstanceUID)["revision"] == 2, 20, "revision 2")
    settled = node.wait_settled(study.StudyInstanceUID)
    assert settled["jobs"][1]["state"] == "skipped" and settled["jobs"][1]["reason"].startswith("unchanged")
    assert len(_new_series(pacs, study)) == 3


def test_our_own_results_that_come_back_are_not_a_new_study(node: RunningNode, pacs: StandInPacs, study: Study) -> None:
    _send(node, study)
    node.wait_settled(study.StudyInstanceUID)
    results = [path for files in _new_series(pacs, study).values() for path in files]
    _send(node, study, *results)
    time.sleep(2.5)
    shown = node.study(study.StudyInstanceUID)
    assert shown is not None and (shown["revision"], shown["state"], len(shown["jobs"])) == (1, "ready", 1)


def test_an_unsuitable_study_is_skipped_with_a_reason_that_show_prints(node: RunningNode, study: Study) -> None:
    few = [one.path for one in study.instances][:5]
    _send(node, study, *few)
    settled = node.wait_settled(study.StudyInstanceUID)
    assert settled["jobs"][0]["state"] == "skipped" and "slices" in settled["jobs"][0]["reason"]
    run = overread("show", study.StudyInstanceUID, "-c", node.path)
    assert run.returncode == 0 and settled["jobs"][0]["reason"][:40] in run.stdout.replace("\n", " ")


def test_results_wait_for_a_pacs_that_is_away(tmp_path: Path, study: Study) -> None:
    port = free_port()
    with running_node(tmp_path / "node", port) as node:
        _send(node, study)
        wait_until(lambda: (node.study(study.StudyInstanceUID) or {}).get("jobs") and any(
            "cannot be reached" in (d["reason"] or "") and d["state"] == "due" for o in node.study(study.StudyInstanceUID)["jobs"][0]["outputs"]
            for d in o["deliveries"]), 60, "a delivery that waits")  # fmt: skip
        (tmp_path / "late").mkdir()
        pacs = StandInPacs(tmp_path / "late", port)
        try:
            node.wait_settled(study.StudyInstanceUID)
            assert pacs.modalities() == ["OT", "SEG", "SR"]
        finally:
            pacs.stop()


def test_the_same_study_gives_the_same_way_on_postgresql(
    tmp_path: Path, study: Study, postgres: object, pacs: StandInPacs
) -> None:
    with running_node(tmp_path / "node", pacs.port, database=postgres()) as node:  # type: ignore[operator]
        _send(node, study)
        assert node.wait_settled(study.StudyInstanceUID)["jobs"][0]["state"] == "done"
        assert node.queries.verify()[1] is None


def test_sigterm_ends_every_process_and_says_so_in_the_log(tmp_path: Path, pacs: StandInPacs) -> None:
    with running_node(tmp_path / "node", pacs.port) as node:
        assert node.process is not None
        family = [psutil.Process(node.process.pid), *psutil.Process(node.process.pid).children(recursive=True)]
        assert len(family) >= 6
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(30) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        assert [event.type for event in node.queries.events("node")] == ["node.started", "node.draining", "node.stopped"]


def test_a_second_node_on_the_same_spool_is_refused_in_one_line(node: RunningNode) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "node.cli", "serve", "-c", str(node.path)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2 and "in use by another running node" in run.stderr


def test_a_port_that_is_taken_stops_the_start_with_its_reason(tmp_path: Path, node: RunningNode) -> None:
    other = RunningNode(tmp_path / "node", free_port())
    other.path.write_text(other.path.read_text().replace(f"port = {other.port}", f"port = {node.port}", 1))
    run = subprocess.run(
        [sys.executable, "-m", "node.cli", "serve", "-c", str(other.path)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 1 and str(node.port) in run.stderr


def test_weights_that_were_changed_stop_the_start(tmp_path: Path, pacs: StandInPacs) -> None:
    from models.shelf import bundled

    package = tmp_path / "models" / "ct-lung"
    shutil.copytree(bundled() / "ct-lung", package)
    card = (package / "card.toml").read_text()
    (package / "card.toml").write_text(re.sub(r"(?m)^version = .*$", 'version = "99.0.0"', card, count=1))
    weights = next(package.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    other = RunningNode(tmp_path / "node", pacs.port)
    other.path.write_text(other.path.read_text().replace("[work]", f'[work]\nmodels = ["{tmp_path / "models"}"]'))
    run = subprocess.run(
        [sys.executable, "-m", "node.cli", "serve", "-c", str(other.path)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 1 and "sha256" in run.stderr


def test_what_was_acknowledged_is_on_disk_byte_for_byte(node: RunningNode, study: Study) -> None:
    _send(node, study)
    stored = node.wait_settled(study.StudyInstanceUID)
    by_uid = {one.sop_uid: one for one in node.queries.stored_instances(stored["id"])}
    for one in study.instances:
        sent = _dataset_bytes(one.path)
        kept = _dataset_bytes(node.config.node.spool / by_uid[one.SOPInstanceUID].path)
        assert kept == sent
        assert by_uid[one.SOPInstanceUID].digest == hashlib.sha256(sent).hexdigest()


def _dataset_bytes(path: Path) -> bytes:
    """What follows the file meta information (PS3.10, 7.1)."""
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def test_status_and_check_answer_as_json(node: RunningNode) -> None:
    for command in (["status"], ["check"], ["audit", "verify"]):
        run = overread(*command, "--json", "-c", node.path)
        assert json.loads(run.stdout), run.stderr
