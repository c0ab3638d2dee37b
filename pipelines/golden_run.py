"""Runs the golden set: a pipeline on its example and on the example's twins. Only model processes import this, for it
decodes pixels."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from pipelines import twins
from pipelines.base import Pipeline, Unsuitable, execute, maker_of
from pipelines.golden import Features, Measured, Moved, differences
from pipelines.study import Series
from pipelines.twins import Twin

_OF_RESULTS = r"output\.|embedding|completeness\.(cut-off|inverted)"


def run(
    pipeline: Pipeline, software: Mapping[str, str], created: datetime, variant: str | None = None
) -> Measured:  # fmt: skip
    """Run a pipeline on its example and look at the twins. `software`: versions by name, that of Overread among them.
    Raises what `execute` raises."""
    study = pipeline.example()
    series = pipeline.select(study)
    executed = execute(pipeline, study, series, maker_of(pipeline, software["overread"], created))
    objects = ", ".join(f"{one.name} {len(one.kept)}" for one in executed.made)
    return Measured(
        variant or pipeline.name, pipeline.name, pipeline.version, dict(pipeline.model), study.digest, dict(software),
        {**executed.features, "objects": objects or "none"}, twins_apart(pipeline, series, executed.features),
    )  # fmt: skip


def twins_apart(pipeline: Pipeline, series: Series, features: Features) -> tuple[Moved, ...]:
    """What is wrong with the twins of a series of the example. `features`: what the pipeline makes of that."""
    with tempfile.TemporaryDirectory(prefix="overread-twins-") as folder:
        found = twins.of(series, pipeline.accepts.geometry, Path(folder))
        return tuple(one for twin in found for one in _apart(pipeline, twin, features))


def _apart(pipeline: Pipeline, twin: Twin, features: Features) -> Iterator[Moved]:
    """Where a twin is read otherwise than the example, or else where the pipeline makes something else of it; of the
    features those that do not depend on the order of images."""
    name, placed = f"twin {twin.name}", pipeline.accepts.geometry
    try:
        before, now = (twins.read(one, placed) for one in (twin.of, twin.study.series[0]))
        same = [np.array_equal(one, other) for one, other in zip(before, now, strict=False)]
        if len(before) != len(now) or not all(same):
            yield Moved(name, "read as the example", f"other in {same.count(False)} of {len(now)} images")
        elif twin.runs:
            run = pipeline.run(twin.study, pipeline.select(twin.study))
            kept = {key: value for key, value in features.items() if re.match(_OF_RESULTS, key)}
            yield from (replace(one, name=f"{name}, {one.name}") for one in differences(kept, run.features))
    except Unsuitable as error:
        yield Moved(name, "taken", f"refused: {error.reason}")
