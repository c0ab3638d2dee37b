"""What the log says of how a result was made, and that nothing is released which the log does not know."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import random
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import torch

import pipelines
from models.randomness import Dice
from models.shelf import Shelf
from node import __version__
from node.config import Config
from node.errors import TryAgain
from node.proof.merkle import root_of
from node.queries import Queries
from node.runners import record as recording
from node.runners.record import made_with
from node.schema import features
from node.store import Job, JobResult, NewOutput, OutputFile, Store
from pipelines import seen
from tests.conftest import Arrivals

OUTPUT = NewOutput("report", "1.2.3.8", "1.2.840.10008.5.1.4.1.1.88.34", (OutputFile("1.2.3.9", "r/1", "d", 5),))
WATCHED = {
    "device.Manufacturer": "ACME",
    "acquisition.rows": 512.0,
    "acquisition.KVP": float("nan"),
    "pixels.mean": -700.5,
}


def _job(store: Store, queries: Queries, arrivals: Arrivals) -> Job:
    arrivals.add(1)
    arrivals.close(queries)
    job = store.claim_job("w", 30)
    assert job is not None
    return job


def test_what_a_model_is_run_with_names_software_machine_configuration_and_what_decides() -> None:
    card = Shelf().find("cxr-triage").card
    config = Config(work={"device": "cpu"})
    told = made_with(card.digest, config)
    assert told["software"]["overread"] == __version__ and told["software"]["torch"] == importlib.metadata.version(
        "torch"
    )
    assert (told["device"], told["precision"], told["config"]) == ("cpu", "float32", config.digest) and told["machine"]
    assert told["weights"] == dict(card.weights) and told["thresholds"] == dict(card.thresholds)
    assert told["calibration"]["temperature"] == dict(card.calibration["temperature"])
    assert json.loads(json.dumps(told)) == told
    assert "thresholds" not in made_with("0" * 64, config), "no card has that digest"
    assert config.digest == Config(work={"device": "cpu"}).digest != Config().digest


def test_the_digest_of_what_a_model_saw_is_that_of_its_values_and_their_shape() -> None:
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    parts = b"".join(hashlib.sha256(part.astype("<i2").tobytes()).digest() for part in volume)
    assert seen.digest(volume) == hashlib.sha256(b"int16 2x3x4\n" + parts).hexdigest()
    turned = np.ascontiguousarray(volume[::-1, :, ::-1])[::-1, :, ::-1]  # the same values, in another order in memory
    assert not turned.flags.c_contiguous and seen.digest(turned) == seen.digest(volume.astype(">i2")) == seen.digest(
        volume
    )
    others = (volume.astype(np.float32), volume.reshape(3, 2, 4), volume[::-1], volume + (volume == 23))
    assert len({seen.digest(one) for one in (volume, *others)} | {seen.digest(volume, volume)}) == 6


def test_a_job_that_draws_random_numbers_is_told_and_draws_the_same_each_time() -> None:
    drawn = []
    for _ in range(2):
        dice = Dice()
        assert dice.drawn() == []
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
        assert dice.drawn() == ["python", "numpy", "torch"]
    assert drawn[0] == drawn[1]


def test_done_skipped_and_failed_jobs_say_with_what_and_of_what_device(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    known = {"model": {"name": "m", "digest": "ab"}, "record": {"config": "c"}, "timings": {"all": 0.5}}
    job = _job(store, queries, arrivals)
    store.finish_job(job, [OUTPUT], JobResult("s", "d", known["model"], {}, {}, WATCHED, record={"pixels": "p"}))
    for number in (2, 3):
        arrivals.add(number)
        arrivals.close(queries)
        job = store.claim_job("w", 30)
        assert job is not None
        if number == 2:
            store.skip_job(job, "no CT", features=WATCHED, known=known)
        else:
            store.fail_job(job, "broke", WATCHED, "defect", known)
    ended = [one for one in queries.events("study/1.2.3") if one.type in ("job.done", "job.skipped", "job.failed")]
    assert [one.type for one in ended] == ["job.done", "job.skipped", "job.failed"]
    assert ended[0].body["record"] == {"pixels": "p"}
    for one in ended[1:]:
        assert {name: one.body[name] for name in known} == known
    for one in ended:
        assert one.body["acquisition"] == {
            "device.Manufacturer": "ACME",
            "acquisition.rows": 512.0,
            "acquisition.KVP": None,
        }
    with store.engine.connect() as connection:
        rows = connection.execute(sa.select(features).order_by(features.c.job_id, features.c.name)).all()
    for job_id, one in zip(sorted({row.job_id for row in rows}), ended, strict=True):
        stored = {row.name: row.number if row.text is None else row.text for row in rows if row.job_id == job_id}
        text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
        assert one.body["features"] == hashlib.sha256(text.encode()).hexdigest(), (
            "the table can be held against the log"
        )


def test_the_digest_of_the_code_changes_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(pipelines, "__file__", str(tmp_path / "__init__.py"))
    found = set()
    for content in ("a = 1", "a = 2"):
        (tmp_path / "deep" / "one.py").write_text(content)
        found.add(recording.code_digest.__wrapped__())
    (tmp_path / "deep" / "one.py").rename(tmp_path / "deep" / "two.py")
    assert len(found | {recording.code_digest.__wrapped__()}) == 3
    assert root_of(["1.2", "1.1"]) == root_of(["1.1", "1.2"]) != root_of(["1.1"])


def test_no_result_is_released_when_the_log_does_not_take_its_event(
    store: Store, queries: Queries, arrivals: Arrivals
) -> None:
    job = _job(store, queries, arrivals)
    with store.engine.begin() as connection:
        if store.engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
        else:
            connection.exec_driver_sql("ALTER TABLE events ADD CONSTRAINT full_ CHECK (seq < 0) NOT VALID")
    with pytest.raises((TryAgain, sa.exc.DBAPIError)):
        store.finish_job(job, [OUTPUT], JobResult("s", "d", {"name": "m"}, {}, {}))
    shown = queries.study("1.2.3")
    assert shown is not None and shown["jobs"][0]["state"] == "running" and shown["jobs"][0]["outputs"] == []
    assert store.claim_delivery("send", "pacs", 30) is None
