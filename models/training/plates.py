"""Radiographs of what is not a frontal chest, drawn as ray sums in two dimensions: limbs, skulls, animals, breasts,
test objects. They only have to look like their kind from afar: they teach the view check what else there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from models.training.projections import Shadow

SIZE = 160
Rng = np.random.Generator
Pair = Sequence[float] | np.ndarray


class Plate:
    """Water and bone (mm) on ``SIZE`` x ``SIZE`` pixels; positions run from -1 to 1 as (row, column)."""

    def __init__(self) -> None:
        self.y, self.x = np.meshgrid(*(np.linspace(-1, 1, SIZE, dtype=np.float32),) * 2, indexing="ij")
        self.water, self.bone = np.zeros((2, SIZE, SIZE), np.float32)

    def ellipse(self, at: Pair, radii: Pair, depth: float, turn: float = 0.0, power: float = 2.0) -> np.ndarray:
        """Chords through an ellipsoid of that depth (mm) in the middle."""
        dy, dx = self.y - at[0], self.x - at[1]
        c, s = np.cos(turn), np.sin(turn)
        r = np.abs((c * dy + s * dx) / radii[0]) ** power + np.abs((c * dx - s * dy) / radii[1]) ** power
        return depth * np.sqrt(np.clip(1 - r, 0, 1))

    def rod(self, points: Sequence[Pair], radii: float | Pair, depth: float) -> np.ndarray:
        """Chords through a chain of rounded rods; ``depth`` (mm) is that of a rod of radius 0.1."""
        ends = np.asarray(points, np.float32)
        widths = np.full(len(ends), radii, np.float32) if isinstance(radii, float) else np.asarray(radii, np.float32)
        out = np.zeros_like(self.water)
        for a, b, ra, rb in zip(ends[:-1], ends[1:], widths[:-1], widths[1:], strict=True):
            axis = b - a
            t = np.clip(((self.y - a[0]) * axis[0] + (self.x - a[1]) * axis[1]) / (axis @ axis + 1e-6), 0, 1)
            far2 = (self.y - a[0] - t * axis[0]) ** 2 + (self.x - a[1] - t * axis[1]) ** 2
            out = np.maximum(out, 10 * depth * np.sqrt(np.clip((ra + t * (rb - ra)) ** 2 - far2, 0, None)))
        return out

    def long_bone(self, points: Sequence[Pair], radii: float | Pair, dense: float) -> None:
        """A bone with a thick wall and a marrow space."""
        widths = np.full(len(points), radii) if isinstance(radii, float) else np.asarray(radii)
        self.add_bone(self.rod(points, widths, dense) - 0.75 * self.rod(points, 0.6 * widths, dense))

    def add_bone(self, mm: np.ndarray) -> None:
        """Bone weakens as more water than its own thickness."""
        self.bone += np.maximum(mm, 0)
        self.water += np.maximum(mm, 0)

    def shadow(self) -> Shadow:
        """What has been drawn."""
        return Shadow(np.maximum(self.water, 0).astype(np.float16), self.bone.astype(np.float16))


def noise(rng: Rng, wave: float) -> np.ndarray:
    """Smooth noise of unit deviation with features of ``wave`` pixels."""
    out = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)).astype(np.float32), wave / 2, mode="wrap")
    return out / (out.std() + 1e-6)


def limb(rng: Rng) -> Shadow:
    """A long limb or a joint: one or two bones on each side of it."""
    p = Plate()
    wide = rng.uniform(0.16, 0.5)
    bend = rng.choice([0.0, rng.uniform(-0.9, 0.9)])
    joint = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.15, 0.15)])
    for sign in (-1, 1):
        turn = bend if sign > 0 else rng.uniform(-0.1, 0.1)
        way = np.array([np.cos(turn), np.sin(turn)]) * sign
        across = np.array([-way[1], way[0]])
        end = joint + 2.2 * way
        w = wide * rng.uniform(0.75, 1.1)
        p.water = np.maximum(p.water, p.rod([joint, end], [wide, w], rng.uniform(18, 28)))
        pair = rng.random() < 0.5
        for k in (-1, 1) if pair else (0,):
            r = w * (rng.uniform(0.16, 0.26) if pair else rng.uniform(0.28, 0.45))
            start = joint + 0.06 * way + across * k * w * 0.35
            shaft = [start, start + 0.25 * way, end + across * k * w * 0.4]
            p.long_bone(shaft, [r * rng.uniform(1.3, 1.8), r, r * 0.9], rng.uniform(14, 26))
    return p.shadow()


def hand(rng: Rng) -> Shadow:
    """A hand or a foot with its small bones."""
    p = Plate()
    wrist = np.array([rng.uniform(0.35, 0.7), rng.uniform(-0.15, 0.15)])
    spread = rng.uniform(0.10, 0.24)
    dense = rng.uniform(8, 16)
    p.water = np.maximum(p.water, p.rod([wrist, wrist + np.array([1.2, 0.0])], [0.24, 0.3], 14))
    for k in (-1, 1):
        p.long_bone([wrist + np.array([0.08, 0.1 * k]), wrist + np.array([1.2, 0.12 * k])], 0.07, dense)
    for _ in range(8):
        p.add_bone(p.ellipse(wrist + rng.uniform(-0.11, 0.11, 2), rng.uniform(0.045, 0.08, 2), 0.9 * dense))
    for f in range(5):
        angle = (f - 2) * spread + rng.normal(0, 0.03) + (0.5 * rng.uniform(0.3, 1) if f == 4 else 0)
        way = np.array([-np.cos(angle), np.sin(angle)])
        at = wrist + 0.1 * way + [0, (f - 2) * 0.05]
        p.water = np.maximum(p.water, p.rod([at, at + 0.55 * way], 0.1, 12))
        length = rng.uniform(0.85, 1.15) * (0.7 if f == 4 else 1.0) * (1 - 0.06 * abs(f - 2))
        p.water = np.maximum(p.water, p.rod([at, at + 1.05 * length * way], 0.085, 12))
        for share, r in ((0.42, 0.045), (0.28, 0.04), (0.19, 0.034), (0.12, 0.028))[: 3 if f == 4 else 4]:
            b = at + share * length * way
            p.long_bone([at + 0.02 * way, (at + b) / 2, b - 0.02 * way], [r * 1.3, r * 0.8, r * 1.2], dense)
            at = b
    return p.shadow()


def skull(rng: Rng) -> Shadow:
    """A head from the front or from the side, with some of the neck."""
    p = Plate()
    side = rng.random() < 0.5
    wide = rng.uniform(0.5, 0.62) * (1.2 if side else 0.95)
    tall = rng.uniform(0.55, 0.66)
    at = [rng.uniform(-0.3, -0.15), 0.0]
    p.water += p.ellipse(at, (tall + 0.03, wide + 0.03), 160) + p.rod([[0.3, 0], [1.2, 0.05]], 0.3, 22)
    shell = p.ellipse(at, (tall, wide), 150) - p.ellipse(at, (tall - 0.05, wide - 0.05), 138)
    p.add_bone(np.clip(shell, 0, 60) * 0.5)
    front = -wide * 0.55 if side else 0.0
    for k in (-1, 1):
        hole = [at[0] + 0.2, front * 0.9 if side else 0.24 * k]
        ring = p.ellipse(hole, (0.15, 0.15), 30) - p.ellipse(hole, (0.12, 0.12), 32)
        p.add_bone(np.clip(ring, 0, 14))
        p.water -= 0.5 * p.ellipse([at[0] + 0.42, front if side else 0.17 * k], (0.12, 0.09), 40)
    jaw = [[at[0] + 0.5, front * 0.2], [at[0] + 0.85, front * 0.6], [at[0] + 0.86, front * 1.2]]
    if not side:
        jaw = [[at[0] + 0.45, -0.38], [at[0] + 0.82, -0.26], [at[0] + 0.92, 0.0], [at[0] + 0.82, 0.26],
               [at[0] + 0.45, 0.38]]  # fmt: skip
    p.long_bone(jaw, 0.07, 20)
    for k in range(10):
        p.add_bone(p.ellipse([at[0] + 0.68 + 0.06 * (k % 2), front + (k - 4.5) * 0.045], (0.05, 0.022), 9))
    p.add_bone(p.ellipse([at[0] + 0.4, front * 0.1], (0.12, wide * 0.5), 18))
    for k in range(7):
        p.add_bone(p.ellipse([at[0] + 0.62 + 0.13 * k, 0.12 if side else 0.0], (0.055, 0.11), 14, power=4))
    p.water = np.maximum(p.water, 0)
    return p.shadow()


def animal(rng: Rng) -> Shadow:
    """The trunk of a four-legged animal lying on its side, or, less often, on its back: deep, narrow and long."""
    p = Plate()
    long, deep = rng.uniform(0.95, 1.5), rng.uniform(0.32, 0.62)
    back = rng.random() < 0.25
    if back:
        deep *= 0.75
    p.water += p.ellipse([0, 0], (deep, long), 150, power=3) + p.rod([[-0.1, -0.9], [-0.3, -1.5]], 0.25, 15)
    chest = p.ellipse([0.02, -0.3], (deep * 0.82, 0.6), 1.0, power=rng.uniform(2.2, 3))
    dome = 0.12 + 0.25 * rng.random() - 0.5 * (p.y / deep) ** 2 * rng.choice([-0.4, 0.6])
    slant = rng.uniform(-0.5, 0.2) * p.y
    lung = chest * np.clip((dome + slant - p.x) / 0.03, 0, 1)
    p.water -= lung * rng.uniform(70, 105)
    heart = rng.uniform(0.2, 0.34)
    p.water += (lung > 0.2) * p.ellipse(
        [deep * 0.2 * (not back), -0.35], (heart, heart * 0.8), 70, rng.uniform(-0.6, 0.6)
    )
    spine = 0.0 if back else -deep * rng.uniform(0.6, 0.8)
    for k in range(22):
        x = -1.2 + 0.115 * k
        p.add_bone(p.ellipse([spine + 0.02 * np.sin(k / 3), x], (0.06, 0.048), 22, power=4))
        p.add_bone(p.rod([[spine, x], [spine - (0.0 if back else 0.13), x + 0.05]], 0.018, 14))
    lean = rng.uniform(0.05, 0.3)
    for k in range(13):
        x = -0.75 + 0.085 * k
        for way in (-1, 1) if back else (1,):
            rib = [[spine, x], [spine + way * deep * 0.7, x + lean * 0.6], [spine + way * deep * 1.35, x + lean]]
            p.add_bone(p.rod(rib, 0.016, rng.uniform(14, 24)))
    for k in (0, 1):
        elbow = [deep * 0.75, -0.75 + 0.15 * k]
        leg = [[-deep * 0.2, -0.62], elbow, [deep + 0.35, -0.9 + 0.3 * k]]
        p.water = np.maximum(p.water, p.rod(leg, 0.12, 25))
        p.long_bone(leg, 0.05, 22)
    for _ in range(int(rng.integers(0, 6))):
        p.water -= p.ellipse([rng.uniform(-0.25, 0.3), rng.uniform(0.35, 1)], rng.uniform(0.04, 0.14, 2), 45)
    p.water = np.maximum(p.water, p.bone)
    return p.shadow()


def breast(rng: Rng) -> Shadow:
    """A mammogram: fat and gland on one edge of the film, sometimes with the muscle in a corner."""
    p = Plate()
    shape = p.ellipse([rng.uniform(-0.3, 0.3), -1.0], (rng.uniform(0.55, 1.0), rng.uniform(0.6, 1.6)), 1.0)
    body = np.clip(shape * 4, 0, 1)
    gland = np.clip(noise(rng, rng.uniform(8, 30)) * 0.6 + shape, 0, 2) + 0.25 * noise(rng, 3.0)
    p.water += body * (32 + rng.uniform(4, 22) * np.clip(gland, 0, 2))
    if rng.random() < 0.5:
        p.water += np.clip((-0.2 - p.x - rng.uniform(0.5, 1.2) * (p.y + 0.3)) * 60, 0, 22) * (body > 0.5)
    if rng.random() < 0.4:
        p.water += p.ellipse(rng.uniform(-0.5, 0.1, 2), rng.uniform(0.05, 0.2, 2), 14) * (body > 0.5)
    return p.shadow()


def pattern(rng: Rng) -> Shadow:
    """No body at all: ramps, bars, noise, holes in a plate, an empty exposure."""
    p = Plate()
    kind = int(rng.integers(0, 7))
    if kind == 0:
        p.water += 100 * (p.x * rng.normal() + p.y * rng.normal() + 1.5)
    elif kind == 1:
        p.water += 60 * (1 + np.sign(np.sin((p.x * rng.normal() + p.y * rng.normal()) * rng.uniform(5, 60))))
    elif kind == 2:
        p.water += np.clip(60 + rng.uniform(5, 30) * noise(rng, rng.uniform(0.5, 50)), 0, None)
    elif kind == 3:
        p.water += 60
        for _ in range(int(rng.integers(2, 40))):
            p.water += p.ellipse(rng.uniform(-0.9, 0.9, 2), [rng.uniform(0.02, 0.3)] * 2, rng.uniform(-50, 50))
    elif kind == 4:
        p.water += 60 * ((np.floor(p.x * rng.uniform(2, 12)) + np.floor(p.y * rng.uniform(2, 12))) % 2)
    elif kind == 5:
        for _ in range(int(rng.integers(1, 8))):
            r, c = rng.uniform(-1, 0.6, 2)
            inside = (p.y > r) & (p.y < r + rng.uniform(0.1, 1.2)) & (p.x > c) & (p.x < c + rng.uniform(0.1, 1.2))
            p.water += inside * rng.uniform(10, 80)
    else:
        p.water += 30 + 3 * noise(rng, 60)
    p.water = np.maximum(p.water, 0)
    return p.shadow()


PLATES: dict[str, tuple[Callable[[Rng], Shadow], ...]] = {
    "limb": (limb, hand),
    "skull": (skull,),
    "animal": (animal,),
    "breast": (breast,),
    "other": (pattern,),
}
