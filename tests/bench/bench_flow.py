"""From the last instance to the last result at the PACS: what the node adds to the quiet time and the forward pass.

A phantom chest CT of 300 slices of 512 x 512 goes through a real node to DCMTK's storescp, so that what the PACS does
with the results is not of our making; without DCMTK to the demo's stand-in PACS. Reach: at most 5 s.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pydicom import dcmread

from node import peers
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.nodes import RunningNode, as_modality, running_node
from tests.peers import stand_in_pacs, storescp

SLICES = 300
QUIET = 1.0  # seconds


def run() -> dict[str, Any]:
    """One study through a warm node; figures in seconds and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "study"
        chest_study(source, seed=3, slices=SLICES)
        study = Study.from_folder(source)
        with (
            _pacs(Path(folder) / "pacs") as (pacs, port),
            running_node(Path(folder) / "node", port, quiet_time=QUIET) as node,
        ):
            config, peer = as_modality(node)
            answers = list(peers.store(config, peer, [one.path for one in study.instances]))
            assert len(answers) == SLICES and all(answer.stored for answer in answers)
            settled = node.wait_settled(study.StudyInstanceUID, 600)
            memory = {name: _peak(node, name) for name in ("node", "receive", "close", "work", "models", "send")}
            held = [dcmread(path, stop_before_pixels=True) for path in (Path(folder) / "pacs").iterdir()]
            assert {str(one.Modality) for one in held} == {"OT", "SEG", "SR"}
    [job] = settled["jobs"]
    last = max(d["finished_at"] for output in job["outputs"] for d in output["deliveries"])
    total = last - settled["last_received_at"]
    forward = job["timings"]["run.predict"]
    return {
        "slices": SLICES, "pacs": pacs, "total_s": round(total, 2), "quiet_s": QUIET, "forward_pass_s": round(forward, 2),
        "overhead_s": round(total - QUIET - forward, 2),
        "stages_s": {name: round(took, 2) for name, took in job["timings"].items()},
        "close_s": round(settled["closed_at"] - settled["last_received_at"] - QUIET, 2),
        "send_s": round(last - job["finished_at"], 2),
        "result_mib": round(sum(f["size"] for o in job["outputs"] for f in o["files"]) / 2**20, 1),
        "peak_mib": memory,
    }  # fmt: skip


@contextmanager
def _pacs(folder: Path) -> Iterator[tuple[str, int]]:
    """Its name and port."""
    folder.mkdir()
    if Path("/usr/bin/storescp").exists():
        with storescp(folder, "PACS") as (port, _):
            yield "DCMTK storescp", port
    else:
        with stand_in_pacs(folder) as port:
            yield "stand-in", port


def _peak(node: RunningNode, name: str) -> int:
    """The process's peak resident memory in MiB (VmHWM)."""
    process: psutil.Process = node.loop(name)
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=2))
