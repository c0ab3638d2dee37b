"""Fitting the two networks of ``ct-lung`` in bounded time: losses, schedule, averaged weights, early stopping."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.nets.two_views import TwoViews, hints_of
from models.training.samples import Sample
from models.windows import interpolate, linear, pad_to

Log = Callable[[str], None]
# Rare kinds weigh more, the wide outside less.
KIND_WEIGHTS = (0.4, 1.5, 1.5, 3.0, 2.0, 0.7)


@dataclass
class Progress:
    """What a fit went through; ``best`` is the score of the weights that were kept."""

    steps: int = 0
    skipped: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best: float = -1.0
    stopped: str = "time"


def overlap_loss(probability: torch.Tensor, truth: torch.Tensor, smooth: float = 100.0) -> torch.Tensor:
    """1 - soft Dice of classes 1 and 2 over the whole batch. ``probability`` (b, c, ...), ``truth`` integer (b,
    ...)."""
    total = probability.new_zeros(())
    for c in (1, 2):
        p, t = probability[:, c], (truth == c).to(probability.dtype)
        total = total + 1 - (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)
    return total / 2


def autocast() -> Any:
    """bfloat16 where the processor computes with it, which is several times faster; else float32 as it is."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def degrade(rng: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    """Augment intensities: calibration, noise, blur between slices, another floor."""
    out = hu.astype(np.float32)
    out = out * rng.normal(1.0, 0.02) + rng.normal(0, 12)
    if rng.random() < 0.5:
        out = out + rng.uniform(2, 30) * rng.standard_normal(out.shape, dtype=np.float32)
    if rng.random() < 0.15:
        out = np.maximum(out, rng.choice([-1000.0, -990.0]))
    if rng.random() < 0.1:
        out[hu <= -950] = rng.uniform(-1024, -960)
    return out.astype(np.float32, copy=False)


def whole_crop(rng: np.random.Generator, sample: Sample, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a scan along z (mostly the whole), sometimes with thick slices, padded for the network."""
    hu, kinds = sample.hu, sample.kinds
    n = hu.shape[0]
    length = min(n, longest)
    u = rng.random()
    if u < 0.07:
        length = int(rng.integers(1, min(12, n) + 1))
    elif u < 0.22:
        length = int(rng.integers(min(8, n), min(n, longest) + 1))
    start = int(rng.integers(0, n - length + 1))
    hu, kinds = degrade(rng, hu[start : start + length]), kinds[start : start + length]
    if rng.random() < 0.35 and length > 6:
        thick = rng.uniform(1.1, 2.6)
        weights = linear(length, np.arange(0, length, thick))
        back = linear(len(weights), np.arange(length) / thick)
        hu = np.tensordot(back @ weights, hu, axes=(1, 0))
    # Cut the sides now and then: a small reconstruction circle.
    ny, nx = hu.shape[1:]
    cut_y, cut_x = (int(rng.integers(0, s // 7)) if rng.random() < 0.35 else 0 for s in (ny, nx))
    oy, ox = int(rng.integers(0, cut_y + 1)), int(rng.integers(0, cut_x + 1))
    part = slice(None), slice(oy, ny - cut_y + oy), slice(ox, nx - cut_x + ox)
    padded, where = pad_to(hu[part], 16)
    truth = np.pad(kinds[part], [(w.start, p - w.stop) for w, p in zip(where, padded.shape, strict=True)], mode="edge")
    return padded, truth


def whole_step(net: TwoViews, rng: np.random.Generator, sample: Sample, longest: int = 84) -> torch.Tensor:
    """The loss of the whole view on one random crop of ``sample``: cross-entropy of all kinds plus the overlap of the
    lungs."""
    hu, truth = whole_crop(rng, sample, longest)
    x = torch.from_numpy(np.ascontiguousarray(hu))[None]
    y = torch.from_numpy(truth.astype(np.int64))[None]
    with autocast():
        logits = net.whole(x)
    logits = logits.float()
    weights = torch.tensor(KIND_WEIGHTS)
    return functional.cross_entropy(logits, y, weight=weights) + overlap_loss(logits.softmax(1), y)


@torch.no_grad()
def whole_hints(net: TwoViews, sample: Sample) -> np.ndarray:
    """The whole view's hints (3, z, y, x) for a sample, float16."""
    hu, where = pad_to(np.clip(sample.hu.astype(np.float32), -1024, 1500), net.multiple[0])
    with autocast():
        logits = net.whole(torch.from_numpy(hu)[None])
    hints = hints_of(logits.float()[0].softmax(0))[(slice(None), *where)]
    return hints.numpy().astype(np.float16)


def place_hints(hints: np.ndarray, places: tuple[np.ndarray, ...]) -> np.ndarray:
    """Hints (k, z, y, x) interpolated at the detail's places -> (slices, k, y, x) float32."""
    wz, wy, wx = (linear(n, p) for n, p in zip(hints.shape[1:], places, strict=True))
    return interpolate(hints.astype(np.float32), wz, wy, wx).numpy()


def detail_step(
    net: TwoViews, rng: np.random.Generator, batch: list[tuple[Sample, np.ndarray]], pixels: int = 256
) -> torch.Tensor:
    """The loss of the detail on one random slice of each sample, with what the whole view sees around it as hints."""
    xs, hs, ys = [], [], []
    for sample, hints in batch:
        shift = tuple(p + (rng.normal(0, 0.35) if rng.random() < 0.5 else 0.0) for p in sample.places)
        k = int(rng.integers(0, sample.detail_hu.shape[0]))
        around = place_hints(hints, (shift[0][k : k + 1], shift[1], shift[2]))[0]
        if rng.random() < 0.3:
            around = np.clip(around * rng.uniform(0.7, 1.15) + rng.normal(0, 0.05), 0, 1)
        hu, truth = degrade(rng, sample.detail_hu[k]), sample.detail_labels[k]
        n = hu.shape[0]
        oy, ox = (int(rng.integers(0, max(1, n - pixels + 1))) for _ in range(2))
        part = slice(oy, oy + pixels), slice(ox, ox + pixels)
        short = max(0, pixels - n)
        xs.append(np.pad(hu[part], (0, short), constant_values=-1024))
        hs.append(np.pad(around[(slice(None), *part)], ((0, 0), (0, short), (0, short))))
        ys.append(np.pad(truth[part], (0, short)))
    x, h = torch.from_numpy(np.stack(xs).astype(np.float32)), torch.from_numpy(np.stack(hs).astype(np.float32))
    y = torch.from_numpy(np.stack(ys).astype(np.int64))
    with autocast():
        logits = net.detail(x, h)
    logits = logits.float()
    return functional.cross_entropy(logits, y) + 0.5 * overlap_loss(logits.softmax(1), y, 50.0)


def fit(
    part: nn.Module,
    step: Callable[[], torch.Tensor],
    score: Callable[[], float],
    seconds: float,
    log: Log,
    rate: float = 2e-3,
    check_every: float = 120.0,
    patience: int = 5,
) -> Progress:
    """Minimise ``step()`` over ``part`` for ``seconds``: AdamW, warm-up then cosine over the time, averaged weights.

    ``score()`` judges the averaged weights every ``check_every`` seconds; the best ones are left in ``part``. Stops
    early after ``patience`` checks without a better score. Raises FloatingPointError when the loss is not a number.
    """
    optimiser = torch.optim.AdamW(part.parameters(), lr=rate, weight_decay=1e-3)
    mean = copy.deepcopy(part.state_dict())
    best: dict[str, torch.Tensor] | None = None
    progress, since = Progress(), 0
    began = checked = time.monotonic()
    while (used := time.monotonic() - began) < seconds:
        done = used / seconds
        pace = min(1.0, (progress.steps + 1) / 30) * (0.5 + 0.5 * float(np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate * max(pace, 0.02)
        loss = step()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        steep = nn.utils.clip_grad_norm_(part.parameters(), 2.0)
        if not torch.isfinite(steep):
            # In bfloat16 the weight gradient of a small deep layer comes out without finite values in up to one step of
            # ten (the same step again, or in float32, is finite). Such steps are left out; many more are an error.
            progress.skipped += 1
            if progress.skipped > 20 + 0.5 * progress.steps:
                raise FloatingPointError(
                    f"{progress.skipped} of {progress.steps} steps had no finite gradient: lower the rate"
                )
            continue
        optimiser.step()
        progress.steps += 1
        progress.losses.append(float(loss.detach()))
        keep = min(0.99, progress.steps / (progress.steps + 9))
        with torch.no_grad():
            for name, value in part.state_dict().items():
                if value.is_floating_point():
                    mean[name].lerp_(value, 1 - keep)
        now = time.monotonic()
        if now - checked > check_every or now - began >= seconds:
            checked = now
            better = _check(part, mean, score, progress)
            log(
                f"{(now - began) / 60:5.1f} min  step {progress.steps}  loss {np.mean(progress.losses[-60:]):.4f}"
                f"  validation {progress.scores[-1]:.4f}"
            )
            if better:
                best, since = copy.deepcopy(mean), 0
            elif (since := since + 1) >= patience:
                progress.stopped = "early"
                break
    part.load_state_dict(best if best is not None else mean)
    return progress


def _check(part: nn.Module, mean: dict[str, torch.Tensor], score: Callable[[], float], progress: Progress) -> bool:
    now = copy.deepcopy(part.state_dict())
    part.load_state_dict(mean)
    part.eval()
    progress.scores.append(score())
    part.train()
    part.load_state_dict(now)
    better = progress.scores[-1] > progress.best
    progress.best = max(progress.best, progress.scores[-1])
    return better
