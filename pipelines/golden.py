"""The golden set: what a pipeline makes of its own example, held against what it made of it before.

The example never changes, so whatever moved beyond the tolerance was changed: weights under an unchanged name, a step
before or after the network, a library, a device or its driver. It costs no false alarms and needs no patients.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from models.versions import software
from pipelines.base import Executed, Pipeline, execute, maker_of
from pipelines.study import Study

Features = Mapping[str, float | str | None]

# Pattern of a feature's name -> (by how much it may move, by which share of what it was): within the larger of the two.
# As much as float32 may differ between processors and library versions, with room to spare; the first that fits counts.
TOLERANCES: tuple[tuple[str, float, float], ...] = (
    (r"embedding", 0.0, 0.01),  # length of the difference, as a share of its own length
    (r"output\..+\.p", 0.005, 0.0),
    (r"output\..+\.volume", 0.05, 0.005),  # ml
    (r"output\..+\.(mean|sd)", 1.0, 0.0),  # HU
    (r"output\..+\.count", 1.0, 0.0),
    (r"output\..+\.(positive|empty)", 0.0, 0.0),
    (r"uncertainty\..+", 0.01, 0.01),
    (r".+", 1e-6, 1e-4),
)


@dataclass(frozen=True)
class Measured:
    """What one run of a golden study gave. `model`: name, version, digest; `study`: the digest of its instances;
    `software`: versions and device, which explain a difference and are none by themselves; `variant`: the name under
    which the node holds the pipeline (node.variants), where it is another than the pipeline's own."""

    pipeline: str
    pipeline_version: str
    model: Mapping[str, str]
    study: str
    software: Mapping[str, str]
    features: Features
    variant: str = ""


@dataclass(frozen=True)
class Moved:
    """One thing that is not what it was. `by`: how far a number moved, None for a category; `allowed`: tolerance."""

    name: str
    before: float | str | None
    now: float | str | None
    by: float | None = None
    allowed: float = 0.0

    def words(self) -> str:
        """For a person."""
        if self.by is None:
            return f"{self.name} was {_shown(self.before)}, is {_shown(self.now)}"
        if self.name == "embedding":
            return f"embedding moved by {self.by:.2%} of its length, {self.allowed:.2%} are allowed"
        return (f"{self.name} was {_shown(self.before)}, is {_shown(self.now)}: moved by {self.by:.4g}, "
                f"{self.allowed:.4g} are allowed")  # fmt: skip


def measured(pipeline: Pipeline, study: Study, executed: Executed, device: str, overread: str) -> Measured:
    """The record of a run on the pipeline's example. `overread`: our own version."""
    objects = ", ".join(f"{one.name} {len(one.kept)}" for one in executed.made)
    return Measured(
        pipeline.name, pipeline.version, dict(pipeline.model), study.digest, {"overread": overread, **software(device)},
        {**executed.features, "objects": objects or "none"},
    )  # fmt: skip


def run(pipeline: Pipeline, device: str, overread: str, created: datetime) -> Measured:
    """Run a pipeline on its example. Raises what `execute` raises."""
    study = pipeline.example()
    executed = execute(pipeline, study, pipeline.select(study), maker_of(pipeline, overread, created))
    return measured(pipeline, study, executed, device, overread)


def compare(before: Measured, now: Measured) -> tuple[Moved, ...]:
    """What moved beyond the tolerance, the model's digest first. Raises ValueError for runs of different studies."""
    if before.study != now.study:
        raise ValueError("two runs of different studies cannot be compared")
    moved = []
    if before.model["digest"] != now.model["digest"]:
        moved.append(Moved("model.digest", before.model["digest"], now.model["digest"]))
    return (*moved, *_features(before.features, now.features))


def _features(before: Features, now: Features) -> Iterator[Moved]:
    for name, was in sorted(before.items()):  # what is new since says nothing: a later version may know more
        is_ = now.get(name)
        absolute, relative = next(two for pattern, *two in TOLERANCES if re.fullmatch(pattern, name))
        if name == "embedding" and isinstance(was, str) and isinstance(is_, str):
            by = _apart(json.loads(was), json.loads(is_))
            if not by <= relative:
                yield Moved(name, None, None, by, relative)
        elif isinstance(was, float | int) and isinstance(is_, float | int):
            allowed = max(absolute, relative * abs(was))
            if not abs(is_ - was) <= allowed:
                yield Moved(name, was, is_, abs(is_ - was), allowed)
        elif was != is_ or name not in now:
            yield Moved(name, was, is_)


def _apart(before: list[float], now: list[float]) -> float:
    """The length of the difference as a share of the length before; 1 where they are not of one size."""
    if len(before) != len(now):
        return 1.0
    return math.dist(before, now) / max(math.hypot(*before), 1e-12)


def _shown(value: float | str | None) -> str:
    if value is None:
        return "missing"
    return (value if len(value) <= 40 else f"{value[:16]}…") if isinstance(value, str) else f"{value:.6g}"
