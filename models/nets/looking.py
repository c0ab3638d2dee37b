"""How a two-view network looks at a volume: the whole scan first, then slice by slice where the whole view sees
lung."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from models.windows import interpolate, linear, pad_to, shrink, slide

if TYPE_CHECKING:
    from models.nets.two_views import TwoViews
    from models.runtime import Runtime

# Voxels per portion at share 1: some 250 bytes of activations belong to each.
WHOLE_VOXELS = 1_600_000
DETAIL_PIXELS = 1_400_000
WINDOW_MM, OVERLAP_MM = 416.0, 176.0
# How far beyond the whole view's lungs the detail is still computed.
MARGIN_MM = 10.0
SEEN = 0.1


def look(
    net: TwoViews, volume: np.ndarray, spacing: tuple[float, float, float], runtime: Runtime, share: float
) -> dict[str, np.ndarray]:
    """``probability`` float16 (2, slices, rows, columns): left and right lung, zero where the whole view sees none;
    ``embedding`` float32 (channels): the whole view's deepest activations, averaged over the scan."""
    hints, embedding = look_at_whole(net, volume, spacing, runtime, share)
    hints = settle_sides(hints)
    probability = np.zeros((2, *volume.shape), np.float16)
    box = seen_box(hints[:2], volume.shape, spacing)
    if box is not None:
        look_at_slices(net, volume, hints, box, probability, runtime, share)
    return {"probability": probability, "embedding": embedding}


def look_at_whole(
    net: TwoViews, volume: np.ndarray, spacing: tuple[float, float, float], runtime: Runtime, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The hints (3, z, y, x) float32 on the coarse grid that covers the same length in each axis, and the mean of the
    deepest activations (channels) float32."""
    from models.nets.two_views import hints_of

    small = shrink(volume, spacing, net.spacing)
    multiple = net.multiple[0]
    deep: list[np.ndarray] = []  # of each window; all are of one size

    def forward(part: np.ndarray) -> np.ndarray:
        padded, where = pad_to(part, multiple)
        x = torch.from_numpy(padded)[None].to(runtime.device)
        with runtime.autocast():
            logits, deepest = net.whole_with_deepest(x)
        deep.append(deepest.float().mean((0, 2, 3, 4)).cpu().numpy())
        return hints_of(logits.float()[0].softmax(0))[(slice(None), *where)].cpu().numpy()

    area = (small.shape[1] + multiple) * (small.shape[2] + multiple)
    window = round(WINDOW_MM / net.spacing)
    fitting = int(min(WHOLE_VOXELS, runtime.memory / 400) * share / area)
    window = max(multiple, min(window, fitting) // multiple * multiple)
    hints = slide(small, window, min(round(OVERLAP_MM / net.spacing), window // 2), forward)
    return hints, np.mean(deep, axis=0)


def settle_sides(hints: np.ndarray) -> np.ndarray:
    """Give islands of one lung inside the other one back to it.

    ``hints`` (3, z, y, x): left, right, other gas. A connected part of one side that is not that side's largest, and
    that touches the other side's largest part, belongs to the latter: the two probabilities are exchanged there. How
    much is lung altogether does not change.
    """
    side = np.where(hints[0] > hints[1], 1, 2)
    side[hints[0] + hints[1] < 1 - hints[0] - hints[1]] = 0
    parts = {v: ndimage.label(side == v)[0] for v in (1, 2)}
    largest = {v: _largest(parts[v]) for v in (1, 2)}
    out = hints.copy()
    for value, other in ((1, 2), (2, 1)):
        near_own, near_other = (ndimage.binary_dilation(largest[v]) for v in (value, other))
        for number, box in enumerate(ndimage.find_objects(parts[value]), start=1):
            island = parts[value][box] == number
            if (
                (island & largest[value][box]).any()
                or (island & near_own[box]).any()
                or not (island & near_other[box]).any()
            ):
                continue
            left, right = out[0][box].copy(), out[1][box].copy()
            out[0][box][island], out[1][box][island] = right[island], left[island]
    return out


def _largest(parts: np.ndarray) -> np.ndarray:
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (parts == int(sizes.argmax())) & (parts > 0)


def seen_box(
    lungs: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> tuple[slice, ...] | None:
    """The box on the full grid in which the whole view sees lung, with a margin; None if it sees none."""
    seen = lungs.sum(0) > SEEN
    if not seen.any():
        return None
    parts = []
    for axis, (count, size) in enumerate(zip(shape, spacing, strict=True)):
        line = np.flatnonzero(seen.any(tuple(a for a in range(3) if a != axis)))
        scale = count / seen.shape[axis]
        margin = MARGIN_MM / size
        parts.append(
            slice(max(0, int(line[0] * scale - margin)), min(count, int(np.ceil((line[-1] + 1) * scale + margin))))
        )
    return tuple(parts)


def look_at_slices(
    net: TwoViews,
    volume: np.ndarray,
    hints: np.ndarray,
    box: tuple[slice, ...],
    out: np.ndarray,
    runtime: Runtime,
    share: float,
) -> None:
    """Fill ``out`` (2, slices, rows, columns) within ``box``, a few slices at a time."""
    weights = []
    for count, small, part in zip(volume.shape, hints.shape[1:], box, strict=True):
        centre = (np.arange(part.start, part.stop) + 0.5) * (small / count) - 0.5
        weights.append(linear(small, centre))
    wz, wy, wx = weights
    height, width = wy.shape[0], wx.shape[0]
    multiple = net.multiple[1]
    tall, wide = (max(n + -n % multiple, 2 * multiple) for n in (height, width))
    many = max(1, int(min(DETAIL_PIXELS, runtime.memory / 350) * share / (tall * wide)))
    for first in range(0, wz.shape[0], many):
        rows = slice(first, min(first + many, wz.shape[0]))
        around = interpolate(hints, wz[rows], wy, wx)
        part = slice(box[0].start + rows.start, box[0].start + rows.stop)
        hu = np.clip(volume[part, box[1], box[2]].astype(np.float32), -1024, 3071)
        grow = (0, tall - height), (0, wide - width)
        x = torch.from_numpy(np.pad(hu, ((0, 0), *grow), constant_values=-1024)).to(runtime.device)
        h = functional.pad(around, (*grow[1], *grow[0])).to(runtime.device)
        with runtime.autocast():
            logits = net.detail(x, h)
        lungs = logits.float().softmax(1)[:, 1:3, :height, :width]
        out[:, part, box[1], box[2]] = lungs.transpose(0, 1).half().cpu().numpy()
