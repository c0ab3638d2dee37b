"""A loaded model for radiographs: which view, which findings, how sure, how usual the image is, where it looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from models import explain
from models.card import ModelCard
from models.embedding import fold
from models.errors import ModelError
from models.nets.xray_input import Place
from models.nets.xray_triage import FRONTAL, INVERTED, XrayTriage, square
from models.runtime import Runtime


@dataclass(frozen=True)
class Reading:
    """What a model says of one radiograph.

    ``score``: of each finding, the members' mean logit before calibration. ``view``: probability of each kind of view.
    ``inverted``: dark is dense in the pixels as given, and they were turned
    before the findings were looked for. ``probability``: of each finding, calibrated. ``entropy``: of each, in bits;
    ``disagreement``: the part of it that comes from members that differ (mutual information). ``distance``: of the
    features from those of validation images; ``out_of_distribution``: it is beyond the card's limit. ``embedding``: the
    members' features before the last layer, at most 64 numbers (:mod:`models.embedding`).
    """

    view: Mapping[str, float]
    inverted: bool
    probability: Mapping[str, float]
    entropy: Mapping[str, float]
    disagreement: Mapping[str, float]
    distance: float
    out_of_distribution: bool
    embedding: tuple[float, ...] = ()
    score: Mapping[str, float] = field(default_factory=dict)


class RadiographModel(Protocol):
    """What a pipeline sees of a model for radiographs."""

    card: ModelCard

    def view(self, image: np.ndarray) -> Mapping[str, float]:
        """Probabilities of the kinds of view."""
        ...

    def classify(self, image: np.ndarray) -> Reading:
        """See :meth:`LoadedClassifier.classify`."""
        ...

    def explain(self, image: np.ndarray, label: str, method: str = "grad-cam") -> np.ndarray:
        """See :meth:`LoadedClassifier.explain`."""
        ...

    def warm_up(self) -> None:
        """Compute once on something small."""
        ...


class LoadedClassifier:
    """A card, its networks and a runtime."""

    def __init__(self, card: ModelCard, net: XrayTriage, runtime: Runtime) -> None:
        self.card, self.runtime = card, runtime
        self.net = net.to(runtime.device).eval()

    def view(self, image: np.ndarray) -> dict[str, float]:
        """Probability of each of the card's views; ``image`` (rows, columns), any numbers, bright = high."""
        probability = self.net.view_probability(checked(image), self.runtime)
        return {name: float(p) for name, p in zip(self.net.views, probability, strict=True)}

    def classify(self, image: np.ndarray) -> Reading:
        """Read a radiograph (rows, columns). The findings are those of a frontal chest whatever the view: ask ``view``
        first. Raises ModelError for an array that is no image."""
        view = self.view(image)
        inverted = view[INVERTED] > view[FRONTAL]
        x, _ = self._square(image, inverted)
        with torch.no_grad(), self.runtime.autocast():
            logits, far, deep = self.net.seen(x)
        members = logits[:, 0].double().sigmoid().cpu().numpy()
        mean = logits.mean(0)[0].double().sigmoid().cpu().numpy()
        raw = ((logits.mean(0)[0] - self.net.offset) / self.net.scale).cpu().numpy()
        total, own = entropy(members.mean(0)), entropy(members).mean(0)
        names, distance = self.net.findings, float(far[0])
        limit = float(self.card.thresholds.get("distance", np.inf))
        return Reading(
            view,
            inverted,
            dict(zip(names, map(float, mean), strict=True)),
            dict(zip(names, map(float, total), strict=True)),
            dict(zip(names, map(float, np.maximum(total - own, 0)), strict=True)),
            distance,
            distance > limit,
            fold(deep[:, 0].cpu().numpy()),
            dict(zip(names, map(float, raw), strict=True)),
        )

    def explain(self, image: np.ndarray, label: str, method: str = "grad-cam") -> np.ndarray:
        """Where the model looked for ``label``: float32 (rows, columns) from 0 to 1 on the image's own grid.

        Raises ModelError for an unknown label or method, and for a method whose sanity check the card says this model
        has failed.
        """
        if label not in self.net.findings:
            raise ModelError(f"{self.card.name} has no label {label!r}; it has: {', '.join(self.net.findings)}")
        explain.allowed(self.card, method)
        view = self.view(image)
        x, place = self._square(image, view[INVERTED] > view[FRONTAL])
        found = explain.explain(self.net, x, self.net.findings.index(label), method)[0]
        return explain.on_image(found, place, image.shape)

    def warm_up(self) -> None:
        """Compute once on a small ramp."""
        self.classify(np.tile(np.arange(64, dtype=np.float32), (64, 1)))

    def _square(self, image: np.ndarray, inverted: bool) -> tuple[torch.Tensor, Place]:
        image = checked(image)
        x, place = square(-image if inverted else image, self.net.size)
        return x[None].to(self.runtime.device), place


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in bits of yes and no, of which yes has probability ``p``."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def checked(image: Any) -> np.ndarray:
    """The image as float32. Raises ModelError unless it is a two-dimensional array of finite numbers."""
    found = np.asarray(image)
    if found.ndim != 2 or found.size == 0:
        raise ModelError(f"a radiograph has rows and columns; this array has shape {found.shape}")
    if found.dtype.kind not in "iuf":
        raise ModelError(f"a radiograph holds numbers; this array holds {found.dtype}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ModelError("the radiograph holds values that are not numbers; replace them with the darkest value")
    return found.astype(np.float32)
