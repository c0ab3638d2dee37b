"""The model card: what a model is, may be used for, was made with and measured at, and the digests of its weights.

A card is a TOML file. Reading one imports no torch. The sections follow Mitchell et al., "Model Cards for Model
Reporting" (FAT* 2019); codes are SNOMED CT as DICOM uses them (PS3.16).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.errors import BadModel

FILE_NAME = "card.toml"
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "version": str,
    "format": str,
    "licence": str,
    "intended_use": str,
    "limitations": list,
    "network": dict,
    "weights": dict,
    "inputs": dict,
    "labels": list,
    "thresholds": dict,
    "calibration": dict,
    "training": dict,
    "metrics": dict,
}
_OPTIONAL: dict[str, type] = {
    "external_checks": list,
    "references": list,
    "explanations": dict,  # method -> what its sanity check found (models.explain)
    "priority": dict,  # label -> probability from which on a study is urgent
}


@dataclass(frozen=True)
class Code:
    """A coded concept: CodeValue, CodingSchemeDesignator, CodeMeaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One thing that the model outlines. ``value`` counts from 1; channel ``value - 1`` of the probabilities is its
    own."""

    name: str
    value: int
    code: Code
    laterality: Code | None = None


@dataclass(frozen=True)
class Network:
    """Which network family to build (:mod:`models.nets`), and with which arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ModelCard:
    """A card as read; all mappings are read-only."""

    name: str
    version: str
    format: str
    network: Network
    weights: Mapping[str, str]
    licence: str
    intended_use: str
    limitations: tuple[str, ...]
    inputs: Mapping[str, Any]
    labels: tuple[Label, ...]
    thresholds: Mapping[str, float]
    calibration: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    external_checks: tuple[Mapping[str, Any], ...]
    references: tuple[str, ...]
    explanations: Mapping[str, Any]
    priority: Mapping[str, float]
    digest: str


def read_card(path: Path) -> ModelCard:
    """Read ``card.toml`` (or the folder that holds one). Raises BadModel with one line that names the file and the
    key."""
    file = path / FILE_NAME if path.is_dir() else path
    try:
        data = tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise BadModel(f"{file}: no model card here; put the package's {FILE_NAME} back or remove the folder") from None
    except OSError as error:
        raise BadModel(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadModel(f"{file}: not a TOML file ({' '.join(str(error).split())}); restore the package") from None
    return card_from(data, str(file))


def card_from(data: Mapping[str, Any], where: str) -> ModelCard:
    """A card from its data; ``where`` names the origin in errors."""
    for key, kind in _REQUIRED.items():
        if key not in data:
            raise BadModel(f"{where}: the card has no {key!r}; add it")
        if not isinstance(data[key], kind):
            raise BadModel(f"{where}: {key!r} must be a {_word(kind)}, not a {_word(type(data[key]))}")
    for key in data:
        if key not in _REQUIRED and key not in _OPTIONAL:
            raise BadModel(f"{where}: {key!r} is not a key of a model card; remove it")
        if key in _OPTIONAL and not isinstance(data[key], _OPTIONAL[key]):
            raise BadModel(f"{where}: {key!r} must be a {_word(_OPTIONAL[key])}, not a {_word(type(data[key]))}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", data["name"]):
        raise BadModel(f"{where}: name {data['name']!r} must be small letters, digits and hyphens")
    if not re.fullmatch(r"\d+(\.\d+){0,3}", data["version"]):
        raise BadModel(f"{where}: version {data['version']!r} must be numbers with dots, such as 1.0.0")
    network = data["network"]
    if not isinstance(network.get("name"), str) or not isinstance(network.get("arguments", {}), dict):
        raise BadModel(f"{where}: 'network' needs a name and a table of arguments")
    _check_weights(data["weights"], where)
    return ModelCard(
        name=data["name"],
        version=data["version"],
        format=data["format"],
        network=Network(network["name"], _frozen(network.get("arguments", {}))),
        weights=_frozen(data["weights"]),
        licence=data["licence"],
        intended_use=data["intended_use"],
        limitations=tuple(data["limitations"]),
        inputs=_frozen(data["inputs"]),
        labels=tuple(_label(item, where) for item in data["labels"]),
        thresholds=_frozen(data["thresholds"]),
        calibration=_frozen(data["calibration"]),
        training=_frozen(data["training"]),
        metrics=_frozen(data["metrics"]),
        external_checks=tuple(_frozen(item) for item in data.get("external_checks", [])),
        references=tuple(data.get("references", [])),
        explanations=_frozen(data.get("explanations", {})),
        priority=_frozen(data.get("priority", {})),
        digest=digest_of(data),
    )


def digest_of(data: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the card's content in canonical JSON; it covers the weights through their digests."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _check_weights(weights: Mapping[str, Any], where: str) -> None:
    if not weights:
        raise BadModel(f"{where}: 'weights' names no file; list each weights file with its sha256")
    for name, digest in weights.items():
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise BadModel(f"{where}: weights file {name!r} must lie in the card's own folder; give its bare name")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise BadModel(f"{where}: the digest of {name!r} must be 64 small hex digits (sha256)")


def _label(item: Any, where: str) -> Label:
    try:
        side = item.get("laterality")
        return Label(
            str(item["name"]), int(item["value"]), Code(**item["code"]), None if side is None else Code(**side)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadModel(f"{where}: a label needs name, value and code {{value, scheme, meaning}} ({error})") from None


def _frozen(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType({k: _frozen(v) if isinstance(v, dict) else v for k, v in table.items()})


def _word(kind: type | tuple[type, ...]) -> str:
    words = {str: "text", list: "list", dict: "table", int: "whole number", float: "number", bool: "true/false"}
    return words.get(kind, str(kind)) if isinstance(kind, type) else " or ".join(map(_word, kind))
