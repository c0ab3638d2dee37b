"""Training samples from phantoms, made in processes of their own while the network learns."""

from __future__ import annotations

import multiprocessing
import os
import queue
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.training.draws import Draws
from models.training.phantoms import Phantom, random_scan, render


@dataclass(frozen=True)
class Sample:
    """One patient: the whole scan at the coarse spacing, and a few neighbouring slices in full detail.

    ``places``: for z, y and x, the fractional coarse indices of the detail's samples.
    """

    seed: int
    hu: np.ndarray
    kinds: np.ndarray
    detail_hu: np.ndarray
    detail_labels: np.ndarray
    places: tuple[np.ndarray, np.ndarray, np.ndarray]
    facts: dict[str, Any]


def make_sample(seed: int, coarse: float = 5.0, pixels: int = 320, slices: int = 6) -> Sample:
    """Render patient ``seed``. Sizes vary a little about ``coarse``, as real scans' resampling makes them vary."""
    draws = Draws(seed)
    bottom, top = random_scan(draws)
    spacing = tuple(coarse * draws.uniform(f"scale_{a}", 0.92, 1.08) for a in "zyx")
    fov = draws.uniform("field_of_view", 300, 500)
    shape = (max(4, int((top - bottom) / spacing[0])), int(fov / spacing[1]), int(fov / spacing[2]))
    whole = render(draws, bottom, shape, (spacing[0], spacing[1], spacing[2]), step=4.0)
    detail, places = _detail(draws, seed, whole, bottom, fov, pixels, slices)
    return Sample(seed, whole.hu, whole.kinds, detail.hu, detail.labels, places, whole.facts)


def _detail(
    draws: Draws, seed: int, whole: Phantom, bottom: float, fov: float, pixels: int, slices: int
) -> tuple[Phantom, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = draws.rng("detail")
    pixel = fov / 512 if rng.random() < 0.85 else float(rng.uniform(1.0, 3.2))
    thick = float(rng.choice([0.7, 1.0, 2.0, 2.5, 3.0, 5.0]))
    count = int(min(pixels, fov / pixel) // 32 * 32)
    lungs = (whole.kinds == 1) | (whole.kinds == 2)
    held = np.flatnonzero(lungs.any((1, 2)))
    length = whole.hu.shape[0] * whole.spacing[0]
    at = float(rng.choice(held)) * whole.spacing[0] if len(held) and rng.random() < 0.85 else rng.uniform(0, length)
    z = np.clip(at + rng.uniform(-6, 6) + thick * (np.arange(slices) - slices / 2), 0, None)
    centres = []
    for _axis in (1, 2):
        spare = max(0.0, fov - count * pixel) / 2
        centres.append(float(rng.uniform(-0.8, 0.8)) * spare)
    offsets = [c + pixel * (np.arange(count) - (count - 1) / 2) for c in centres]
    first = bottom + float(z[0])
    detail = render(
        draws,
        first,
        (slices, count, count),
        (thick, pixel, pixel),
        step=3.0,
        centre=(centres[0], centres[1]),
        reach=fov / 2,
    )
    zs = (first - bottom + thick * np.arange(slices)) / whole.spacing[0]
    places = (
        zs,
        *(o / s + (n - 1) / 2 for o, s, n in zip(offsets, whole.spacing[1:], whole.hu.shape[1:], strict=True)),
    )
    return detail, (places[0], places[1], places[2])


def _produce(seeds: Any, out: Any, calm: int) -> None:
    os.nice(calm)
    out.cancel_join_thread()  # else the end of this process waits for a dead trainer to take what it made
    parent = multiprocessing.parent_process()
    # A trainer that is killed cannot stop its children: they look for themselves.
    while parent is not None and parent.is_alive():
        try:
            sample = make_sample(seeds.get(timeout=5.0))
        except queue.Empty:
            continue
        while parent.is_alive():
            try:
                out.put(sample, timeout=5.0)
                break
            except queue.Full:
                continue


class SampleMaker:
    """Processes that make samples of rising seeds for as long as the ``with`` block lasts."""

    def __init__(self, first: int, count: int = 1, calm: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._seeds: Any = context.Queue(maxsize=count * 2)
        self._out: Any = context.Queue(maxsize=4)
        self._next = first
        self.processes = [
            context.Process(target=_produce, args=(self._seeds, self._out, calm), daemon=True) for _ in range(count)
        ]

    def __enter__(self) -> SampleMaker:
        # Children inherit the environment: numpy's matrix products must not take the trainer's core too.
        before = os.environ.get("OPENBLAS_NUM_THREADS")
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        for p in self.processes:
            p.start()
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
        return self

    def __exit__(self, *_: object) -> None:
        for p in self.processes:
            p.terminate()
            p.join()

    def ready(self, wait: float = 0.0) -> list[Sample]:
        """Samples that have been finished; waits up to ``wait`` seconds for the first."""
        while not self._seeds.full():
            self._seeds.put(self._next)
            self._next += 1
        got: list[Sample] = []
        try:
            got.append(self._out.get(timeout=wait) if wait else self._out.get_nowait())
            while True:
                got.append(self._out.get_nowait())
        except queue.Empty:
            pass
        if wait and not got and not all(p.is_alive() for p in self.processes):
            raise RuntimeError("a process that makes phantoms has died; see its message above")
        return got
