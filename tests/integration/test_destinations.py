"""One run, two destinations: each gets its own forms over DICOM, and a study that is not suitable is answered too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node import config as configuration
from node import peers
from pipelines.outputs.placement import content_items
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.nodes import RunningNode, StandInPacs, as_modality, stand_in_pacs

PEER = """
[[peer]]
name = "images"
ae-title = "PACS"
host = "127.0.0.1"
port = {port}
profile = "images-only"
key-objects = true
root = true
"""


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInPacs]:
    with stand_in_pacs(tmp_path_factory.mktemp("pacs")) as pacs:
        yield pacs


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInPacs]:
    with stand_in_pacs(tmp_path_factory.mktemp("images")) as images:
        yield images


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs: StandInPacs, images: StandInPacs) -> Iterator[RunningNode]:
    node = RunningNode(tmp_path_factory.mktemp("node"), pacs.port)
    text = node.path.read_text().replace('send-to = ["pacs"]', 'send-to = ["pacs", "images"]\nsay-unsuitable = true')
    node.path.write_text(text.replace("[[route]]", PEER.format(port=images.port) + "[[route]]"))
    node.config = configuration.load(node.path)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def send(node: RunningNode, folder: Path, slices: int) -> Study:
    chest_study(folder, seed=slices, slices=slices, matrix=128)
    study = Study.from_folder(folder)
    config, peer = as_modality(node)
    assert all(answer.stored for answer in peers.store(config, peer, [one.path for one in study.instances]))
    return study


def came(pacs: StandInPacs, study: Study) -> dict[str, list[Dataset]]:
    """What a destination holds of a study, by Series Description without the model's name."""
    found: dict[str, list[Dataset]] = {}
    for files in pacs.stored().values():
        for path in files:
            dataset = dcmread(path, stop_before_pixels=True)
            if dataset.StudyInstanceUID == study.StudyInstanceUID:
                found.setdefault(dataset.SeriesDescription.split(maxsplit=3)[3], []).append(dataset)
    return found


def test_each_destination_gets_the_forms_of_its_profile(
    node: RunningNode, pacs: StandInPacs, images: StandInPacs, tmp_path: Path
) -> None:
    study = send(node, tmp_path / "study", 32)
    [job] = node.wait_settled(study.StudyInstanceUID)["jobs"]
    sent = {output["name"]: sorted(one["peer"] for one in output["deliveries"]) for output in job["outputs"]}
    [root] = [name for name in sent if name.startswith("root-")]
    assert sent == {
        "segmentation": ["pacs"], "report": ["pacs"], "heatmap": ["images", "pacs"], "burn-contours": ["images"],
        "key-objects": ["images"], root: ["images"],
    }  # fmt: skip
    assert set(came(pacs, study)) == {"segmentation", "report", "heatmap"}
    shown = came(images, study)
    assert set(shown) == {"contours", "heatmap", "key images", "results"}
    listed = {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in content_items(shown["results"][0])
              if item.ValueType in ("IMAGE", "COMPOSITE")}  # fmt: skip
    assert listed == {str(one.SOPInstanceUID) for what in ("contours", "heatmap", "key images") for one in shown[what]}


def test_a_study_that_is_not_suitable_is_answered_with_the_reason(
    node: RunningNode, pacs: StandInPacs, images: StandInPacs, tmp_path: Path
) -> None:
    study = send(node, tmp_path / "study", 8)
    [job] = node.wait_settled(study.StudyInstanceUID)["jobs"]
    assert job["state"] == "skipped" and "has 8 slices" in job["reason"]
    [report] = came(pacs, study)["report"]
    told = [item.TextValue for item in content_items(report) if item.ValueType == "TEXT"]
    assert any("has 8 slices, at least 20 are wanted" in text for text in told)
    assert node.queries.verify()[1] is None
