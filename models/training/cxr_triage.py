"""Trains the reference model ``cxr-triage``: findings on frontal chest radiographs, from projection phantoms alone."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from models.training.xray_samples import SHARE, SIZE, VIEW_SIZE, VIEWS, Roll

WEIGHTS = "xray-triage.safetensors"
NETWORK: dict[str, Any] = {
    "findings": list(FINDINGS),
    "views": list(VIEWS),
    "size": SIZE,
    "view_size": VIEW_SIZE,
    "members": 3,
    "init_features": 16,
    "growth_rate": 16,
    "blocks": [4, 8],
    "view_blocks": [3, 4, 4],
    "bottleneck": 2,
}
# Of the time: training patients, and training; the rest makes and measures the other patients.
SHARES = (0.24, 0.66)
SHOTS = {"train": 40, "validation": 25, "test": 25}  # frontal images of each patient
VALIDATION, TEST = 24, 24  # patients
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
    log(f"{len(rolls)} training and {len(validation)} validation patients made in {time.monotonic() - began:.0f} s")
    held = Album(validation)
    progress: dict[str, fit.Progress] = {}
    for part, weights_of_part, one in _train_parts(rolls, held, seed, SHARES[1] * seconds):
        log(f"{part}: best validation {one.best:.4f} after {one.steps} steps")
        _network(net, part).load_state_dict({k: torch.from_numpy(v) for k, v in weights_of_part.items()})
        progress[part] = one
    log("measuring: calibration, then the test patients, then the explanations")
    counts = {"train": len(rolls), "validation": len(validation), "test": TEST}
    data = card_data(NETWORK, seed, minutes, counts, SHOTS, SHARE, progress)
    weights = measure(net, held, data, seed)
    data["training"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    data["training"]["processor_minutes"] = round((sum(os.times()[:4]) - spent) / 60, 1)
    data["training"]["processor"] = f"{platform.machine()}, {os.cpu_count()} cores"
    card = write_package(out, data, {WEIGHTS: weights})
    log(", ".join(f"{k} {v}" for k, v in card.metrics.items()))
    return card


def measure(net: XrayTriage, held: Album, data: dict[str, Any], seed: int) -> bytes:
    """Calibrate the trained network on the validation patients ``held``, and put limits, figures on the test patients
    of ``seed`` and what was found of the explanations into the card's ``data``. Returns the weights as stored."""
    net.eval()
    net.load_state_dict({k: _stored(v).to(v.dtype) for k, v in net.state_dict().items()})
    thresholds, calibration, priority = _settle(net, held)
    weights = write_tensors({k: _stored(v) for k, v in net.state_dict().items()})
    net.load_state_dict({k: _stored(v).to(v.dtype) for k, v in net.state_dict().items()})
    test = make_rolls(patient_seeds(seed, "test")[:TEST], SHOTS["test"], masks=True)
    data |= {"thresholds": thresholds, "calibration": calibration, "priority": priority}
    data["explanations"] = check_explanations(net, held)
    data["metrics"] = {**judge(net, test, thresholds), **judge_views(net, test)}
    return weights


_Trained = tuple[str, dict[str, np.ndarray], fit.Progress]


def _parts() -> list[str]:
    return [*(f"member {k + 1}" for k in range(NETWORK["members"])), "view"]


def _network(net: XrayTriage, part: str) -> Any:
    return net.view_net if part == "view" else net.members[int(part.split()[1]) - 1]


def _train_parts(rolls: Sequence[Roll], held: Album, seed: int, seconds: float) -> Iterator[_Trained]:
    """Train every network in a process of its own, as many at a time as there are cores: threads that wait for each
    other at every layer are slow on a busy machine. About ``seconds`` in all."""
    parts, count = _parts(), os.cpu_count() or 2
    rounds = -(-len(parts) // count)
    threads = max(1, count // len(parts))
    with tempfile.TemporaryDirectory(prefix="overread-train-") as folder:
        file = Path(folder) / "rolls.pickle"
        file.write_bytes(pickle.dumps((list(rolls), held), protocol=5))
        one = partial(_train_part, file, seed, seconds / rounds, threads)
        with multiprocessing.get_context("spawn").Pool(min(count, len(parts))) as pool:
            yield from pool.imap(one, parts, chunksize=1)


def _train_part(file: Path, seed: int, seconds: float, threads: int, part: str) -> _Trained:
    """Each member begins with other weights and sees another part of the patients."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormal floats make CPU convolutions crawl
    rolls, held = pickle.loads(file.read_bytes())
    number = _parts().index(part)
    torch.manual_seed(seed * 100 + number)
    rng = np.random.default_rng([seed, number])
    # With the channels last, convolutions on a processor take two thirds of the time.
    net = _network(XrayTriage(**NETWORK), part).to(memory_format=torch.channels_last)
    if part == "view":
        album = Album(rolls)
        step, score = partial(view_step, net, album, rng), partial(view_score, net, held)
    else:
        chosen = rng.permutation(len(rolls))[: max(1, round(PART * len(rolls)))]
        album = Album([rolls[i] for i in sorted(chosen)])
        step, score = partial(finder_step, net, album, rng), partial(finder_score, net, held)
    progress = fit.fit(net, step, score, seconds, partial(_say, part), rate=5e-3, check_every=max(20.0, seconds / 6))
    return part, {k: v.numpy() for k, v in net.state_dict().items()}, progress


def _say(part: str, line: str) -> None:
    print(f"{part}  {line}", flush=True)


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
