"""`overread try`: a pipeline on the studies in a folder of files, without network or database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from models.shelf import Shelf, bundled
from node import __version__
from node.errors import ConfigError, Unsuitable
from node.sections import nearest
from pipelines import registry
from pipelines.base import Pipeline, execute, maker_of
from pipelines.outputs.profiles import PROFILES
from pipelines.study import NotAStudy, Study, by_study


def run(
    name: str, folder: Path, out: Path, device: str, models: tuple[Path, ...], profile: str = "standard"
) -> list[dict[str, Any]]:
    """Run pipeline `name` on each study in `folder`, write its objects, in the forms of `profile`, to `out` (to folders
    1, 2, ... of it where there are several studies); what happened to each as plain data.

    Raises ConfigError for an unknown pipeline or profile, NotAStudy where a single study cannot be read, and
    ModelError.
    """
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r}", f"no such profile{nearest(profile, list(PROFILES))}")
    if name not in registry.names():
        raise ConfigError(f"pipeline {name!r}", f"no such pipeline{nearest(name, sorted(registry.names()))}")
    studies, others = by_study(folder)
    only = Study.from_folder(folder) if len(studies) < 2 else None
    pipeline = registry.load(name, Shelf(bundled(), *models), device)
    if only is not None:
        return [_run(pipeline, only, out, profile)]
    told = []
    for number, files in enumerate(studies, 1):
        try:
            study = Study.from_files(files, skipped_files=others)
        except NotAStudy as error:
            told.append(_about(pipeline) | {"instances": len(files), "outcome": "unreadable", "reason": str(error)})
        else:
            told.append(_run(pipeline, study, out / str(number), profile))
    return told


def _about(pipeline: Pipeline) -> dict[str, Any]:
    return {"pipeline": f"{pipeline.name} {pipeline.version}", "model": dict(pipeline.model)}


def _run(pipeline: Pipeline, study: Study, out: Path, profile: str) -> dict[str, Any]:
    begun = time.perf_counter()
    told = _about(pipeline) | {
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
