"""A node's database with jobs and their features, written without a node: for tests of monitoring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from node import audit
from node.config import Config
from node.queries import Queries
from node.schema import features, instances, jobs, studies
from node.sections import Route, Watch
from node.store import Store
from node.watch import normal, propose
from node.watch import serve as loop
from tests.conftest import Clock

MODEL = {"name": "net", "version": "1.0", "digest": "d" * 64}
FAMILY = "cxr-triage|net 1.0 dddddddddddd|main"
PER_DAY = 25


def config(**watch: Any) -> Config:
    return Config(
        watch=Watch(**{"baseline_studies": 300, **watch}), route=(Route(name="chest", pipelines=("cxr-triage",)),)
    )


def study(rng: np.random.Generator, device: str | None = None, shift: float = 0.0, ill: float = 0.15) -> dict[str, Any]:
    """Features of one study by the names of the contract. `shift`: of the pixels' mean, in sd; `ill`: prevalence."""
    sick = rng.random() < ill
    p = float(rng.beta(6, 3) if sick else rng.beta(1, 12))
    return {
        "completeness.suitable": 1.0, "device.ManufacturerModelName": device or str(rng.choice(["A", "B"], p=[0.7, 0.3])),
        "acquisition.KVP": float(rng.choice([110.0, 125.0])), "pixels.mean": float(rng.normal(shift)),
        "pixels.sharpness": None if rng.random() < 0.03 else float(rng.normal(5, 2)),
        "embedding": [float(one) for one in rng.standard_normal(6)], "output.nodule.p": p,
        "output.nodule.positive": float(p > 0.5), "uncertainty.entropy": float(rng.gamma(2)),
        "service.seconds": float(rng.gamma(4)), "service.failed": 0.0, "patient.sex": str(rng.choice(["F", "M"])),
    }  # fmt: skip


class Traffic:
    """Writes finished jobs of a model, one study each, `PER_DAY` a day."""

    def __init__(
        self, store: Store, clock: Clock, model: Mapping[str, str] = MODEL, pipeline: str = "cxr-triage"
    ) -> None:
        self.store, self.clock, self.model, self.count = store, clock, dict(model), 0
        self.pipeline = pipeline

    def add(self, seen: Sequence[Mapping[str, Any]], patient: str | None = None, what: str = "done") -> list[str]:
        """The studies' UIDs; one transaction, as quick as can be."""
        made = []
        with self.store.engine.begin() as connection:
            for one in seen:
                self.count += 1
                self.clock.tick(86400 / PER_DAY)
                made.append(self._one(connection, one, patient or f"patient{self.count:08d}", what))
        return made

    def _one(self, connection: sa.Connection, seen: Mapping[str, Any], patient: str, what: str) -> str:
        uid, now = f"1.2.826.{self.count}", self.clock()
        key = self.count
        connection.execute(studies.insert().values(
            id=key, study_uid=uid, revision=1, state="ready", first_received_at=now, last_received_at=now))  # fmt: skip
        connection.execute(instances.insert().values(
            study_id=key, study_uid=uid, series_uid=f"{uid}.1", sop_uid=f"{uid}.1.1", sop_class="1", transfer_syntax="1",
            modality="DX", patient_digest=hashlib.sha256(patient.encode()).hexdigest()[:32], digest="d", size=1,
            path=f"p{key}", revision=1, peer="m",
            received_at=now, current=1, ours=0))  # fmt: skip
        connection.execute(jobs.insert().values(
            id=key, study_id=key, revision=1, pipeline=self.pipeline, routes='["chest"]', peers="[]", state=what, priority=0,
            attempts=1, due_at=now, created_at=now, started_at=now, finished_at=now, model=json.dumps(self.model)))  # fmt: skip
        rows = [
            {"job_id": key, "name": name, "number": value if isinstance(value, float) else None,
             "text": json.dumps(value) if isinstance(value, list) else value if isinstance(value, str) else None}
            for name, value in seen.items()
        ]  # fmt: skip
        if rows:
            connection.execute(features.insert(), rows)
        body: dict[str, Any] = {"pipeline": self.pipeline, "revision": 1, "attempt": 1}
        body |= {"model": self.model} if what == "done" else {"reason": "it broke"}
        audit.append(connection, now, f"job.{what}", "work", f"study/{uid}", body)
        return uid


def usual(count: int, seed: int, **other: Any) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return (study(rng, **other) for _ in range(count))


def accepted(store: Store, settings: Config, sources: Any = None, threshold: float | None = None) -> int:
    """Build a baseline of all there is and accept it; with `threshold` in place of its own."""
    with store.engine.connect() as connection:
        made = propose.propose(connection, FAMILY, "main", sources or {}, loop.budgets(settings, "cxr-triage"), 300)
    found = made.normal
    if threshold is not None:
        found = normal.Normal(0, found.baseline, found.white, dict.fromkeys(found.thresholds, threshold), found.per_day)
    text = found.to_text()
    key = store.propose_baseline(FAMILY, text, normal.digest(text), made.summary, "user/test")
    store.accept_baseline(key, "Dr A", "a quiet quarter")
    return key


def run(watch: loop.Watch) -> None:
    """Read on to the end of the log."""
    while watch.read_on():
        pass


def watching(store: Store, settings: Config, sources: Any = None) -> loop.Watch:
    return loop.Watch(settings, store, Queries(store.engine), sources)
