"""Chest (and abdomen, and neck) CT phantoms with known lungs, drawn from a seed with numpy and scipy alone.

A phantom is a made-up patient: no image of a person was used to make it. Every property is a named draw
(:class:`models.training.draws.Draws`), so a caller can fix any of them: ``chest_phantom(7, effusion_left=True)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.training.abdomen import paint_abdomen
from models.training.bones import paint_airway, paint_heart, paint_spine, paint_trunk
from models.training.canvas import LEFT, OUTSIDE, RIGHT, Canvas, Pose
from models.training.draws import Draws
from models.training.lungs import paint_lungs
from models.training.scanner import scan
from models.training.surroundings import paint_arms, paint_surroundings, paint_test_object
from models.training.torso import build_torso

# What a scan covers: (first z, last z) of its top and of its bottom, in mm from the carina; how often.
SCANS: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "chest": ((95, 160), (-300, -190), 0.4),
    "chest and abdomen": ((90, 170), (-600, -330), 0.14),
    "abdomen with lung bases": ((-165, -30), (-620, -260), 0.22),
    "abdomen": ((-330, -190), (-660, -450), 0.05),
    "neck and chest": ((180, 400), (-260, -60), 0.08),
    "part of the chest": ((-60, 110), (-160, -40), 0.1),
    "head": ((340, 440), (130, 230), 0.03),
}


@dataclass(frozen=True)
class Phantom:
    """``hu`` int16 (z, y, x) on the canonical axes (Head, Posterior, Left); ``labels`` uint8 of the same shape: 0
    elsewhere,
    1 aerated left lung, 2 aerated right lung; ``kinds`` uint8, see :mod:`models.training.canvas`; ``spacing`` mm (z,
    y, x)."""

    hu: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray
    spacing: tuple[float, float, float]
    facts: dict[str, Any]


def chest_phantom(
    seed: int,
    shape: tuple[int, int, int] = (128, 512, 512),
    spacing: tuple[float, float, float] = (2.5, 0.7, 0.7),
    **variation: Any,
) -> Phantom:
    """A whole chest, from the top of the lungs down as far as ``shape`` reaches.

    ``variation`` fixes draws by name; ``posture`` ("supine", "prone", "left", "right") and ``turn`` (radians about the
    long axis) are among them. Raises ValueError for a name that nothing draws (some are drawn only
    together with another: a cover only with a mattress). About 8 s for the default size.
    """
    top = 118.0 + 0.02 * (shape[0] - 1) * spacing[0]
    fixed = {"fat_class": 4.0, "test_object": False, **variation}
    draws = Draws(seed, fixed)
    phantom = render(draws, top - (shape[0] - 1) * spacing[0], shape, spacing)
    if unknown := [n for n in draws.unknown() if n != "fat_class"]:
        raise ValueError(
            f"chest_phantom: nothing in this patient is called {unknown[0]!r}; Phantom.facts has the names"
        )
    return phantom


def random_scan(draws: Draws) -> tuple[float, float]:
    """Lowest and highest z (mm) of a random scan range; its name is the fact ``scan``."""
    name = draws.choice("scan", tuple(SCANS), [s[2] for s in SCANS.values()])
    top = draws.uniform("scan_top", *SCANS[name][0])
    bottom = draws.uniform("scan_bottom", *SCANS[name][1])
    return bottom, max(top, bottom + 30)


def _pose(d: Draws) -> Pose:
    d.choice("posture", ("supine", "prone", "left", "right"), (0.84, 0.1, 0.03, 0.03))
    quarter = d.choice("quarter_turn", (0.0, np.pi, np.pi / 2, -np.pi / 2), (0.95, 0.025, 0.0125, 0.0125))
    turn = d.uniform("turn", -0.22, 0.22) if d.chance("rolled", 0.4) else d.uniform("slight_turn", -0.06, 0.06)
    return Pose(
        shift=(0.0, d.normal("off_y", 0, 16), d.normal("off_x", 0, 14)),
        turn=quarter + turn,
        lean=(d.normal("lean_x", 0, 0.04), d.normal("lean_y", 0, 0.05)),
        warp=d.uniform("warp", 1.5, 6.5),
        warp_wavelength=d.uniform("warp_wavelength", 70, 130),
    )


def render(
    draws: Draws,
    bottom: float,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    step: float = 3.0,
    clean: bool = False,
    centre: tuple[float, float] = (0.0, 0.0),
    reach: float | None = None,
) -> Phantom:
    """Render the patient of ``draws`` on a grid whose first slice lies at z = ``bottom`` mm and whose in-plane middle
    lies at ``centre`` (y, x) mm.

    The same draws on another grid are the same patient. ``clean`` leaves the scanner's noise out; ``reach`` is
    the radius in mm of the circle that the scanner reconstructs.
    """
    pose = _pose(draws)
    places = (
        bottom + spacing[0] * np.arange(shape[0]),
        *(c + s * (np.arange(n) - (n - 1) / 2) for n, s, c in zip(shape[1:], spacing[1:], centre, strict=True)),
    )
    canvas = Canvas(places, pose, draws, step)
    if draws.chance("test_object", 0.03):
        paint_test_object(canvas, draws)
    else:
        torso = build_torso(canvas, draws)
        paint_surroundings(canvas, draws, torso)
        draws.choice("arms", ("up", "down", "one down", "folded"), (0.55, 0.25, 0.08, 0.12))
        paint_trunk(canvas, draws, torso)
        paint_heart(canvas, draws, torso)
        paint_spine(canvas, draws, torso)
        paint_abdomen(canvas, draws, torso)
        draws.uniform("vessel_hu", 20, 90)
        paint_lungs(canvas, draws, torso)
        paint_airway(canvas, draws, torso)
        paint_arms(canvas, draws, torso)
    labels = np.where(canvas.kind == LEFT, 1, np.where(canvas.kind == RIGHT, 2, OUTSIDE)).astype(np.uint8)
    hu = np.rint(canvas.hu).astype(np.int16) if clean else scan(canvas.hu, spacing, draws, centre, reach)
    return Phantom(hu, labels, canvas.kind, spacing, dict(draws.facts))
