"""Networks for one projection image: a view check, and an ensemble that looks for findings.

Each is a DenseNet (Huang et al., CVPR 2017; MONAI's). The finders score every place of the image and pool the scores by
log-sum-exp (Pinheiro and Collobert, CVPR 2015; Wang et al., ChestX-ray8, CVPR 2017), so that a small lesion counts as a
large one does, and so that Grad-CAM shows the very scores that made the answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.networks.nets import DenseNet
from torch import nn
from torch.nn import functional

from models.nets.xray_input import Place, channels, letterbox, normalise

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.radiographs import LoadedClassifier
    from models.runtime import Runtime

SHARPNESS = 2.0  # of the log-sum-exp: 0 would be the mean, infinity the largest score
FRONTAL, INVERTED = "frontal", "inverted"
# Half a cell of the finders: lesions on the border of two cells are seen whole in one of the shifted images.
SHIFTS = ((0, 0), (4, 0), (0, 4), (4, 4))
LAYER = "class_layers.relu"  # whose activations Grad-CAM weighs


class LogSumExp(nn.Module):
    """Pools (batch, channels, rows, columns) to (batch, channels, 1, 1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logarithm of the mean of exp(SHARPNESS x), over SHARPNESS."""
        count = x.shape[-1] * x.shape[-2]
        pooled = torch.logsumexp(SHARPNESS * x.flatten(2), 2) - float(np.log(count))
        return (pooled / SHARPNESS)[..., None, None]


class Finder(DenseNet):
    """A DenseNet whose last layer scores each place before the pooling."""

    class_layers: Any
    features: Any

    def __init__(
        self, findings: int, init_features: int, growth_rate: int, blocks: Sequence[int], bottleneck: int
    ) -> None:
        super().__init__(2, 2, findings, init_features, growth_rate, block_config=tuple(blocks), bn_size=bottleneck)
        depth = self.class_layers.out.in_features
        self.class_layers = nn.Sequential(
            OrderedDict(
                relu=nn.ReLU(), out=nn.Conv2d(depth, findings, 1), pool=LogSumExp(), flatten=nn.Flatten(1)
            )
        )  # fmt: skip

    def scores(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 2, rows, columns) -> scores of each place (batch, findings, ...), and features (batch, depth) that
        tell how much the image is like those of the training."""
        features = self.class_layers.relu(self.features(x))
        return self.class_layers.out(features), features.mean((2, 3))

    def pooled(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of places -> logits (batch, findings)."""
        return self.class_layers.pool(scores).flatten(1)


class XrayTriage(nn.Module):
    """What a card's ``network.name = "xray-triage"`` builds.

    Beside the networks there are ``scale`` and ``offset`` (findings): the calibration of the ensemble's mean logits;
    and ``centre`` (members, depth) and ``whiten`` (members, depth, depth): where features of validation images lie.
    """

    scale: torch.Tensor
    offset: torch.Tensor
    centre: torch.Tensor
    whiten: torch.Tensor
    members: Any

    def __init__(
        self,
        findings: Sequence[str],
        views: Sequence[str],
        size: int = 128,
        view_size: int = 96,
        members: int = 3,
        init_features: int = 16,
        growth_rate: int = 16,
        blocks: Sequence[int] = (4, 6),
        view_blocks: Sequence[int] = (3, 4, 4),
        bottleneck: int = 2,
    ) -> None:
        super().__init__()
        if FRONTAL not in views or INVERTED not in views:
            raise ValueError(f"views must name {FRONTAL!r} and {INVERTED!r}")
        self.findings, self.views, self.size, self.view_size = tuple(findings), tuple(views), size, view_size
        self.members = nn.ModuleList(
            Finder(len(findings), init_features, growth_rate, blocks, bottleneck) for _ in range(members)
        )  # fmt: skip
        self.view_net = DenseNet(
            2, 2, len(views), init_features, growth_rate, block_config=tuple(view_blocks), bn_size=bottleneck
        )
        depth = self.members[0].class_layers.out.in_channels
        self.register_buffer("scale", torch.ones(len(findings)))
        self.register_buffer("offset", torch.zeros(len(findings)))
        self.register_buffer("centre", torch.zeros(members, depth))
        self.register_buffer("whiten", torch.eye(depth).repeat(members, 1, 1))

    def loaded(self, card: ModelCard, runtime: Runtime) -> LoadedClassifier:
        """The model that a pipeline sees."""
        from models.radiographs import LoadedClassifier

        return LoadedClassifier(card, self, runtime)

    def view_probability(self, image: np.ndarray, runtime: Runtime) -> np.ndarray:
        """Probabilities (views) of an image (rows, columns), averaged over it, its mirror image and its middle."""
        rows, columns = image.shape
        r, c = rows // 25, columns // 25
        middle = image[r : rows - r or None, c : columns - c or None]
        x = torch.stack([square(one, self.view_size)[0] for one in (image, image[:, ::-1], middle)])
        with torch.no_grad(), runtime.autocast():
            logits = self.view_net(channels(x.to(runtime.device)))
        return logits.float().softmax(1).mean(0).cpu().numpy()

    def finding_logits(
        self, x: torch.Tensor, shifts: Sequence[tuple[int, int]] = SHIFTS
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Squares (batch, size, size) -> logits (members, batch, findings), calibrated, averaged over the image moved
        by ``shifts`` (rows, columns); and how far the features lie from those of validation images (batch), about 1
        for such an image."""
        return self.seen(x, shifts)[:2]

    def seen(
        self, x: torch.Tensor, shifts: Sequence[tuple[int, int]] = SHIFTS
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What ``finding_logits`` gives, and the members' features (members, batch, depth), averaged over the image:
        the layer before the last."""
        moved = [channels(shifted(x, *shift)) for shift in shifts]
        logits, far, deep = [], [], []
        for k, member in enumerate(self.members):
            found = [member.scores(inputs) for inputs in moved]
            pooled = torch.stack([member.pooled(scores).float() for scores, _ in found]).mean(0)
            logits.append(pooled * self.scale + self.offset)
            features = found[0][1]
            steps = (features.float() - self.centre[k]) @ self.whiten[k].T
            far.append(steps.square().mean(1).sqrt())
            deep.append(features.float())
        return torch.stack(logits), torch.stack(far).mean(0), torch.stack(deep)


def shifted(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Squares (batch, size, size) moved down and to the right; empty where nothing comes from."""
    size = x.shape[-1]
    return functional.pad(x, (columns, 0, rows, 0))[:, :size, :size]


def square(image: np.ndarray, size: int) -> tuple[torch.Tensor, Place]:
    """An image (rows, columns) in its own values as the networks take it, (size, size), and its place there."""
    boxed, place = letterbox(image, size)
    content = np.zeros((size, size), bool)
    content[place.part] = True
    return torch.from_numpy(normalise(boxed, content)), place


def whitening(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (depth) and matrix (depth, depth) after which ``features`` (images, depth) have unit spread in all
    directions; the covariance is shrunk toward its diagonal, for there are not many more images than directions."""
    centre = features.mean(0)
    covariance = np.cov(features, rowvar=False)
    diagonal = np.diag(np.diag(covariance) + 1e-6)
    values, vectors = np.linalg.eigh(0.8 * covariance + 0.2 * diagonal)
    return centre, (vectors / np.sqrt(values)).T
