"""Writing the outputs of 300 slices: a SEG with two segments, two reports, a heatmap series; beside dcmqi's SEG alone.

In a process of its own, which holds volume, masks and probabilities as the model process does, and spreads the work over
copies of itself. Reach: at most 6 s and 1.5 GB on 2 cores.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from node.spool import Spool
from node.spreading import spread_over_processes
from pipelines.base import Released, make
from pipelines.outputs.profiles import PROFILES
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from pipelines.volume import Volume
from tests.results import MAKER, SEGMENTS, case

SLICES = 300


def run() -> dict[str, Any]:
    """Seconds, MiB and objects of ours; seconds and MiB of dcmqi where it is installed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        chest_study(folder / "study", seed=3, slices=SLICES)
        context = multiprocessing.get_context("spawn")
        found: dict[str, Any] = {"slices": SLICES, "missing": {}}
        for name, work in (("masks", _masks), ("overread", _overread), ("dcmqi", _dcmqi)):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_apart, args=(work, folder, theirs))
            process.start()
            theirs.close()
            told = ours.recv()
            process.join()
            if isinstance(told, str):
                found["missing"][name] = told
            elif told:
                found[name] = told
    return found


def _apart(work: Any, folder: Path, pipe: Any) -> None:
    pipe.send(work(folder))


def _masks(folder: Path) -> None:
    """Air inside the body, the left half as 1 and the right half as 2, and an image of it for dcmqi."""
    volume = Volume.from_series(Study.from_folder(folder / "study").series[0])
    masks = np.zeros(volume.voxels.shape, np.uint8)
    inner = np.s_[:, 100:400, 80:432]
    masks[inner] = volume.voxels[inner] < -500
    masks[:, :, 256:] *= 1
    masks[:, :, :256] *= 2
    np.save(folder / "masks.npy", masks)
    image = SimpleITK.GetImageFromArray(masks)
    steps = volume.affine[:3, [2, 1, 0]]
    lengths = np.linalg.norm(steps, axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetDirection((steps / lengths).ravel().tolist())
    image.SetOrigin(volume.affine[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(folder / "masks.nrrd"))


def _overread(folder: Path) -> dict[str, Any]:
    study = Study.from_folder(folder / "study")
    masks = np.load(folder / "masks.npy")
    one = case(study, masks, SEGMENTS)
    spool = Spool(folder / "spool")

    def take(released: Released) -> int:
        spool.put_result(released.parts, study.StudyInstanceUID, released.SOPInstanceUID, "0" * 64)
        return sum(map(len, released.parts))

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on: what made the case is not looked at
    began = time.perf_counter()
    outputs = (one.segmentation, one.report, one.heatmap)
    made, seconds = make(outputs, study, MAKER, take, spread_over_processes, PROFILES["ohif"].forms)
    spool.sync_results(study.StudyInstanceUID)
    took = time.perf_counter() - began
    status = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) // 1024
    return {
        "seconds": round(took, 2), "peak_mib": peak,
        "peak_mib_of_a_copy": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "objects": {output.name: len(output.kept) for output in made},
        "mib": round(sum(sum(output.kept) for output in made) / 2**20, 1),
        "processor_seconds": {name: round(took, 2) for name, took in seconds.items()},
    }  # fmt: skip


def _dcmqi(folder: Path) -> dict[str, Any] | str:
    beside = Path(sys.executable).with_name("itkimage2segimage")
    tool = str(beside) if beside.exists() else shutil.which("itkimage2segimage")
    if tool is None:
        return "itkimage2segimage (pip: dcmqi) is not installed"
    lung = {"CodeValue": "39607008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Lung"}
    organ = {"CodeValue": "91723000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}
    segments = [
        {"labelID": number, "SegmentAlgorithmType": "AUTOMATIC", "SegmentAlgorithmName": "bench",
         "SegmentedPropertyCategoryCodeSequence": organ, "SegmentedPropertyTypeCodeSequence": lung}
        for number in (1, 2)
    ]  # fmt: skip
    (folder / "meta.json").write_text(json.dumps({
        "ContentCreatorName": "bench", "SeriesDescription": "bench", "SeriesNumber": "1", "InstanceNumber": "1",
        "segmentAttributes": [segments],
    }))  # fmt: skip
    began = time.perf_counter()
    subprocess.run(
        [tool, "--inputImageList", str(folder / "masks.nrrd"), "--inputDICOMDirectory", str(folder / "study"),
         "--inputMetadata", str(folder / "meta.json"), "--outputDICOM", str(folder / "dcmqi.dcm"), "--skip"],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return {"seconds": round(took, 2), "peak_mib": peak, "objects": {"segmentation": 1}}
