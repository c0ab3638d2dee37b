"""Trains the reference model ``ct-lung``: left and right aerated lung on CT, from phantoms alone."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as write_tensors

from models.card import ModelCard
from models.labels import labels_of
from models.nets.two_views import TwoViews
from models.runtime import LoadedModel, choose_runtime
from models.training import fit
from models.training.draws import Draws
from models.training.evaluate import dice, judge
from models.training.phantoms import Phantom, random_scan, render
from models.training.samples import Sample, SampleMaker, make_sample
from models.training.splits import patient_seeds
from models.training.writer import write_package

VERSION = "1.0.0"
RULE = "a voxel is what is likeliest of elsewhere, left and right; small parts apart from the largest are dropped"
WEIGHTS = "two-views.safetensors"
POOL = 420
VALIDATION, TEST = 12, 10
NETWORK: dict[str, Any] = {
    "spacing": 5.0,
    "whole": [32, 64, 80, 96],
    "kinds": 6,
    "detail": [16, 32, 48, 64],
    "hints": 3,
    "windows": 3,
}
# Of the time: the whole view, then the detail; the rest makes the first phantoms and measures on the test patients.
SHARES = (0.64, 0.2)


def train_ct_lung(out: Path, seed: int = 0, minutes: float = 30.0, log: Callable[[str], None] = print) -> ModelCard:
    """Train, measure and write the package ``ct-lung`` into the folder ``out``; about ``minutes`` in all.

    Training, validation and test patients are phantoms of different seeds (:mod:`models.training.splits`). One core
    makes phantoms, the others train. Returns the card as written.
    """
    began, spent = time.monotonic(), sum(os.times()[:4])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = TwoViews(**NETWORK)
    # One core makes phantoms; threads that wait for each other at every layer must not compete with it.
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    with SampleMaker(patient_seeds(seed, "train").start, calm=3) as maker, _float_kernels():
        held_back = patient_seeds(seed, "validation").start
        validation = [make_sample(held_back + i) for i in range(VALIDATION)]
        log(f"{VALIDATION} validation patients made; training the whole view")
        pool = _Pool(maker, rng)
        whole = fit.fit(
            net.whole_net,
            lambda: fit.whole_step(net, rng, pool.draw()),
            lambda: whole_score(net, validation),
            SHARES[0] * minutes * 60,
            log,
        )
        log(f"whole view: best validation {whole.best:.4f} after {whole.steps} steps; training the detail")
        detail_seconds = SHARES[1] * minutes * 60
        # The whole view is fixed from here on; what it sees of each patient is computed once.
        detail = fit.fit(
            net.detail_net,
            lambda: fit.detail_step(net, rng, pool.draw_with_hints(net, 6)),
            lambda: detail_score(net, validation),
            detail_seconds,
            log,
            rate=3e-3,
            check_every=90.0,
        )
        patients = pool.made
    torch.set_num_threads(threads)
    log(f"detail: best validation {detail.best:.4f} after {detail.steps} steps; measuring on {TEST} test patients")
    weights = write_tensors({k: v.half().contiguous() for k, v in net.state_dict().items()})
    data = card_data(seed, minutes, patients, whole, detail)
    provisional = write_package(out, {**data, "metrics": {}}, {WEIGHTS: weights})
    net.load_state_dict({k: v.half().float() for k, v in net.state_dict().items()})
    model = LoadedModel(provisional, net.eval(), choose_runtime("cpu"))
    data["metrics"] = judge(model, patients_for_test(seed))
    data["training"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    data["training"]["processor_minutes"] = round((sum(os.times()[:4]) - spent) / 60, 1)
    card = write_package(out, data, {WEIGHTS: weights})
    log(", ".join(f"{k} {v}" for k, v in card.metrics.items()))
    return card


def patients_for_test(seed: int, count: int = TEST) -> Iterator[Phantom]:
    """Test phantoms in scanner-like resolution (0.8 to 1 mm in-plane, 3 mm slices), two of them scans without any
    rule."""
    first = patient_seeds(seed, "test").start
    for i in range(count):
        draws = Draws(first + i)
        bottom, top = random_scan(draws)
        if i >= 2:
            bottom, top = -230.0, 125.0
        pixel = (0.8, 0.9, 1.0)[i % 3]
        yield render(draws, bottom, (int((top - bottom) / 3), 416, 448), (3.0, pixel, pixel))


class _Pool:
    """The patients made so far; new ones replace random old ones when it is full."""

    def __init__(self, maker: SampleMaker, rng: np.random.Generator) -> None:
        self._maker, self._rng, self._samples, self.made = maker, rng, list[Sample](), 0
        self._hints: dict[int, np.ndarray] = {}

    def _take_new(self) -> None:
        for sample in self._maker.ready(wait=0.0 if self._samples else 120.0):
            self.made += 1
            if len(self._samples) < POOL:
                self._samples.append(sample)
            else:
                at = int(self._rng.integers(POOL))
                self._hints.pop(self._samples[at].seed, None)
                self._samples[at] = sample

    def draw(self) -> Sample:
        """Any one of the patients made so far."""
        self._take_new()
        return self._samples[int(self._rng.integers(len(self._samples)))]

    def draw_with_hints(self, net: TwoViews, count: int, new: int = 1) -> list[tuple[Sample, np.ndarray]]:
        """``count`` samples with what the whole view sees of them; for at most ``new`` it is computed now, then
        kept."""
        self._take_new()
        unseen = [s for s in self._samples if s.seed not in self._hints]
        for at in self._rng.permutation(len(unseen))[: new if self._hints else count]:
            self._hints[unseen[at].seed] = fit.whole_hints(net, unseen[at])
        seen = [s for s in self._samples if s.seed in self._hints]
        return [(s, self._hints[s.seed]) for s in (seen[int(self._rng.integers(len(seen)))] for _ in range(count))]


def whole_score(net: TwoViews, samples: list[Sample]) -> float:
    """Mean Dice per lung (of more than 100 coarse voxels), less the share of false lung where there is none."""
    figures = []
    for sample in samples:
        found = labels_of(fit.whole_hints(net, sample)[:2])
        for value in (1, 2):
            if max(int((found == value).sum()), int((sample.kinds == value).sum())) > 100:
                figures.append(dice(found == value, sample.kinds == value))
    return float(np.mean(figures)) if figures else 0.0


def detail_score(net: TwoViews, samples: list[Sample]) -> float:
    """Mean Dice per lung over the validation patients' detailed slices."""
    figures = []
    for sample in samples:
        around = fit.place_hints(fit.whole_hints(net, sample), sample.places)
        with torch.no_grad(), fit.autocast():
            logits = net.detail(torch.from_numpy(sample.detail_hu.astype(np.float32)), torch.from_numpy(around))
        found = logits.float().argmax(1).numpy()
        for value in (1, 2):
            if max(int((found == value).sum()), int((sample.detail_labels == value).sum())) > 500:
                figures.append(dice(found == value, sample.detail_labels == value))
    return float(np.mean(figures)) if figures else 0.0


@contextlib.contextmanager
def _float_kernels() -> Iterator[None]:
    """Denormal floats make CPU convolutions crawl; flush them while training."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _lung(name: str, value: int, side: str, side_code: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "code": {"value": "39607008", "scheme": "SCT", "meaning": "Lung"},
        "laterality": {"value": side_code, "scheme": "SCT", "meaning": side},
    }


def card_data(seed: int, minutes: float, patients: int, whole: fit.Progress, detail: fit.Progress) -> dict[str, Any]:
    """The card of a training run, all but weights and metrics."""
    return {
        "name": "ct-lung",
        "version": VERSION,
        "format": "native",
        "licence": "Apache-2.0",
        "intended_use": "Reference model that shows how Overread works: outlines the aerated left and right lung on CT "
        "for volume and mean density. For demonstration, tests and as a pattern for other models. Not for diagnosis.",
        "limitations": [
            "Trained on computer-made phantoms only; no image of a person was used, and it has had no "
            "clinical validation.",
            "Outlines aerated parenchyma. Effusions, masses, consolidated or collapsed lung, and vessels "
            "wider than about two pixels are left out, so its volume is not the volume of the pleural space.",
            "Trachea and main bronchi are left out; smaller bronchi are part of the lung.",
            "Pneumothorax, a missing lung, pneumonectomy and situs inversus were not part of the training.",
            "Left and right are told by position in the patient's axes: a series whose header is half a turn wrong "
            "comes out with its sides swapped.",
            "Severe metal artefacts, very small children and animals were not part of the training.",
        ],
        "network": {"name": "two-views", "arguments": dict(NETWORK)},
        "inputs": {
            "modality": "CT",
            "units": "HU",
            "axes": "Head, Posterior, Left",
            "smallest_slices": 1,
            "slice_spacing_mm": [0.5, 10.0],
            "pixel_spacing_mm": [0.4, 3.2],
        },
        "labels": [_lung("Left lung", 1, "Left", "7771000"), _lung("Right lung", 2, "Right", "24028007")],
        "thresholds": {},
        "calibration": {
            "method": "none",
            "rule": RULE,
        },
        "training": {
            "command": f"overread train ct-lung --out FOLDER --seed {seed} --minutes {minutes:g}",
            "seed": seed,
            "minutes": minutes,
            "data": "phantoms made by models.training.phantoms",
            "patients": {"train": patients, "validation": VALIDATION, "test": TEST},
            "steps": {"whole": whole.steps, "detail": detail.steps},
            "stopped": {"whole": whole.stopped, "detail": detail.stopped},
            "validation_dice": {"whole": round(whole.best, 4), "detail": round(detail.best, 4)},
            "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        },
        "metrics": {},
        "references": ["Çiçek et al., 3D U-Net, MICCAI 2016", "Wu and He, Group Normalization, ECCV 2018"],
    }
