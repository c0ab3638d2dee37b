"""Two networks that look one after the other: the whole scan at some millimetres, then each slice in full detail.

The whole view is a 3D U-Net (Çiçek et al., MICCAI 2016) with group normalisation (Wu & He, ECCV 2018), the detail a 2D
U-Net
(Ronneberger et al., MICCAI 2015) that works on 2 x 2 pixels at a time (sub-pixel convolution, Shi et al., CVPR 2016).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.blocks import Convolution
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn
from torch.nn import functional

from models.nets.looking import look

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.runtime import LoadedModel, Runtime


def windows_of(hu: torch.Tensor, count: int = 3) -> torch.Tensor:
    """HU -> the first ``count`` of three channels (dim 1) in [-1, 1]: air and lung, soft tissue, gas against lung."""
    air = hu.clamp(-1024.0, -200.0).add(612.0).div(412.0)
    soft = hu.clamp(-200.0, 400.0).sub(100.0).div(300.0)
    # Free gas and aerated lung differ by a tenth of what lung and soft tissue do; this window widens it.
    gas = hu.clamp(-1024.0, -760.0).add(892.0).div(132.0)
    return torch.stack((air, soft, gas)[:count], 1)


def _block(dims: int, inputs: int, outputs: int, stride: int = 1, kernel: int | Sequence[int] = 3) -> nn.Module:
    groups = max(g for g in (8, 4, 2, 1) if outputs % g == 0)
    return Convolution(
        dims,
        inputs,
        outputs,
        strides=stride,
        kernel_size=kernel,
        adn_ordering="NA",
        bias=False,
        act=("leakyrelu", {"negative_slope": 0.05, "inplace": True}),
        norm=("group", {"num_groups": groups, "affine": True}),
    )


class UNet(nn.Module):
    """A plain U-Net of MONAI convolution blocks; inputs must be multiples of ``2 ** (len(channels) - 1)`` in each
    axis."""

    def __init__(self, dims: int, inputs: int, outputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stem = _block(dims, inputs, channels[0])
        self.down, self.same, self.narrow, self.up = (nn.ModuleList() for _ in range(4))
        for a, b in itertools.pairwise(channels):
            self.down.append(_block(dims, a, b, stride=2))
            self.same.append(_block(dims, b, b))
            self.narrow.append(_block(dims, b, a, kernel=1))
            self.up.append(_block(dims, a + a, a))
        self.head = Convolution(dims, channels[0], outputs, kernel_size=1, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, ...) -> (batch, outputs, ...), same size."""
        return self.with_deepest(x)[0]

    def with_deepest(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` gives, and the activations of the deepest level (batch, channels[-1], ...)."""
        x = self.stem(x)
        skips = []
        for down, same in zip(self.down, self.same, strict=True):
            skips.append(x)
            x = down(x)
            x = x + same(x)
        deepest = x
        for up, narrow, skip in zip(reversed(self.up), reversed(self.narrow), reversed(skips), strict=True):
            x = functional.interpolate(narrow(x), scale_factor=2, mode="nearest")
            x = up(torch.cat((x, skip), 1))
        return self.head(x), deepest


class SubPixel(nn.Module):
    """A U-Net on 2 x 2 (x 2) blocks of the input, and one convolution in full resolution that joins both.

    Inputs (batch, inputs, ...), outputs (batch, outputs, ...); sizes must be multiples of ``2 ** len(channels)``.
    """

    def __init__(self, dims: int, inputs: int, outputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        between = max(6, outputs)
        self.dims = dims
        self.unet = UNet(dims, inputs * 2**dims, between * 2**dims, channels)
        self.last = Convolution(dims, between + inputs, outputs, kernel_size=3, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, inputs, ...) -> (batch, outputs, ...), same size."""
        return self.with_deepest(x)[0]

    def with_deepest(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` gives, and the activations of the U-Net's deepest level (batch, channels[-1], ...)."""
        blocks, deepest = self.unet.with_deepest(pixelunshuffle(x, self.dims, 2))
        joined = torch.cat((functional.leaky_relu(pixelshuffle(blocks, self.dims, 2), 0.05), x.to(blocks.dtype)), 1)
        return self.last(joined), deepest


class TwoViews(nn.Module):
    """Both networks; what a card's ``network.name = "two-views"`` builds.

    ``whole``: HU (batch, z, y, x) at ``spacing`` mm -> logits (batch, kinds, z, y, x).
    ``detail``: HU (batch, y, x) and hints (batch, hints, y, x) -> logits (batch, 3, y, x).
    """

    def __init__(
        self,
        spacing: float = 5.0,
        whole: Sequence[int] = (32, 64, 80, 96),
        kinds: int = 6,
        detail: Sequence[int] = (16, 32, 48, 64),
        hints: int = 3,
        windows: int = 3,
    ) -> None:
        super().__init__()
        self.spacing = float(spacing)
        self.windows = windows
        self.multiple = (2 ** len(whole), 2 ** len(detail))
        self.whole_net = SubPixel(3, windows, kinds, whole)
        self.detail_net = SubPixel(2, windows + hints, 3, detail)

    def loaded(self, card: ModelCard, runtime: Runtime) -> LoadedModel:
        """The model that a pipeline sees."""
        from models.runtime import LoadedModel

        return LoadedModel(card, self, runtime)

    def whole(self, hu: torch.Tensor) -> torch.Tensor:
        """HU (batch, z, y, x) on the coarse grid -> logits (batch, kinds, z, y, x)."""
        return self.whole_net(windows_of(hu, self.windows))

    def whole_with_deepest(self, hu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `whole` gives, and the deepest activations (batch, channels, ...), which tell how it sees the scan."""
        return self.whole_net.with_deepest(windows_of(hu, self.windows))

    def detail(self, hu: torch.Tensor, hints: torch.Tensor) -> torch.Tensor:
        """HU (batch, y, x) and hints (batch, hints, y, x) -> logits (batch, 3, y, x): elsewhere, left, right."""
        return self.detail_net(torch.cat((windows_of(hu, self.windows), hints * 2 - 1), 1))

    def infer(
        self, volume: np.ndarray, spacing: tuple[float, float, float], runtime: Runtime, share: float
    ) -> dict[str, np.ndarray]:
        """``probability`` float16 (2, slices, rows, columns) of a volume, and ``embedding`` (channels); see
        :func:`models.nets.looking.look`."""
        return look(self, volume, spacing, runtime, share)


def hints_of(probability: torch.Tensor) -> torch.Tensor:
    """What the detail is told: left, right, and gas that is neither (airway or gut), from the kinds at dim 0."""
    return torch.stack((probability[1], probability[2], probability[3] + probability[4]))
