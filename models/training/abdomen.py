"""What lies below the diaphragm: organs, fat, and gas in stomach and bowel, which is what looks most like lung."""

from __future__ import annotations

import itertools

import numpy as np

from models.training.canvas import BODY, GUT_GAS, Box, Canvas
from models.training.draws import Draws
from models.training.shapes import Point, capsule, curve, ellipsoid, paint_ellipsoid, paint_tube, tube_box
from models.training.torso import Torso


def paint_abdomen(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Paint the organs below the diaphragm, then bowel, colon and stomach over them. Needs the torso already
    painted."""
    sz, sy, sx = t.size
    if canvas.box((-700, -300, -300), (-30, 300, 300)) is None:
        return
    b = t.belly
    fill = d.uniform("peritoneal_fat_hu", -110, 30) + 12 * canvas.noise("peritoneum", 18.0)
    canvas.paint(canvas.all, b, fill, BODY)
    tone = d.uniform("organ_hu", 35, 130)
    liver = ellipsoid(
        canvas.at(canvas.all),
        ((t.dome_right - 62) * sz, -8 * sy, -62 * sx),
        (95 * sz * d.uniform("liver", 0.75, 1.3), 92 * sy, 100 * sx),
    )
    left_lobe = ellipsoid(
        canvas.at(canvas.all), ((t.dome_right - 40) * sz, -50 * sy, 20 * sx), (45 * sz, 38 * sy, 62 * sx)
    )
    grain = 10 * canvas.noise("organ_texture", 7.0)
    canvas.paint(
        canvas.all,
        np.maximum(np.minimum(liver, left_lobe), b + 1),
        tone * d.uniform("liver_hu", 0.6, 1.2) + grain,
        BODY,
    )
    paint_ellipsoid(
        canvas,
        ((t.dome_left - 65) * sz, 42 * sy, 98 * sx),
        (48 * sz * d.uniform("spleen", 0.6, 1.7), 46 * sy, 30 * sx),
        tone,
        BODY,
        b + 1,
    )
    for side in (-1, 1):
        paint_ellipsoid(
            canvas,
            ((t.dome_right - 150) * sz, 48 * sy, 66 * side * sx),
            (52 * sz, 28 * sy, 27 * sx),
            tone * 1.3,
            BODY,
            b + 1,
        )
        paint_tube(
            canvas, [(-230 * sz, 66 * sy, 32 * side * sx), (-420 * sz, 45 * sy, 62 * side * sx)], [15, 30], 55.0, BODY
        )
    paint_tube(canvas, [(-150, 42 * sy, 10), (-400, 40 * sy, 6)], 10, tone)
    paint_tube(canvas, [(-150, 28 * sy, -22), (-400, 34 * sy, -18)], 11, tone)
    paint_ellipsoid(canvas, (-500 * sz, -25 * sy, 0), (45, 45, 50), d.choice("bladder", (5.0, 10.0, 200.0)), BODY)
    _bowel_loops(canvas, d, t)
    _colon(canvas, d, t)
    _stomach(canvas, d, t)


def _lying(canvas: Canvas, t: Torso, box: Box, level: float, centre: Point) -> np.ndarray:
    """Distance to the region above (against gravity) a fluid level ``level`` mm below ``centre``."""
    return (canvas.y[box] - centre[1]) * t.gravity[0] + (canvas.x[box] - centre[2]) * t.gravity[1] - level


def _hollow(
    canvas: Canvas,
    d: Draws,
    t: Torso,
    name: str,
    box: Box | None,
    shell: np.ndarray,
    content: str,
    level: float,
    centre: Point,
) -> None:
    """Paint a wall and what the organ holds: gas above a level, fluid, oral contrast, or stool."""
    if box is None:
        return
    # No bowel is a smooth tube: folds, haustra and what lies beside it dent it.
    shell = shell + d.uniform(f"{name}_dents", 0.0, 5.0) * canvas.noise(
        f"{name}_dent", d.uniform(f"{name}_dent_size", 11, 28), box
    )
    canvas.paint(box, shell - d.uniform(f"{name}_wall", 1.5, 4.0), 40.0, BODY)
    below = {
        "gas": 15.0,
        "level": d.choice(f"{name}_fluid", (5.0, 25.0, 250.0, 600.0), (0.4, 0.3, 0.2, 0.1)),
        "fluid": 15.0,
        "contrast": d.uniform(f"{name}_oral", 150, 900),
        "stool": 0.0,
        "mixed": 0.0,
    }[content]
    if content == "stool":
        mottled = d.uniform(f"{name}_stool", -450, 60) + d.uniform(f"{name}_mottle", 40, 330) * canvas.noise(
            f"{name}_m", 7.0, box
        )
        canvas.paint(box, shell, np.clip(mottled, -990, 200), BODY)
        return
    canvas.paint(box, shell, below, BODY)
    if content == "mixed":
        lumps = (
            canvas.noise(f"{name}_l", d.uniform(f"{name}_lump", 7, 18), box) - d.uniform(f"{name}_lumps", -0.9, 0.9)
        ) * 6
        canvas.paint(box, shell, d.uniform(f"{name}_pulp", -250, 60), BODY)
        canvas.paint(box, np.maximum(shell, lumps), d.uniform("gut_air_hu", -1010, -930), GUT_GAS)
    elif content in ("gas", "level"):
        gas = shell if content == "gas" else np.maximum(shell, _lying(canvas, t, box, level, centre))
        canvas.paint(box, gas, d.uniform("gut_air_hu", -1010, -930), GUT_GAS)


def _stomach(canvas: Canvas, d: Draws, t: Torso) -> None:
    sz, sy, sx = t.size
    big = d.uniform("stomach", 0.55, 1.5)
    centre = ((t.dome_left - 34 * big - 6) * sz, -14 * sy, 66 * sx)
    box = canvas.box(tuple(c - 110 * big for c in centre), tuple(c + 110 * big for c in centre))
    if box is None:
        return
    at = canvas.at(box)
    shell = ellipsoid(at, centre, (42 * big * sz, 46 * big * sy, 44 * big * sx))
    shell = np.minimum(
        shell, capsule(at, (centre[0] - 15, -35 * sy, 55 * sx), (centre[0] - 75 * big, -55 * sy, -12 * sx), 24 * big)
    )
    content = d.choice(
        "stomach_content", ("gas", "level", "fluid", "contrast", "stool", "mixed"), (0.2, 0.38, 0.13, 0.09, 0.1, 0.1)
    )
    _hollow(
        canvas,
        d,
        t,
        "stomach",
        box,
        np.maximum(shell, t.belly[box] + 1.5),
        content,
        d.uniform("stomach_level", -30, 25) * big,
        centre,
    )
    if d.chance("hiatal_hernia", 0.07):
        sac = (t.dome_left + 22, 26 * sy, 12 * sx)
        box = canvas.box(tuple(c - 50 for c in sac), tuple(c + 50 for c in sac))
        if box is not None:
            _hollow(canvas, d, t, "hernia", box, ellipsoid(canvas.at(box), sac, (28, 24, 28)), "level", 0.0, sac)


def _colon(canvas: Canvas, d: Draws, t: Torso) -> None:
    sz, sy, sx = t.size
    rng = d.rng("colon")
    j = rng.normal(0, 12, (16, 3))
    flex_l = (t.dome_left - d.uniform("splenic_flexure", 18, 90), 5, 92)
    flex_r = (
        t.dome_right - d.uniform("hepatic_flexure", 20 if d.chance("interposed_colon", 0.06) else 110, 170),
        -30,
        -88,
    )
    line = [
        (-430, 0, -95),
        (-330, 5, -98),
        (-250, 0, -98),
        flex_r,
        (flex_r[0] - 20, -62, -40),
        (-230 - 40 * d.uniform("transverse_sag", -1, 1), -72, 10),
        (flex_l[0] - 30, -60, 62),
        flex_l,
        (flex_l[0] - 70, 35, 104),
        (-330, 30, 104),
        (-420, 15, 98),
        (-460, 0, 50),
        (-440, -20, 0),
        (-520, 35, 10),
    ]
    points = curve(
        [((p[0] + k[0]) * sz, (p[1] + k[1]) * sy, (p[2] + k[2]) * sx) for p, k in zip(line, j, strict=False)], 44
    )
    wide = d.uniform("colon_calibre", 11, 32)
    gassy = d.uniform("colon_gas", 0.1, 0.95)
    content = "gas"
    for i, (a, c) in enumerate(itertools.pairwise(points)):
        if i % 4 == 0:
            content = (
                ("gas", "level", "mixed")[int(rng.choice(3, p=(0.4, 0.35, 0.25)))]
                if rng.random() < gassy
                else ("stool", "fluid", "contrast")[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]
            )
            radius = wide * rng.uniform(0.55, 1.3)
        box = tube_box(canvas, a, c, radius * 1.15)
        if box is None:
            continue
        r = radius * (1.0 if i % 2 else 0.85)
        shell = np.maximum(capsule(canvas.at(box), a, c, r), t.belly[box] + 1)
        _hollow(canvas, d, t, f"colon{i // 4}", box, shell, content, rng.uniform(-0.4, 0.5) * radius, a)


def _bowel_loops(canvas: Canvas, d: Draws, t: Torso) -> None:
    sz, sy, sx = t.size
    rng = d.rng("loops")
    gassy = d.choice("loop_gas", (0.05, 0.3, 0.8), (0.5, 0.35, 0.15))
    for i in range(d.integer("loops", 8, 30)):
        start = np.array([rng.uniform(-470, -190) * sz, rng.uniform(-70, 25) * sy, rng.uniform(-75, 75) * sx])
        steps = rng.normal(0, 16, (5, 3)).cumsum(0)
        points = curve([tuple(start), *[tuple(start + s) for s in steps]], 7)
        r, content = (
            rng.uniform(6, 15),
            "gas" if rng.random() < gassy else ("fluid", "contrast")[int(rng.random() < 0.25)],
        )
        for a, c in itertools.pairwise(points):
            box = tube_box(canvas, a, c, r)
            if box is not None:
                _hollow(
                    canvas,
                    d,
                    t,
                    f"loop{i}",
                    box,
                    np.maximum(capsule(canvas.at(box), a, c, r), t.belly[box] + 1),
                    "level" if content == "gas" and i % 2 else content,
                    rng.uniform(-4, 4),
                    a,
                )
