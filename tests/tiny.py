"""A tiny pipeline of the tests' own, which misbehaves as the images ask it to, and the work loop that runs it in a real
model process. That finds the pipeline by a `sitecustomize` on its PYTHONPATH."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node import schema
from node.config import Config
from node.part10 import file_head
from node.queries import Queries
from node.runners.local import Local
from node.sections import Work as WorkSettings
from node.spool import Spool
from node.store import Store
from node.work import Work
from tests.conftest import Arrivals
from tests.nodes import wait_until
from tests.senders import CT, EXPLICIT, encode, instance

PIPELINE = '''
import ctypes, os, signal, tempfile, time
from pathlib import Path

import numpy as np

from pipelines import examples
from pipelines.base import Result
from pipelines.match import Match
from pipelines.study import Study
from pipelines.volume import Volume

NAME = "tiny"


class Tiny:
    name, version = NAME, "1.0.0"
    accepts = Match(modality=("CT",), min_slices=3)
    model = {"name": "none", "version": "1", "digest": "0" * 64}

    def select(self, study):
        return self.accepts.choose(study)

    def run(self, study, series):
        how = str(series.instances[0].header.get("StudyDescription", ""))
        with open(os.environ["TINY_LOG"], "a") as log:
            log.write(f"{study.StudyInstanceUID}\\n")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "raise":
            raise ValueError("a defect of the pipeline")
        if how == "hang":
            time.sleep(600)
        if how == "memory":
            held = []
            while True:
                held.append(np.ones(2**24, np.uint8))
        outputs = []
        if how == "report":
            from pipelines.outputs import codes
            from pipelines.outputs.parts import Evaluation
            from pipelines.outputs.report import Report

            outputs = [Report(Volume.from_series(series), [], [Evaluation(codes.COMMENT, "Tiny. " * 20000)])]
        return Result(outputs)

    def example(self):
        folder = Path(tempfile.mkdtemp())
        how = os.environ.get("TINY_EXAMPLE", "")
        examples.ct_study(np.full((4, 16, 16), 40, np.int16), (5.0, 2.0, 2.0), folder, StudyDescription=how)
        return Study.from_folder(folder)


def open_pipeline(models, device):
    return Tiny()
'''

CUSTOMIZE = '''
import os
import pipelines, pipelines.registry
pipelines.__path__.append(os.path.dirname(__file__))
pipelines.registry._modules = lambda: {"tiny": {"1.0.0": "tiny"}}
'''


class Working:
    """A store and a spool with studies for the tiny pipeline; `settings`: of `[work]`."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, spool: Path | None = None, **settings: Any
    ) -> None:
        self.module, self._runs = folder / "site" / "tiny.py", folder / "runs"
        self.module.parent.mkdir(parents=True)
        self.module.write_text(PIPELINE)
        (self.module.parent / "sitecustomize.py").write_text(CUSTOMIZE)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(self.module.parent), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("TINY_LOG", str(self._runs))
        url = f"sqlite:///{folder / 'overread.db'}"
        schema.upgrade(url)
        self.store, self.spool = Store(url), Spool(spool or folder / "spool")
        self.queries = Queries(self.store.engine)
        self._arrivals = Arrivals(self.store)
        self.config = Config(work=WorkSettings(**{"device": "cpu", "attempts": 2, "retry_after": 0.2, **settings}))
        self.runner = Local(self.config, ("tiny",))

    def add(self, study: str, how: str = "") -> None:
        """A study whose job is due; `how`: see the pipeline."""
        for number in range(1, 5):
            made = slice_of(study, number, how)
            content = encode(made)
            temporary = self.spool.incoming / "x.tmp"
            temporary.write_bytes(file_head(CT, made.SOPInstanceUID, EXPLICIT, "SENDER") + content)
            digest = hashlib.sha256(content).hexdigest()
            path = self.spool.put(temporary, study, digest)
            self._arrivals.add(number, study=study, path=path, digest=digest, sop_uid=made.SOPInstanceUID)
        self._arrivals.close(self.queries, "tiny")

    def job(self, study: str) -> dict[str, Any]:
        """The study's job."""
        shown = self.queries.study(study)
        assert shown is not None
        return dict(shown["jobs"][-1])

    def runs(self) -> list[str]:
        """The studies that were run, in order; the first is that of the warm-up."""
        return self._runs.read_text().splitlines() if self._runs.exists() else []

    def wait(self, seconds: float = 200, **counts: int) -> None:
        """Wait until the jobs stand so."""
        try:
            wait_until(lambda: self.queries.counts()["jobs"] == counts, seconds, f"jobs {counts}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.queries.counts()}") from error

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The work loop runs, with its model process."""
        stop = threading.Event()
        self.runner.start()
        work = Work(self.config, self.store, self.queries, self.spool, self.runner, "w")
        loop = threading.Thread(target=work.serve, args=(stop,))
        loop.start()
        try:
            yield
        finally:
            stop.set()
            loop.join(60)
            self.runner.stop()
            assert not loop.is_alive(), "the work loop did not stop"


def slice_of(study: str, number: int, how: str = "") -> Dataset:
    """A slice of 16 x 16 that volumes can be made of."""
    return instance(
        number, study, 512, StudyDescription=how, Rows=16, Columns=16, BitsAllocated=16, BitsStored=16,
        HighBit=15, PixelRepresentation=1, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        PixelSpacing=[1, 1], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, 5 * number],
        SliceThickness=5, RescaleSlope=1, RescaleIntercept=0, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        FrameOfReferenceUID=f"{study}.8", StudyDate="20260101", StudyTime="120000", AccessionNumber="A1", StudyID="1",
        PatientBirthDate="19700101", PatientSex="O", ReferringPhysicianName="", SeriesNumber=1,
    )  # fmt: skip
