"""`overread try`: a pipeline on a folder of files, without network or database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.shelf import Shelf, bundled
from node import __version__
from node.config import nearest
from node.errors import ConfigError, Unsuitable
from pipelines import registry
from pipelines.base import execute, maker_of
from pipelines.study import Study


def run(name: str, folder: Path, out: Path, device: str, models: tuple[Path, ...]) -> dict[str, Any]:
    """Run pipeline `name` on the study in `folder`, write its objects to `out`; what happened as plain data.

    Raises ConfigError for an unknown pipeline, NotAStudy, and ModelError.
    """
    if name not in registry.names():
        raise ConfigError(f"pipeline {name!r}", f"no such pipeline{nearest(name, sorted(registry.names()))}")
    begun = time.perf_counter()
    study = Study.from_folder(folder)
    pipeline = registry.load(name, Shelf(bundled(), *models), device)
    told: dict[str, Any] = {
        "pipeline": f"{pipeline.name} {pipeline.version}", "model": dict(pipeline.model),
        "study": study.StudyInstanceUID, "instances": len(study.instances), "other_files": study.skipped_files,
    }  # fmt: skip
    try:
        executed = execute(pipeline, study, maker_of(pipeline, __version__, datetime.now(UTC)))
    except Unsuitable as error:
        return told | {"outcome": "unsuitable", "reason": error.reason}
    out.mkdir(parents=True, exist_ok=True)
    outputs = []
    for made in executed.made:
        for number, dataset in enumerate(made.datasets, 1):
            many = f"-{number:04d}" if len(made.datasets) > 1 else ""
            dataset.save_as(out / f"{made.name}{many}.dcm", enforce_file_format=True)
        first = made.datasets[0]
        what = {"name": made.name, "sop_class": first.SOPClassUID.name, "series_uid": str(first.SeriesInstanceUID)}
        outputs.append(what | {"instances": len(made.datasets)})
    timings = {**executed.timings, "all": time.perf_counter() - begun}
    return told | {
        "outcome": "done", "series": executed.series.SeriesInstanceUID, "findings": dict(executed.findings),
        "features": dict(executed.features), "timings": {name: round(took, 3) for name, took in timings.items()},
        "outputs": outputs, "folder": str(out),
    }  # fmt: skip
