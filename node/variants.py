"""Variants: a pipeline with one version of its model, of its own code, or of both: `PIPELINE@VERSION` (see
pipelines.registry). A *candidate* is a variant that a route runs beside the live one and that is never sent; a person
promotes it, and then it is the live one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from models.shelf import Shelf, bundled
from node.config import Config
from node.errors import ConfigError
from pipelines import registry
from pipelines.base import Pipeline


def live(name: str, promoted: Mapping[str, str]) -> str:
    """What runs for a job of a pipeline: the variant that a person made live, else the plain name. What a candidate
    leaves open, model or code, is as it is live. `promoted`: pipeline -> version."""
    pipeline, version = registry.split(name)
    full = registry.over(version, promoted.get(pipeline))
    return f"{pipeline}@{full}" if full else pipeline


def wanted(config: Config, promoted: Mapping[str, str]) -> tuple[str, ...]:
    """Everything that the routes may want run, as names for `load`."""
    names = {name for route in config.routes for name in (*route.pipelines, *route.shadow)}
    return tuple(sorted({live(name, promoted) for name in names}))


def load(name: str, config: Config) -> Pipeline:
    """Open a pipeline or variant with its model. What a name leaves open is the highest version that no route names as
    a candidate: what is tried out does not go live by lying there. Raises ConfigError for a pipeline, or a version of
    its code, that there is none, and what the shelf raises."""
    pipeline = registry.split(name)[0]
    candidates = [registry.split(one) for route in config.routes for one in route.shadow]
    tried = [registry.parts(version) for one, version in candidates if one == pipeline]
    models = Shelf(bundled(), *config.work.models).without(frozenset(model for model, _ in tried if model))
    try:
        return registry.load(name, models, config.work.device, frozenset(code for _, code in tried if code))
    except KeyError as error:
        raise ConfigError(name, str(error.args[0])) from error


class Loaded(Mapping[str, Pipeline]):
    """Pipelines and variants that are warm; one that was not wanted at the start is opened when it is asked for."""

    def __init__(self, warm: Mapping[str, Pipeline], open_one: Callable[[str], Pipeline]) -> None:
        self._warm = dict(warm)
        self._open = open_one

    def __getitem__(self, name: str) -> Pipeline:
        if name not in self._warm:
            self._warm[name] = self._open(name)
        return self._warm[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._warm)

    def __len__(self) -> int:
        return len(self._warm)
