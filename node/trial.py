"""`overread try`: a pipeline on a folder of files, without network or database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from models.shelf import Shelf, bundled
from node import __version__
from node.config import nearest
from node.errors import ConfigError, Unsuitable
from pipelines import registry
from pipelines.base import execute, maker_of
from pipelines.outputs.profiles import PROFILES
from pipelines.study import Study


def run(
    name: str, folder: Path, out: Path, device: str, models: tuple[Path, ...], profile: str = "standard"
) -> dict[str, Any]:
    """Run pipeline `name` on the study in `folder`, write its objects, in the forms of `profile`, to `out`; what
    happened as plain data.

    Raises ConfigError for an unknown pipeline or profile, NotAStudy, and ModelError.
    """
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r}", f"no such profile{nearest(profile, list(PROFILES))}")
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
        series = pipeline.select(study)
        maker = maker_of(pipeline, __version__, datetime.now(UTC))
        executed = execute(pipeline, study, series, maker, forms=PROFILES[profile].forms)
    except Unsuitable as error:
        return told | {"outcome": "unsuitable", "reason": error.reason}
    out.mkdir(parents=True, exist_ok=True)
    outputs = []
    for made in executed.made:
        for released in made.kept:
            many = f"-{released.number:04d}" if len(made.kept) > 1 else ""
            (out / f"{made.name}{many}.dcm").write_bytes(released.content)
        what = {"name": made.name, "sop_class": UID(made.SOPClassUID).name, "series_uid": made.SeriesInstanceUID}
        outputs.append(what | {"instances": len(made.kept)})
    timings = {**executed.timings, "all": time.perf_counter() - begun}
    return told | {
        "outcome": "done", "series": executed.series.SeriesInstanceUID, "findings": dict(executed.findings),
        "features": dict(executed.features), "timings": {name: round(took, 3) for name, took in timings.items()},
        "outputs": outputs, "folder": str(out),
    }  # fmt: skip
