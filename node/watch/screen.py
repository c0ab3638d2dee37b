"""What `overread watch` shows, as plain data."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from node.config import Config
from node.queries import Queries
from node.watch import limits, sights, words
from node.watch.course import Course
from node.watch.watcher import normal_of


def families(queries: Queries, config: Config) -> list[dict[str, Any]]:
    """Each model at each site: its state in a sentence, and its channels once there is a baseline."""
    found = []
    for row in queries.watch_states():
        course = Course.from_json(row.pop("state"))
        told: dict[str, Any] = {**row, "units": course.units, "baseline": course.baseline or None, "channels": []}
        if not course.baseline:
            need = config.watch.baseline_studies
            told["says"] = f"no baseline yet: {course.units} {'study' if course.units == 1 else 'studies'} seen; " + (
                f"`overread baseline build {row['pipeline']}` proposes one" if course.units >= need
                else f"one can be built from {need}"
            )  # fmt: skip
        else:
            with queries.engine.connect().execution_options(reading=True) as connection:
                normal = normal_of(connection, course)
            summary = next(one["summary"] for one in queries.baselines(row["family"]) if one["id"] == course.baseline)
            told["channels"] = [vars(one) for one in sights.of_family(normal, course, summary.get("sees", {}))]
            told["per_day"] = normal.per_day
            told["thresholds"] = normal.thresholds
            told["says"] = (
                f"baseline {course.baseline} of {len(normal.baseline.days):,} studies, {normal.per_day:.1f} a day; "
                f"{course.units:,} studies since; alarm at {normal.thresholds['model']:,.0f} studies of evidence"
                + ("; the baseline does not grow while an alarm is open" if course.frozen else "")
            )  # fmt: skip
        found.append(told)
    return found


def routes(queries: Queries, config: Config, now: float | None = None) -> list[dict[str, Any]]:
    """When each route would be called silent, if nothing came from now on."""
    now, found = time.time() if now is None else now, []
    with queries.engine.connect().execution_options(reading=True) as connection:
        for route in config.routes:
            found.append({"name": route.name, **_route(connection, config, route.name, now)})
    return found


def _route(connection: sa.Connection, config: Config, name: str, now: float) -> dict[str, Any]:
    at = limits.arrivals_of(connection, name, now)
    learnt = limits.habit(at, now, config.watch.silence_false_alarms_per_year)
    if learnt is None:
        says = f"too few studies to know when it is silent ({len(at)} in eight weeks; 60 over two weeks are needed)"
        return {"says": says, "silent_at": None}
    silent = learnt.tells_at(at[-1])
    return {"says": f"last study {words.when(at[-1])}; silent if none comes until {words.when(silent)}",
            "silent_at": silent, "last": at[-1]}  # fmt: skip
