"""What monitoring costs: the share of a job's time that goes into its features. Reach: at most 3 %.

Each pipeline runs on a study of clinical size, twice; the second run counts. A job is what the model process does:
headers, pixels, model, outputs.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines import phantom_studies, registry
from pipelines.base import execute, maker_of
from pipelines.study import Study

REACH = 0.03


def run() -> dict[str, Any]:
    """For each pipeline: seconds of a job, of its features, their share, how many there are."""
    with tempfile.TemporaryDirectory() as place:
        studies = {
            "ct-lung": phantom_studies.chest_study(Path(place) / "ct", 3, slices=128, matrix=512),
            "cxr-triage": phantom_studies.radiograph_study(Path(place) / "dx", 3, size=2048),
        }
        return {name: _one(name, files) for name, files in studies.items()}


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A table for people."""
    made = [("pipeline", "job", "features", "share", "reach")]
    for name, one in found.items():
        if name != "bench":
            share = f"{one['share']:.2%} {'holds' if one['share'] <= REACH else 'MISSED'}"
            made.append(
                (name, f"{one['job']:.2f} s", f"{one['number']} in {one['features']:.3f} s", share, f"{REACH:.0%}")
            )
    return made


def _one(name: str, files: list[Path]) -> dict[str, Any]:
    pipeline = registry.load(name, device="cpu")
    for _ in range(2):
        began = time.perf_counter()
        study = Study.from_files(files)
        executed = execute(pipeline, study, pipeline.select(study), maker_of(pipeline, "0", datetime.now(UTC)))
        job = time.perf_counter() - began
    spent = executed.timings["features"] + executed.timings["run.features"]
    return {"job": round(job, 3), "features": round(spent, 4), "share": round(spent / job, 5),
            "number": len(executed.features)}  # fmt: skip
