"""Network families: what a card's ``[network]`` may name. A new family is one line here and one file beside it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from models.errors import BadModel

if TYPE_CHECKING:
    from models.card import Network

# name on the card -> module : class. Imported only when such a model is loaded.
FAMILIES = {
    "two-views": "models.nets.two_views:TwoViews",
    "xray-triage": "models.nets.xray_triage:XrayTriage",
}


def build(network: Network, where: str) -> Any:
    """The module that ``network`` describes, with random weights. Raises BadModel; ``where`` names the package in
    it."""
    if network.name not in FAMILIES:
        raise BadModel(f"{where}: network {network.name!r} is not known; known networks: {', '.join(sorted(FAMILIES))}")
    module, name = FAMILIES[network.name].split(":")
    family = getattr(importlib.import_module(module), name)
    try:
        return family(**network.arguments)
    except (TypeError, ValueError, IndexError) as error:
        raise BadModel(
            f"{where}: network {network.name!r} cannot be built with the card's arguments ({error})"
        ) from None
