"""What is normal: the features of the studies that a person accepted as the baseline, and how it grows.

It is a table: one column for each feature, one row for each study, with the day. All else (ranks, shares, limits) is
derived from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from node.watch.ranks import is_missing

LARGEST = 20_000  # studies; the oldest leave first


@dataclass(frozen=True)
class Baseline:
    """`days`: day number (of any calendar) of each study; `columns`: feature -> values, None where missing.

    A value is a number, a category, or a whitened vector (list of numbers).
    """

    version: int
    days: tuple[int, ...]
    columns: Mapping[str, tuple[Any, ...]]

    def __post_init__(self) -> None:
        """ValueError: a column has another length than the days."""
        for name, values in self.columns.items():
            if len(values) != len(self.days):
                raise ValueError(f"column {name!r} has {len(values)} values for {len(self.days)} studies")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "version": self.version,
            "days": list(self.days),
            "columns": {name: list(values) for name, values in sorted(self.columns.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Baseline:
        """What `to_json` gave."""
        columns = {name: tuple(values) for name, values in data["columns"].items()}
        return cls(int(data["version"]), tuple(data["days"]), columns)

    def known(self, name: str) -> list[Any]:
        """The values of a column that are there."""
        return [value for value in self.columns[name] if not is_missing(value)]

    def design(self, name: str) -> float:
        """The design effect of a column: how much more its sums vary than those of as many independent studies."""
        return max(1.0, len(self.known(name)) / max(self.worth(name), 1.0))

    def worth(self, name: str) -> float:
        """How many independent studies the column is worth: fewer than it has where those of a day are alike."""
        pairs = [
            (day, value)
            for day, value in zip(self.days, self.columns[name], strict=True)
            if isinstance(value, int | float | str) and not is_missing(value)
        ]
        if not pairs:
            return float(len(self.known(name)))
        days = [day for day, _ in pairs]
        values = [value for _, value in pairs]
        if any(isinstance(value, str) for value in values):
            [(most, _)] = Counter(map(str, values)).most_common(1)
            values = [float(str(value) == most) for value in values]
        return len(values) / design_effect([float(value) for value in values], days)


def build(version: int, days: Sequence[int], studies: Sequence[Mapping[str, Any]]) -> Baseline:
    """From the features of each study, oldest first. A feature that a study lacks is missing there; NaN is missing."""
    names = sorted({name for study in studies for name in study})
    columns = {name: tuple(None if is_missing(study.get(name)) else study[name] for study in studies) for name in names}
    return Baseline(version, tuple(days), columns)


def design_effect(values: Sequence[float], days: Sequence[int]) -> float:
    """1 + (studies a day - 1) x correlation within a day (analysis of variance), at least 1.

    The correlation is that of ranks, so that single extreme values do not hide it.
    """
    x = np.argsort(np.argsort(np.asarray(values), kind="stable"), kind="stable").astype(float)
    _, ties = np.unique(np.asarray(values), return_inverse=True)
    x = (np.bincount(ties, x) / np.bincount(ties))[ties]  # equal values, equal ranks
    _, day = np.unique(np.asarray(days), return_inverse=True)
    sizes = np.bincount(day).astype(float)
    count, groups = sizes.sum(), len(sizes)
    if groups < 2 or count <= groups:
        return 1.0
    means = np.bincount(day, x) / sizes
    between = (sizes * (means - x.mean()) ** 2).sum() / (groups - 1)
    within = ((x - means[day]) ** 2).sum() / (count - groups)
    usual = (count - (sizes**2).sum() / count) / (groups - 1)
    total = between + (usual - 1) * within
    correlation = (between - within) / total if total > 0 else 0.0
    typical = (sizes**2).sum() / count
    return float(max(1.0, 1 + (typical - 1) * correlation))


def joined(baseline: Baseline, studies: Sequence[tuple[int, Mapping[str, Any]]]) -> Baseline:
    """The next version, with (day, features) of further studies at its end; of more than 20,000 the oldest leave."""
    keep = slice(max(0, len(baseline.days) + len(studies) - LARGEST), None)
    columns = {
        name: (*values, *(None if is_missing(one.get(name)) else one[name] for _, one in studies))[keep]
        for name, values in baseline.columns.items()
    }
    days = (*baseline.days, *(day for day, _ in studies))[keep]
    return Baseline(baseline.version + 1, days, columns)
