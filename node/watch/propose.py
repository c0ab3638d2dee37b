"""Builds a baseline from stored features, for a person to accept: what is normal, and the thresholds that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import GiveUp
from node.watch import bootstrap, family, kinds, observe
from node.watch.baseline import LARGEST
from node.watch.normal import Normal, learn
from node.watch.observation import Observation
from node.watch.observe import DAY, Source, day_of, key_of
from node.watch.watcher import Watcher

_STREAMS = 32  # of the bootstrap: enough to place a threshold within a few per cent
_LONGEST = 10_000_000  # studies of all streams together, which bounds time and memory at large sites


@dataclass(frozen=True)
class Proposal:
    """A baseline that waits for a person. `summary`: what he should look at before he signs."""

    family: str
    normal: Normal
    summary: Mapping[str, Any]


def families(connection: sa.Connection, pipeline: str, site: str, sources: Mapping[str, Source]) -> dict[str, int]:
    """Families of a pipeline in the log (or the family of that very name), with how many observations each has."""
    counts = Counter(key_of(one.family) for one in observe.observations(connection, 0, site, None, sources))
    return {name: count for name, count in counts.items() if pipeline in (name, name.partition("|")[0])}


def propose(
    connection: sa.Connection, name: str, site: str, sources: Mapping[str, Source], budgets: Mapping[str, float],
    fewest: int, since: float | None = None, until: float | None = None,
) -> Proposal:  # fmt: skip
    """From the studies of family `name` between two times (seconds since the epoch); of more than 20,000 the newest.

    `budgets`: false alarms a year of each part. GiveUp: too few studies, or none that could be watched.
    """
    watcher = Watcher(site, sources)
    units = [
        one for one in watcher.units(connection, name, 0)
        if (since is None or one.at >= since) and (until is None or one.at < until)
    ][-LARGEST:]  # fmt: skip
    if len(units) < fewest:
        raise GiveUp(
            f"{name}: {len(units)} studies are too few for a baseline; at least {fewest} are needed (baseline-studies)"
        )
    days = [day_of(one.at) for one in units]
    known, white = learn(1, days, [one.seen for one in units])
    per_day = len(units) / (max(days) - min(days) + 1)
    wanted = {part: family.threshold(per_day, budget) for part, budget in budgets.items()}
    try:
        plain = Normal(0, known, white, wanted, per_day)
    except ValueError as error:
        raise GiveUp(f"{name}: {error}") from error
    raised = {part: _raised(plain, part, wanted[part]) for part in plain.parts}
    normal = Normal(0, known, white, {**wanted, **raised}, per_day)
    return Proposal(name, normal, _summary(normal, units, wanted, budgets))


def _raised(normal: Normal, part: str, wanted: float) -> float:
    """The threshold at which whole days of the baseline, drawn again, keep the budget; `wanted` from too few days."""
    if len(set(normal.baseline.days)) < bootstrap.FEWEST_DAYS:
        return wanted
    watched = normal.parts[part]
    streams = max(4, min(_STREAMS, int(_LONGEST / (3 * wanted))))
    e = bootstrap.values(watched, normal.baseline)
    return bootstrap.threshold(normal.baseline.days, e, watched.weights, wanted, streams=streams)


def _summary(
    normal: Normal, units: Sequence[Observation], wanted: Mapping[str, float], budgets: Mapping[str, float]
) -> dict[str, Any]:
    days = len(set(normal.baseline.days))
    cautions = []
    if days < bootstrap.FEWEST_DAYS:
        cautions.append(
            f"{days} days are too few to see how alike the studies of one day are: the threshold is not raised"
        )
    if len(units) < 2000:
        cautions.append(f"{len(units)} studies are fewer than 2,000: bets keep a guard band, and alarms come later")
    if normal.white is None:
        cautions.append("no embeddings: how the model sees the images is not watched")
    if not any(one.startswith(kinds.LABELLED) for one in normal.parts[kinds.MODEL].names):
        cautions.append("no labels: whether results are right is not watched")
    return {
        "studies": len(units), "days": days, "first": units[0].at, "last": units[-1].at, "per_day": normal.per_day,
        "budgets": dict(budgets), "wanted": dict(wanted), "thresholds": dict(normal.thresholds),
        "channels": {part: list(watched.names) for part, watched in normal.parts.items()},
        "left_out": dict(normal.left_out), "cautions": cautions,
        "span_days": (units[-1].at - units[0].at) / DAY,
    }  # fmt: skip
