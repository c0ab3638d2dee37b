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
_LONGEST = 200  # characters of a value there


@dataclass(frozen=True)
class Verdict:
    """`word`: recorded (the first run), accepted (a person's new record), passed, mismatch. `variant`: a pipeline's
    name, or a name with the version of its model; `since`: when the record was made; `then`: with which software;
    `moved`: beyond the tolerance."""

    word: str
    variant: str
    since: float
    then: Mapping[str, str]
    moved: tuple[Moved, ...] = ()


class Golden(Base):
    """What the work loop, and a person, write about runs of the golden set."""

    def settle_golden(self, run: Measured, actor: str, accept: str | None = None) -> Verdict:
        """Hold a run against the record of the same pipeline, model version and study, and put on record how it went;
        the first run is the record. `accept`: a person's reason to make this run the record from now on. A run that
        shows a fault in a twin is a mismatch and no record, whoever accepts it."""
        now = self.clock()
        with self._write() as connection:
            row = connection.execute(_record_of(run)).first()
            moved = run.twins if row is None else compare(_measured(row), run)
            if not run.twins and (row is None or accept is not None):
                connection.execute(golden_records.insert().values(**_values(run, now, actor, accept)))
                word = "recorded" if row is None else "accepted"
                verdict = Verdict(word, run.variant, now, run.software, moved)
            else:
                word = "mismatch" if moved else "passed"
                since, then = (now, run.software) if row is None else (row.at, json.loads(row.software))
                verdict = Verdict(word, run.variant, since, then, moved)
            body = _told(run, verdict) | ({"reason": accept} if accept is not None else {})
            audit.append(connection, now, f"golden.{verdict.word}", actor, f"pipeline/{run.variant}", body)
        return verdict

    def golden_broke(self, variants: tuple[str, ...], actor: str, reason: str) -> None:
        """The golden set could not be run: that is a mismatch with everything on record."""
        now = self.clock()
        with self._write() as connection:
            audit.append_all(connection, now, [
                ("golden.mismatch", actor, f"pipeline/{name}", {"reason": reason}) for name in variants
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
    return Measured(row.pipeline, row.pipeline, row.pipeline_version, model, row.study, json.loads(row.software),
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
    return value[:_LONGEST] if isinstance(value, str) else value
