"""How a radiograph of any size and range of values becomes the input of a network; the same in training and in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

LOW, HIGH = 0.01, 0.99  # quantiles of the image that become 0 and 1
GRID = 16  # a pixel's neighbourhood: three sixteenths of the image's side, with soft edges


@dataclass(frozen=True)
class Place:
    """Where an image lies on the network's square: first row and column, height and width."""

    top: int
    left: int
    height: int
    width: int

    @property
    def part(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def place_of(rows: int, columns: int, size: int) -> Place:
    """The largest place for an image of this shape, in the middle of ``size`` x ``size`` pixels."""
    scale = size / max(rows, columns)
    height, width = (max(1, min(size, round(n * scale))) for n in (rows, columns))
    return Place((size - height) // 2, (size - width) // 2, height, width)


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, Place]:
    """``image`` (rows, columns) as float32 (size, size), its sides kept in proportion, zero around it."""
    place = place_of(image.shape[0], image.shape[1], size)
    small = torch.from_numpy(np.array(image, np.float32, order="C"))[None, None]
    wanted = (place.height, place.width)
    if image.shape[0] >= place.height and image.shape[1] >= place.width:
        small = functional.interpolate(small, wanted, mode="area")
    else:
        small = functional.interpolate(small, wanted, mode="bilinear", align_corners=False)
    out = np.zeros((size, size), np.float32)
    out[place.part] = small[0, 0].numpy()
    return out, place


def normalise(image: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 between two quantiles of the ``content`` (bool), which do not see a few letters or metal; zero
    elsewhere. A flat image becomes zero."""
    inside = image[content]
    low, high = np.quantile(inside[:: max(1, inside.size // 8192)], (LOW, HIGH)) if inside.size else (0.0, 1.0)
    out = (image - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return np.where(content, np.clip(out, 0, 1), 0).astype(np.float32)


def channels(images: torch.Tensor) -> torch.Tensor:
    """Normalised images (batch, rows, columns) -> (batch, 2, rows, columns): the image itself, and how a pixel differs
    from its neighbourhood, which no tone curve changes much."""
    x = images[:, None]
    mean = _around(x)
    # Not from 0: there the slope of the root is infinite, and no gradient would come back to the image.
    spread = (_around(x * x) - mean * mean).clamp(min=1e-8).sqrt()
    return torch.cat((2 * x - 1, ((x - mean) / (spread + 0.05)).clamp(-3, 3) / 2), 1)


def _around(x: torch.Tensor) -> torch.Tensor:
    """The mean of each pixel's neighbourhood, by way of a small image."""
    small = functional.interpolate(x, (GRID, GRID), mode="area")
    small = functional.avg_pool2d(small, 3, 1, 1, count_include_pad=False)
    return functional.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)
