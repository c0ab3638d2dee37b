"""Training images from projected patients: frontal chests with any findings together, and everything else that a node
may be sent as a chest radiograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.nets.xray_input import Place
from models.training.exposure import Rng, expose, sample_square
from models.training.lesions import FINDINGS
from models.training.nodules import nodule
from models.training.plates import PLATES
from models.training.projections import Finding, Patient, Shadow

VIEWS = ("frontal", "inverted", "lateral", "turned", "part", "abdomen", "limb", "skull", "animal", "breast", "other")
SHARE = 0.4  # of the images that have a given finding
# Images for the view check that each patient gives (belly and pelvis: each patient that has them).
VIEW_COUNTS = (9, 8, 4, 3, 3, 7, 2, 1, 2, 1, 1)
SIZE, VIEW_SIZE, CELL = 128, 96, 8


@dataclass(frozen=True)
class Shot:
    """One frontal image: ``image`` float32 (size, size) 0..1, ``labels`` bool (findings), ``masks`` float32 (findings,
    size, size): where each is seen."""

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    place: Place


def frontal_shot(patient: Patient, rng: Rng, size: int, share: float = SHARE, wild: bool = False) -> Shot:
    """The patient with each finding by chance ``share``, independently. ``wild``: for the view check, with exposures
    that hide findings, wider fields, and now and then a mirrored image."""
    rows, columns = patient.frontal.water.shape
    stack = np.zeros((2 + len(FINDINGS), rows, columns), np.float32)
    stack[0], stack[1] = patient.frontal.water, patient.frontal.bone
    labels = rng.random(len(FINDINGS)) < share
    for k, name in enumerate(FINDINGS):
        added = _added(patient, name, rng, stack[2:].any(0)) if labels[k] else []
        labels[k] = bool(added)
        for finding in added:
            stack[(0, *finding.part)] += finding.water
            stack[(2 + k, *finding.part)] = np.maximum(stack[(2 + k, *finding.part)], finding.mask)
    np.maximum(stack[0], 0, out=stack[0])
    window = _around_lungs(patient, rng, wild)
    # The same images must come out whatever is in them: what follows has a generator of its own.
    own = np.random.default_rng(int(rng.integers(2**62)))
    square, place = sample_square(stack, own, size, window, own.normal(0, 0.05), wild and own.random() < 0.15)
    return Shot(expose(own, square[0], square[1], place, wild), labels, square[2:].numpy(), place)


def _added(patient: Patient, name: str, rng: Rng, others: np.ndarray) -> list[Finding]:
    """One or some of the patient's variants of a finding; nodules only where no ``others`` (bool) are."""
    most = {"Opacity": 2, "Nodule": 3, "Effusion": 2}.get(name, 1)
    count = int(rng.integers(1, most + 1))
    if name == "Nodule":
        return [found for found in (nodule(patient, rng, others) for _ in range(count)) if found is not None]
    variants = patient.findings.get(name, ())
    return [variants[at] for at in rng.permutation(len(variants))[:count]]


def _around_lungs(patient: Patient, rng: Rng, wild: bool) -> tuple[float, float, float, float]:
    shown_rows, shown_columns = (np.flatnonzero(patient.lungs.any(axis)) for axis in (1, 0))
    if not len(shown_rows):
        return 90.0, 95.5, 150.0, 150.0
    top, bottom, left, right = shown_rows[0], shown_rows[-1], shown_columns[0], shown_columns[-1]
    tall, wide = float(bottom - top), float(right - left)
    most = 0.3 if wild else 0.17
    height = tall * (1 + rng.uniform(0.02, most) + rng.uniform(0.02, most))
    width = wide * rng.uniform(1.05, 1 + 2 * most)
    # The field is mostly near a square; it may cut into a long lung, but not much.
    height, width = max(height, width * 0.72), max(width, height * 0.72)
    row = (top + bottom) / 2 + rng.normal(0, 0.05) * tall
    return row, (left + right) / 2 + rng.normal(0, 0.04) * wide, height, width


@dataclass(frozen=True)
class Roll:
    """All images of one patient: ``images`` uint8 (shots, SIZE, SIZE), ``labels`` bool (shots, findings), ``cells``
    float16 (shots, findings, SIZE / CELL, SIZE / CELL): the share of each cell where a finding is seen; ``views`` uint8
    (count, VIEW_SIZE, VIEW_SIZE) and ``kinds`` uint8: their index in VIEWS; 0 is outside of an image. ``masks`` bool
    (shots, findings, SIZE, SIZE) where they were asked for."""

    seed: int
    images: np.ndarray
    labels: np.ndarray
    cells: np.ndarray
    views: np.ndarray
    kinds: np.ndarray
    masks: np.ndarray | None = None


def roll_of(patient: Patient, shots: int, masks: bool = False) -> Roll:
    """``shots`` frontal images of a patient, and those that it gives to the view check."""
    rng = np.random.default_rng([patient.seed, 160])
    taken = [frontal_shot(patient, rng, SIZE) for _ in range(shots)]
    grid = SIZE // CELL
    cells = [shot.masks.reshape(-1, grid, CELL, grid, CELL).mean((2, 4)) for shot in taken]
    views, kinds = [], []
    for kind, count in enumerate(VIEW_COUNTS):
        if VIEWS[kind] == "abdomen" and patient.lower is None:
            continue
        for _ in range(count):
            views.append(_stored(*view_shot(patient, rng, VIEW_SIZE, VIEWS[kind])))
            kinds.append(kind)
    return Roll(
        patient.seed,
        np.stack([_stored(shot.image, shot.place) for shot in taken]),
        np.stack([shot.labels for shot in taken]),
        np.stack(cells).astype(np.float16),
        np.stack(views),
        np.array(kinds, np.uint8),
        np.stack([shot.masks > 0.5 for shot in taken]) if masks else None,
    )


def _stored(image: np.ndarray, place: Place) -> np.ndarray:
    """In eight bits, which is what many files have."""
    out = np.zeros(image.shape, np.uint8)
    out[place.part] = np.rint(1 + 254 * image[place.part])
    return out


def view_shot(patient: Patient, rng: Rng, size: int, name: str) -> tuple[np.ndarray, Place]:
    """An image of the class ``name`` of VIEWS; of all but the frontal ones some are negatives, and some turned."""
    if name in ("frontal", "inverted"):
        shot = frontal_shot(patient, rng, size, share=0.25, wild=True)
        return (_negative(shot.image, shot.place) if name == "inverted" else shot.image), shot.place
    if name == "turned":
        shot = frontal_shot(patient, rng, size, share=0.2, wild=True)
        quarters = int(rng.integers(1, 4))
        image, place = np.rot90(shot.image, quarters).copy(), shot.place
        if quarters % 2:
            place = Place(place.left, place.top, place.width, place.height)
        return (_negative(image, place) if rng.random() < 0.35 else image), place
    shadow, window, turn = _other(name, patient, rng)
    stack = np.stack([shadow.water, shadow.bone]).astype(np.float32)
    square, place = sample_square(stack, rng, size, window, turn, bool(rng.random() < 0.5))
    image = expose(rng, square[0], square[1], place, wild=True)
    return (_negative(image, place) if rng.random() < 0.35 else image), place


def _other(name: str, patient: Patient, rng: Rng) -> tuple[Shadow, tuple[float, float, float, float], float]:
    """What is projected for a view that is not frontal, the window on it, and how far it is turned (radians)."""
    quarter = float(rng.choice([0, 1, 2, 3])) * np.pi / 2
    if name == "lateral":
        columns = patient.lateral.water.shape[1]
        height = rng.uniform(120, 190)
        window = 85 + rng.normal(0, 12), columns / 2 + rng.normal(0, 8), height, height * rng.uniform(0.7, 1.0)
        return patient.lateral, window, rng.normal(0, 0.08)
    if name == "part":
        # A shoulder, some ribs, a corner of one lung.
        rows, columns = patient.frontal.water.shape
        side = rng.uniform(40, 85)
        column = rng.uniform(0.05, 0.33) if rng.random() < 0.5 else rng.uniform(0.67, 0.95)
        window = rng.uniform(0.1, 0.9) * rows, column * columns, side, side * rng.uniform(0.7, 1.3)
        return patient.frontal, window, rng.normal(0, 0.2)
    if name == "abdomen" and patient.lower is not None:
        rows, columns = patient.lower.water.shape
        side = rng.uniform(60, 110) if rng.random() < 0.5 else rng.uniform(120, 190)
        row, column = (n * (0.5 + rng.normal(0, 0.14)) for n in (rows, columns))
        turn = quarter if rng.random() < 0.15 else rng.normal(0, 0.06)
        return patient.lower, (row, column, side, side * rng.uniform(0.7, 1.3)), turn
    makers = PLATES[name]
    shadow = makers[int(rng.integers(len(makers)))](rng)
    rows, columns = shadow.water.shape
    side = rng.uniform(0.55, 1.1) * rows
    row, column = (n * (0.5 + rng.normal(0, 0.1)) for n in (rows, columns))
    turn = rng.normal(0, 0.15)
    if name in ("limb", "breast", "other") or rng.random() < 0.3:
        turn += quarter
    return shadow, (row, column, side, side * rng.uniform(0.6, 1.6)), turn


def _negative(image: np.ndarray, place: Place) -> np.ndarray:
    out = np.zeros_like(image)
    out[place.part] = 1 - image[place.part]
    return out
