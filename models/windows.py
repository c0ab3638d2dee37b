"""Resampling between grids and sliding windows along the long axis, in blocks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch


def averaging(count: int, spacing: float, target: float) -> np.ndarray:
    """Weights (m, count) that bring ``count`` samples ``spacing`` mm apart to a grid of ``target`` mm over the same
    length.

    Finer to coarser is an average over each new voxel's extent; coarser to finer is linear interpolation.
    """
    m = max(1, round(count * spacing / target))
    centre = (np.arange(m) + 0.5) * (count * spacing / m)
    if target <= spacing:
        return linear(count, centre / spacing - 0.5)
    edges = np.arange(count + 1) * spacing
    half = count * spacing / m / 2
    low, high = (
        np.maximum(edges[None, :-1], centre[:, None] - half),
        np.minimum(edges[None, 1:], centre[:, None] + half),
    )
    weights = np.clip(high - low, 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def linear(count: int, positions: np.ndarray) -> np.ndarray:
    """Weights (len(positions), count) of linear interpolation at fractional indices, clamped to the ends."""
    p = np.clip(np.asarray(positions, float), 0, count - 1)
    base = np.minimum(np.floor(p).astype(int), max(count - 2, 0))
    f = (p - base).astype(np.float32)
    weights = np.zeros((len(p), count), np.float32)
    weights[np.arange(len(p)), base] = 1 - f
    weights[np.arange(len(p)), np.minimum(base + 1, count - 1)] += f
    return weights


def shrink(
    volume: np.ndarray, spacing: tuple[float, float, float], target: float, low: float = -1024.0, high: float = 1500.0
) -> np.ndarray:
    """``volume`` (z, y, x) HU averaged to ``target`` mm in each axis, float32, clipped to [low, high] before
    averaging."""
    wz, wy, wx = (averaging(n, s, target) for n, s in zip(volume.shape, spacing, strict=True))
    # Torch's products, not numpy's: BLAS has threads of its own that would compete with torch's.
    ty, tx = torch.from_numpy(wy), torch.from_numpy(wx).T
    out = np.zeros((wz.shape[0], wy.shape[0], wx.shape[0]), np.float32)
    for k in range(volume.shape[0]):
        flat = torch.from_numpy(np.clip(volume[k].astype(np.float32), low, high))
        small = (ty @ flat @ tx).numpy()
        for row in np.flatnonzero(wz[:, k]):
            out[row] += wz[row, k] * small
    return out


def interpolate(values: np.ndarray, wz: np.ndarray, wy: np.ndarray, wx: np.ndarray) -> torch.Tensor:
    """(k, z, y, x) float32 -> (slices, k, rows, columns), with one matrix of weights for each axis."""
    out = torch.einsum("sz,kzyx->skyx", torch.from_numpy(wz), torch.from_numpy(values))
    return torch.from_numpy(wy) @ out @ torch.from_numpy(wx).T


def spans(length: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Windows of at most ``window`` that cover 0..length, neighbours sharing at least ``overlap``."""
    if length <= window:
        yield 0, length
        return
    count = -(-(length - overlap) // (window - overlap))
    for start in np.linspace(0, length - window, count).round().astype(int):
        yield int(start), int(start) + window


def slide(volume: np.ndarray, window: int, overlap: int, look: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply ``look`` (z, y, x) -> (classes, z, y, x) to windows along z and blend them with triangular weights."""
    total: np.ndarray | None = None
    weight = np.zeros(volume.shape[0], np.float32)
    for start, stop in spans(volume.shape[0], window, overlap):
        seen = look(volume[start:stop])
        n = stop - start
        ramp = np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32)
        if total is None:
            total = np.zeros((seen.shape[0], *volume.shape), np.float32)
        total[:, start:stop] += seen * ramp[None, :, None, None]
        weight[start:stop] += ramp
    if total is None:
        raise ValueError("slide: the volume has no slices")
    return total / weight[None, :, None, None]


def pad_to(volume: np.ndarray, multiple: int, fill: float = -1024.0) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """Pad (z, y, x) to multiples: in-plane with ``fill`` (air), along z by repeating the end slices; and where the
    image lies."""
    # Not less than two blocks in-plane: a network that normalises over the image needs more than one value there.
    spare = [-volume.shape[0] % multiple, *(max(-n % multiple, 2 * multiple - n) for n in volume.shape[1:])]
    sides = [(s // 2, s - s // 2) for s in spare]
    out = np.pad(volume, [(0, 0), sides[1], sides[2]], constant_values=fill)
    out = np.pad(out, [sides[0], (0, 0), (0, 0)], mode="edge")
    where = tuple(slice(a, a + n) for (a, _), n in zip(sides, volume.shape, strict=True))
    return out, (where[0], where[1], where[2])
