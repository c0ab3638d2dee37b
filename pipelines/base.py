"""The contracts of pipelines and outputs, and `execute`: the one way to run a pipeline on a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pipelines.match import Match
    from pipelines.outputs.check import Gate
    from pipelines.outputs.forms import Shaped
    from pipelines.outputs.identity import Maker
    from pipelines.outputs.profiles import Form
    from pipelines.study import Series, Study


LONGEST_REASON, LONGEST_QUOTED = 2000, 64  # characters


def one_line(reason: str) -> str:
    """A reason as it may stand in a log, a database and a page, whatever a header's value that it quotes holds: one
    line, no control characters, of bounded length."""
    kept = "".join(c if c.isprintable() else "?" for c in " ".join(reason.split()))
    return kept if len(kept) <= LONGEST_REASON else f"{kept[: LONGEST_REASON - 3]}..."


def quoted(value: object) -> str:
    """A header's value as a reason may quote it: short and printable, or else it is only called unreadable.

    A wrong length makes a value of whatever stands behind it, and that may be the patient's name.
    """
    several = not isinstance(value, str | bytes) and isinstance(value, Sequence)
    text = "\\".join(map(str, value)) if several else str(value)  # type: ignore[call-overload]
    return text if len(text) <= LONGEST_QUOTED and text.isprintable() else "unreadable"


class Unsuitable(Exception):
    """The study is not what the pipeline takes; the reason is for a person and holds no patient data."""

    def __init__(self, reason: str) -> None:
        self.reason = one_line(reason)
        super().__init__(self.reason)


class InvalidOutput(Exception):
    """An object that must not leave: the text says which output, which attribute, and what is wrong."""


class Output(Protocol):
    """One result that becomes one series of DICOM objects."""

    @property
    def name(self) -> str:
        """What it is called in the log, in file names and in derived UIDs: segmentation, report, heatmap."""

    def to_dicom(self, study: Study, maker: Maker) -> Sequence[Dataset]:
        """The objects, complete and valid, with UIDs from `maker.uid` and InstanceNumbers from 1, in their order; as
        `Objects` where making them takes time."""


class Objects(Sequence["Dataset"]):
    """Objects of which each is made when it is asked for, in any order and in any process."""

    def __init__(self, count: int, make: Callable[[int], Dataset]) -> None:
        """`make`: the object at an index from 0."""
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(self._count)[index]]
        return self._make(range(self._count)[index])


@dataclass(frozen=True)
class Result:
    """What a pipeline found: outputs in the order of delivery; `findings`: what the log keeps in plain words and
    numbers (JSON); `features`: the numbers and categories that monitoring watches, named as `feature_names` lists
    them; `urgent`: a person should look soon (STAT): the study's further jobs and all its results go before others;
    `seen`: the digest of the arrays that the model was given (`pipelines.seen`), None where no model was."""

    outputs: Sequence[Output]
    findings: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds, such as load, predict, measure
    urgent: bool = False
    seen: str | None = None


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
    """One object as it leaves: it has passed the gate, and `parts` one after another are the DICOM file that was looked
    at there. Pixels are a part of their own, so that nobody need copy them."""

    output: str
    number: int  # from 1, within its output
    SOPClassUID: str
    SOPInstanceUID: str
    SeriesInstanceUID: str
    parts: tuple[bytes, ...]

    @property
    def content(self) -> bytes:
        """The whole file."""
        return b"".join(self.parts)

    def dataset(self) -> Dataset:
        """The object, read back."""
        from io import BytesIO

        from pydicom import dcmread

        return dcmread(BytesIO(self.content))


@dataclass(frozen=True)
class Made:
    """One output as a series of objects; `kept`: what `take` made of each; `form`: see `pipelines.outputs.forms`."""

    name: str
    form: Form | None
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
    urgent: bool
    seen: str | None


Spread = Callable[[int, Callable[[int], Any]], Iterable[tuple[int, Any]]]


def one_by_one(count: int, do: Callable[[int], Any]) -> Iterator[tuple[int, Any]]:
    """Each index from 0 up to `count` with what `do` gives for it. Another such function may spread them over processes
    and give them in any order."""
    return ((index, do(index)) for index in range(count))


def execute(
    pipeline: Pipeline,
    study: Study,
    series: Series,
    maker: Maker,
    take: Callable[[Released], Any] = lambda released: released,
    spread: Spread = one_by_one,
    forms: Collection[Form] | None = None,
) -> Executed:
    """Run a pipeline on the series that it selected, make its DICOM objects in the `forms` that are wanted (None: the
    standard ones), and let none pass that fails the gate.

    `take` gets each object as soon as it has passed, in the process that made it, so that it can be written there and
    then: what it gives counts only when `execute` returns. `spread` tells where the objects are made. Raises
    Unsuitable, InvalidOutput, and what the model raises.

    The features of headers are added to those of the pipeline, which count where both give one.
    """
    from pipelines import headers

    begun = time.perf_counter()
    result = pipeline.run(study, series)
    timings = {"run": time.perf_counter() - begun, **{f"run.{name}": took for name, took in result.timings.items()}}
    begun = time.perf_counter()
    watched = {**headers.of_study(study, series, placed=pipeline.accepts.geometry), **result.features}
    timings["features"] = time.perf_counter() - begun
    begun = time.perf_counter()
    made, wrote = make(result.outputs, study, maker, take, spread, forms)
    timings |= {f"write.{name}": took for name, took in wrote.items()} | {"write": time.perf_counter() - begun}
    return Executed(made, series, result.findings, watched, timings, result.urgent, result.seen)


def make(
    outputs: Sequence[Output],
    study: Study,
    maker: Maker,
    take: Callable[[Released], Any] = lambda released: released,
    spread: Spread = one_by_one,
    forms: Collection[Form] | None = None,
) -> tuple[tuple[Made, ...], Mapping[str, float]]:
    """The DICOM objects of `outputs`, as `execute` says, and the seconds of each output. Raises InvalidOutput."""
    from pipelines.outputs.check import Gate
    from pipelines.outputs.forms import roots, shaped
    from pipelines.outputs.profiles import STANDARD

    forms = STANDARD.forms if forms is None else forms
    shapes = shaped(outputs, forms)
    names = [one.output.name for one in shapes]
    if len(set(names)) < len(names):
        raise InvalidOutput(f"two outputs of {', '.join(names)} have one name, from which their UIDs are derived")
    gate = Gate(study, maker, names)
    made, seconds = _made(shapes, study, maker, gate, take, spread)
    for one in made:
        for uid, _ in one.kept:
            gate.admit(uid, one.SOPClassUID)
    more, wrote = _made(roots(outputs, forms, made), study, maker, gate, take, one_by_one)
    kept = tuple(replace(one, kept=tuple(what for _, what in one.kept)) for one in (*made, *more))
    return kept, seconds | wrote


def _made(
    shapes: Sequence[Shaped], study: Study, maker: Maker, gate: Gate, take: Callable[[Released], Any], spread: Spread
) -> tuple[list[Made], dict[str, float]]:
    """As `make` gives it, but what is kept of each object comes with its SOP Instance UID."""
    names = [one.output.name for one in shapes]
    objects = [one.output.to_dicom(study, maker) for one in shapes]
    places = [(output, index) for output, one in enumerate(objects) for index in range(len(one))]

    def one_object(place: int) -> tuple[Any, ...]:
        began = time.perf_counter()
        output, index = places[place]
        released = gate.release(names[output], index + 1, objects[output][index])
        kept = released.SOPInstanceUID, take(released)
        return released.SOPClassUID, released.SeriesInstanceUID, kept, time.perf_counter() - began

    found = dict(spread(len(places), one_object))
    made, seconds = [], {}
    for output, name in enumerate(names):
        ours = [found[place] for place, (its, _) in enumerate(places) if its == output]
        seconds[name] = sum(one[3] for one in ours)
        if ours:
            made.append(Made(name, shapes[output].form, ours[0][0], ours[0][1], tuple(one[2] for one in ours)))
    return made, seconds


def decline(
    study: Study,
    maker: Maker,
    why: Unsuitable,
    take: Callable[[Released], Any] = lambda released: released,
    forms: Collection[Form] | None = None,
) -> tuple[Made, ...]:
    """A report that says why the pipeline did not run on the study, in the forms of report that are wanted."""
    from pipelines.outputs.declined import declined

    return make(declined(study, maker, why), study, maker, take, forms=forms)[0]


def maker_of(pipeline: Pipeline, software_version: str, created: Any) -> Maker:
    """The identity record of a pipeline as it stands. `created`: a datetime with time zone."""
    from pipelines.outputs.identity import Maker

    model = pipeline.model
    return Maker(
        pipeline.name, pipeline.version, model["name"], model["version"], model["digest"], software_version, created
    )
