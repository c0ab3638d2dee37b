"""The native package format: a network family named by the card, and its weights as safetensors."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors

from models.errors import BadModel
from models.nets import build
from models.runtime import choose_runtime
from models.shelf import Package


def load(package: Package, device: str = "auto", precision: str = "auto") -> Any:
    """Build the card's network, fill in the verified weights, and place it on ``device``.

    What comes back is the family's own kind of model: :class:`models.runtime.LoadedModel` for volumes,
    :class:`models.radiographs.LoadedClassifier` for radiographs. Raises BadModel.
    """
    net = build(package.card.network, str(package.folder))
    state: dict[str, torch.Tensor] = {}
    for name in package.card.weights:
        try:
            state.update(read_tensors(package.read(name)))
        except SafetensorError as error:
            raise BadModel(
                f"{package.folder / name}: not a safetensors file ({error}); install the package again"
            ) from None
    expected = net.state_dict()
    wrong = sorted(set(expected) ^ set(state)) or [k for k in expected if expected[k].shape != state[k].shape]
    if wrong:
        raise BadModel(
            f"{package.folder}: the weights do not fit the network that the card names (first: {wrong[0]}); "
            "card and weights must come from the same training"
        )
    # Weights may be stored in half precision; what they are computed in is the runtime's choice.
    net.load_state_dict({k: v.to(expected[k].dtype) for k, v in state.items()})
    return net.eval().loaded(package.card, choose_runtime(device, precision))
