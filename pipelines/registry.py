"""The pipelines that there are: one module of this package each, found by looking: a new one is one new file."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.shelf import Shelf
    from pipelines.base import Pipeline

_OPENER = "open_pipeline"


def names() -> tuple[str, ...]:
    """The names of all pipelines, sorted. Modules are read, not imported: this costs no torch."""
    return tuple(sorted(_modules()))


def split(name: str) -> tuple[str, str | None]:
    """A pipeline's name and the version of its model: `NAME@VERSION` names both, a plain name no version."""
    pipeline, _, version = name.partition("@")
    return pipeline, version or None


def load(name: str, models: Shelf | None = None, device: str = "auto") -> Pipeline:
    """Open a pipeline with its model, or with `NAME@VERSION` with that version of its model. `models`: the shelf to
    take it from, by default the bundled one.

    Raises KeyError for an unknown name, and what the shelf raises (ModelError).
    """
    from models.shelf import Shelf

    name, version = split(name)
    shelf = models if models is not None else Shelf()
    if name not in _modules():
        raise KeyError(f"no pipeline {name!r}; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__package__}.{_modules()[name]}")
    return getattr(module, _OPENER)(shelf if version is None else shelf.only(version), device)


@cache
def _modules() -> dict[str, str]:
    """Pipeline name -> module: every module here that defines `NAME` (text) and `open_pipeline(models, device)`."""
    found: dict[str, str] = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        named = [
            node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and any(isinstance(target, ast.Name) and target.id == "NAME" for target in node.targets)
        ]
        if _OPENER in defined and named:
            name = str(named[0])
            if name in found:
                raise RuntimeError(f"two modules define the pipeline {name!r}: {found[name]} and {file.stem}")
            found[name] = file.stem
    return found
