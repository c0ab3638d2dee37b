"""One thing that monitoring has seen: a study that a pipeline ran on, a label, or a review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Observation:
    """`seq`, `at` (seconds since the epoch): of its event; `family`: (pipeline, model version with the digest of its
    weights, site); `seen`: channel or feature -> value, None where it is missing."""

    seq: int
    at: float
    family: tuple[str, str, str]
    study_uid: str
    seen: Mapping[str, Any]
