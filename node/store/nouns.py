"""The nouns that the store takes and gives: frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from node.commitment import Reference
from pipelines.outputs.profiles import Form


@dataclass(frozen=True)
class Received:
    """One instance whose bytes are already durable in the spool, waiting for its row."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    modality: str
    digest: str  # hex SHA-256 of the dataset's bytes as sent
    size: int  # bytes of the file
    path: str  # relative to the spool
    association_id: int
    peer: str  # its name in the configuration
    patient_digest: str  # salted; see Base.patient_digest
    ours: bool = False  # one of our own results that came back to us


@dataclass(frozen=True)
class NewJob:
    """A pipeline that a study revision is to run, and why."""

    pipeline: str
    routes: tuple[str, ...]
    peers: tuple[str, ...]
    priority: int = 0  # higher runs earlier


@dataclass(frozen=True)
class Job:
    """A claimed job: one pipeline on one study revision."""

    id: int
    study_id: int
    study_uid: str
    revision: int
    pipeline: str
    attempts: int  # this one included
    created_at: float
    worker: str
    routes: tuple[str, ...] = ()  # that asked for it
    peers: tuple[str, ...] = ()  # that get its results


@dataclass(frozen=True)
class OutputFile:
    """One DICOM object of an output, already durable in the spool."""

    sop_uid: str
    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class NewOutput:
    """One output of a job: a series of one or more objects of one SOP class. `form`: see pipelines.outputs.profiles."""

    name: str
    series_uid: str
    sop_class: str
    files: tuple[OutputFile, ...]
    form: Form | None = None


@dataclass(frozen=True)
class Delivery:
    """A claimed delivery: one output to one peer, less what that peer has already stored."""

    id: int
    study_uid: str
    output: str
    peer: str
    attempts: int
    worker: str
    files: tuple[OutputFile, ...]
    job_id: int  # that made the output


@dataclass(frozen=True)
class Answer:
    """What a peer said of one instance; `status` is the DIMSE status, None when there was no answer."""

    sop_uid: str
    stored: bool
    status: int | None
    reason: str = ""


@dataclass(frozen=True)
class Commitment:
    """A peer's storage commitment request, claimed to be answered."""

    id: int
    peer: str
    transaction_uid: str
    references: tuple[Reference, ...]
    attempts: int  # this one included
    worker: str


@dataclass(frozen=True)
class Asking:
    """A storage commitment request of ours about one delivery, claimed to be sent."""

    id: int
    study_uid: str
    output: str
    peer: str
    transaction_uid: str
    references: tuple[Reference, ...]
    attempts: int  # this one included
    worker: str
    series_uid: str  # that the instances belong to


@dataclass(frozen=True)
class Review:
    """A human's verdict on a result, and what came of it."""

    id: int
    job_id: int
    study_uid: str
    sop_uid: str  # of the output that was looked at; the verdict is on all of its job's
    verdict: str  # accepted | rejected | changed
    by: str
    why: str
    source: str  # how it came: cli, rest, dicom, ...
    at: float  # when the person said so, seconds since the epoch
    outcome: str = "recorded"  # released | withdrawn | recorded: nothing waited for it
    reason: str = ""  # why an accepted result was withdrawn, for a person


@dataclass(frozen=True)
class JobResult:
    """What a finished job leaves beside its outputs."""

    series_uid: str
    input_digest: str
    model: Mapping[str, Any]
    timings: Mapping[str, float]
    findings: Mapping[str, Any]
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    urgent: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)  # what it was made with: node.runners.record
