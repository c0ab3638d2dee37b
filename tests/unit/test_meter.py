"""What a job cost, and the kind of its failure."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from models.errors import BadModel, OutOfMemory
from node.runners.base import Request
from node.runners.child import answer
from node.runners.meter import Meter, cause_of
from node.runners.ready import Ready
from pipelines.base import InvalidOutput, Result
from pipelines.feature_names import is_listed
from pipelines.match import Match
from pipelines.study import Series, Study
from tests import builders


def test_each_stage_is_told_once_and_memory_as_it_was_meanwhile() -> None:
    before = Meter().features({})["service.memory"]
    meter = Meter()
    held = mmap.mmap(-1, 64 << 20)  # pages of its own: an allocator may hand out what it kept from an earlier test
    for _ in range(64):
        held.write(b"x" * (1 << 20))
    told = meter.features({"run": 2.0, "run.load": 0.5, "run.features": 0.03, "features": 0.02, "write.report": 0.1})
    held.close()
    after = Meter().features({})["service.memory"]
    assert told["service.stage.features"] == pytest.approx(0.05)
    assert (told["service.stage.load"], told["service.stage.run"], told["service.stage.write.report"]) == (
        0.5,
        2.0,
        0.1,
    )
    assert all(is_listed(name) for name in told)
    if before is not None:  # a system without /proc does not tell
        assert float(told["service.memory"]) > float(before) + 50  # type: ignore[arg-type]
        assert float(after) < float(told["service.memory"]) - 50, "a later job does not inherit the peak"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OutOfMemory("x"), "memory"), (MemoryError(), "memory"), (InvalidOutput("x"), "output"), (BadModel("x"), "model"),
     (OSError(5, "x"), "files"), (ValueError("x"), "defect")],
)  # fmt: skip
def test_a_failure_has_a_kind(error: Exception, kind: str) -> None:
    assert cause_of(error) == kind


class Breaks:
    """A pipeline that takes every study and breaks on it."""

    name, version, accepts = "breaks", "1", Match()
    model = {"name": "m", "version": "1", "digest": "0" * 64}  # noqa: RUF012

    def select(self, study: Study) -> Series:
        return study.series[0]

    def run(self, study: Study, series: Series) -> Result:
        raise MemoryError if series.get("Manufacturer") == "Large" else ValueError("Someone^Real")


@pytest.mark.parametrize(("maker", "word", "kind"), [("Small", "failed", "defect"), ("Large", "retry", "memory")])
def test_of_a_study_that_breaks_its_pipeline_the_headers_are_known(
    tmp_path: Path, maker: str, word: str, kind: str
) -> None:
    files = {str(path): f"{at:064x}" for at, path in enumerate(builders.axial(tmp_path, Manufacturer=maker))}
    uid = Study.from_files([Path(path) for path in files]).StudyInstanceUID
    outcome = answer(Breaks(), Request(uid, 1, "breaks", 0.0, files, tmp_path), Ready(), {"config": "c"})  # type: ignore[arg-type]
    assert (outcome.word, outcome.cause) == (word, kind)
    assert outcome.features["device.Manufacturer"] == maker
    assert "completeness.suitable" not in outcome.features and "service.memory" in outcome.features
    assert "Someone" not in repr(outcome)
    assert outcome.known["model"] == {**Breaks.model, "pipeline_version": "1"} and outcome.known["timings"]["all"] > 0
    record = outcome.known["record"]
    assert (record["config"], record["seed"], record["random"]) == ("c", 0, []) and record["memory"] > 1
