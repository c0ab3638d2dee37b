"""Calibration, thresholds and figures of ``cxr-triage``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from models import explain
from models.nets.xray_triage import XrayTriage
from models.radiographs import entropy
from models.training.xray_fit import Album, areas, squares, view_logits
from models.training.xray_samples import VIEWS, Roll

SPECIFIC = 0.95  # specificity on validation from which on a finding makes a study urgent
USUAL = 0.99  # of the validation images lie within the limits of distance and entropy
EXPLAINED = 2  # images per finding that the sanity check looks at
URGENT = ("Pneumothorax",)


@torch.no_grad()
def ensemble(net: XrayTriage, images: np.ndarray, batch: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Logits (members, images, findings) and distances (images) of stored images."""
    logits, far = [], []
    for k in range(0, len(images), batch):
        found, distance = net.finding_logits(squares(images[k : k + batch]))
        logits.append(found.numpy())
        far.append(distance.numpy())
    return np.concatenate(logits, 1), np.concatenate(far)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Of the ensemble, from the mean of its members' logits (axis 0)."""
    return 1 / (1 + np.exp(-logits.mean(0, dtype=np.float64)))


def calibrate(net: XrayTriage, held: Album) -> dict[str, Any]:
    """Set ``scale`` (one over the temperature) and ``offset`` of each finding to those of the lowest cross-entropy on
    the validation patients (Guo et al., ICML 2017; with the offset it is Platt's scaling, 1999)."""
    net.scale.fill_(1.0)
    net.offset.zero_()
    mean = ensemble(net, held.images)[0].mean(0).astype(np.float64)
    before = expected_error(1 / (1 + np.exp(-mean)), held.labels)
    for k in range(mean.shape[1]):
        z, y = mean[:, k], held.labels[:, k].astype(np.float64)

        def loss(p: np.ndarray, z: np.ndarray = z, y: np.ndarray = y) -> float:
            t = np.exp(np.clip(p[0], -3, 3)) * z + p[1]
            return float((np.logaddexp(0, t) - y * t).mean())

        found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
        net.scale[k], net.offset[k] = float(np.exp(np.clip(found[0], -3, 3))), float(found[1])
    return {
        "method": "temperature scaling with an offset, one pair per finding, on the validation patients",
        "temperature": {name: round(1 / float(s), 4) for name, s in zip(net.findings, net.scale, strict=True)},
        "offset": {name: round(float(o), 4) for name, o in zip(net.findings, net.offset, strict=True)},
        "validation_error_before": round(before, 4),
    }


def limits(
    net: XrayTriage, held: Album, calibration: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any], dict[str, float]]:
    """Thresholds on the validation patients: of each finding where sensitivity and specificity together are highest
    (Youden, 1950); of distance and entropy what all but one image in a hundred keep; of urgency."""
    logits, far = ensemble(net, held.images)
    p = probabilities(logits)
    calibration["validation_error_after"] = round(expected_error(p, held.labels), 4)
    thresholds, priority = {}, {}
    for k, name in enumerate(net.findings):
        truth = held.labels[:, k]
        at = np.unique(p[:, k])
        gained = [float((p[truth, k] >= t).mean() - (p[~truth, k] >= t).mean()) for t in at]
        thresholds[name] = round(float(np.clip(at[int(np.argmax(gained))], 0.05, 0.9)), 3)
        if name in URGENT:
            priority[name] = round(max(thresholds[name], float(np.quantile(p[~truth, k], SPECIFIC))), 3)
    thresholds["distance"] = round(float(np.quantile(far, USUAL)), 3)
    thresholds["entropy"] = round(float(np.quantile(entropy(p).mean(1), USUAL)), 3)
    return thresholds, calibration, priority


def expected_error(p: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015) over all pairs of image and finding."""
    p, y = p.ravel(), truth.ravel().astype(float)
    at = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(at, minlength=bins)
    gap = np.abs(np.bincount(at, p, bins) - np.bincount(at, y, bins))
    return float(gap.sum() / max(count.sum(), 1))


def judge(net: XrayTriage, rolls: Sequence[Roll], thresholds: dict[str, float]) -> dict[str, Any]:
    """Figures on test patients: areas under the curves, calibration, sensitivity and specificity at the thresholds, and
    how often the peak of Grad-CAM lies inside of a lesion in true positives."""
    album = Album(rolls)
    logits, far = ensemble(net, album.images)
    p, truth = probabilities(logits), album.labels
    auc = areas(p, truth)
    told: dict[str, Any] = {
        "images": len(p),
        "macro_auc": round(float(np.mean(auc)), 4),
        "expected_calibration_error": round(expected_error(p, truth), 4),
        "usual_share": round(float((far <= thresholds["distance"]).mean()), 4),
    }
    masks = np.concatenate([r.masks for r in rolls if r.masks is not None])
    inside_all: list[bool] = []
    for k, name in enumerate(net.findings):
        found = p[:, k] >= thresholds[name]
        inside = peaks_inside(net, album.images, masks, np.flatnonzero(found & truth[:, k]), k)
        inside_all += inside
        told[name] = {
            "auc": round(auc[k], 4),
            "sensitivity": round(float(found[truth[:, k]].mean()), 4),
            "specificity": round(float((~found)[~truth[:, k]].mean()), 4),
            "grad_cam_peak_inside": round(float(np.mean(inside)), 4) if inside else 0.0,
        }
    told["grad_cam_peak_inside"] = round(float(np.mean(inside_all)), 4) if inside_all else 0.0
    return told


def peaks_inside(
    net: XrayTriage, images: np.ndarray, masks: np.ndarray, chosen: np.ndarray, label: int, batch: int = 20
) -> list[bool]:
    """For each of the ``chosen`` images: whether the highest point of Grad-CAM for ``label`` lies in its mask."""
    out = []
    for first in range(0, len(chosen), batch):
        at = chosen[first : first + batch]
        for image, found in zip(at, explain.explain(net, squares(images[at]), label, "grad-cam"), strict=True):
            out.append(bool(masks[image, label][np.unravel_index(int(found.argmax()), found.shape)]))
    return out


def judge_views(net: XrayTriage, rolls: Sequence[Roll]) -> dict[str, Any]:
    """How often the view check takes what is frontal (in either polarity) and refuses what is not."""
    album = Album(rolls)
    logits = view_logits(net.view_net, album)
    frontal = (album.kinds == VIEWS.index("frontal")) | (album.kinds == VIEWS.index("inverted"))
    share = np.exp(logits - logits.max(1, keepdims=True))
    taken = share[:, [VIEWS.index("frontal"), VIEWS.index("inverted")]].sum(1) / share.sum(1) >= 0.5
    turned = logits.argmax(1)[frontal] == album.kinds[frontal]
    return {
        "views": {
            "images": len(logits),
            "frontal_taken": round(float(taken[frontal].mean()), 4),
            "others_refused": round(float((~taken[~frontal]).mean()), 4),
            "polarity_right": round(float(turned.mean()), 4),
            "kind_right": round(float((logits.argmax(1) == album.kinds).mean()), 4),
        }
    }


def check_explanations(net: XrayTriage, held: Album) -> dict[str, Any]:
    """The sanity check of every method on validation images, each for one of the findings that it has."""
    chosen, labels = [], []
    for k in range(len(net.findings)):
        for image in np.flatnonzero(held.labels[:, k])[:EXPLAINED]:
            chosen.append(int(image))
            labels.append(k)
    x = squares(held.images[chosen])
    told = {}
    for method in explain.METHODS:
        quick = method == "grad-cam"
        few = slice(None) if quick else slice(None, None, EXPLAINED)  # the others take long
        found = explain.sanity_check(net, x[few], labels[few], method, seeds=(0, 1) if quick else (0,))
        told[method] = {**found, "images": len(labels[few])}
    return told
