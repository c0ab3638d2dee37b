"""Every write to the database. Each public method is one transaction that holds the change and its events."""

from node.labels import Added, NewLabel
from node.store.askings import Askings
from node.store.baselines import Grown
from node.store.commitments import Commitments
from node.store.golden import Golden
from node.store.heads import Heads
from node.store.intake import Intake
from node.store.jobs import Jobs
from node.store.labels import Labels
from node.store.messages import Message, Messages
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
    Review,
)
from node.store.patients import Patients
from node.store.retention import Retention
from node.store.reviews import Reviews
from node.store.studies import Studies
from node.store.tallies import Tallies
from node.store.times import Times
from node.store.watching import Cleared, NewAlarm, Notice, Step, Watching


class Store(
    Intake, Studies, Jobs, Reviews, Askings, Commitments, Retention, Times, Watching, Messages, Heads, Patients, Golden,
    Labels, Tallies,
):  # fmt: skip
    """The write side of the database at `url`; safe to share between threads."""


__all__ = [
    "Added",
    "Answer",
    "Asking",
    "Cleared",
    "Commitment",
    "Delivery",
    "Grown",
    "Job",
    "JobResult",
    "Message",
    "NewAlarm",
    "NewJob",
    "NewLabel",
    "NewOutput",
    "Notice",
    "OutputFile",
    "Received",
    "Review",
    "Step",
    "Store",
]
