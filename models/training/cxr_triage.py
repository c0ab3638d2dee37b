"""Trains the reference model ``cxr-triage``: findings on frontal chest radiographs, from projection phantoms alone."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as write_tensors

from models.card import ModelCard
from models.nets.xray_triage import XrayTriage, whitening
from models.training import fit
from models.training.lesions import FINDINGS
from models.training.patients import make_rolls
from models.training.splits import patient_seeds
from models.training.writer import write_package
from models.training.xray_card import card_data
from models.training.xray_fit import (
    Album,
    finder_features,
    finder_score,
    finder_step,
    view_score,
    view_step,
)
from models.training.xray_judge import calibrate, check_explanations, judge, judge_views, limits
from models.training.xray_samples import SIZE, VIEW_SIZE, VIEWS, Roll

WEIGHTS = "xray-triage.safetensors"
NETWORK: dict[str, Any] = {
    "findings": list(FINDINGS),
    "views": list(VIEWS),
    "size": SIZE,
    "view_size": VIEW_SIZE,
    "members": 3,
    "init_features": 16,
    "growth_rate": 12,
    "blocks": [4, 8],
    "view_blocks": [3, 4, 4],
}
# Of the time: training patients, the view check, each member; the rest makes and measures the other patients.
SHARES = (0.25, 0.1, 0.165)
SHOTS = {"train": 40, "validation": 25, "test": 20}  # frontal images of each patient
VALIDATION, TEST = 24, 30  # patients
PART = 0.85  # of the training patients that each member sees


def train_cxr_triage(out: Path, seed: int = 0, minutes: float = 30.0, log: Callable[[str], None] = print) -> ModelCard:
    """Train, calibrate, measure and write the package ``cxr-triage`` into the folder ``out``; about ``minutes`` in all.

    Training, validation and test patients are phantoms of different seeds (:mod:`models.training.splits`). Returns the
    card as written.
    """
    began, spent = time.monotonic(), sum(os.times()[:4])
    seconds = minutes * 60
    torch.manual_seed(seed)
    net = XrayTriage(**NETWORK)
    rolls = make_rolls(patient_seeds(seed, "train"), SHOTS["train"], SHARES[0] * seconds)
    validation = make_rolls(patient_seeds(seed, "validation")[:VALIDATION], SHOTS["validation"])
    log(f"{len(rolls)} training and {len(validation)} validation patients made; training the view check")
    held = Album(validation)
    torch.set_flush_denormal(True)  # denormal floats make CPU convolutions crawl
    try:
        progress = {"view": _fit_views(net, Album(rolls), held, seed, SHARES[1] * seconds, log)}
        for k in range(len(net.members)):
            log(f"view check: best validation {progress['view'].best:.4f}; training member {k + 1}")
            progress[f"member {k + 1}"] = _fit_member(net, k, rolls, held, seed, SHARES[2] * seconds, log)
    finally:
        torch.set_flush_denormal(False)
    log("measuring: calibration, then the test patients, then the explanations")
    net.eval()
    net.load_state_dict({k: _stored(v).to(v.dtype) for k, v in net.state_dict().items()})
    thresholds, calibration, priority = _settle(net, held)
    weights = write_tensors({k: _stored(v) for k, v in net.state_dict().items()})
    net.load_state_dict({k: _stored(v).to(v.dtype) for k, v in net.state_dict().items()})
    test = make_rolls(patient_seeds(seed, "test")[:TEST], SHOTS["test"], masks=True)
    counts = {"train": len(rolls), "validation": len(validation), "test": len(test)}
    data = card_data(NETWORK, seed, minutes, counts, SHOTS, progress)
    data |= {"thresholds": thresholds, "calibration": calibration, "priority": priority}
    data["explanations"] = check_explanations(net, held)
    data["metrics"] = {**judge(net, test, thresholds), **judge_views(net, test)}
    data["training"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    data["training"]["processor_minutes"] = round((sum(os.times()[:4]) - spent) / 60, 1)
    data["training"]["processor"] = f"{platform.machine()}, {os.cpu_count()} cores"
    card = write_package(out, data, {WEIGHTS: weights})
    log(", ".join(f"{k} {v}" for k, v in card.metrics.items()))
    return card


def _fit_views(net: XrayTriage, album: Album, held: Album, seed: int, seconds: float, log: fit.Log) -> fit.Progress:
    rng = np.random.default_rng([seed, 1])
    return fit.fit(
        net.view_net,
        lambda: view_step(net.view_net, album, rng),
        lambda: view_score(net.view_net, held),
        seconds,
        log,
        rate=3e-3,
        check_every=max(20.0, seconds / 5),
    )


def _fit_member(
    net: XrayTriage, number: int, rolls: Sequence[Roll], held: Album, seed: int, seconds: float, log: fit.Log
) -> fit.Progress:
    """Each member begins with other weights and sees another part of the patients."""
    rng = np.random.default_rng([seed, 10 + number])
    chosen = rng.permutation(len(rolls))[: max(1, round(PART * len(rolls)))]
    album, member = Album([rolls[i] for i in sorted(chosen)]), net.members[number]
    return fit.fit(
        member,
        lambda: finder_step(member, album, rng),
        lambda: finder_score(member, held),
        seconds,
        log,
        rate=3e-3,
        check_every=max(30.0, seconds / 6),
    )


@torch.no_grad()
def _settle(net: XrayTriage, held: Album) -> tuple[dict[str, float], dict[str, Any], dict[str, float]]:
    """Calibrate on the validation patients, and find the thresholds there."""
    for k in range(len(net.members)):
        centre, white = whitening(finder_features(net.members[k], held))
        net.centre[k], net.whiten[k] = torch.from_numpy(centre), torch.from_numpy(white.astype(np.float32))
    return limits(net, held, calibrate(net, held))


def _stored(values: torch.Tensor) -> torch.Tensor:
    """Weights in half precision; counters as they are."""
    return values.half().contiguous() if values.is_floating_point() else values.contiguous()
