"""Fixed limits, beside the statistics: jobs that fail in a row, a queue that grows old, retries, and silent routes.

These alarms depend on the time on the clock, not on the log's order alone: a study that does not come leaves no event.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from node.config import Config
from node.schema import deliveries, jobs
from node.watch.detector import Floats

HOUR = 3600.0
WEEK = 168  # hours
_LEARNT = 8 * WEEK * HOUR  # seconds of the past that a route's usual traffic is learnt from
_FEWEST = 60  # arrivals, and
_SHORTEST = 2 * WEEK * HOUR  # seconds of them, before a route's silence means anything
_MARGIN = 1.25  # times the longest silence that there was


@dataclass(frozen=True)
class Crossed:
    """A limit that is crossed now. `family`: whose; `says`: one sentence for people."""

    family: str
    channel: str
    kind: str
    says: str
    facts: dict[str, Any]


def look(connection: sa.Connection, config: Config, now: float) -> list[Crossed]:
    """Every limit that is crossed at `now`."""
    return [*_failures(connection, config), *_queue(connection, config, now), *_retries(connection, config, now),
            *_silent(connection, config, now)]  # fmt: skip


def _failures(connection: sa.Connection, config: Config) -> list[Crossed]:
    found, limit = [], config.watch.failures
    for pipeline in sorted({name for route in config.routes for name in route.pipelines}):
        last = connection.execute(
            sa.select(jobs.c.state).where(jobs.c.pipeline == pipeline, jobs.c.state.in_(("done", "skipped", "failed")))
            .order_by(jobs.c.finished_at.desc(), jobs.c.id.desc()).limit(limit)
        ).scalars().all()  # fmt: skip
        if len(last) == limit and set(last) == {"failed"}:
            says = f"the last {limit} jobs of {pipeline} all failed; `overread status` names them"
            found.append(Crossed(f"pipeline/{pipeline}", "service.failures", "limit", says, {"failed": limit}))
    return found


def _queue(connection: sa.Connection, config: Config, now: float) -> list[Crossed]:
    oldest = connection.execute(sa.select(sa.func.min(jobs.c.created_at)).where(jobs.c.state == "due")).scalar()
    age = now - oldest if oldest is not None else 0.0
    if age <= config.watch.queue_age:
        return []
    says = (
        f"the oldest job has waited for {age / 60:.0f} minutes; more than {config.watch.queue_age / 60:.0f} is an alarm"
    )
    return [Crossed("node", "service.queue-age", "limit", says, {"seconds": age})]


def _retries(connection: sa.Connection, config: Config, now: float) -> list[Crossed]:
    count = 0
    for table in (jobs, deliveries):
        count += connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(table.c.attempts - 1), 0))
            .where(table.c.started_at > now - HOUR, table.c.attempts > 1)
        ).scalar_one()  # fmt: skip
    if count < config.watch.retries:
        return []
    says = f"{count} further attempts of jobs and deliveries within an hour; {config.watch.retries} are an alarm"
    return [Crossed("node", "service.retries", "limit", says, {"retries": int(count)})]


# -- a route that went silent ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Habit:
    """How many studies a route usually gets in each hour of the week (UTC), and after how much of it silence tells.

    Time is measured in studies that should have come: a night in which none comes does not count. `limit`: of them.
    """

    rates: Floats
    limit: float

    def expected(self, since: float, until: float) -> float:
        """Studies that usually come between two times."""
        first, last = int(since // HOUR), int(until // HOUR)
        if first == last:
            return float(self.rates[first % WEEK] * (until - since) / HOUR)
        whole = sum(float(self.rates[hour % WEEK]) for hour in range(first + 1, last))
        start, end = float(self.rates[first % WEEK]), float(self.rates[last % WEEK])
        return start * (1 - since % HOUR / HOUR) + whole + end * (until % HOUR / HOUR)

    def tells_at(self, since: float) -> float:
        """When it will be called silent if nothing comes after `since`, to the hour."""
        at = since
        while self.expected(since, at) < self.limit and at < since + 5 * WEEK * HOUR:
            at += HOUR
        return at


def habit(arrivals: Sequence[float], now: float, budget: float) -> Habit | None:
    """From the times at which studies came (ascending), up to the last one; None: too few to know.

    Were studies to come independently, a silence of ln(arrivals a year / budget) expected studies would be seen by
    chance `budget` times a year; where they come in bursts, the longest silence of the past and a quarter counts.
    """
    at = np.asarray([one for one in arrivals if one > now - _LEARNT])
    if len(at) < _FEWEST or at[-1] - at[0] < _SHORTEST:
        return None
    hours = np.arange(int(at[0] // HOUR), int(at[-1] // HOUR) + 1) % WEEK
    seen = np.bincount(hours, minlength=WEEK)
    rates = np.bincount((at // HOUR).astype(int) % WEEK, minlength=WEEK) / np.maximum(seen, 1)
    # An hour has seen a few weeks only: it borrows from the same hour of other days, as far as its own day is busy.
    table = rates.reshape(7, 24)
    rates = (0.5 * table + 0.5 * np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()).ravel()
    learnt = Habit(rates, 0.0)
    longest = max(learnt.expected(one, other) for one, other in itertools.pairwise(at))
    a_year = len(at) / (at[-1] - at[0]) * 365 * 24 * HOUR
    return Habit(rates, max(math.log(max(a_year / budget, math.e)), _MARGIN * longest))


def arrivals_of(connection: sa.Connection, route: str, now: float) -> list[float]:
    """When studies of a route were closed, within the time that is learnt from; ascending. A study counts once."""
    query = (
        sa.select(sa.func.min(jobs.c.created_at).label("at"))
        .where(jobs.c.created_at > now - _LEARNT, jobs.c.routes.contains(f'"{route}"', autoescape=True))
        .group_by(jobs.c.study_id).order_by("at")
    )  # fmt: skip
    return [float(at) for at in connection.execute(query).scalars()]


def _silent(connection: sa.Connection, config: Config, now: float) -> list[Crossed]:
    found = []
    for route in config.routes:
        at = arrivals_of(connection, route.name, now)
        learnt = habit(at, now, config.watch.silence_false_alarms_per_year)
        if learnt is None:
            continue
        missing = learnt.expected(at[-1], now)
        if missing >= learnt.limit:
            says = (f"route {route.name} went silent: no study for {(now - at[-1]) / HOUR:.1f} hours, in which "
                    f"{missing:.0f} usually come")  # fmt: skip
            facts = {"last": at[-1], "expected": missing, "limit": learnt.limit}
            found.append(Crossed(f"route/{route.name}", "silence", "silence", says, facts))
    return found
