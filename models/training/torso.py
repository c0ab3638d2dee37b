"""The trunk of a phantom: skin, wall, rib cage, mediastinum, diaphragm and the two pleural spaces as distances.

Body positions: z = 0 at the carina, y = 0 in the middle of the chest, x = 0 the midline. Sizes are those of an adult,
varied from child-like to very large; they are rounded figures of general anatomy, not measured on any data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.training.canvas import Canvas
from models.training.draws import Draws
from models.training.shapes import along, capsule, cross_section, ellipsoid, smooth_max, smooth_min


@dataclass(frozen=True)
class Torso:
    """Distances in mm on the whole field grid, and the numbers other organs need."""

    skin: np.ndarray
    wall: np.ndarray
    cage: np.ndarray
    mediastinum: np.ndarray
    left: np.ndarray
    right: np.ndarray
    belly: np.ndarray
    dome_left: float
    dome_right: float
    apex: float
    fat: float
    size: tuple[float, float, float]
    gravity: tuple[float, float]


def build_torso(canvas: Canvas, d: Draws) -> Torso:
    """Draw the trunk of a patient as distances on the canvas; paints nothing."""
    build = d.normal("build", 1.0, 0.09)
    sz, sy, sx = (build * d.normal(f"size_{a}", 1.0, s) for a, s in zip("zyx", (0.08, 0.12, 0.08), strict=True))
    z, y, x = canvas.z / sz, canvas.y / sy, canvas.x / sx
    apex = d.normal("apex", 92, 10)
    fat = d.choice("fat_class", (4.0, 14.0, 28.0, 48.0), (0.22, 0.4, 0.25, 0.13)) * d.uniform("fat", 0.7, 1.3)
    breath = d.uniform("inspiration", 0.0, 1.0)
    dome_r = -62 - 62 * breath + d.normal("dome_shift", 0, 8)
    dome_l = dome_r - d.uniform("dome_step", -4, 24)
    if d.chance("raised_diaphragm", 0.06):
        side = d.choice("raised_side", ("left", "right"))
        dome_l, dome_r = (dome_l + 40, dome_r) if side == "left" else (dome_l, dome_r + 40)

    barrel = d.uniform("barrel", 0.86, 1.16)
    width = along(
        z,
        (
            (-330, 128),
            (-200, 136),
            (-110, 134),
            (-50, 128),
            (0, 116),
            (35, 96),
            (60, 74),
            (80, 45),
            (apex, 14),
            (apex + 30, 10),
        ),
    )
    depth = (
        along(
            z,
            (
                (-330, 86),
                (-200, 93),
                (-110, 95),
                (-50, 91),
                (0, 82),
                (35, 66),
                (60, 52),
                (80, 34),
                (apex, 13),
                (apex + 30, 10),
            ),
        )
        * barrel
    )
    # The upper chest leans back: its front slopes with the sternum.
    back = along(z, ((-200, 0), (-80, 0), (0, 8), (60, 24), (90, 32), (140, 20)))
    power = d.uniform("cage_power", 2.1, 2.9)
    cage = cross_section(y - back, x, depth, width, power)
    cage = np.maximum(cage, (z - np.float32(apex)) * 0.9) * ((sx + sy) / 2)

    wall_thick = d.uniform("wall", 12, 22)
    wall_w = np.maximum(
        width + wall_thick,
        along(
            z,
            (
                (-650, 165),
                (-520, 172),
                (-420, 158),
                (-330, 135),
                (-200, 140),
                (40, 150),
                (85, 158),
                (115, 110),
                (140, 62),
                (215, 58),
                (250, 66),
                (310, 76),
                (390, 62),
                (420, 8),
            ),
        ),
    )
    wall_d = np.maximum(
        depth + wall_thick,
        along(
            z,
            (
                (-650, 105),
                (-520, 108),
                (-420, 95),
                (-300, 92),
                (-150, 92),
                (60, 78),
                (100, 66),
                (135, 58),
                (215, 58),
                (250, 84),
                (310, 95),
                (390, 78),
                (420, 8),
            ),
        ),
    )
    wall = cross_section(y - back * 0.7, x, wall_d, wall_w, d.uniform("wall_power", 2.1, 2.7))
    wall = np.maximum(wall, z - 420) * ((sx + sy) / 2)
    lumps = canvas.noise("fat_lumps", 90.0)
    layer = (
        fat
        * (
            along(z, ((-650, 1.2), (-300, 1.1), (-150, 0.8), (0, 0.6), (90, 0.6), (150, 0.35), (250, 0.12)))
            * (1 + 0.3 * lumps)
        )
        + 2.5
    )
    skin = wall - np.maximum(layer, 2.5)
    belly_fat = d.uniform("belly_bulge", 0, 1) * fat * 1.4
    bulge = ellipsoid((z, y, x), (-260, -50, 0), (140, 60 + belly_fat, 120 + belly_fat))
    skin = smooth_min(skin, bulge * sy, 30.0)
    skin = _breasts(canvas, d, skin, (z, y, x), wall_d, fat)

    shift = d.normal("mediastinal_shift", 0, 5)
    if d.chance("strong_shift", 0.06):
        shift += d.choice("strong_shift_side", (-1, 1)) * d.uniform("strong_shift_mm", 15, 35)
    # Where the two pleural spaces meet, in front of the heart and behind it.
    divide = np.float32(shift) * np.exp(-(((y + 10) / 90) ** 2)) + d.uniform("front_line", -10, 12) / (
        1 + np.exp((y + 20) / 12)
    )
    mediastinum = _mediastinum(d, (z, y, x), divide)
    left_dome = _diaphragm(d, "left", (z, y, x), dome_l, 74.0, breath)
    right_dome = _diaphragm(d, "right", (z, y, x), dome_r, -72.0, breath)
    inner = cage + d.uniform("pleura", 1.0, 4.0)
    side_l, side_r = divide + 1.0 - x, x - divide + 1.0
    left = smooth_max(smooth_max(np.maximum(inner, side_l), -mediastinum, 6.0), left_dome, 4.0)
    right = smooth_max(smooth_max(np.maximum(inner, side_r), -mediastinum, 6.0), right_dome, 4.0)

    dome = np.where(x > divide, left_dome, right_dome)
    belly = np.maximum(np.maximum(wall + wall_thick * 0.9, -dome + 3.0), -(z + 560))
    belly = np.where(z < -330, belly, np.maximum(belly, cage - 4.0))
    spine = capsule((z, y, x), (-700, 72, 0), (200, 78, 0), 34)
    belly = smooth_max(belly, -spine, 10.0)
    angle = {"supine": np.pi / 2, "prone": -np.pi / 2, "left": 0.0, "right": np.pi}[
        d.facts["posture"]
    ] - canvas.pose.turn
    down = angle + d.normal("gravity_tilt", 0, 0.12) + (canvas.pose.turn if abs(canvas.pose.turn) < 1.2 else 0.0)
    return Torso(
        skin,
        wall,
        cage,
        mediastinum,
        left,
        right,
        belly,
        dome_l,
        dome_r,
        apex,
        fat,
        (sz, sy, sx),
        (float(np.sin(down)), float(np.cos(down))),
    )


def _breasts(
    canvas: Canvas, d: Draws, skin: np.ndarray, at: tuple[np.ndarray, ...], wall_d: np.ndarray, fat: float
) -> np.ndarray:
    if not d.chance("breasts", 0.45):
        return skin
    front = float(np.median(wall_d[wall_d.shape[0] // 2])) if wall_d.size else 110.0
    front = min(front, 125.0) + fat * 0.5
    big = d.uniform("breast_size", 0.6, 1.5)
    sag = d.uniform("breast_sag", 0, 60)
    for side in (-1, 1):
        centre = (-45 - sag * 0.5, -front + 6, side * (72 + sag * 0.7))
        skin = smooth_min(skin, ellipsoid(at, centre, (60 * big, 38 * big, 55 * big)), 12.0)
    return skin


def _mediastinum(d: Draws, at: tuple[np.ndarray, ...], divide: np.ndarray) -> np.ndarray:
    z, y, x = at
    wide = d.uniform("mediastinal_width", 0.75, 1.35)
    upper = ellipsoid(at, (55, 8, 0), (110, 46, 27 * wide))
    upper = smooth_min(upper, capsule(at, (130, 30, 0), (20, 20, 4), 24 * wide), 15)
    heart_size = d.uniform("heart", 0.8, 1.35)
    heart_y = d.normal("heart_y", -22, 7)
    heart = ellipsoid(at, (-68, heart_y, 24 * heart_size), (56 * heart_size, 46 * heart_size, 60 * heart_size))
    heart = smooth_min(heart, ellipsoid(at, (-55, heart_y + 6, -14), (46, 38, 36 * heart_size)), 15)
    if d.chance("epicardial_fat", 0.5):
        heart = smooth_min(heart, ellipsoid(at, (-105, -55, 42), (30, 26, 34)), 10)
        heart = smooth_min(heart, ellipsoid(at, (-105, -55, -36), (28, 24, 26)), 10)
    bottom = d.uniform("heart_base", -150, -110)
    heart = smooth_min(heart, capsule(at, (bottom - 60, heart_y + 10, 14), (-80, heart_y + 8, 14), 38), 15)
    behind = np.maximum(np.abs(x - 8) - d.uniform("behind_heart", 12, 24), np.abs(z + 110) - 170)
    behind = smooth_max(behind, -(y - 0.0), 8)
    spine = capsule(at, (-400, 62, 0), (20, 68, 0), d.uniform("spine_front", 21, 26))
    spine = smooth_min(spine, capsule(at, (20, 68, 0), (220, 50, 0), 24), 8)
    spine = smooth_min(spine, capsule(at, (-400, 96, 0), (200, 104, 0), d.uniform("spine_back", 9, 20)), 16)
    hila = smooth_min(ellipsoid(at, (-14, 12, 34), (26, 18, 20)), ellipsoid(at, (-18, 10, -36), (28, 19, 20)), 8)
    aorta = capsule(at, (30, 45, 24), (-400, 44, 18), d.uniform("aorta_radius", 10, 18))
    front = np.maximum(np.abs(x - divide) - d.uniform("front_septum", 0.5, 9.0), y - 10)
    out = smooth_min(smooth_min(upper, heart, 22), smooth_min(spine, hila, 12), 16)
    return smooth_min(smooth_min(out, behind, 14), smooth_min(aorta, front, 6), 8)


def _diaphragm(d: Draws, side: str, at: tuple[np.ndarray, ...], top: float, x0: float, breath: float) -> np.ndarray:
    """Distance to the space above a dome: negative above it. The dome falls away to the wall, most behind."""
    z, y, x = at
    drop = d.uniform(f"dome_drop_{side}", 34, 60) + 12 * (1 - breath)
    y0 = d.uniform(f"dome_y_{side}", -40, 8)
    u2 = ((x - x0) / 62) ** 2 + ((y - y0) / np.where(y > y0, 74, d.uniform(f"dome_front_{side}", 54, 84))) ** 2
    height = top - drop * u2 - 0.25 * (y - y0)
    if d.chance(f"lobed_dome_{side}", 0.15):
        height = height + d.uniform(f"lobe_{side}", 8, 22) * np.exp(
            -(((x - x0 * 1.2) / 22) ** 2 + ((y + 30) / 25) ** 2)
        )
    # The recess between diaphragm and wall ends, in front earlier than behind.
    height = np.maximum(
        height, top - np.where(y > y0, d.uniform(f"recess_{side}", 85, 145), d.uniform(f"recess_front_{side}", 55, 105))
    )
    slope = 1 + (2 * drop * (x - x0) / 62**2) ** 2 + (2 * drop * (y - y0) / 70**2) ** 2
    return (height - z) / np.sqrt(slope)
