"""The stop-rule: what happens to a model's results when its calibration broke, or its golden set does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from node import logs, variants
from node.config import Config
from node.modes import Mode
from node.queries import Queries
from node.store import Store
from pipelines import registry

log = logs.get(__name__)
SetMode = Callable[[str, Mode, str, str], Any]
"""(route, mode, by, why): makes the release mode of a route at least as strict; Store.tighten."""


def applies(story: Mapping[str, Any]) -> bool:
    """Whether a drift alarm calls for it: labels and promised probabilities differ by more than the tolerance."""
    return bool(story.get("stop"))


def apply(config: Config, store: Store, alarm: Mapping[str, Any], set_mode: SetMode | None) -> None:
    """What the site's policy (`on-stop`) says, once for each alarm: `review` holds the results of every route that runs
    the pipeline, `mark` and `nothing` leave them; the audit log tells."""
    pipeline = str(alarm["family"]).partition("|")[0].removeprefix("pipeline/")
    routes = [route.name for route in config.routes if pipeline in route.pipelines]
    why = f"alarm {alarm['id']}: {alarm['story']['says']}"
    held = []
    if config.watch.on_stop == "review" and set_mode is not None:
        for route in routes:
            set_mode(route, "review", "watch", why)
            held.append(route)
    store.settle_stop(int(alarm["id"]), {"policy": config.watch.on_stop, "routes": routes, "held": held})
    log.error("the stop-rule applies", alarm=alarm["id"], policy=config.watch.on_stop, routes=routes, held=held)


def of_golden(config: Config, store: Store, queries: Queries) -> Callable[[str, str], None]:
    """The stop-rule of the golden set: (pipeline or variant, why). By the same policy, for the live version only:
    what a candidate makes is never sent."""

    def act(name: str, why: str) -> None:
        pipeline = registry.split(name)[0]
        live = variants.live(pipeline, queries.promoted()) == name
        routes = [route.name for route in config.routes if live and pipeline in route.pipelines]
        held = []
        if config.watch.on_stop == "review":
            held = [route for route in routes if store.tighten(route, "review", "watch", why)]
        log.error("the stop-rule applies", pipeline=name, policy=config.watch.on_stop, routes=routes, held=held)

    return act
