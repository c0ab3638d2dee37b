"""The main job on a real chest CT with peers that we did not write: DCMTK and Orthanc push it, Orthanc gets the results,
and other people's validators read them there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.nodes import RunningNode
from tests.peers import ENVIRONMENT, Orthanc, need, orthanc, real_data
from tests.peers import free_port as _free_port
from tests.validators import dciodvfy, pixelmed_sr

CASE = "o01-ct-chest-lidc0314"


@dataclass
class Journey:
    """Both ways of one study: what was sent, what the node says, and the results as files out of Orthanc."""

    source: list[Dataset]
    settled: dict[str, Any]
    results: dict[str, list[Path]]  # Modality -> files


@pytest.fixture(scope="module", params=["storescu", "dcmsend", "orthanc"])
def journey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    folder = real_data(CASE)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM")
    if request.param != "orthanc":
        need(request.param, "dcmtk")
    base = tmp_path_factory.mktemp(request.param)
    node_port = _free_port()
    with orthanc(base / "pacs", {"node": ("OVERREAD", node_port)}) as pacs:
        node_folder = base / "node"
        node = RunningNode(node_folder, pacs.dicom_port)
        node.path.write_text(node.path.read_text().replace(f"port = {node.port}", f"port = {node_port}", 1))
        node = _reloaded(node)
        node.start()
        try:
            _push(request.param, files, node_port, pacs)
            source = [dcmread(path, stop_before_pixels=True) for path in files]
            settled = node.wait_settled(source[0].StudyInstanceUID, 240)
            yield Journey(source, settled, _fetch(pacs, settled, base / "results"))
        finally:
            node.stop()


def _reloaded(node: RunningNode) -> RunningNode:
    from node import config

    node.config = config.load(node.path)
    return node


def _push(how: str, files: list[Path], port: int, pacs: Orthanc) -> None:
    if how == "orthanc":
        for path in files:
            pacs.ask("POST", "/instances", path.read_bytes())
        [study] = pacs.ask("GET", "/studies")
        told = pacs.ask(
            "POST", "/modalities/node/store", json.dumps({"Resources": [study], "Synchronous": True, "Timeout": 120})
        )
        assert told["FailedInstancesCount"] == 0
        return
    command = [need(how, "dcmtk"), "-aet", "MODALITY", "-aec", "OVERREAD", "127.0.0.1", str(port), *map(str, files)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def _fetch(pacs: Orthanc, settled: dict[str, Any], folder: Path) -> dict[str, list[Path]]:
    folder.mkdir()
    found: dict[str, list[Path]] = {}
    made = {one["sop_uid"] for job in settled["jobs"] for output in job["outputs"] for one in output["files"]}
    for uid in made:
        [key] = pacs.ask("POST", "/tools/lookup", uid)
        path = folder / f"{uid}.dcm"
        path.write_bytes(pacs.ask("GET", f"/instances/{key['ID']}/file"))
        found.setdefault(str(dcmread(path, stop_before_pixels=True).Modality), []).append(path)
    return found


def test_every_output_arrives_under_the_same_patient_and_study(journey: Journey) -> None:
    source = journey.source[0]
    assert sorted(journey.results) == ["OT", "SEG", "SR"]
    assert (len(journey.results["SEG"]), len(journey.results["SR"])) == (1, 1)
    for paths in journey.results.values():
        for path in paths:
            head = dcmread(path, stop_before_pixels=True)
            for keyword in (
                "PatientID",
                "PatientName",
                "PatientBirthDate",
                "PatientSex",
                "StudyInstanceUID",
                "StudyID",
                "AccessionNumber",
            ):
                assert head.get(keyword, "") == source.get(keyword, ""), keyword


def test_dciodvfy_finds_no_error_in_any_object(journey: Journey) -> None:
    for modality, paths in journey.results.items():
        for path in paths if modality != "OT" else [*paths[:2], paths[-1]]:
            assert dciodvfy(path) == [], modality


def test_pixelmed_finds_no_error_in_the_report(journey: Journey) -> None:
    [report] = journey.results["SR"]
    assert pixelmed_sr(report) == []


def test_every_frame_of_the_segmentation_lies_on_its_source_slice(journey: Journey) -> None:
    [path] = journey.results["SEG"]
    seg = dcmread(path)
    positions = {str(one.SOPInstanceUID): np.array(one.ImagePositionPatient, float) for one in journey.source}
    assert len(seg.PerFrameFunctionalGroupsSequence) > 60
    for frame in seg.PerFrameFunctionalGroupsSequence:
        named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(place - positions[str(named)]).max() < 0.01


def test_the_volumes_of_the_report_are_those_of_the_mask(journey: Journey) -> None:
    [path] = journey.results["SEG"]
    seg = dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    z = sorted({float(one.ImagePositionPatient[2]) for one in journey.source})
    ml = (z[-1] - z[0]) / (len(z) - 1) * float(shared.PixelSpacing[0]) * float(shared.PixelSpacing[1]) / 1000
    number = np.array(
        [
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            for frame in seg.PerFrameFunctionalGroupsSequence
        ]
    )
    frames = seg.pixel_array
    volumes = {
        str(one.SegmentLabel): float(frames[number == one.SegmentNumber].sum() * ml) for one in seg.SegmentSequence
    }
    [report] = journey.results["SR"]
    said = _volumes(dcmread(report))
    assert set(said) == {"Left", "Right"}
    for side, value in said.items():
        [label] = [label for label in volumes if side in label]
        assert value == pytest.approx(volumes[label], abs=0.1)


def _volumes(report: Dataset) -> dict[str, float]:
    """Laterality -> Volume (ml) of each measurement group."""
    found: dict[str, float] = {}

    def walk(item: Dataset) -> None:
        children = item.get("ContentSequence", [])
        name = item.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue")
        if name == "125007":  # Measurement Group
            texts = json.dumps(item.to_json_dict())
            side = "Left" if "7771000" in texts else "Right"
            for child in children:
                if child.ConceptNameCodeSequence[0].CodeValue == "118565006":
                    found[side] = float(child.MeasuredValueSequence[0].NumericValue)
        for child in children:
            walk(child)

    walk(report)
    return found


def test_left_and_right_are_the_patients_own(journey: Journey) -> None:
    """o01: the left lung is normal, the right one reduced by effusion and mass; HFS/FFS does not matter in LPS."""
    [path] = journey.results["SEG"]
    seg = dcmread(path)
    frames, labels = seg.pixel_array, {one.SegmentNumber: one.SegmentLabel for one in seg.SegmentSequence}
    x = {}
    for index, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        columns = np.nonzero(frames[index])[1]
        origin = float(frame.PlanePositionSequence[0].ImagePositionPatient[0])
        spacing = float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[1])
        direction = float(seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient[0])
        side = labels[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        x.setdefault(side, []).append(origin + direction * spacing * float(columns.mean()))
    left = np.mean(next(v for k, v in x.items() if "Left" in k))
    right = np.mean(next(v for k, v in x.items() if "Right" in k))
    assert left - right > 80, "LPS: x grows toward the patient's left"
