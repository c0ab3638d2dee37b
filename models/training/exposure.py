"""Ray sums -> radiograph: beam, scatter, noise, tone curve; and what lies on the film that is no finding.

Letters, wires, clips and borders are drawn from the generator of the exposure alone: they know nothing of the findings.
"""

from __future__ import annotations

import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

from models.nets.xray_input import Place, normalise

Rng = np.random.Generator


def sample_square(
    stack: np.ndarray,
    rng: Rng,
    size: int,
    window: tuple[float, float, float, float],
    turn: float = 0.0,
    mirrored: bool = False,
) -> tuple[torch.Tensor, Place]:
    """Cut ``window`` (middle row and column, height and width, in pixels) out of ``stack`` (channels, rows, columns)
    and put it on a square as :func:`models.nets.xray_input.letterbox` would; ``turn`` in radians. Beyond its edges the
    body goes on as it ends there."""
    row, column, height, width = window
    scale = size / max(height, width)
    tall, wide = (max(8, min(size, round(n * scale))) for n in (height, width))
    place = Place((size - tall) // 2, (size - wide) // 2, tall, wide)
    rows, columns = stack.shape[1:]
    c, s = float(np.cos(turn)), float(np.sin(turn))
    flip = -1.0 if mirrored else 1.0
    y, x = 1.0 / scale, flip / scale
    # affine_grid works in units of half the image, from the square to the source.
    h = size / 2
    theta = torch.tensor([[
        [c * x * h * 2 / columns, -s * y * h * 2 / columns, 2 * (column + 0.5) / columns - 1],
        [s * x * h * 2 / rows, c * y * h * 2 / rows, 2 * (row + 0.5) / rows - 1],
    ]], dtype=torch.float32)  # fmt: skip
    grid = functional.affine_grid(theta, [1, 1, size, size], align_corners=False)
    if rng.random() < 0.7:  # no two bodies have the same proportions
        control = torch.from_numpy(rng.normal(0, 0.018, (1, 2, 5, 5)).astype(np.float32))
        grid = grid + functional.interpolate(control, (size, size), mode="bicubic").permute(0, 2, 3, 1)
    source = torch.from_numpy(np.ascontiguousarray(stack, np.float32))[None]
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=False)[0], place


def expose(rng: Rng, water: torch.Tensor, bone: torch.Tensor, place: Place, wild: bool = False) -> np.ndarray:
    """One radiograph, float32 (size, size) from 0 to 1 with bright = dense, zero outside of ``place``; normalised.

    ``wild``: also exposures and tone curves that hide what is in the image, though not what the image is of.
    """
    size = water.shape[-1]
    thick = water.numpy() + float(rng.uniform(0.6, 3.0)) * bone.numpy()
    thick = thick + metal(rng, size, place)
    weakening = rng.uniform(0.012, 0.028) if wild else rng.uniform(0.015, 0.022)  # per mm of water
    beam = np.exp(-weakening * np.maximum(thick, 0)).astype(np.float32)
    scattered = _blur(beam, int(size * rng.uniform(0.1, 0.25)))
    beam += np.float32(rng.uniform(0.0, 0.7 if wild else 0.3)) * scattered + np.float32(rng.uniform(0, 0.01))
    beam += (
        np.float32(rng.choice([0.002, 0.006, 0.016] if wild else [0.001, 0.003, 0.006]))
        * np.sqrt(beam)
        * rng.standard_normal(beam.shape, dtype=np.float32)
    )
    beam = np.maximum(beam, 1e-4)
    # Most systems show the logarithm; some files hold something nearer to the dose.
    power = rng.uniform(0.15, 0.5 if wild else 0.3)
    image = -np.log(beam) if rng.random() < (0.75 if wild else 0.9) else -(beam**power)
    content = np.zeros((size, size), bool)
    content[place.part] = True
    image = normalise(image, content)
    if rng.random() < 0.5:
        image = image + rng.uniform(0.2, 1.2) * (image - _blur(image, int(size * rng.uniform(0.03, 0.15))))
    image = _tone(rng, np.clip(image, 0, 1), wild)
    if rng.random() < (0.3 if wild else 0.1):
        image = _blur(image, int(rng.integers(2, 4)))
    image = border(rng, letters(rng, image, place), place)
    return normalise(image, content)


def _tone(rng: Rng, image: np.ndarray, wild: bool) -> np.ndarray:
    kind = rng.random() if wild else 0.9 * rng.random()
    if kind < 0.45:
        return image ** np.float32(rng.uniform(0.5, 1.9) if wild else rng.uniform(0.65, 1.4))
    if kind < 0.8:
        steep, middle = rng.uniform(3, 6), rng.uniform(0.35, 0.6)
        if wild:
            steep, middle = rng.uniform(3, 9), rng.uniform(0.3, 0.7)
        return (1 / (1 + np.exp(-steep * (image - middle)))).astype(np.float32)
    if kind < 0.9:
        return image
    # Hard windows burn the thickest and the thinnest parts out.
    low, high = rng.uniform(0, 0.25), rng.uniform(0.65, 1)
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def _blur(image: np.ndarray, width: int) -> np.ndarray:
    if width < 2:
        return image
    half = max(1, width // 2)
    x = torch.from_numpy(image)[None, None]
    for kernel, pad in (((2 * half + 1, 1), (half, 0)), ((1, 2 * half + 1), (0, half))):
        x = functional.avg_pool2d(x, kernel, 1, pad, count_include_pad=False)
    return x[0, 0].numpy()


def metal(rng: Rng, size: int, place: Place) -> np.ndarray:
    """Wires, electrodes, clips, a generator under the skin: mm of water that would weaken as much (size, size)."""
    sheet = Image.new("F", (size, size))
    draw = ImageDraw.Draw(sheet)

    def spot() -> tuple[float, float]:
        return place.left + rng.uniform(0, 1) * place.width, place.top + rng.uniform(0, 1) * place.height

    for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.5, 0.2, 0.2, 0.1]))):  # leads and lines
        points = [spot()]
        for _ in range(int(rng.integers(2, 7))):
            points.append((points[-1][0] + rng.normal(0, 0.12 * size), points[-1][1] + rng.normal(0, 0.12 * size)))
        draw.line(points, fill=float(rng.uniform(5, 60)), width=int(rng.integers(1, 3)), joint="curve")
        if rng.random() < 0.6:
            x, y = points[-1]
            r = rng.uniform(0.008, 0.02) * size
            draw.ellipse((x - r, y - r, x + r, y + r), fill=float(rng.uniform(30, 200)))
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(1, 9))):  # clips
            x, y = spot()
            draw.line((x, y, x + rng.normal(0, 2.5), y + rng.normal(0, 2.5)), fill=float(rng.uniform(40, 200)), width=1)
    if rng.random() < 0.06:
        x, y = spot()
        a, b = rng.uniform(0.04, 0.08, 2) * size
        draw.rounded_rectangle((x - a, y - b, x + a, y + b), radius=a / 2, fill=float(rng.uniform(80, 250)))
    return np.array(sheet, np.float32)


def letters(rng: Rng, image: np.ndarray, place: Place) -> np.ndarray:
    """Side letters and burned-in words near the edges, bright or dark, on about half of the images."""
    if rng.random() < 0.45:
        return image
    sheet = Image.fromarray(image)
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(1, 4))):
        word = str(
            rng.choice(["L", "R", "AP", "PA", "ERECT", "L", "R", "".join(rng.choice(list(string.ascii_uppercase), 4))])
        )
        font = ImageFont.load_default(size=float(rng.uniform(0.035, 0.09) * image.shape[0]))
        along, near = rng.uniform(0, 1), rng.uniform(0, 0.18)
        near = near if rng.random() < 0.5 else 0.9 - near
        at = (along, near) if rng.random() < 0.5 else (near, along)
        xy = place.left + at[0] * 0.92 * place.width, place.top + at[1] * 0.92 * place.height
        if rng.random() < 0.2:
            left, top, right, bottom = draw.textbbox(xy, word, font=font)
            draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=float(rng.uniform(0, 0.3)))
        draw.text(xy, word, fill=float(rng.choice([1.0, 1.0, 0.85, 0.0])), font=font)
    return np.array(sheet, np.float32)


def border(rng: Rng, image: np.ndarray, place: Place) -> np.ndarray:
    """Collimated edges or a frame around the exposed field, black or white, on about a third of the images."""
    if rng.random() < 0.65:
        return image
    out = np.full_like(image, float(rng.choice([0.0, 0.0, 1.0, 0.1])))
    top, bottom = (int(rng.uniform(0, 0.09) * place.height) for _ in range(2))
    left, right = (int(rng.uniform(0, 0.09) * place.width) for _ in range(2))
    rows = slice(place.top + top, place.top + place.height - bottom)
    columns = slice(place.left + left, place.left + place.width - right)
    out[rows, columns] = image[rows, columns]
    return out
