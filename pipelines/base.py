"""The contracts of pipelines and outputs, and `execute`: the one way to run a pipeline on a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pipelines.match import Match
    from pipelines.outputs.identity import Maker
    from pipelines.study import Series, Study


class Unsuitable(Exception):
    """The study is not what the pipeline takes; the reason is for a person and holds no patient data."""

    def __init__(self, reason: str) -> None:
        self.reason = " ".join(reason.split())  # one line, whatever a header's value that it quotes holds
        super().__init__(self.reason)


class InvalidOutput(Exception):
    """An object that must not leave: the text says which output, which attribute, and what is wrong."""


class Output(Protocol):
    """One result that becomes one series of DICOM objects."""

    @property
    def name(self) -> str:
        """What it is called in the log, in file names and in derived UIDs: segmentation, report, heatmap."""

    def to_dicom(self, study: Study, maker: Maker) -> Iterable[Dataset]:
        """The objects, complete and valid, with UIDs from `maker.uid` and numbers from 1; made one by one where there
        are many."""


@dataclass(frozen=True)
class Result:
    """What a pipeline found: outputs in the order of delivery; `findings`: what the log keeps in plain words and
    numbers (JSON); `features`: the numbers and categories that monitoring watches."""

    outputs: Sequence[Output]
    findings: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds, such as load, predict, measure


class Pipeline(Protocol):
    """A DICOM study in, DICOM objects out."""

    name: str
    version: str
    accepts: Match

    @property
    def model(self) -> Mapping[str, str]:
        """The model that stands behind it: name, version, digest."""

    def select(self, study: Study) -> Series:
        """The series that a run would read; raises Unsuitable with a reason for each series."""

    def run(self, study: Study, series: Series) -> Result:
        """Read `series`, which `select` gave. Raises Unsuitable for what only its pixels tell."""

    def example(self) -> Study:
        """A small synthetic study: for warm-up, self-check and the contract test."""


@dataclass(frozen=True)
class Released:
    """One object as it leaves: it has passed the gate, and `content` is the DICOM file that was looked at there."""

    output: str
    number: int  # from 1, within its output
    SOPClassUID: str
    SOPInstanceUID: str
    SeriesInstanceUID: str
    content: bytes

    def dataset(self) -> Dataset:
        """The object, read back."""
        from io import BytesIO

        from pydicom import dcmread

        return dcmread(BytesIO(self.content))


@dataclass(frozen=True)
class Made:
    """One output as a series of objects; `kept`: what `take` made of each."""

    name: str
    SOPClassUID: str
    SeriesInstanceUID: str
    kept: tuple[Any, ...]


@dataclass(frozen=True)
class Executed:
    """What `execute` gives."""

    made: tuple[Made, ...]
    series: Series
    findings: Mapping[str, Any]
    features: Mapping[str, float | str | None]
    timings: Mapping[str, float]


def execute(
    pipeline: Pipeline,
    study: Study,
    series: Series,
    maker: Maker,
    take: Callable[[Released], Any] = lambda released: released,
    tell: Callable[[str], None] = lambda stage: None,
) -> Executed:
    """Run a pipeline on the series that it selected, make its DICOM objects one after another, and let none pass that
    fails the gate.

    `take` gets each object as soon as it has passed, so that it can be written while the next is made: what it gets
    counts only when `execute` returns. `tell` hears the name of each stage as it begins. Raises Unsuitable,
    InvalidOutput, and what the model raises.
    """
    from pipelines.outputs.check import Gate

    tell("run")
    begun = time.perf_counter()
    result = pipeline.run(study, series)
    timings = {"run": time.perf_counter() - begun, **{f"run.{name}": took for name, took in result.timings.items()}}
    made = []
    gate = Gate(study, maker)
    for output in result.outputs:
        tell(output.name)
        begun = time.perf_counter()
        kept = []
        for dataset in output.to_dicom(study, maker):
            released = gate.release(output.name, dataset)
            kept.append(take(released))
        if kept:
            made.append(Made(output.name, released.SOPClassUID, released.SeriesInstanceUID, tuple(kept)))
        timings[f"write.{output.name}"] = time.perf_counter() - begun
    return Executed(tuple(made), series, result.findings, result.features, timings)


def maker_of(pipeline: Pipeline, software_version: str, created: Any) -> Maker:
    """The identity record of a pipeline as it stands. `created`: a datetime with time zone."""
    from pipelines.outputs.identity import Maker

    model = pipeline.model
    return Maker(
        pipeline.name, pipeline.version, model["name"], model["version"], model["digest"], software_version, created
    )
