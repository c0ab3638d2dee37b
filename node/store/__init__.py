"""Every write to the database. Each public method is one transaction that holds the change and its events."""

from node.store.askings import Askings
from node.store.commitments import Commitments
from node.store.intake import Intake
from node.store.jobs import Jobs
from node.store.nouns import (
    Answer,
    Asking,
    Commitment,
    Delivery,
    Job,
    JobResult,
    NewJob,
    NewOutput,
    OutputFile,
    Received,
)
from node.store.retention import Retention
from node.store.studies import Studies
from node.store.tallies import Tallies
from node.store.times import Times


class Store(Intake, Studies, Jobs, Askings, Commitments, Retention, Times, Tallies):
    """The write side of the database at `url`; safe to share between threads."""


__all__ = [
    "Answer",
    "Asking",
    "Commitment",
    "Delivery",
    "Job",
    "JobResult",
    "NewJob",
    "NewOutput",
    "OutputFile",
    "Received",
    "Store",
]
