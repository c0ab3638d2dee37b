"""Writes a model package: weights as safetensors, and the card that names their digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.card import FILE_NAME, ModelCard, card_from, read_card


def toml(data: Mapping[str, Any]) -> str:
    """TOML text of nested tables of text, numbers, truth values, lists, and lists of tables. TypeError for anything
    else."""
    lines: list[str] = []
    _table(data, (), lines)
    return "\n".join(lines).strip() + "\n"


def _table(data: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    for key, value in data.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in data.items():
        name = ".".join(_key(k) for k in (*path, key))
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]"]
            _table(value, (*path, key), lines)
        elif _is_tables(value):
            for item in value:
                lines += ["", f"[[{name}]]"]
                lines += [f"{_key(k)} = {_value(v)}" for k, v in item.items()]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    raise TypeError(f"a card cannot hold a {type(value).__name__}")


def write_package(folder: Path, data: Mapping[str, Any], weights: Mapping[str, bytes]) -> ModelCard:
    """Write weights and card into ``folder`` (made if absent); the digests are filled in here. The card comes last, so
    an interrupted writing leaves no package that verifies. Raises BadModel when ``data`` is not a complete card."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in weights.items()}
    full = {**data, "weights": digests}
    card_from(full, str(folder / FILE_NAME))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in weights.items():
        _replace(folder / name, content)
    _replace(folder / FILE_NAME, toml(full).encode("utf-8"))
    return read_card(folder)


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(file.name + ".part")
    with beside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
