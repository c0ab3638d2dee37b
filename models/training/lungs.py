"""The lungs of a phantom: parenchyma, vessels, bronchi, fissures, and the diseases that change how they look."""

from __future__ import annotations

import numpy as np

from models.training.canvas import BODY, LEFT, RIGHT, Canvas
from models.training.draws import Draws
from models.training.shapes import ellipsoid, paint_ellipsoid
from models.training.torso import Torso

SIDES = (("left", 1, LEFT), ("right", -1, RIGHT))


def paint_lungs(canvas: Canvas, d: Draws, t: Torso) -> None:
    """Paint both lungs. Label: aerated parenchyma; fluid, masses, consolidation and larger vessels are BODY."""
    base = d.uniform("lung_hu", -900, -720)
    kind_of = d.choice("lung_type", ("normal", "emphysema", "oedema", "expiration"), (0.62, 0.16, 0.12, 0.1))
    base += {"normal": 0.0, "emphysema": -45.0, "oedema": d.uniform("oedema", 80, 220), "expiration": 110.0}[kind_of]
    base = max(base, -955.0)
    depth = (canvas.y * t.gravity[0] + canvas.x * t.gravity[1]) / 100.0
    texture = (
        base
        + d.uniform("gravity_gradient", 5, 60) * depth
        + d.uniform("patchy", 4, 32) * canvas.noise("lung_coarse", 35.0)
    )
    texture += d.uniform("grain", 4, 26) * canvas.noise("lung_fine", 6.0)
    if kind_of == "emphysema" or d.chance("some_bullae", 0.08):
        holes = canvas.noise("bullae", d.uniform("bulla_size", 9, 30))
        texture = np.where(holes > d.uniform("bulla_share", 0.3, 1.8), -975.0, texture)
    if d.chance("ground_glass", 0.2):
        haze = np.clip(canvas.noise("haze", d.uniform("haze_size", 25, 60)) - d.uniform("haze_share", 0.0, 1.2), 0, 1)
        texture = texture + haze * d.uniform("haze_hu", 100, 400)
    texture = np.clip(texture, -985, -250).astype(np.float32)
    for side, sign, kind in SIDES:
        lung = getattr(t, side)
        # Pleura and subpleural soft tissue, then the parenchyma itself.
        canvas.paint(canvas.all, lung, texture, kind)
        if canvas.spacing[2] < 2.5:
            _fissures(canvas, d, side, sign, lung)
        _tree(canvas, d, t, side, sign, lung)
        _disease(canvas, d, t, side, sign, lung)


def _fissures(canvas: Canvas, d: Draws, side: str, sign: int, lung: np.ndarray) -> None:
    warp = 5 * canvas.noise(f"fissure_{side}", 60.0)
    plane = 0.75 * (canvas.z + 25) - 0.66 * canvas.y + warp + d.normal(f"fissure_at_{side}", 0, 12)
    canvas.paint(canvas.all, np.where(lung < 4, plane, 40.0).astype(np.float32), -620.0, None, 0.5, cover=0.6)
    if side == "right":
        minor = canvas.z + 12 + 0.1 * canvas.y + warp
        canvas.paint(
            canvas.all, np.where((lung < 4) & (plane > 0), minor, 40.0).astype(np.float32), -650.0, None, 0.5, cover=0.5
        )


def _tree(canvas: Canvas, d: Draws, t: Torso, side: str, sign: int, lung: np.ndarray) -> None:
    """Vessels grown from the hilum to random points of the lung; radii add up toward the root (Murray's cube law)."""
    rng = d.rng(f"vessels_{side}")
    fine = canvas.spacing[2] < 2.5
    inside = np.argwhere(lung < -4)
    if len(inside) < 50:
        return
    volume_ml = len(inside) * float(np.prod([f[1] - f[0] if len(f) > 1 else 1 for f in canvas.fields])) / 1000
    count = int(np.clip(volume_ml * (d.uniform(f"vessels_per_ml_{side}", 0.3, 0.9) if fine else 0.08), 10, 1600))
    picked = inside[rng.integers(0, len(inside), count)]
    ends = np.stack([canvas.fields[a][picked[:, a]] for a in range(3)], 1) + rng.normal(0, 1.5, (count, 3))
    here = tuple(np.array([c[tuple(p)] for p in picked]) for c in (canvas.z, canvas.y, canvas.x))
    hilum_body = np.array([-12 * t.size[0], 14 * t.size[1], 36 * sign * t.size[2]])
    offset = np.stack(here, 1) - hilum_body
    # Ends are render positions and the hilum is a body position; near it the warp is small against a vessel's length.
    root = ends[np.argmin((offset**2).sum(1))] - offset[np.argmin((offset**2).sum(1))]
    order = np.argsort(((ends - root) ** 2).sum(1))
    nodes, parent = [root], [-1]
    for n in order:
        have = np.asarray(nodes)
        reach = np.linalg.norm(have - ends[n], axis=1) + 0.35 * np.linalg.norm(have - root, axis=1)
        best = int(np.argmin(reach))
        middle = (have[best] + ends[n]) / 2 + rng.normal(0, 0.06, 3) * np.linalg.norm(have[best] - ends[n])
        nodes += [middle, ends[n]]
        parent += [best, len(nodes) - 2]
    flow = np.full(len(nodes), 0.0)
    flow[2::2] = 1.0
    for i in range(len(nodes) - 1, 0, -1):
        flow[parent[i]] += flow[i]
    width = d.uniform(f"vessel_width_{side}", 0.55, 0.95) * np.cbrt(flow) * (1.0 if fine else 1.7)
    width = np.minimum(width, 7.5)
    hu = d.facts.get("vessel_hu", 40.0)
    least = 0.35 * canvas.softness
    place = np.asarray(nodes)
    for i in range(1, len(nodes)):
        if width[i] > least:
            _rod(canvas, place[parent[i]], place[i], width[parent[i]] * 0.5 + width[i] * 0.5, width[i], hu)
        if fine and rng.random() < 0.3 and width[i] > 1.3:
            shift = rng.normal(0, 1, 3)
            shift *= (width[i] * 2.1) / np.linalg.norm(shift)
            _rod(
                canvas, place[parent[i]] + shift, place[i] + shift, width[i] * 0.95, width[i] * 0.85, -100.0, keep=True
            )
            _rod(canvas, place[parent[i]] + shift, place[i] + shift, width[i] * 0.6, width[i] * 0.55, -970.0, keep=True)


def _rod(canvas: Canvas, a: np.ndarray, b: np.ndarray, ra: float, rb: float, hu: float, keep: bool = False) -> None:
    """Paint a capsule straight on the render grid: it is smaller than the field grid's step."""
    margin = max(ra, rb) + canvas.softness
    parts = []
    for p, lo, hi in zip(canvas.places, np.minimum(a, b) - margin, np.maximum(a, b) + margin, strict=True):
        first, last = np.searchsorted(p, (lo, hi))
        if first >= last:
            return
        parts.append(slice(int(first), int(last)))
    box = tuple(parts)
    z, y, x = (p[s] for p, s in zip(canvas.places, box, strict=True))
    axis = (b - a).astype(np.float32)
    length2 = float(axis @ axis) + 1e-6
    dz, dy, dx = z[:, None, None] - a[0], y[None, :, None] - a[1], x[None, None, :] - a[2]
    along = np.clip((dz * axis[0] + dy * axis[1] + dx * axis[2]) / length2, 0, 1).astype(np.float32)
    d2 = (dz - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dx - along * axis[2]) ** 2
    # A rod thinner than a voxel keeps its share of the voxel.
    radius = ra + along * (rb - ra)
    soft = canvas.softness
    alpha = np.clip(0.5 - (np.sqrt(d2) - radius) / soft, 0, 1) * np.clip(radius * 2 / soft, 0, 1)
    kind = canvas.kind[box]
    lungs = (kind == LEFT) | (kind == RIGHT)
    alpha *= lungs
    if not keep:
        kind[alpha > 0.5] = BODY
    view = canvas.hu[box]
    view += alpha * (hu - view)


def _disease(canvas: Canvas, d: Draws, t: Torso, side: str, sign: int, lung: np.ndarray) -> None:
    if d.chance("healthy", 0.0):  # never by itself: those who add diseases of their own fix it
        return
    rng = d.rng(f"disease_{side}")
    inside = np.argwhere(lung < -6)
    if len(inside) < 50:
        return

    def somewhere() -> tuple[float, float, float]:
        p = tuple(inside[int(rng.integers(len(inside)))])
        return float(canvas.z[p]), float(canvas.y[p]), float(canvas.x[p])

    for _ in range(int(rng.choice([0, 1, 3, 12], p=[0.45, 0.25, 0.2, 0.1]))):
        r = float(np.exp(rng.uniform(np.log(2.5), np.log(14))))
        paint_ellipsoid(canvas, somewhere(), tuple(r * rng.uniform(0.8, 1.25, 3)), rng.uniform(-50, 300), BODY, lung)
    if d.chance(f"mass_{side}", 0.1):
        paint_ellipsoid(canvas, somewhere(), tuple(rng.uniform(15, 50, 3)), rng.uniform(10, 80), BODY, lung)
    if d.chance(f"consolidation_{side}", 0.15):
        centre = somewhere()
        blob = ellipsoid(canvas.at(canvas.all), centre, tuple(rng.uniform(20, 70, 3)))
        blob = blob + rng.uniform(4, 16) * canvas.noise(f"consolidation_edge_{side}", 16.0)
        rim = np.clip(-blob / 25.0 + 0.6, 0, 1) * 400 - 750
        canvas.paint(canvas.all, np.maximum(blob - 10, lung), rim.astype(np.float32), None, cover=0.8)
        canvas.paint(canvas.all, np.maximum(blob + 6, lung), 30.0, BODY)
    if d.chance(f"fibrosis_{side}", 0.08):
        net = np.abs(canvas.noise(f"net_{side}", 5.5)) * 6 - rng.uniform(1, 3)
        canvas.paint(canvas.all, np.maximum(np.maximum(net, lung), -lung - rng.uniform(8, 30)), -250.0, None, cover=0.7)
    depth = canvas.y * t.gravity[0] + canvas.x * t.gravity[1]
    if d.chance(f"dependent_{side}", 0.4):
        level = float(np.quantile(depth[lung < 0], rng.uniform(0.93, 0.995)))
        band = level - depth + 4 * canvas.noise(f"dependent_edge_{side}", 25.0)
        canvas.paint(canvas.all, np.maximum(lung, band), rng.uniform(-550, -50), None, cover=0.7)
    share = d.choice(f"effusion_size_{side}", (0.93, 0.8, 0.6, 0.35, 0.0), (0.35, 0.3, 0.2, 0.1, 0.05))
    if d.chance(f"effusion_{side}", 0.16):
        tilt = 0.35 * (canvas.z + 100) * rng.uniform(0, 1)
        lying = depth - tilt
        level = float(np.quantile(lying[lung < 0], share)) if share else -1e3
        # The meniscus climbs the chest wall.
        fluid = level - lying - 9 * np.exp(np.clip(t.cage, -60, 0) / 9.0) + 4 * canvas.noise(f"meniscus_{side}", 40.0)
        rim = np.maximum(lung, fluid - rng.uniform(0, 22) - 5 * canvas.noise(f"collapse_{side}", 22.0))
        canvas.paint(canvas.all, rim, rng.uniform(20, 90), BODY)
        canvas.paint(canvas.all, np.maximum(lung, fluid), rng.uniform(-5, 30), BODY)
    if d.chance(f"collapse_{side}", 0.05):
        upper = rng.random() < 0.5
        edge = rng.uniform(-40, 40) + 0.5 * canvas.y
        cut = (edge - canvas.z) if upper else (canvas.z - edge + 60)
        canvas.paint(
            canvas.all, np.maximum(np.maximum(lung, cut), -canvas.x * sign - lung * 0 + 0), rng.uniform(20, 70), BODY
        )
