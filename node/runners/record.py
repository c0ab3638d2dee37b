"""What a result was made with, for the audit log: software and its code, configuration, machine, and of the model what
decides: weights, thresholds, calibration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import models
import pipelines
from models import versions
from models.shelf import Shelf
from node import __version__
from node.config import Config

_LIBRARIES = ("monai", "scipy", "pydicom", "highdicom", "SimpleITK", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm",
              "pillow")  # beside those that models.versions names  # fmt: skip
_MACHINE = ("machine", "device", "precision", "cuda")


def made_with(model_digest: str, config: Config) -> dict[str, Any]:
    """What is the same for every job that this process runs with a model. Of a model without a card on the shelf no
    weights, thresholds and calibration are known. Raises ModelError for a device that is not there."""
    found = software(config.work.device)
    machine = {name: found.pop(name) for name in _MACHINE if name in found}
    made = {"config": config.digest, "software": found, **machine}
    card = next((one for one in Shelf(*config.work.models).cards() if one.digest == model_digest), None)
    if card is not None:
        decides = {"weights": card.weights, "thresholds": card.thresholds, "calibration": card.calibration}
        made |= {name: _plain(table) for name, table in decides.items()}
    return made


def software(device: str) -> dict[str, str]:
    """The versions of Overread, Python and the libraries that touch a pixel or a result, the digest of the code of
    pipelines and models, and what `device` stands for. Raises ModelError for a device that is not there."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {"overread": __version__, **versions.software(device), **libraries, "code": code_digest()}


@cache
def code_digest() -> str:
    """SHA-256 over names and content of all Python files of the packages pipelines and models: what goes before and
    after the network is in there. Hex."""
    hashed = hashlib.sha256()
    for package in (pipelines, models):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            name = f"{root.name}/{file.relative_to(root).as_posix()}"
            hashed.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def _plain(table: Mapping[str, Any]) -> Any:
    """A card's table as JSON has it; what it has no form for, such as a date, as text."""
    return json.loads(json.dumps(table, default=lambda one: dict(one) if isinstance(one, Mapping) else str(one)))
