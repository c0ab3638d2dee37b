"""Made-up sites that take chest radiographs and chest CTs of phantoms, and the ways in which they change."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from models.training.phantoms import chest_phantom
from models.training.projections import Patient, project_patient
from models.training.xray_samples import frontal_shot
from pipelines.examples import ct_study, radiograph

SIZE = 224  # pixels of a radiograph: small, so that many studies fit
BODIES = 4  # patients; each study is another exposure of one of them
FIRST_BODY = 9000  # seed; the models were trained on others
SHARE = 0.2  # of the radiographs that have a given finding
DX1 = {"Manufacturer": "Alpha", "ManufacturerModelName": "Alpha DX-1", "StationName": "DX1"}
DX2 = {"Manufacturer": "Alpha", "ManufacturerModelName": "Alpha DX-2", "StationName": "DX2"}
NEW = {"Manufacturer": "Beta", "ManufacturerModelName": "Beta X", "StationName": "DX3"}
CT1 = {"Manufacturer": "Alpha", "ManufacturerModelName": "Alpha CT", "StationName": "CT1"}
HEIGHT, FIELD, MATRIX = 320.0, 360.0, 96  # mm, mm, pixels of a CT
_MARK = np.array([[1, 1, 0, 0, 1, 1, 1], [1, 1, 0, 0, 1, 1, 1], [1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1],
                  [1, 1, 1, 1, 1, 1, 1]], dtype=bool).repeat(2, 0).repeat(2, 1)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """What differs from the usual. Of radiographs: `scanner`: every second study comes from one that nobody has seen;
    `share`: of each finding; `marks`: a metal token is burned into each image. Of CTs: `slices` that cover the chest;
    `lost`: images that do not arrive. Of both: `noise`: sd (of 0..1, or HU) of what is added to the pixels after they
    were sharpened, which no header tells."""

    scanner: bool = False
    noise: float = 0.0
    share: float = SHARE
    marks: bool = False
    slices: int = 40
    lost: int = 0


USUAL = Change()


class Site(Protocol):
    """Draws its studies one after another; the same `seed` gives the same studies."""

    def study(self, change: Change = USUAL) -> list[Path]:
        """Write the next study; another patient each time."""


@dataclass
class Radiography:
    """A site with two detectors. DX-2, which takes three in ten, writes MONOCHROME1."""

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

    def study(self, change: Change = USUAL) -> list[Path]:
        """Of one image."""
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
        return radiograph(
            stored, self.folder / f"dx {self.count}", seed=f"site {self.seed} study {self.count}", BitsStored=12, HighBit=11,
            KVP=str(rng.choice(["110", "120", "125"], p=[0.2, 0.6, 0.2])), Exposure=str(int(rng.integers(2, 8))),
            **_person(rng), **device,
        )  # fmt: skip


@dataclass
class Tomography:
    """A site with one scanner."""

    folder: Path
    seed: int = 2
    count: int = 0
    bodies: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def study(self, change: Change = USUAL) -> list[Path]:
        """Of `change.slices` images, less those that are lost."""
        rng = self.rng
        self.count += 1
        spacing = (HEIGHT / change.slices, FIELD / MATRIX, FIELD / MATRIX)
        hu = self._body(int(rng.integers(BODIES)), change.slices, spacing).astype(np.float32)
        if change.noise:
            hu += 0.7 * (hu - ndimage.gaussian_filter(hu, (0, 1, 1))) + rng.normal(0, change.noise, hu.shape)
        hu += rng.normal(0, rng.uniform(8, 16), hu.shape)
        hu += rng.normal(0, 6)  # how well it was calibrated on that day
        paths = ct_study(
            np.clip(np.rint(hu), -1024, 3071).astype(np.int16), spacing, self.folder / f"ct {self.count}",
            seed=f"site {self.seed} study {self.count}", KVP=str(rng.choice(["100", "120"], p=[0.3, 0.7])),
            Exposure=str(int(rng.integers(40, 120))), XRayTubeCurrent=str(int(rng.integers(80, 300))), **_person(rng), **CT1,
        )  # fmt: skip
        gone = int(rng.integers(10, change.slices - 10 - change.lost))
        return paths[:gone] + paths[gone + change.lost :]

    def _body(self, body: int, slices: int, spacing: tuple[float, float, float]) -> np.ndarray:
        if (body, slices) not in self.bodies:
            shape = (slices, MATRIX, MATRIX)
            self.bodies[body, slices] = chest_phantom(
                FIRST_BODY + body, shape, spacing, posture="supine", quarter_turn=0.0
            ).hu
        return self.bodies[body, slices]


def _person(rng: np.random.Generator) -> dict[str, str]:
    return {"PatientSex": str(rng.choice(["F", "M"])), "PatientAge": f"{int(rng.integers(25, 90)):03d}Y"}
