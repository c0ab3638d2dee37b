"""Rolls of images of made-up patients, made in processes of their own until a time is up."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor

import torch

from models.training.projections import project_patient
from models.training.xray_samples import Roll, roll_of


def _calm(nice: int) -> None:
    os.nice(nice)
    torch.set_num_threads(1)


def _roll(shots: int, masks: bool, seed: int) -> Roll:
    return roll_of(project_patient(seed), shots, masks)


def make_rolls(
    seeds: Iterable[int],
    shots: int,
    seconds: float = 1e9,
    masks: bool = False,
    processes: int | None = None,
    nice: int = 0,
) -> list[Roll]:
    """The rolls of the first ``seeds``, in their order, ``shots`` frontal images each; as many as ``processes`` make in
    about ``seconds``, at least one each."""
    count = processes or os.cpu_count() or 2
    # Children inherit the environment: each of them is to keep to one core.
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    made: list[Roll] = []
    began = time.monotonic()
    waiting = iter(seeds)
    under_way: deque[Future[Roll]] = deque()
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, _calm, (nice,)) as pool:
            while True:
                while len(under_way) < 2 * count and (time.monotonic() - began < seconds or not made):
                    if (seed := next(waiting, None)) is None:
                        break
                    under_way.append(pool.submit(_roll, shots, masks, seed))
                if not under_way:
                    break
                made.append(under_way.popleft().result())
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
    return made
