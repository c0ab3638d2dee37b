"""What a run of the crash tests tried and what survived, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from node.schema import instances
from node.spool import Spool
from tests.crash.at_points import OF_THE_NODE
from tests.crash.house import House


@dataclass
class Tally:
    """Summed over the houses that are added."""

    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, house: House) -> None:
        """Count what happened in a house that is at rest."""
        self.kills += house.kills
        self.points += house.points
        spool, queries = Spool(house.node.config.node.spool), house.node.queries
        with queries.engine.connect().execution_options(reading=True) as connection:
            held = {row.sop_uid: row.path for row in connection.execute(sa.select(instances))}
        acknowledged = [uid for sending in house.sendings for uid in sending.acknowledged]
        came = house.pacs.came
        self.counts += Counter({
            "studies": len(house.sendings),
            "instances acknowledged": len(acknowledged),
            "of them in the database and on the disk":
                sum(uid in held and spool.path(held[uid]).is_file() for uid in acknowledged),
            "results expected": len(house.expected),
            "of them at the PACS": sum(uid in came for uid in house.expected),
            "at the PACS without being expected": sum(uid not in house.expected for uid in came),
            "results that came more than once": sum(len(each) > 1 for each in came.values()),
            "results that came with two contents": sum(len(set(each)) > 1 for each in came.values()),
            "events in the audit chain": queries.verify()[0],
            "starts of the node": house.node.starts,
        })  # fmt: skip

    def facts(self, versions: Mapping[str, str], seed: int, seconds: float) -> dict[str, Any]:
        """All of it, for a machine."""
        return {
            "seed": seed, "seconds": round(seconds), "versions": dict(versions), "kills": dict(self.kills),
            "points": dict(self.points), "counts": dict(self.counts),
        }  # fmt: skip

    def table(self, versions: Mapping[str, str], seed: int, seconds: float) -> str:
        """All of it, for a person."""
        missed = sorted(set(OF_THE_NODE) - set(self.points))
        processes = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()) if name != "database")
        total = sum(self.kills.values()) - self.kills["database"]
        lines = [
            f"kills: {total} ({processes}); database stopped {self.kills['database']} times",
            f"fault points: {len(self.points)} of {len(OF_THE_NODE)} reached, {sum(self.points.values())} times",
            *(f"  {name} {count}" for name, count in sorted(self.points.items())),
            *([f"  not reached: {', '.join(missed)}"] if missed else []),
            *(f"{name}: {self.counts[name]}" for name in self.counts),
            f"seed {seed}; {round(seconds)} s; " + "; ".join(f"{name} {what}" for name, what in versions.items()),
        ]
        return "\n".join(lines)
