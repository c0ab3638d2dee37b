"""Where a classifier looked: Grad-CAM, integrated gradients, occlusion; and whether such a map depends on what the
network has learned at all.

The check is that of Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018): the weights are randomised layer
by layer from the top, and the map must become another one. A method whose map stays shows the image, not the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.visualize import GradCAM, OcclusionSensitivity
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from models.errors import ModelError
from models.nets.xray_input import Place, channels
from models.nets.xray_triage import LAYER

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.nets.xray_triage import XrayTriage

Method = Callable[["XrayTriage", torch.Tensor, int], torch.Tensor]
STEPS = 16  # of the path of integrated gradients
MASK = 32  # pixels of the network's input that are covered at a time
# A map after randomisation may be like the one before by this much (Spearman's rank correlation, its amount).
LIMIT = 0.5


def grad_cam(net: XrayTriage, x: torch.Tensor, label: int) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017; MONAI's) averaged over the members: (batch, cells, cells), at least 0."""
    maps = [_member_cam(member, x, label) for member in net.members]
    return torch.stack(maps).mean(0)


def _member_cam(member: nn.Module, x: torch.Tensor, label: int) -> torch.Tensor:
    # MONAI's hooks stay on a network for good: they are put on a shallow copy, which shares the weights.
    cam = GradCAM(_shadow(member), LAYER)
    with torch.enable_grad():
        return cam.compute_map(channels(x), class_idx=label)[:, 0].detach()


def _shadow(module: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(p): p for p in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)


def integrated_gradients(net: XrayTriage, x: torch.Tensor, label: int) -> torch.Tensor:
    """Integrated gradients (Sundararajan et al., ICML 2017) from an empty image: (batch, size, size); what speaks
    against the label is left out, and points are gathered over neighbouring pixels."""
    total = torch.zeros_like(x)
    for step in range(STEPS):
        part = (x * ((step + 0.5) / STEPS)).detach().requires_grad_()
        with torch.enable_grad():
            logit = net.finding_logits(part, ((0, 0),))[0].mean(0)[:, label].sum()
            total += torch.autograd.grad(logit, part)[0]
    gained = (total / STEPS * x).clamp(min=0)[:, None]
    return functional.avg_pool2d(gained, 9, 1, 4)[:, 0]


def occlusion(net: XrayTriage, x: torch.Tensor, label: int) -> torch.Tensor:
    """How much the logit falls when a place is covered with the image's mean (Zeiler and Fergus, 2014; MONAI's)."""

    class Logit(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return net.finding_logits(image[:, 0], ((0, 0),))[0].mean(0)[:, label : label + 1]

    maps = []
    for one in x:
        look = OcclusionSensitivity(Logit().eval(), mask_size=MASK, n_batch=32, mode="mean_img", overlap=0.5,
                                    activate=False, verbose=False)  # fmt: skip
        with torch.no_grad():
            found, _ = look(one[None, None])
            uncovered = net.finding_logits(one[None], ((0, 0),))[0].mean(0)[0, label]
        maps.append((uncovered - found[0, 0]).clamp(min=0))
    return torch.stack(maps)


METHODS: dict[str, Method] = {
    "grad-cam": grad_cam,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
}


def explain(net: XrayTriage, x: torch.Tensor, label: int, method: str) -> np.ndarray:
    """The map of ``method`` for squares (batch, size, size): float32 of the same shape, each from 0 to 1 (all zero
    where nothing speaks for the label). Raises ModelError for an unknown method."""
    if method not in METHODS:
        raise ModelError(f"no method {method!r}; there is: {', '.join(METHODS)}")
    return stretched(METHODS[method](net, x, label), x.shape[-1])


def stretched(maps: torch.Tensor, size: int) -> np.ndarray:
    """Maps (batch, n, n) brought to (batch, size, size) without steps, each from 0 to its largest value at 1."""
    if maps.shape[-1] != size:
        maps = functional.interpolate(maps[:, None], (size, size), mode="bicubic", align_corners=False)[:, 0]
    maps = maps.float().clamp(min=0)
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def on_image(found: np.ndarray, place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """A map on the network's square brought back to the image (rows, columns) that lies at ``place`` on it."""
    part = torch.from_numpy(np.ascontiguousarray(found[place.part]))[None, None]
    out = functional.interpolate(part, (shape[0], shape[1]), mode="bilinear", align_corners=False)[0, 0]
    return out.clamp(0, 1).numpy()


def cascade(net: nn.Module, seed: int = 0) -> Iterable[tuple[str, nn.Module]]:
    """Copies of ``net`` in which more and more layers have random weights, from the top down: the scores, then block by
    block; each with the name of the last part that was randomised."""
    net = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for stage in _stages(net):
        for module in stage[1]:
            _randomise(module, generator)
        yield stage[0], net


def _stages(net: nn.Module) -> list[tuple[str, list[nn.Module]]]:
    members = list(net.members)  # type: ignore[arg-type]
    names = [name for name, _ in members[0].features.named_children()]
    heads = ("class_layers.out", [m.class_layers.out for m in members])
    bodies = [(f"features.{name}", [getattr(m.features, name) for m in members]) for name in reversed(names)]
    return [heads, *((name, parts) for name, parts in bodies if list(parts[0].parameters()))]


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                fan = part.weight[0].numel()
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (2 / fan) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
            elif isinstance(part, nn.BatchNorm2d):
                part.reset_parameters()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The amount of Spearman's rank correlation of two maps; 1 where either is constant or
    holds what is no number: such a map says nothing."""
    a, b = a.ravel(), b.ravel()
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 1.0
    return abs(float(spearmanr(a, b).statistic))


def sanity_check(
    net: XrayTriage, x: torch.Tensor, labels: Iterable[int], method: str | Method, seeds: Iterable[int] = (0, 1)
) -> dict[str, Any]:
    """Randomise ``net`` from the top down and compare the maps of squares ``x`` (batch, size, size), each for its own
    one of ``labels``.

    Returns ``likeness``: stage -> mean amount of the rank correlation with the map of the trained network; ``all``:
    that of the last stage, in which nothing learned is left; ``limit`` and ``passed``. A map that is constant for the
    trained network fails.
    """
    how = METHODS[method] if isinstance(method, str) else method
    labels = list(labels)
    each = [(x[k : k + 1], label) for k, label in enumerate(labels)]
    before = [_small(how(net, one, label)) for one, label in each]
    told: dict[str, list[float]] = {}
    for seed in seeds:
        for stage, changed in cascade(net, seed):
            after = [_small(how(changed, one, label)) for one, label in each]  # type: ignore[arg-type]
            # A map that has become empty has changed: only the trained network owes one that says something.
            told.setdefault(stage, []).extend(
                0.0 if np.ptp(b) == 0 and np.ptp(a) > 0 else likeness(a, b) for a, b in zip(before, after, strict=True)
            )
    means = {stage: round(float(np.mean(found)), 3) for stage, found in told.items()}
    last = list(means.values())[-1]
    return {"likeness": means, "all": last, "limit": LIMIT, "passed": last <= LIMIT}


def _small(maps: torch.Tensor) -> np.ndarray:
    """One map on a grid of 16 x 16, so that ranks are not those of single pixels' noise."""
    return functional.adaptive_avg_pool2d(maps[:, None].float(), 16)[0, 0].detach().cpu().numpy()


def allowed(card: ModelCard, method: str) -> None:
    """Raises ModelError for an unknown method, and for one that the card says this model has failed."""
    if method not in METHODS:
        raise ModelError(f"no method {method!r}; there is: {', '.join(METHODS)}")
    checked: Mapping[str, Any] = card.explanations.get(method, {})
    if not checked:
        raise ModelError(
            f"{card.name} {card.version}: its card says nothing about the sanity check of {method!r}; "
            f"checked are: {', '.join(card.explanations) or 'none'}"
        )
    if not checked.get("passed", False):
        raise ModelError(
            f"{card.name} {card.version}: {method!r} has failed its sanity check on this model (with random weights "
            f"its maps stay alike by {checked.get('all')}, the limit is {checked.get('limit')}); use another method"
        )
