"""Variants: a pipeline with one version of its model, `PIPELINE@VERSION`. A *candidate* is a variant that a route runs
beside the live one and that is never sent; a person promotes it, and then it is the live one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from models.shelf import Shelf, bundled
from node.config import Config
from pipelines import registry
from pipelines.base import Pipeline


def live(pipeline: str, promoted: Mapping[str, str]) -> str:
    """What runs for a job of `pipeline`: the variant that a person made live, else the plain name; a candidate is
    itself. `promoted`: pipeline -> version."""
    return f"{pipeline}@{promoted[pipeline]}" if pipeline in promoted else pipeline


def wanted(config: Config, promoted: Mapping[str, str]) -> tuple[str, ...]:
    """Everything that the routes may want run, as names for `load`."""
    pipelines = {live(name, promoted) for route in config.routes for name in route.pipelines}
    return tuple(sorted(pipelines | {name for route in config.routes for name in route.shadow}))


def shelf(config: Config, name: str) -> Shelf:
    """The shelf that a pipeline or variant takes its model from. A plain name gets none of the versions that a route
    names as candidates: what is tried out does not go live by lying there."""
    pipeline, version = registry.split(name)
    candidates = [registry.split(one) for route in config.routes for one in route.shadow]
    out = frozenset(of for one, of in candidates if one == pipeline and of is not None)
    whole = Shelf(bundled(), *config.work.models)
    return whole.without(out) if version is None else whole


def load(name: str, config: Config) -> Pipeline:
    """Open a pipeline or variant with its model. Raises KeyError for an unknown name, and what the shelf raises."""
    return registry.load(name, shelf(config, name), config.work.device)


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
