"""A real Orthanc pushes studies to us and takes what we send."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node import part10, peers
from node.sections import Peer
from tests.peers import Orthanc, listening, orthanc, real_data, storescp
from tests.senders import instance, write


def dataset(path: Path) -> bytes:
    return path.read_bytes()[part10.read_head(path).offset :]


def fill(pacs: Orthanc, files: list[Path]) -> list[str]:
    """Put files into Orthanc over REST; gives its study identifiers."""
    for path in files:
        pacs.ask("POST", "/instances", path.read_bytes())
    return pacs.ask("GET", "/studies")


def push(pacs: Orthanc, study: str, modality: str) -> dict:
    """Orthanc sends one of its studies to one of its modalities."""
    order = {"Resources": [study], "Synchronous": True, "Timeout": 60}
    return pacs.ask("POST", f"/modalities/{modality}/store", json.dumps(order))


@pytest.mark.parametrize("case", ["o01-ct-chest-lidc0314", "o06-ct-fruit-study-adit1001", "o15-mr-brain-t1-fnndsc"])
def test_orthanc_pushes_a_study_and_every_instance_of_it_is_here(tmp_path, case):
    files = [path for path in sorted(real_data(case).rglob("*.dcm")) if path.read_bytes()[128:132] == b"DICM"]
    with (
        listening(tmp_path / "node") as node,
        storescp(tmp_path / "reference") as (port, _),
        orthanc(tmp_path / "pacs", {"node": ("OVERREAD", node.port), "reference": ("STORESCP", port)}) as pacs,
    ):
        (study,) = fill(pacs, files)
        pacs.ask("POST", "/modalities/node/echo", "{}")
        for modality in ("node", "reference"):
            told = push(pacs, study, modality)
            assert (told["InstancesCount"], told["FailedInstancesCount"]) == (len(files), 0)
        rows = node.instances()
        assert {row["sop_uid"] for row in rows} == {part10.read_head(path).sop_uid for path in files}
        # Orthanc writes group lengths anew, so the files are no measure of what it sent; a storescp that keeps bits is.
        reference = {dataset(path) for path in (tmp_path / "reference").iterdir()}
        assert {dataset(row["file"]) for row in rows} == reference
        assert node.rows("select distinct ended from associations") == [{"ended": "released"}]
        assert push(pacs, study, "node")["FailedInstancesCount"] == 0
        assert len(node.rows("select * from instances")) == len(files)


def test_what_we_send_to_orthanc_is_there_under_its_study(tmp_path):
    files = [write(tmp_path / "in", instance(number, pixels=60_000)) for number in range(12)]
    with listening(tmp_path / "node") as node, orthanc(tmp_path / "pacs") as pacs:
        peer = Peer(**{"name": "pacs", "ae-title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port})
        assert peers.echo(node.config, peer).ok
        for _ in range(2):  # a resend of the same objects is no error
            assert all(answer.stored for answer in peers.store(node.config, peer, files))
        statistics = pacs.ask("GET", "/statistics")
        assert (statistics["CountStudies"], statistics["CountInstances"]) == (1, 12)
