"""What a runner takes and gives: plain data, so that it may cross a process or a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from node.errors import OverreadError
from node.queries import StoredInstance
from node.spool import Spool
from node.store.nouns import JobResult, NewOutput
from pipelines.golden import Measured
from pipelines.outputs.profiles import STANDARD, Form


def files_of(instances: Iterable[StoredInstance], spool: Spool) -> dict[str, str]:
    """The `files` of a Request and of an Ahead, which a runner holds against each other."""
    return {str(spool.path(one.path)): one.digest for one in instances}


class RunnerDied(OverreadError):
    """The process that ran the job ended (crash, kill, out of memory, time limit): the job may be tried again."""


class RunnerBroken(OverreadError):
    """The runner cannot start: a model or a pipeline's self-check fails. The node does not start with it."""


@dataclass(frozen=True)
class Request:
    """One job for a runner. `files`: absolute path -> hex SHA-256 of the instance's content."""

    study_uid: str
    revision: int
    pipeline: str  # as the job is called, and its results: a candidate's has a version in it
    created_at: float
    files: Mapping[str, str]
    spool: Path
    former: Mapping[str, Any] | None = None  # see Queries.former_result
    forms: frozenset[Form] = STANDARD.forms  # in which its destinations want results
    variant: str | None = None  # what runs, with the version of its model; None: `pipeline`
    say_unsuitable: bool = False  # make a report that says why the pipeline did not run


@dataclass(frozen=True)
class Ahead:
    """A study for which a job will probably come soon. `files` as in `Request`; `pipelines`: those that will run."""

    files: Mapping[str, str]
    pipelines: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `done`, `skipped` (unsuitable or unchanged), `stopped`, `retry`, `held` (not its own fault: the
    disk is full, or no model process starts), `failed`; why, for a person. Of a job without a result, `features`: what
    monitoring may know; `known`: what the log keeps (model, record, timings); `cause`: the kind of a failure, as one
    word."""

    word: str
    reason: str = ""
    outputs: tuple[NewOutput, ...] = ()
    result: JobResult | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    cause: str = ""


@dataclass(frozen=True)
class GoldenSet:
    """A wish of the model process: run every pipeline on its example, and tell what came out."""


class Runner(Protocol):
    """Where a pipeline runs."""

    def start(self) -> None:
        """Make ready: models loaded and warmed up. Raises RunnerBroken."""

    def prepare(self, ahead: Ahead) -> None:
        """Read a study before its job comes, where that saves time. Nothing is lost when it is not done."""

    def run(self, request: Request) -> Future[Outcome]:
        """Begin a job; the future is running once a process has it, and raises RunnerDied when that ends, RunnerBroken
        when none starts."""

    def golden(self) -> Future[tuple[Measured, ...]]:
        """Run every pipeline on its example; the future raises RunnerDied or RunnerBroken. Empty: it was killed."""

    def take_golden(self) -> tuple[Measured, ...]:
        """What the warm-up made of the examples, once for each start."""

    def kill(self, reason: str) -> None:
        """End the running job at once; its future raises RunnerDied(reason)."""

    def stop(self) -> None:
        """End the runner."""
