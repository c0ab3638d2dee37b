"""Rolls of images of made-up patients, made in processes of their own until a time is up."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable
from functools import partial

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
    try:
        with multiprocessing.get_context("spawn").Pool(count, _calm, (nice,)) as pool:
            for roll in pool.imap(partial(_roll, shots, masks), seeds):
                made.append(roll)
                if time.monotonic() - began > seconds and len(made) >= count:
                    break
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
    return made
