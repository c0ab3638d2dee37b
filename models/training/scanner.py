"""What the scanner adds: kernel, noise, streaks, padding and clipping."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from models.training.draws import Draws


def scan(
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    d: Draws,
    centre: tuple[float, float] = (0.0, 0.0),
    reach: float | None = None,
) -> np.ndarray:
    """Degrade a clean image (z, y, x) in HU into what a CT delivers; int16, shape unchanged.

    ``centre``: the image's middle (y, x) mm from the scanner's axis; ``reach``: radius of the reconstructed circle in
    mm, by default the image's own half height and width.
    """
    n, ny, nx = hu.shape
    rng = d.rng("noise")
    pixel = spacing[2]
    kernel = d.choice("kernel", ("smooth", "standard", "sharp"), (0.3, 0.5, 0.2))
    sigma = {"smooth": 1.0, "standard": 0.6, "sharp": 0.4}[kernel] * 0.7 / max(pixel, 0.4)
    level = d.choice("noise_level", (6.0, 15.0, 32.0, 60.0), (0.3, 0.4, 0.22, 0.08)) * d.uniform(
        "noise_factor", 0.7, 1.3
    )
    level *= {"smooth": 0.6, "standard": 1.0, "sharp": 2.0}[kernel] / max(1.0, spacing[0] / 2.5) ** 0.5
    # Voxels wider than a detector's resolution average the noise away.
    level /= max(1.0, pixel / 0.8) * max(1.0, (pixel / 0.8) ** 0.5)
    streaks = d.chance("streaks", 0.25)
    metal = d.chance("metal", 0.06)
    offset = d.normal("hu_offset", 0, 7)
    padding = d.choice("padding", (None, -1000, -1024, -2000, -2048, -3024), (0.5, 0.05, 0.15, 0.1, 0.1, 0.1))
    y, x = np.ogrid[:ny, :nx]
    ry, rx = (reach, reach) if reach else (ny * spacing[1] / 2, nx * spacing[2] / 2)
    off_y, off_x = (y - (ny - 1) / 2) * spacing[1] + centre[0], (x - (nx - 1) / 2) * spacing[2] + centre[1]
    outside = (off_y / ry) ** 2 + (off_x / rx) ** 2 > d.uniform("circle", 0.98, 1.02)
    floor = d.choice("floor", (-1024, -1000, -1050), (0.7, 0.15, 0.15))
    out = np.empty(hu.shape, np.int16)
    at = rng.uniform(0.35, 0.65, 2)
    angle = np.arctan2(y - at[0] * ny, x - at[1] * nx).astype(np.float32)
    radius = np.hypot(y - at[0] * ny, x - at[1] * nx).astype(np.float32) * pixel
    metal_at = sorted(rng.integers(0, n, 2))
    for k in range(n):
        image = hu[k]
        if sigma > 0.25:
            image = _blur(image, sigma)
        if kernel == "sharp":
            image = image + 0.6 * (image - _blur(image, 1.2 / max(pixel, 0.4) * 0.8))
        noise: np.ndarray = rng.standard_normal((ny, nx), dtype=np.float32)
        if pixel < 2.0:
            noise = _blur(noise, 0.75 * 0.7 / pixel) * (1.0 + 1.2 * min(0.7 / pixel, 1.5))
        if streaks:
            line = rng.standard_normal((ny, 1), dtype=np.float32)
            noise = noise + 0.6 * _blur(line + 0.3 * rng.standard_normal((ny, nx), dtype=np.float32), 1.0) * 1.4
        image = image + level * noise + offset
        if metal and metal_at[0] <= k <= metal_at[1]:
            image = image + 9000 / (radius + 25) * np.cos(
                angle * int(rng.integers(3, 14)) + rng.uniform(0, 6)
            ) * rng.uniform(0.2, 1)
        image = np.clip(image, floor, 3071)
        if padding is not None:
            image[outside] = padding
        out[k] = np.rint(image)
    return out


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    for axis in (0, 1):
        if image.shape[axis] > 1:
            image = gaussian_filter1d(image, sigma, axis=axis, truncate=2.5, mode="nearest")
    return image
