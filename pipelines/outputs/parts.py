"""What outputs are made of: segments, measurements, findings and key regions. Plain data that a pipeline fills in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.outputs.codes import Code


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation.

    `number`: its value in the label map, 1, 2, 3, ... without holes. `colour`: CIELab (L* 0..100, a* and b* -128..127).
    `tracking_id`: the name that the report's measurement group shares with it.
    """

    number: int
    label: str
    category: Code
    type: Code
    modifier: Code | None
    region: Code | None
    colour: tuple[float, float, float]
    tracking_id: str


@dataclass(frozen=True)
class Measurement:
    """A number with its coded name and unit; `derivation`: how it was summed up, such as codes.MEAN."""

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None


@dataclass(frozen=True)
class Evaluation:
    """Something said in words or by code: a coded name, and a coded value or text."""

    name: Code
    value: Code | str


@dataclass(frozen=True, eq=False)
class KeyRegion:
    """Where a reader should look: the frame's index in the volume, and a closed outline on it.

    `polygon`: float array (points, 2) of (column, row) in index coordinates, where pixel centres lie on integers.
    """

    frame: int
    polygon: np.ndarray


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that was looked for. With `key`: a measurement group; without: the negative result is said in words.

    `tracking_id`: that of the segment, where there is one. `type`: what was found. `site` and `laterality`: where.
    `segment`: number of the segment that it measures, or None.
    """

    tracking_id: str
    type: Code
    site: Code | None
    laterality: Code | None
    key: KeyRegion | None
    measurements: tuple[Measurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    segment: int | None = None
