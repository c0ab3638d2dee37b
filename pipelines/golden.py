"""The golden set: what a pipeline makes of its own example, held against what it made of it before; and what it makes
of the example's twins, held against that. `pipelines.golden_run` runs it.

The example never changes, so whatever moved beyond the tolerance was changed: weights under an unchanged name, a step
before or after the network, a library, a device or its driver. A twin shows what is wrong with a way of writing images
that the example does not take, also where it was wrong from the first. It costs no false alarms and needs no patients.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
    """What one run of a golden study gave. `variant`: what ran, as the node calls it: a pipeline's name, or a name with
    the version of its model; `model`: name, version, digest; `study`: the digest of its instances; `software`: versions
    by name, and the device, which explain a difference and are none by themselves; `twins`: where the example's twins
    gave something else."""

    variant: str
    pipeline: str
    pipeline_version: str
    model: Mapping[str, str]
    study: str
    software: Mapping[str, str]
    features: Features
    twins: tuple[Moved, ...] = ()


@dataclass(frozen=True)
class Moved:
    """One thing that is not what it was, or in a twin not what it is in the example (`before`). `by`: how far a number
    moved, None for a category; `allowed`: tolerance."""

    name: str
    before: float | str | None
    now: float | str | None
    by: float | None = None
    allowed: float = 0.0

    def words(self) -> str:
        """For a person."""
        if self.by is None:
            return f"{self.name} was {_shown(self.before)}, is {_shown(self.now)}"
        if self.name.endswith("embedding"):
            return f"{self.name} moved by {self.by:.2%} of its length, {self.allowed:.2%} are allowed"
        return (f"{self.name} was {_shown(self.before)}, is {_shown(self.now)}: moved by {self.by:.4g}, "
                f"{self.allowed:.4g} are allowed")  # fmt: skip


def compare(before: Measured, now: Measured) -> tuple[Moved, ...]:
    """What moved beyond the tolerance, the model's digest first, and what is wrong with twins now. Raises ValueError
    for runs of different studies."""
    if before.study != now.study:
        raise ValueError("two runs of different studies cannot be compared")
    moved = []
    if before.model["digest"] != now.model["digest"]:
        moved.append(Moved("model.digest", before.model["digest"], now.model["digest"]))
    return (*moved, *differences(before.features, now.features), *now.twins)


def differences(before: Features, now: Features) -> Iterator[Moved]:
    """The features that moved beyond their tolerance."""
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
    if isinstance(value, str):  # a digest or a list of numbers says nothing to a person, a sentence does
        return value if len(value) <= 40 or " " in value else f"{value[:16]}…"
    return f"{value:.6g}"
