"""Golden records: what a model version made of its pipeline's example when it first ran here, and the verdict on each
run since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from node import audit
from node.schema import golden_records
from node.store.base import Base
from pipelines.golden import Measured, Moved, compare

_NAMED = 20  # of the numbers that moved, in an event


@dataclass(frozen=True)
class Verdict:
    """`word`: recorded (the first run), accepted (a person's new record), passed, mismatch. `variant`: under which name
    the node runs it; `since`: when the record was made; `then`: with which software; `moved`: beyond the tolerance."""

    word: str
    pipeline: str
    variant: str
    since: float
    then: Mapping[str, str]
    moved: tuple[Moved, ...] = ()


class Golden(Base):
    """What the work loop, and a person, write about runs of the golden set."""

    def settle_golden(self, run: Measured, actor: str, accept: str | None = None) -> Verdict:
        """Hold a run against the record of the same pipeline, model version and study, and put on record how it went;
        the first run is the record. `accept`: a person's reason to make this run the record from now on."""
        now, variant = self.clock(), run.variant or run.pipeline
        with self._write() as connection:
            row = connection.execute(_record_of(run)).first()
            if row is None or accept is not None:
                connection.execute(golden_records.insert().values(**_values(run, now, actor, accept)))
                word = "recorded" if row is None else "accepted"
                moved = () if row is None else compare(_measured(row), run)
                verdict = Verdict(word, run.pipeline, variant, now, run.software, moved)
            else:
                moved = compare(_measured(row), run)
                verdict = Verdict("mismatch" if moved else "passed", run.pipeline, variant, row.at,
                                  json.loads(row.software), moved)  # fmt: skip
            body = _told(run, verdict) | ({"reason": accept} if accept is not None else {})
            audit.append(connection, now, f"golden.{verdict.word}", actor, f"pipeline/{run.pipeline}", body)
        return verdict

    def golden_broke(self, pipelines: tuple[str, ...], actor: str, reason: str) -> None:
        """The golden set could not be run: that is a mismatch with everything on record."""
        now = self.clock()
        with self._write() as connection:
            audit.append_all(connection, now, [
                ("golden.mismatch", actor, f"pipeline/{name}", {"reason": reason}) for name in pipelines
            ])  # fmt: skip


def _record_of(run: Measured) -> sa.Select[Any]:
    table = golden_records.c
    same = (
        (table.pipeline == run.pipeline) & (table.pipeline_version == run.pipeline_version)
        & (table.model == run.model["name"]) & (table.model_version == run.model["version"])
        & (table.study == run.study)
    )  # fmt: skip
    return sa.select(golden_records).where(same).order_by(table.id.desc()).limit(1)


def _values(run: Measured, at: float, by: str, reason: str | None) -> dict[str, Any]:
    return {
        "at": at, "by": by, "reason": reason, "pipeline": run.pipeline, "pipeline_version": run.pipeline_version,
        "model": run.model["name"], "model_version": run.model["version"], "digest": run.model["digest"],
        "study": run.study, "software": json.dumps(dict(run.software)), "features": json.dumps(dict(run.features)),
    }  # fmt: skip


def _measured(row: sa.Row[Any]) -> Measured:
    model = {"name": row.model, "version": row.model_version, "digest": row.digest}
    return Measured(row.pipeline, row.pipeline_version, model, row.study, json.loads(row.software),
                    json.loads(row.features))  # fmt: skip


def _told(run: Measured, verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {"model": dict(run.model), "pipeline_version": run.pipeline_version, "study": run.study,
                            "software": dict(run.software)}  # fmt: skip
    if verdict.moved:
        short = [replace(one, before=_short(one.before), now=_short(one.now)) for one in verdict.moved[:_NAMED]]
        told |= {"moved": [vars(one) for one in short], "moved_in_all": len(verdict.moved), "since": verdict.since,
                 "software_then": dict(verdict.then)}  # fmt: skip
    return told


def _short(value: float | str | None) -> float | str | None:
    return value[:64] if isinstance(value, str) else value
