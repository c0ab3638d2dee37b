"""A made-up site with two detectors that takes chest radiographs of phantoms, and the ways in which it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from models.training.projections import Patient, project_patient
from models.training.xray_samples import frontal_shot
from pipelines.examples import radiograph

SIZE = 224  # pixels: small, so that many studies fit
BODIES = 4  # projected patients; each study is another exposure of one of them, with findings of its own
FIRST_BODY = 9000  # seed; the models were trained on others
SHARE = 0.2  # of the studies that have a given finding
DX1 = {"Manufacturer": "Alpha", "ManufacturerModelName": "Alpha DX-1", "StationName": "DX1"}
DX2 = {"Manufacturer": "Alpha", "ManufacturerModelName": "Alpha DX-2", "StationName": "DX2"}
NEW = {"Manufacturer": "Beta", "ManufacturerModelName": "Beta X", "StationName": "DX3"}
_MARK = np.array([[1, 1, 0, 0, 1, 1, 1], [1, 1, 0, 0, 1, 1, 1], [1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1],
                  [1, 1, 1, 1, 1, 1, 1]], dtype=bool).repeat(2, 0).repeat(2, 1)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """What differs from the usual. `scanner`: every second study comes from one that nobody has seen; `noise`: sd of
    what is added to the pixels (0..1) after they were sharpened; `share`: of each finding; `marks`: a metal token is
    burned into each image."""

    scanner: bool = False
    noise: float = 0.0
    share: float = SHARE
    marks: bool = False


USUAL = Change()


@dataclass
class Site:
    """Draws its studies one after another; the same `seed` gives the same studies. DX-2, which takes three in ten,
    writes MONOCHROME1."""

    folder: Path
    seed: int = 1
    count: int = 0
    bodies: list[Patient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        if not self.bodies:
            self.bodies = [
                project_patient(FIRST_BODY + body, lower=False, coarse=1.8) for body in range(BODIES)
            ]  # fmt: skip

    def study(self, change: Change = USUAL) -> Path:
        """Write the next study, of one image; another patient each time."""
        rng = self.rng
        self.count += 1
        body = self.bodies[int(rng.integers(len(self.bodies)))]
        shot = frontal_shot(body, rng, SIZE, share=change.share)
        image = shot.image[shot.place.part].astype(np.float64)
        device: dict[str, Any] = dict(DX2 if rng.random() < 0.3 else DX1)
        if change.scanner and rng.random() < 0.5:
            device = dict(NEW)
        if change.noise:
            image += 0.7 * (image - ndimage.gaussian_filter(image, 2.0)) + rng.normal(0, change.noise, image.shape)
        if change.marks:
            row, column = (int(rng.integers(4, 12)) for _ in range(2))
            image[row : row + _MARK.shape[0], column : column + _MARK.shape[1]][_MARK] = 1.0
        stored = np.rint(4095 * np.clip(image, 0, 1)).astype(np.uint16)
        if device["StationName"] == DX2["StationName"]:
            stored = (4095 - stored).astype(np.uint16)
            device |= {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
        name = f"site {self.seed} study {self.count}"
        [path] = radiograph(
            stored, self.folder / str(self.count), seed=name, BitsStored=12, HighBit=11,
            PatientSex=str(rng.choice(["F", "M"])), PatientAge=f"{int(rng.integers(25, 90)):03d}Y",
            KVP=str(rng.choice(["110", "120", "125"], p=[0.2, 0.6, 0.2])), Exposure=str(int(rng.integers(2, 8))), **device,
        )  # fmt: skip
        return path
