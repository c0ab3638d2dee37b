"""Losses and scores of the networks of ``cxr-triage``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from models.nets.xray_input import channels
from models.nets.xray_triage import Finder
from models.training.fit import autocast
from models.training.xray_samples import Roll

Rng = np.random.Generator
PLACES = 0.8  # how much the places count against the findings
SEEN = 0.35  # the share of a cell that makes it one where a finding is seen


def squares(images: np.ndarray) -> torch.Tensor:
    """Stored images (batch, size, size) uint8 -> normalised squares, float32."""
    return torch.from_numpy(images).float().sub(1).div(254).clamp(min=0)


def vary(rng: Rng, x: torch.Tensor) -> torch.Tensor:
    """Squares with another tone curve and some noise each, so that no image comes twice."""
    power = torch.from_numpy(np.exp(rng.normal(0, 0.12, (len(x), 1, 1))).astype(np.float32))
    noise = torch.from_numpy((rng.random((len(x), 1, 1)) * 0.03).astype(np.float32)) * torch.randn_like(x)
    return ((x.clamp(min=1e-4) ** power + noise).clamp(0, 1)) * (x > 0)


def moved(rng: Rng, x: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squares and their cells (batch, findings, rows, columns) in another place, size and turn each, half of them
    mirrored: no finding here prefers a side."""
    turn, size = rng.normal(0, 0.05, len(x)), np.exp(rng.normal(0, 0.06, len(x)))
    c, s, flip = size * np.cos(turn), size * np.sin(turn), rng.choice([-1.0, 1.0], len(x))
    row, column = rng.normal(0, 0.05, (2, len(x)))
    theta = np.stack([np.stack([flip * c, -s, column], 1), np.stack([flip * s, c, row], 1)], 1).astype(np.float32)
    found = []
    for one in (x[:, None], cells):
        grid = functional.affine_grid(torch.from_numpy(theta), [*one.shape], align_corners=False)
        found.append(functional.grid_sample(one, grid, align_corners=False))
    return found[0][:, 0], found[1]


class Album:
    """The images of many rolls, drawn at random."""

    def __init__(self, rolls: Sequence[Roll]) -> None:
        self.images = np.concatenate([r.images for r in rolls])
        self.labels = np.concatenate([r.labels for r in rolls])
        self.cells = np.concatenate([r.cells for r in rolls])
        self.views = np.concatenate([r.views for r in rolls])
        self.kinds = np.concatenate([r.kinds for r in rolls])


def finder_step(net: Finder, album: Album, rng: Rng, batch: int = 16) -> torch.Tensor:
    """The loss of a random batch: cross-entropy of the findings, and of the places where they are seen.

    There, cells with a finding weigh more than the many without by the root of their proportion: weighing both parts
    alike would raise the scores of empty cells, the highest of which makes the pooled answer.
    """
    at = rng.integers(0, len(album.images), batch)
    cells = torch.from_numpy((album.cells[at].astype(np.float32) / SEEN).clip(0, 1))
    x, cells = moved(rng, squares(album.images[at]), cells)
    with autocast():
        scores, _ = net.scores(channels(x).contiguous(memory_format=torch.channels_last))
    scores = scores.float()
    truth = torch.from_numpy(album.labels[at].astype(np.float32))
    loss = functional.binary_cross_entropy_with_logits(net.pooled(scores), truth)
    share = cells.mean((0, 2, 3), keepdim=True).clamp(1e-3, 0.999)
    each = functional.binary_cross_entropy_with_logits(
        scores, cells, pos_weight=((1 - share) / share).sqrt(), reduction="none"
    )
    even = 2 * (share * (1 - share)).sqrt().flatten()
    return loss + PLACES * (each.mean((0, 2, 3)) / even).mean()


def view_step(net: torch.nn.Module, album: Album, rng: Rng, batch: int = 32) -> torch.Tensor:
    """The loss of the view check on a random batch; a third of the images are rolled a little and enlarged."""
    at = rng.integers(0, len(album.views), batch)
    x = vary(rng, squares(album.views[at]))
    for k in np.flatnonzero(rng.random(batch) < 0.33):
        keep = int(x.shape[-1] * rng.uniform(0.88, 1))
        r, c = rng.integers(0, x.shape[-1] - keep + 1, 2)
        part = x[k, r : r + keep, c : c + keep][None, None]
        x[k] = functional.interpolate(part, x.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    with autocast():
        logits = net(channels(x).contiguous(memory_format=torch.channels_last))
    return functional.cross_entropy(
        logits.float(), torch.from_numpy(album.kinds[at].astype(np.int64)), label_smoothing=0.03
    )


def finder_score(net: Finder, album: Album) -> float:
    """Mean area under the curve over the findings."""
    return float(np.mean(areas(finder_logits(net, album), album.labels)))


@torch.no_grad()
def finder_logits(net: Finder, album: Album, batch: int = 40) -> np.ndarray:
    """Logits (images, findings) of one member."""
    found = []
    for k in range(0, len(album.images), batch):
        scores, _ = net.scores(channels(squares(album.images[k : k + batch])))
        found.append(net.pooled(scores).numpy())
    return np.concatenate(found)


@torch.no_grad()
def finder_features(net: Finder, album: Album, batch: int = 40) -> np.ndarray:
    """Features (images, depth) of one member, float64."""
    parts = range(0, len(album.images), batch)
    found = [net.scores(channels(squares(album.images[k : k + batch])))[1].numpy() for k in parts]
    return np.concatenate(found).astype(np.float64)


@torch.no_grad()
def view_logits(net: torch.nn.Module, album: Album, batch: int = 80) -> np.ndarray:
    """Logits (images, views)."""
    return np.concatenate(
        [net(channels(squares(album.views[k : k + batch]))).numpy() for k in range(0, len(album.views), batch)]
    )


def view_score(net: torch.nn.Module, album: Album) -> float:
    """The share of views that are told rightly."""
    return float((view_logits(net, album).argmax(1) == album.kinds).mean())


def areas(score: np.ndarray, truth: np.ndarray) -> list[float]:
    """Area under the ROC curve of each column, ties counted half (Mann and Whitney); NaN without both kinds."""
    from scipy.stats import rankdata

    out = []
    for s, t in zip(score.T, truth.astype(bool).T, strict=True):
        n = int(t.sum())
        rest = len(t) - n
        rank_sum = rankdata(s)[t].sum()
        out.append(float((rank_sum - n * (n + 1) / 2) / (n * rest)) if n and rest else float("nan"))
    return out
