"""The stop-rule: what happens to a model's results when its calibration broke, or its golden set does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from node import faults, logs, variants
from node.config import Config
from node.queries import Queries
from node.store import Store
from node.watch import observe
from pipelines import registry

log = logs.get(__name__)


def apply(config: Config, store: Store, queries: Queries, alarm: Mapping[str, Any]) -> None:
    """What the site's policy (`on-stop`) says, once for each alarm. A model that is not the live one concerns no route:
    what a candidate makes is never sent, and a former model makes nothing."""
    name = str(alarm["family"])
    if "|" in name:
        pipeline = name.partition("|")[0]
        with queries.engine.connect().execution_options(reading=True) as connection:
            model = observe.last_model(connection, pipeline)
        live = model is None or observe.key_of(observe.family_of(pipeline, model, config.watch.site)) == name
    else:
        pipeline, live = _of_golden(queries, name.removeprefix("pipeline/"))
    why = f"alarm {alarm['id']}: {alarm['story']['says']}"
    routes, held = _hold(config, store, pipeline if live else "", why)
    faults.point("watch.held")
    store.settle_stop(int(alarm["id"]), {"policy": config.watch.on_stop, "routes": routes, "held": held})
    log.error("the stop-rule applies", alarm=alarm["id"], policy=config.watch.on_stop, routes=routes, held=held)


def of_golden(config: Config, store: Store, queries: Queries) -> Callable[[str, str], None]:
    """The stop-rule of the golden set: (pipeline or variant, why). By the same policy, for the live version only."""

    def act(name: str, why: str) -> None:
        pipeline, live = _of_golden(queries, name)
        routes, held = _hold(config, store, pipeline if live else "", why)
        log.error("the stop-rule applies", pipeline=name, policy=config.watch.on_stop, routes=routes, held=held)

    return act


def _of_golden(queries: Queries, name: str) -> tuple[str, bool]:
    """The pipeline of what a golden set ran, a pipeline or variant, and whether that is the live version."""
    pipeline = registry.split(name)[0]
    return pipeline, variants.live(pipeline, queries.promoted()) == name


def _hold(config: Config, store: Store, pipeline: str, why: str) -> tuple[list[str], list[str]]:
    """The routes that run a pipeline, and those of them that were made stricter now: `review` holds their results,
    `mark` and `nothing` leave them."""
    routes = [route.name for route in config.routes if pipeline in route.pipelines]
    if config.watch.on_stop != "review":
        return routes, []
    return routes, [route for route in routes if store.tighten(route, "review", "watch", why)]
