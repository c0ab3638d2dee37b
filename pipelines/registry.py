"""The pipelines that there are, found by looking: a new one, or a new version beside the old, is one new file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.shelf import Shelf
    from pipelines.base import Pipeline

_OPENER = "open_pipeline"
_CODE = "code-"


def names() -> tuple[str, ...]:
    """The names of all pipelines, sorted. Modules are read, not imported: this costs no torch."""
    return tuple(sorted(_modules()))


def split(name: str) -> tuple[str, str | None]:
    """A pipeline's name and the version that stands behind it: `NAME@VERSION` names both, a plain name no version."""
    pipeline, _, version = name.partition("@")
    return pipeline, version or None


def parts(version: str | None) -> tuple[str | None, str | None]:
    """Which version of the model and which of the pipeline's own code a version means: `1.1.0`, `code-2.0.0`, or both:
    `1.1.0+code-2.0.0`. None: it names none."""
    model, _, code = (version or "").partition(_CODE)
    return model.rstrip("+") or None, code or None


def joined(model: str | None, code: str | None) -> str | None:
    """The version that `parts` takes apart."""
    return "+".join([*([model] if model else []), *([_CODE + code] if code else [])]) or None


def over(version: str | None, other: str | None) -> str | None:
    """A version, and what it leaves open as another says."""
    (model, code), (its_model, its_code) = parts(version), parts(other)
    return joined(model or its_model, code or its_code)


def load(name: str, models: Shelf | None = None, device: str = "auto", left_out: Collection[str] = ()) -> Pipeline:
    """Open a pipeline with its model, or with `NAME@VERSION` with those versions of model and code. `models`: the shelf
    to take it from, by default the bundled one. Of several versions of its code the highest one is meant that
    `left_out` does not name.

    Raises KeyError for an unknown name or version of the code, and what the shelf raises (ModelError).
    """
    from models.shelf import Shelf

    name, version = split(name)
    shelf = models if models is not None else Shelf()
    if name not in _modules():
        raise KeyError(f"no pipeline {name!r}; there are: {', '.join(names())}")
    model, code = parts(version)
    module = importlib.import_module(f"{__package__}.{_module(name, code, left_out)}")
    return getattr(module, _OPENER)(shelf if model is None else shelf.only(model), device)


def _module(name: str, code: str | None, left_out: Collection[str]) -> str:
    found = _modules()[name]
    fitting = [one for one in found if one == code or (code is None and one not in left_out)]
    if not fitting:
        wanted = f"version {code}" if code else "version that no route tries out"
        raise KeyError(f"no {wanted} of the code of {name!r}; there are: {', '.join(sorted(found))}")
    return found[max(fitting, key=lambda one: [int(part) for part in one.split(".") if part.isdigit()])]


@cache
def _modules() -> dict[str, dict[str, str]]:
    """Pipeline name -> version of its code -> module: every module here that defines `NAME` and, where a pipeline has
    more than one module, `VERSION` (both text), and `open_pipeline(models, device)`."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        texts = {
            target.id: str(node.value.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if _OPENER in defined and "NAME" in texts:
            name, version = texts["NAME"], texts.get("VERSION", "")
            other = found.setdefault(name, {}).setdefault(version, file.stem)
            if other != file.stem:
                told = " ".join(filter(None, (name, version)))
                raise RuntimeError(f"two modules define the pipeline {told!r}: {other} and {file.stem}")
    return found
