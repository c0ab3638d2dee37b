"""Projection phantoms: ray sums through the CT phantom, as a chest radiograph sees it, with its findings apart.

A projection is linear: the ray sum of a patient with a finding is that of the healthy patient plus that of what the
finding adds. So each patient is projected once, and each finding once, with where it lies; thousands of images with
any findings together are then made in two dimensions (:mod:`models.training.exposure`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.training.abdomen import paint_abdomen
from models.training.bones import paint_airway, paint_heart, paint_spine, paint_trunk
from models.training.canvas import BODY, LEFT, RIGHT, Canvas, Pose
from models.training.draws import Draws
from models.training.lesions import Lesion, lesions_of
from models.training.lungs import paint_lungs
from models.training.shapes import Point, curve, ellipsoid, paint_ellipsoid, paint_tube
from models.training.surroundings import paint_arms
from models.training.torso import Torso, build_torso

PIXEL = 2.4  # mm in the plane through the patient's middle
SPACING = (4.0, 5.0, 4.0)
FRONTAL = (204, 192)  # rows, columns
BONE_HU = 130.0


@dataclass(frozen=True)
class Shadow:
    """Ray sums (rows, columns): ``water`` mm of water that would weaken as much, ``bone`` the part of it that is bone.

    The first row is the head's (or the upper) end; in a frontal view the patient's left is at the last column.
    """

    water: np.ndarray
    bone: np.ndarray


@dataclass(frozen=True)
class Finding:
    """What one lesion adds to the ``water`` of a frontal Shadow, and where it is seen (bool), both on the part of the
    image that begins at ``first`` (row, column)."""

    water: np.ndarray
    mask: np.ndarray
    first: tuple[int, int]

    @property
    def part(self) -> tuple[slice, slice]:
        """The rows and columns that it covers."""
        r, c = self.first
        return slice(r, r + self.water.shape[0]), slice(c, c + self.water.shape[1])


@dataclass(frozen=True)
class Patient:
    """One healthy patient from the front and from the side, and findings that may be added: name -> variants.

    ``depth``: mm of lung on each ray; ``lower``: the belly and pelvis of the same patient, for some.
    """

    seed: int
    frontal: Shadow
    lateral: Shadow
    depth: np.ndarray
    findings: dict[str, tuple[Finding, ...]]
    lower: Shadow | None = None

    @property
    def lungs(self) -> np.ndarray:
        """Where the lungs are seen."""
        return self.depth > 12.0


def project_patient(seed: int, lower: bool | None = None, coarse: float = 1.0) -> Patient:
    """The patient of ``seed``; ``lower`` decides about belly and pelvis (by default every third has them). Some 2 s;
    with voxels ``coarse`` times as long it is quicker, and the image softer."""
    d = _draws(seed)
    z, y, x = (round(n / coarse) for n in (126, 78, 115))
    canvas, torso = _render(d, -300.0, (z, y, x), (SPACING[0] * coarse, SPACING[1] * coarse, SPACING[2] * coarse))
    camera = _camera(d, canvas, FRONTAL)
    lungs = (canvas.kind == LEFT) | (canvas.kind == RIGHT)
    found: dict[str, list[Finding]] = {}
    for name, lesion in lesions_of(canvas, d, torso):
        found.setdefault(name, []).append(_finding(camera, lesion))
    return Patient(
        seed,
        _shadow(camera, canvas.hu),
        _lateral(d, canvas),
        camera(lungs.astype(np.float32)).astype(np.float16),
        {name: tuple(variants) for name, variants in found.items()},
        _lower(seed) if (seed % 3 == 0 if lower is None else lower) else None,
    )


def _draws(seed: int) -> Draws:
    d = Draws(seed)
    rng = d.rng("radiograph")
    d.fixed |= {
        "healthy": True,
        "posture": "supine",
        "quarter_turn": 0.0,
        "rolled": False,
        "strong_shift": False,
        "ground_glass": False,
        "some_bullae": False,
        "pacemaker": False,
        "leads": False,
        # The space between a normal and an enlarged heart is left empty: who is in it is for a cardiologist to say.
        "heart": float(rng.uniform(0.78, 1.0)),
        "inspiration": float(rng.uniform(0.45, 1.0)),
        "lung_hu": float(rng.uniform(-900, -810)),
        "fat_class": float(rng.choice([4.0, 14.0, 28.0], p=[0.35, 0.45, 0.2])),
        "breasts": bool(rng.random() < 0.3),
        "arms": str(rng.choice(["down", "up"], p=[0.75, 0.25])),
        "lung_type": str(rng.choice(["normal", "emphysema", "expiration"], p=[0.86, 0.1, 0.04])),
    }
    return d


def _render(
    d: Draws, bottom: float, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[Canvas, Torso]:
    """A clean patient; distances lie on the very grid of the HU."""
    pose = Pose(
        shift=(0.0, 0.0, d.normal("off_x", 0, 8)),
        turn=d.uniform("slight_turn", -0.09, 0.09),
        lean=(d.normal("lean_x", 0, 0.03), d.normal("lean_y", 0, 0.05)),
        warp=d.uniform("warp", 1.5, 6.5),
        warp_wavelength=d.uniform("warp_wavelength", 70, 130),
    )
    places = (
        bottom + spacing[0] * np.arange(shape[0]),
        *(s * (np.arange(n) - (n - 1) / 2) for n, s in zip(shape[1:], spacing[1:], strict=True)),
    )
    canvas = Canvas(places, pose, d, step=min(spacing) * 1.2)
    d.choice("posture", ("supine",))
    d.choice("arms", ("up", "down"))
    torso = build_torso(canvas, d)
    paint_trunk(canvas, d, torso)
    paint_heart(canvas, d, torso)
    paint_spine(canvas, d, torso)
    paint_abdomen(canvas, d, torso)
    d.uniform("vessel_hu", 20, 90)
    paint_lungs(canvas, d, torso)
    paint_airway(canvas, d, torso)
    if d.chance("arms_seen", 0.8):
        paint_arms(canvas, d, torso)
    return canvas, torso


class Camera:
    """A point source and a flat detector: sums what lies on each ray, along axis 1 of a volume (z, depth, across)."""

    def __init__(
        self, places: tuple[np.ndarray, ...], shape: tuple[int, int], middle: float, distance: float, behind: bool
    ) -> None:
        """``distance``: mm from the source to the patient's middle; ``behind``: the source is at the high end of the
        depth; ``middle``: the height (mm) of the central ray."""
        z, depth, x = (np.asarray(p, float) for p in places)
        rows = middle + PIXEL * (np.arange(shape[0])[::-1] - (shape[0] - 1) / 2)
        columns = PIXEL * (np.arange(shape[1]) - (shape[1] - 1) / 2)
        self._shape, self._step = shape, float(depth[1] - depth[0])
        self._rays = []
        for at in depth:
            # Nearer to the source a ray has spread less.
            near = 1.0 - (at if behind else -at) / distance
            self._rays.append((_Line(z, middle + (rows - middle) * near), _Line(x, columns * near)))

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """Ray sums (rows, columns) of ``volume`` times mm."""
        total = np.zeros(self._shape, np.float32)
        for k in np.flatnonzero(volume.any((0, 2))):
            rows, columns = self._rays[k]
            total += columns.along(rows.along(np.ascontiguousarray(volume[:, k]), 0), 1)
        return total * np.float32(self._step)


class _Line:
    """Linear interpolation from the even places ``have`` to ``wanted``; nothing beyond the ends. Plain indexing, not
    matrix products: BLAS threads that wait for each other on a busy machine are many times slower."""

    def __init__(self, have: np.ndarray, wanted: np.ndarray) -> None:
        t = (wanted - have[0]) / (have[1] - have[0])
        base = np.floor(t).astype(int)
        share = (t - base).astype(np.float32)
        last = len(have) - 1
        self._parts = [
            (np.clip(at, 0, last), weight * ((at >= 0) & (at <= last)))
            for at, weight in ((base, 1 - share), (base + 1, share))
        ]

    def along(self, plane: np.ndarray, axis: int) -> np.ndarray:
        """``plane`` (two axes) interpolated along ``axis``."""
        (low, below), (high, above) = self._parts
        if axis == 0:
            return plane[low] * below[:, None] + plane[high] * above[:, None]
        return plane[:, low] * below + plane[:, high] * above


def _camera(d: Draws, canvas: Canvas, shape: tuple[int, int]) -> Camera:
    from_behind = d.chance("postero_anterior", 0.7)
    distance = d.uniform("source_distance", 1600, 1850) if from_behind else d.uniform("source_distance", 950, 1500)
    return Camera(canvas.places, shape, d.normal("central_ray", -45, 20), distance, from_behind)


def _shadow(camera: Camera, hu: np.ndarray) -> Shadow:
    return Shadow(
        np.maximum(camera((hu + 1000) / 1000), 0.0).astype(np.float16),
        camera(np.clip(hu - BONE_HU, 0, 1200) / 1000).astype(np.float16),
    )


def _finding(camera: Camera, lesion: Lesion) -> Finding:
    water = camera(lesion.hu / 1000)
    mask = camera(lesion.place) > lesion.least_mm
    touched = (np.abs(water) > 0.05) | mask
    rows, columns = (np.flatnonzero(touched.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Finding(np.zeros((1, 1), np.float16), np.zeros((1, 1), bool), (0, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Finding(water[part].astype(np.float16), mask[part], (int(rows[0]), int(columns[0])))


def _lateral(d: Draws, canvas: Canvas) -> Shadow:
    """From the side: depth is x, and what was depth runs across; front to the left or to the right."""
    z, y, x = canvas.places
    camera = Camera((z, x, y), (204, 160), d.facts.get("central_ray", -45.0), 1750.0, d.chance("from_left", 0.5))
    shadow = _shadow(camera, np.ascontiguousarray(canvas.hu.transpose(0, 2, 1)))
    if d.chance("front_right", 0.5):
        shadow = Shadow(shadow.water[:, ::-1], shadow.bone[:, ::-1])
    return shadow


def _lower(seed: int) -> Shadow:
    """Belly, pelvis, hips and thighs of the patient, from the front or from the side."""
    d = _draws(seed)
    canvas, torso = _render(d, -760.0, (116, 64, 92), (5.0, 6.0, 5.0))
    _pelvis(canvas, d, torso)
    middle = float(d.rng("lower_middle").choice([-360.0, -470.0, -560.0]))
    if d.chance("lower_lateral", 0.2):
        z, y, x = canvas.places
        side = Camera((z, x, y), (204, 160), middle, 1100.0, True)
        return _shadow(side, np.ascontiguousarray(canvas.hu.transpose(0, 2, 1)))
    return _shadow(Camera(canvas.places, FRONTAL, middle, 1100.0, False), canvas.hu)


def _pelvis(canvas: Canvas, d: Draws, t: Torso) -> None:
    sz, sy, sx = t.size
    hu = d.uniform("pelvis_hu", 350, 700)
    for side in (-1, 1):
        thigh = [(-540.0 * sz, 0.0, 95.0 * side * sx), (-800.0, -5.0, 100.0 * side * sx)]
        paint_tube(canvas, thigh, [105.0 * sx, 85.0 * sx], 40.0, BODY)
        # The wing of the ilium is a bowl; hip socket, neck, trochanter and shaft hang below it.
        bowl = np.abs(
            ellipsoid(canvas.at(canvas.all), (-455 * sz, 20 * sy, 78 * side * sx), (75 * sz, 62 * sy, 58 * sx))
        )
        half = np.maximum(bowl - 6, -(canvas.y - 5 * sy) * 0.6 - 20)
        canvas.paint(canvas.all, np.maximum(half, -(canvas.x * side - 20)), hu)
        socket: Point = (-535 * sz, 0.0, 88 * side * sx)
        paint_ellipsoid(canvas, socket, (34, 34, 30), hu)
        paint_ellipsoid(canvas, socket, (25, 25, 25), hu * 1.3)
        neck = curve([socket, (-560 * sz, 2.0, 128 * side * sx), (-600 * sz, 4.0, 132 * side * sx)], 6)
        paint_tube(canvas, neck, 17.0, hu)
        paint_tube(canvas, [(-575 * sz, 4, 132 * side * sx), (-800, 0, 112 * side * sx)], 15, 1100.0)
        paint_tube(canvas, [(-600 * sz, 4, 132 * side * sx), (-800, 0, 112 * side * sx)], 8, 100.0)
        ring = [(-575 * sz, -30 * sy, 8 * side), (-545 * sz, -20 * sy, 62 * side * sx), (-620 * sz, 0, 52 * side * sx)]
        paint_tube(canvas, [*ring, (-595 * sz, -25 * sy, 10 * side)], 9, hu)
    paint_ellipsoid(canvas, (-455 * sz, 70 * sy, 0), (60 * sz, 22, 48 * sx), hu * 0.7)
