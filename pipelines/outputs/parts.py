"""What outputs are made of: segments, measurements, findings and key regions. Plain data that a pipeline fills in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.outputs import codes
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


@dataclass(frozen=True)
class Certainty:
    """How far the numbers of a result can be relied on, in words for its readers.

    `calibration`: whether a probability of 0.8 is right in 80 of 100 cases, and where that was measured.
    `uncertainty`: how unsure the model was here, with what the number means. `unlike_training`: whether the input lies
    outside of what the model knows; None: that is not assessed.
    """

    calibration: str
    uncertainty: str
    unlike_training: bool | None = None

    def evaluations(self) -> tuple[Evaluation, ...]:
        """What a report says of it."""
        known: dict[bool | None, Code | str] = {True: codes.YES, False: codes.NO, None: "not assessed"}
        return (Evaluation(codes.CALIBRATION, self.calibration), Evaluation(codes.UNCERTAINTY, self.uncertainty),
                Evaluation(codes.UNLIKE_TRAINING, known[self.unlike_training]))  # fmt: skip


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
