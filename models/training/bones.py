"""Bones, chest-wall muscle and the airway of a phantom."""

from __future__ import annotations

import numpy as np

from models.training.canvas import AIRWAY, BODY, Canvas
from models.training.draws import Draws
from models.training.shapes import Point, along, capsule, curve, paint_ellipsoid, paint_tube
from models.training.torso import Torso


def paint_trunk(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Skin, fat, muscle, ribs, sternum, shoulder girdle."""
    fat_hu = d.uniform("fat_hu", -120, -75) + 8 * canvas.noise("fat_texture", 14.0)
    canvas.paint(canvas.all, t.skin, 0.0, BODY)
    canvas.paint(canvas.all, t.skin + 2.0, fat_hu, BODY)
    muscle = d.uniform("muscle_hu", 30, 70) + 14 * canvas.noise("muscle_texture", 9.0)
    canvas.paint(canvas.all, t.wall, muscle, BODY)
    # Planes of fat between the muscles of the wall.
    planes = canvas.noise("muscle_planes", 26.0)
    canvas.paint(canvas.all, np.maximum(t.wall + 3, np.abs(planes) * 14 - d.uniform("plane_fat", 0.5, 4.0)), -90.0)
    canvas.paint(canvas.all, np.maximum(t.cage - 2, t.wall + 2), -60.0)
    _ribs(canvas, d, t)
    _girdle(canvas, d, t)


def _ribs(canvas: Canvas, d: Draws, t: Torso) -> None:
    pitch, slope = d.uniform("rib_pitch", 22, 32), d.uniform("rib_slope", 0.35, 0.75)
    box = canvas.box((-330 * t.size[0], -400, -400), (t.apex + 40, 400, 400))
    if box is None:
        return
    z, y, x = canvas.at(box)
    phase = (z - slope * y + 0.12 * np.abs(x)) / pitch
    ring = np.abs(phase - np.round(phase)) * pitch - d.uniform("rib_height", 5.0, 8.0)
    centre = d.uniform("rib_depth", 5.0, 9.0)
    shell = np.abs(t.cage[box] - centre) - d.uniform("rib_thick", 3.0, 5.0)
    # The false ribs end in cartilage well before the midline.
    front = (-y - 40) * 0.7 + np.maximum(0, -z - 60) * 0.5 - np.abs(x)
    ribs = np.maximum(np.maximum(ring, shell), front * 0.6)
    canvas.paint(box, ribs, d.uniform("rib_hu", 250, 700))
    canvas.paint(box, ribs + 2.2, d.uniform("marrow_hu", 50, 250))
    if d.chance("cartilage", 0.6):
        cart = np.maximum(np.maximum(ring, shell), -front * 0.6 - 2)
        canvas.paint(box, cart, d.uniform("cartilage_hu", 80, 260))


def paint_spine(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Vertebrae, discs, arches, transverse processes and the canal; painted after the mediastinum, which surrounds
    them."""
    sy = t.size[1]
    for low, high, y0, y1, r in ((-700, 20, 64, 68, 20), (20, 240, 68, 40, 16)):
        paint_tube(canvas, ((low, y0 * sy, 0), (high, y1 * sy, 0)), r, d.uniform("vertebra_hu", 150, 420))
        paint_tube(canvas, ((low, y0 * sy, 0), (high, y1 * sy, 0)), r - 2.5, d.uniform("spongiosa_hu", 60, 260))
    box = canvas.box((-700, 0, -60), (240, 140, 60))
    if box is not None:
        z, y, x = canvas.at(box)
        disc = np.abs(np.mod(z, 27.0) - 13.5) - 3.0
        body = capsule((z, y, x), (-700, 64 * sy, 0), (20, 68 * sy, 0), 20)
        canvas.paint(box, np.maximum(body, disc), 70.0)
        arch = np.maximum(
            np.maximum(np.abs(x) - (4 + np.abs(np.mod(z, 27) - 13) * 0.3), np.abs(y - 100 * sy) - 16),
            np.abs(np.mod(z + 8, 27.0) - 13.5) - 9,
        )
        canvas.paint(box, arch, 350.0)
        wings = np.maximum(
            np.maximum(np.abs(np.abs(x) - 24) - 17, np.abs(y - (84 * sy + 0.15 * np.abs(x))) - 5),
            np.abs(np.mod(z + 4, 27.0) - 13.5) - 6,
        )
        canvas.paint(box, wings, 330.0)
    paint_tube(canvas, ((-700, 88 * sy, 0), (240, 62 * sy, 0)), 9, 20.0)


def _girdle(canvas: Canvas, d: Draws, t: Torso) -> None:
    sz, sy, sx = t.size
    hu = d.uniform("girdle_hu", 250, 600)
    front = np.where(np.abs(canvas.x) < 22, np.abs(t.cage - 6) - 5, 50)
    sternum = np.maximum(front, np.maximum(canvas.y + 20, np.abs(canvas.z + 35 * sz) - 85 * sz)).astype(np.float32)
    canvas.paint(canvas.all, sternum, hu * 0.7)
    up = d.facts.get("arms") == "up"
    for side in (-1, 1):
        lift = 35 if up else 0
        paint_tube(
            canvas,
            curve(
                [
                    (55 * sz, -38 * sy, 16 * side),
                    (78 * sz + lift * 0.5, -20 * sy, 75 * side * sx),
                    (92 * sz + lift, 16 * sy, 138 * side * sx),
                ],
                6,
            ),
            5.5,
            hu,
        )
        blade = curve(
            [
                (95 * sz + lift, 50 * sy, 140 * side * sx),
                (20 * sz, 92 * sy, 105 * side * sx),
                (-55 * sz, 100 * sy, 88 * side * sx),
            ],
            6,
        )
        paint_tube(canvas, blade, 5.0, hu)
        paint_tube(
            canvas, [(90 * sz + lift, 20 * sy, 138 * side * sx), (95 * sz + lift, 55 * sy, 120 * side * sx)], 8, hu
        )
        paint_ellipsoid(canvas, (82 * sz + lift, 18 * sy, 165 * side * sx), (24, 24, 24), hu * 0.7)
        paint_ellipsoid(
            canvas,
            (-430 * sz, 30 * sy, 95 * side * sx),
            (70, 60, 40),
            hu * 0.8,
            BODY,
            np.maximum(np.abs(t.wall + 28) - 6, t.wall + 8),
        )
        paint_ellipsoid(canvas, (-520 * sz, 0, 100 * side * sx), (26, 26, 26), hu)
        paint_tube(canvas, [(-520 * sz, 0, 100 * side * sx), (-680 * sz, -10, 110 * side * sx)], 16, hu)
    head = np.maximum(np.abs(t.wall + 4) - 4, 255 - canvas.z)
    canvas.paint(canvas.all, head, 900.0)
    canvas.paint(canvas.all, np.maximum(t.wall + 9, 275 - canvas.z), 35.0)


def _tree(d: Draws, t: Torso) -> list[tuple[list[Point], list[float]]]:
    sz, sy, sx = t.size
    r = d.uniform("trachea_radius", 6.0, 11.0)
    off = d.normal("trachea_shift", -2, 5)
    top = [(215.0, -12.0 * sy, 0.0), (150.0, 4.0 * sy, 0.0), (80 * sz, 14 * sy, off), (0.0, 18 * sy, off * 0.7)]
    out = [(curve(top, 9), [r] * 9)]
    for side, drop, bend in ((1, -28, 52), (-1, -24, 40)):
        hilum = (drop * sz, 22 * sy, bend * side * sx)
        b = r * d.uniform(f"bronchus_{side}", 0.62, 0.85)
        out.append(
            ([(0.0, 18 * sy, off * 0.7), (drop * 0.5 * sz, 20 * sy, bend * 0.5 * side * sx), hilum], [b, b, b * 0.85])
        )
    return out


def paint_airway(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Pharynx, trachea, main bronchi (kind AIRWAY), and now and then air in the oesophagus."""
    air = d.uniform("airway_hu", -1010, -930)
    for points, radii in _tree(d, t):
        paint_tube(canvas, points, [r + 1.8 for r in radii], 20.0)
    for points, radii in _tree(d, t):
        paint_tube(canvas, points, radii, air, AIRWAY)
    paint_tube(canvas, curve([(212, -12, 0), (250, -8, 0), (290, -20, 0)], 6), [7, 9, 12, 9, 12, 8], air, AIRWAY)
    if d.chance("open_mouth", 0.4):
        paint_ellipsoid(canvas, (262, -45, 0), (12, 30, 18), air, AIRWAY)
    for side in (-1, 1):
        paint_ellipsoid(canvas, (300, -58, 24 * side), (15, 15, 12), air, AIRWAY)
        paint_ellipsoid(canvas, (285, 15, 55 * side), (14, 10, 8), -500.0 + 250 * canvas.noise("mastoid", 6.0), AIRWAY)
    sy = t.size[1]
    gullet = curve(
        [(210, 12 * sy, 3), (60, 34 * sy, 6), (-60, 42 * sy, 6), (-130, 30 * sy, 14), (-155, 5 * sy, 28)], 14
    )
    paint_tube(canvas, gullet, d.uniform("oesophagus_radius", 6, 10), 35.0)
    if d.chance("oesophageal_air", 0.4):
        first = d.integer("oesophageal_air_from", 0, 9)
        paint_tube(
            canvas,
            gullet[first : first + d.integer("oesophageal_air_run", 2, 4)],
            d.uniform("oesophageal_air_radius", 2.0, 6.5),
            air,
            AIRWAY,
        )


def paint_heart(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Fat of the mediastinum, heart, great vessels (with or without contrast medium), calcium, pacemaker, nodes."""
    sz, sy, sx = t.size
    blood = d.choice("contrast", (40.0, 150.0, 250.0, 400.0), (0.5, 0.2, 0.2, 0.1)) * d.uniform("contrast_hu", 0.8, 1.2)
    inside = np.maximum(t.mediastinum, t.cage)
    canvas.paint(
        canvas.all,
        inside,
        d.choice("mediastinal_fat", (-95.0, -30.0, 30.0)) + 10 * canvas.noise("mediastinum", 20.0),
        BODY,
    )
    h = d.facts["heart"]
    heart_y = d.facts["heart_y"]
    paint_ellipsoid(
        canvas, (-68 * sz, heart_y * sy, 22 * h * sx), (50 * h * sz, 41 * h * sy, 53 * h * sx), 45.0, BODY, inside
    )
    paint_ellipsoid(
        canvas, (-60 * sz, (heart_y - 6) * sy, 2 * sx), (40 * sz, 30 * sy, 38 * h * sx), blood, BODY, inside
    )
    paint_ellipsoid(
        canvas, (-75 * sz, (heart_y + 8) * sy, 40 * h * sx), (38 * sz, 24 * sy, 26 * h * sx), blood, BODY, inside
    )
    r = d.facts["aorta_radius"]
    arch = curve(
        [(-40, -20, 4), (15, -34, -12), (40, -14, 2), (34, 34, 20), (0, 45, 24), (-120, 44, 18), (-400, 44, 14)], 22
    )
    paint_tube(
        canvas, [(a * sz, b * sy, c * sx) for a, b, c in arch], r * 0.92, blood * d.uniform("aortic_phase", 0.7, 1.0)
    )
    paint_tube(canvas, [(70 * sz, -18 * sy, -20 * sx), (-45 * sz, -22 * sy, -24 * sx)], 9, blood)
    paint_tube(canvas, [(-20 * sz, -30 * sy, 24 * sx), (2, -6 * sy, 18 * sx), (-8 * sz, 6 * sy, 40 * sx)], 12, blood)
    paint_tube(canvas, [(2, -6 * sy, 14 * sx), (-12 * sz, 4 * sy, -40 * sx)], 11, blood)
    for side in (-1, 1):
        paint_tube(
            canvas, [(40 * sz, -16 * sy, 10 * side), (85 * sz, -8 * sy, 24 * side), (110, 0, 70 * side)], 6, blood
        )
    if d.chance("pacemaker", 0.06):
        paint_ellipsoid(canvas, (45 * sz, -88 * sy, 85 * sx), (22, 6, 22), 3000.0)
        paint_tube(canvas, [(60, -60 * sy, 60 * sx), (70, -18, -20), (-60, -30, 0)], 1.6, 2500.0)
    spread = along(canvas.z, ((-400, 0.0), (400, 0.0))) + canvas.noise("calcium", 9.0)
    if d.chance("calcified", 0.3):
        canvas.paint(canvas.all, np.maximum(inside + 4, (2.9 - spread) * 8), 500.0)
