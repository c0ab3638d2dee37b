"""Baselines: proposed from stored features, accepted by a named person, grown by later studies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node import audit
from node.errors import GiveUp, IllegalMove
from node.schema import baselines
from node.store.base import Base, new_id


@dataclass(frozen=True)
class Grown:
    """A baseline that has grown: of the accepted row `parent`."""

    family: str
    parent: int
    version: int
    digest: str
    content: str
    summary: Mapping[str, Any]


class Baselines(Base):
    """What people and the watch loop write about baselines."""

    def propose_baseline(self, family: str, content: str, digest: str, summary: Mapping[str, Any], by: str) -> int:
        """Keep a baseline that a person may accept; give its number."""
        with self._write() as connection:
            newest = sa.select(sa.func.max(baselines.c.version)).where(baselines.c.family == family)
            version = 1 + (connection.execute(newest).scalar() or 0)
            key = new_id(connection.execute(baselines.insert().values(
                family=family, version=version, state="proposed", created_at=self.clock(), digest=digest,
                summary=json.dumps(dict(summary)), content=content,
            )))  # fmt: skip
            body = {"family": family, "baseline": key, "digest": digest, "studies": summary["studies"]}
            audit.append(connection, self.clock(), "baseline.proposed", by, f"watch/{family}", body)
        return key

    def accept_baseline(self, key: int, by: str, why: str) -> None:
        """A named person says that this is normal; the one before is retired, and the family begins anew when the watch
        loop reads that. GiveUp: there is none, or no name or reason; IllegalMove: it is not proposed."""
        if not by.strip() or not why.strip():
            raise GiveUp("a baseline is accepted by a named person, with a reason")
        with self._write() as connection:
            row = connection.execute(sa.select(baselines).where(baselines.c.id == key)).first()
            if row is None:
                raise GiveUp(f"there is no baseline {key}; `overread baseline show` lists them")
            if row.state != "proposed":
                raise IllegalMove(f"baseline {key} is {row.state}: only a proposed one can be accepted")
            now = self.clock()
            old = connection.execute(sa.select(baselines.c.id).where(
                baselines.c.family == row.family, baselines.c.state == "accepted")).scalars().all()  # fmt: skip
            connection.execute(baselines.delete().where(baselines.c.parent.in_(old)))
            connection.execute(baselines.update().where(baselines.c.id.in_(old)).values(state="retired"))
            values = {"state": "accepted", "accepted_at": now, "accepted_by": by, "why": why}
            connection.execute(baselines.update().where(baselines.c.id == key).values(**values))
            body = {"family": row.family, "baseline": key, "version": row.version, "digest": row.digest, "by": by,
                    "why": why, "retired": list(old)}  # fmt: skip
            audit.append(connection, now, "baseline.accepted", f"user/{by}", f"watch/{row.family}", body)

    @staticmethod
    def _add_grown(connection: sa.Connection, grown: Grown, now: float) -> None:
        connection.execute(baselines.delete().where(baselines.c.parent == grown.parent))
        connection.execute(baselines.insert().values(
            family=grown.family, version=grown.version, state="grown", parent=grown.parent, created_at=now,
            digest=grown.digest, summary=json.dumps(dict(grown.summary)), content=grown.content,
        ))  # fmt: skip
        body = {"family": grown.family, "baseline": grown.parent, "version": grown.version, "digest": grown.digest}
        audit.append(connection, now, "baseline.grown", "watch", f"watch/{grown.family}", body)
