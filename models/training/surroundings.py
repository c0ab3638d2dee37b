"""What lies around the trunk: couch, mattress, blankets, clothes, pillows, arms, tubes - air-filled things above
all."""

from __future__ import annotations

import numpy as np

from models.training.canvas import BODY, OUTSIDE, Canvas
from models.training.draws import Draws
from models.training.shapes import capsule, curve, ellipsoid, paint_ellipsoid, paint_tube, tube_box
from models.training.torso import Torso


def paint_surroundings(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Everything that is laid down before the body is."""
    _gz, gy, gx = (f - s for f, s in zip(canvas.fields, canvas.pose.shift, strict=True))
    down = {"supine": (1.0, 0.0), "prone": (-1.0, 0.0), "left": (0.0, 1.0), "right": (0.0, -1.0)}[d.facts["posture"]]
    if abs(canvas.pose.turn) > 1.2:
        down = (
            float(np.round(np.cos(canvas.pose.turn) * down[0])),
            float(np.round(-np.sin(canvas.pose.turn) * down[0])),
        )
        if down == (0.0, 0.0):
            down = (1.0, 0.0)
    v = np.broadcast_to(gy[None, :, None] * down[0] + gx[None, None, :] * down[1], canvas.x.shape)
    u = np.broadcast_to(gx[None, None, :] * down[0] + gy[None, :, None] * down[1], canvas.x.shape)
    touching = v[t.skin < 0]
    rest = float(np.quantile(touching, 0.995)) if touching.size else 120.0
    _couch(canvas, d, u, v, rest + d.uniform("couch_gap", -3, 14))
    _blankets(canvas, d, t, v)
    for i in range(d.choice("cushions", (0, 1, 2, 4), (0.5, 0.25, 0.15, 0.1))):
        rng = d.rng(f"cushion{i}")
        angle = rng.uniform(0, 2 * np.pi)
        centre = (rng.uniform(-450, 300), 150 * np.sin(angle), 215 * np.cos(angle))
        paint_ellipsoid(
            canvas,
            centre,
            tuple(rng.uniform(25, 95, 3)),
            rng.uniform(-985, -700) + rng.uniform(0, 60) * canvas.noise("cushion", 11.0),
            OUTSIDE,
        )


def _couch(canvas: Canvas, d: Draws, u: np.ndarray, v: np.ndarray, top: float) -> None:
    if not d.chance("couch", 0.93):
        return
    radius = d.choice("couch_curve", (1e6, 700.0, 450.0, 330.0), (0.35, 0.25, 0.25, 0.15))
    half = d.uniform("couch_half_width", 170, 270)
    depth = v - top + u * u / (2 * radius)
    side = np.abs(u - d.normal("couch_shift", 0, 8)) - half
    mattress = d.choice("mattress", (0.0, 12.0, 30.0, 55.0), (0.25, 0.35, 0.25, 0.15)) * d.uniform(
        "mattress_thick", 0.7, 1.3
    )
    if mattress:
        pad = np.maximum(np.maximum(-depth, depth - mattress), side + 10)
        canvas.paint(canvas.all, pad, d.uniform("mattress_hu", -985, -800) + 15 * canvas.noise("foam", 12.0), OUTSIDE)
        if d.chance("mattress_cover", 0.5):
            canvas.paint(
                canvas.all, pad, d.uniform("cover_hu", -700, -100), OUTSIDE, d.uniform("cover_thick", 0.3, 1.2)
            )
    depth = depth - mattress
    thick = d.uniform("couch_thick", 15, 70)
    body = np.maximum(np.maximum(-depth, depth - thick - (u * u / 4 / half if d.chance("keel", 0.5) else 0)), side)
    filling = d.choice("couch_filling", (-1000.0, -940.0, -850.0, -700.0), (0.25, 0.35, 0.25, 0.15))
    canvas.paint(canvas.all, body, filling, OUTSIDE)
    wall, hu = d.uniform("couch_wall", 0.5, 2.5), d.uniform("couch_hu", -500, 250)
    canvas.paint(canvas.all, body, hu, OUTSIDE, wall)
    if d.chance("couch_rails", 0.35):
        rails = np.maximum(np.abs(np.abs(u) - half * 0.8) - 4, np.abs(depth - thick - 12) - 6)
        canvas.paint(canvas.all, rails, d.uniform("rail_hu", -200, 2500), OUTSIDE)


def _blankets(canvas: Canvas, d: Draws, t: Torso, v: np.ndarray) -> None:
    layers = d.choice("blanket_layers", (0, 1, 2, 4, 7), (0.28, 0.2, 0.22, 0.2, 0.1))
    if not layers:
        return
    lo, hi = sorted(d.rng("blanket_range").uniform(-700, 350, 2))
    hi = max(hi, lo + 200)
    limits = np.maximum(lo - canvas.z, canvas.z - hi)
    level = d.uniform("drape_level", -0.3, 1.0) * 90
    outer = t.skin
    if layers > 1 and d.chance("stuffed", 0.5):
        stuffing = np.maximum(
            np.maximum(t.skin - d.uniform("stuffing", 10, 60) - 14 * canvas.noise("stuffing_shape", 60.0), limits),
            v - level,
        )
        canvas.paint(
            canvas.all,
            stuffing,
            d.uniform("stuffing_hu", -985, -780)
            + d.uniform("stuffing_mottle", 5, 60) * canvas.noise("stuffing_texture", 8.0),
            OUTSIDE,
        )
    for i in range(layers):
        waves = canvas.noise(f"drape{i}", d.uniform(f"drape_wave{i}", 28, 80))
        offset = d.uniform(f"drape_offset{i}", 2, 16) * (i + 1) + d.uniform(f"drape_fold{i}", 2, 13) * waves
        thick = d.uniform(f"drape_thick{i}", 0.6, 4.0)
        sheet = smooth_sheet(outer - offset, limits, v - level - 25 * i)
        canvas.paint(canvas.all, sheet, d.uniform(f"drape_hu{i}", -960, -250), OUTSIDE, thick)
    if d.chance("crumpled", 0.3):
        near = np.maximum(np.maximum(t.skin - d.uniform("crumple_reach", 15, 70), limits), v - level)
        folds = canvas.noise("crumple", d.uniform("crumple_wave", 12, 30))
        canvas.paint(
            canvas.all,
            np.maximum(near, np.abs(folds) * 12 - d.uniform("crumple_thick", 1, 4)),
            d.uniform("crumple_hu", -950, -300),
            OUTSIDE,
        )


def smooth_sheet(distance: np.ndarray, limits: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A sheet's zero set pushed out of sight where the sheet ends or would pass below the body."""
    return np.where((limits > 0) | (under > 0), 40.0, distance).astype(np.float32)


def paint_arms(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Arms up, down, folded or one of each, outside the trunk; and now and then leads and tubes on the skin."""
    sz, sy, sx = t.size
    pose = d.choice("arms", ("up", "down", "one down", "folded"), (0.55, 0.25, 0.08, 0.12))
    thick = d.uniform("arm_thick", 30, 50) + 0.35 * t.fat
    for side in (-1, 1):
        here = {"one down": "down" if side > 0 else "up"}.get(pose, pose)
        rng = d.rng(f"arm{side}")
        gap = rng.uniform(-12, 35)
        shoulder = (82 * sz, 18 * sy, 160 * side * sx)
        if here == "up":
            elbow = (rng.uniform(190, 330), rng.uniform(-70, 60), (rng.uniform(95, 250)) * side)
            hand = (rng.uniform(260, 420), rng.uniform(-120, 40), rng.uniform(-40, 90) * side)
            shoulder = (100 * sz, 15 * sy, 148 * side * sx)
        else:
            out = (148 * sx + thick * 0.8 + t.fat + gap) * side
            elbow = (-190 * sz + rng.normal(0, 20), rng.uniform(-10, 60), out)
            hand = (-420 * sz, rng.uniform(-60, 40), out * rng.uniform(0.8, 1.05))
            if here == "folded":
                front = -(105 * sy + t.fat * 1.6 + 22)
                hand = (rng.uniform(-260, -90), front - rng.uniform(0, 25), rng.uniform(-60, 60) * side)
                elbow = (elbow[0] * 0.9, rng.uniform(-60, 10), out)
        points = curve([shoulder, elbow, hand], 12)
        radii = list(
            np.interp(np.linspace(0, 1, 12), [0, 0.45, 0.6, 1], [thick, thick * 0.85, thick * 0.8, thick * 0.5])
        )
        _limb(canvas, t.skin, points, radii, min(3 + t.fat * 0.4, 14), float(rng.uniform(400, 1100)))
    if d.chance("leads", 0.35):
        rng = d.rng("leads_path")
        for _ in range(int(rng.integers(1, 6))):
            a = np.array([rng.uniform(-300, 150), -rng.uniform(95, 160), rng.uniform(-140, 140)])
            path = curve([tuple(a), *[tuple(a + s) for s in rng.normal(0, 60, (3, 3)).cumsum(0)]], 8)
            box_inside = -t.skin + 1
            paint_tube(canvas, path, rng.uniform(0.8, 3.5), rng.uniform(-300, 2500), OUTSIDE, box_inside)


def _limb(canvas: Canvas, trunk: np.ndarray, points: list, radii: list[float], fat: float, bone: float) -> None:
    for shrink, hu in ((0.0, -95.0), (fat, 50.0)):
        for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            box = tube_box(canvas, a, b, max(ra, rb))
            if box is None:
                continue
            f = capsule(canvas.at(box), a, b, max(ra - shrink, 6), max(rb - shrink, 6))
            # Only what sticks out of the trunk is arm: the trunk is painted already.
            canvas.paint(box, np.maximum(f, -trunk[box] + (0 if shrink == 0 else -3)), hu, BODY)
    paint_tube(canvas, points, 11.0, bone)
    paint_tube(canvas, points, 6.0, 60.0)


def paint_test_object(canvas: Canvas, d: Draws) -> None:
    """Not a patient: a water or plastic phantom, fruit, a bag - with holes of air and without any lung."""
    rng = d.rng("object")
    for k in range(int(rng.integers(1, 5))):
        centre = tuple(rng.uniform(-110, 110, 3) * (0 if k == 0 else 1))
        radii = tuple(rng.uniform(35, 150, 3) * (1 if k == 0 else 0.6))
        f = ellipsoid(canvas.at(canvas.all), centre, radii)
        if rng.random() < 0.5:
            f = capsule(canvas.at(canvas.all), (centre[0] - 200, *centre[1:]), (centre[0] + 200, *centre[1:]), radii[1])
        canvas.paint(canvas.all, f, rng.uniform(-300, 300) + 15 * canvas.noise("object_texture", 10.0), BODY)
        if rng.random() < 0.6:
            canvas.paint(canvas.all, f + 4, rng.uniform(100, 900), BODY, 3.0)
        for _ in range(int(rng.integers(0, 9))):
            hole = tuple(c + r * rng.uniform(-0.6, 0.6) for c, r in zip(centre, radii, strict=True))
            paint_ellipsoid(
                canvas, hole, tuple(rng.uniform(4, 45, 3)), rng.choice([-1000.0, -850.0, -100.0, 120.0, 900.0]), OUTSIDE
            )
