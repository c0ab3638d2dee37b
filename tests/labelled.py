"""Results with findings, and labels of them, for tests."""

from __future__ import annotations

from node.labels import NewLabel
from node.queries import Queries
from node.store import JobResult, Store
from tests.conftest import Arrivals

LAG = 14 * 86400.0  # seconds
MODEL = {"name": "cxr", "version": "1.0.0", "digest": "ab" * 32}


def label(
    study: str = "1.2.3", finding: str = "effusion", value: bool | None = True, date: str = "2026-11-01", source: str = "ris"
) -> NewLabel:
    return NewLabel(study, "study", finding, value, date, source)


def finish(
    store: Store, queries: Queries, arrivals: Arrivals, study: str, model: dict[str, str] | None = None, number: int = 1,
    pipeline: str = "cxr-triage", other: dict[str, object] | None = None, **said: tuple[float, bool]
) -> int:  # fmt: skip
    """A study comes, and a pipeline says (p, decision) of some findings; the job's id."""
    arrivals.add(number, study=study)
    arrivals.close(queries, pipeline)
    job = store.claim_job("w", 30)
    assert job is not None and job.study_uid == study
    features: dict[str, object] = {
        "patient.sex": "F",
        "patient.age-band": "60-79",
        "device.ManufacturerModelName": "X1",
        **(other or {}),
    }
    for finding, (p, positive) in said.items():
        features |= {f"output.{finding.title()}.p": p, f"output.{finding.title()}.positive": float(positive)}
    assert store.finish_job(job, [], JobResult("s", "d", model or MODEL, {}, {}, features))  # type: ignore[arg-type]
    return job.id
