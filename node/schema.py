"""The tables. State and its history live here and nowhere else; the spool holds only bytes.

Times are seconds since the epoch, UTC, except in `events`, whose text is what was hashed. Only the table `patients`
holds patient data: everywhere else a patient is a salted digest (`patient_digest`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from node.audit_tables import heads, patients, places
from node.engine import make_engine, metadata
from node.label_tables import documents_read, labels
from node.release_tables import promotions, reviews, route_modes
from node.watch_schema import alarms, baselines, golden_records, messages, watch_states

__all__ = [  # of other modules; the rest is declared here
    "alarms", "baselines", "documents_read", "golden_records", "heads", "labels", "messages", "metadata",
    "patients", "places", "promotions", "reviews", "route_modes", "watch_states",
]  # fmt: skip


class Unreachable(Exception):
    """The database cannot be opened at start-up; the text is one line."""


# One row: the node's own secret salt for patient digests.
secrets = Table("secrets", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))

associations = Table(
    "associations", metadata,
    Column("id", Integer, primary_key=True),
    Column("calling_ae", String, nullable=False),
    Column("called_ae", String, nullable=False),
    Column("address", String, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("ended", String),  # released | aborted | lost
)  # fmt: skip

studies = Table(
    "studies", metadata,
    Column("id", Integer, primary_key=True),
    Column("study_uid", String, nullable=False, unique=True),
    Column("revision", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("first_received_at", Double, nullable=False),   # of this revision
    Column("last_received_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("reason", Text),                                # why it was called complete
    Index("studies_by_state", "state", "last_received_at"),
)  # fmt: skip

instances = Table(
    "instances", metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), index=True),  # null: our own result that came back to us
    Column("study_uid", String, nullable=False),
    Column("series_uid", String, nullable=False),
    Column("sop_uid", String, nullable=False),
    Column("sop_class", String, nullable=False),
    Column("transfer_syntax", String, nullable=False),
    Column("modality", String, nullable=False),
    Column("patient_digest", String, nullable=False),
    Column("digest", String, nullable=False),              # SHA-256 of the dataset's bytes as sent
    Column("size", BigInteger, nullable=False),
    Column("path", String, nullable=False),                # relative to the spool
    Column("revision", Integer, nullable=False),
    Column("association_id", ForeignKey("associations.id")),
    Column("peer", String, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("current", Integer, nullable=False),            # 0: the same UID came again with other bytes
    Column("ours", Integer, nullable=False),
    Column("purged_at", Double),                           # its file is gone on purpose, the row stays
)  # fmt: skip
Index("one_current_instance", instances.c.study_uid, instances.c.sop_uid, unique=True,
      sqlite_where=instances.c.current == 1, postgresql_where=instances.c.current == 1)  # fmt: skip
Index("instances_by_uid", instances.c.sop_uid)
Index("returned_results", instances.c.received_at,
      sqlite_where=instances.c.ours == 1, postgresql_where=instances.c.ours == 1)  # fmt: skip

jobs = Table(
    "jobs", metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("pipeline", String, nullable=False),
    Column("routes", Text, nullable=False),                # JSON list: the routes that asked for it
    Column("peers", Text, nullable=False),                 # JSON list: who gets the outputs
    Column("state", String, nullable=False, index=True),
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("worker", String),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("reason", Text),
    Column("series_uid", String),                          # the series that the pipeline took
    Column("input_digest", String),                        # of that series' instances: what a rerun is compared with
    Column("model", Text),                                 # JSON: name, version, digest
    Column("timings", Text),                               # JSON: stage -> seconds
    Column("purged_at", Double),                           # the files of its outputs are gone on purpose
    Column("release", Text),                               # JSON: peer -> release mode under which it finished
    UniqueConstraint("study_id", "revision", "pipeline", name="one_job"),
)  # fmt: skip

outputs = Table(
    "outputs", metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("series_uid", String, nullable=False),
    Column("sop_class", String, nullable=False),
)  # fmt: skip

output_instances = Table(
    "output_instances", metadata,
    Column("id", Integer, primary_key=True),
    Column("output_id", ForeignKey("outputs.id"), nullable=False, index=True),
    Column("sop_uid", String, nullable=False, index=True),
    Column("path", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("size", BigInteger, nullable=False),
)  # fmt: skip

deliveries = Table(
    "deliveries", metadata,
    Column("id", Integer, primary_key=True),
    Column("output_id", ForeignKey("outputs.id"), nullable=False, index=True),
    Column("peer", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("worker", String),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("reason", Text),
    Column("routes", Text),                                # JSON list: the routes that want it; null: those of its job
    Column("accepted_by", String),                         # who accepted it in review
    UniqueConstraint("output_id", "peer", name="one_delivery"),
    Index("deliveries_by_peer", "peer", "state"),
)  # fmt: skip

answers = Table(  # what a peer said of one instance; a delivery that is retried sends only what is not yet stored there
    "answers", metadata,
    Column("delivery_id", ForeignKey("deliveries.id"), primary_key=True),
    Column("sop_uid", String, primary_key=True),
    Column("stored", Integer, nullable=False),
    Column("status", Integer),
    Column("reason", Text),
    Column("at", Double, nullable=False),
)  # fmt: skip

commitments = Table(  # what peers asked of us: whether we keep instances
    "commitments", metadata,
    Column("id", Integer, primary_key=True),
    Column("peer", String, nullable=False),
    Column("transaction_uid", String, nullable=False),
    Column("state", String, nullable=False),               # due | reporting | reported | failed
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("worker", String),
    Column("created_at", Double, nullable=False),          # when it was last asked for
    Column("finished_at", Double),
    Column("reason", Text),
    UniqueConstraint("peer", "transaction_uid", name="one_commitment"),
    Index("commitments_by_state", "state", "peer"),
    Index("commitments_by_time", "created_at"),
)  # fmt: skip

commitment_items = Table(
    "commitment_items", metadata,
    Column("commitment_id", ForeignKey("commitments.id"), primary_key=True),
    Column("sop_uid", String, primary_key=True),
    Column("sop_class", String, primary_key=True),
    Column("failure", Integer),                            # the Failure Reason that was last told; null: committed
    Index("commitment_items_by_uid", "sop_uid"),
)  # fmt: skip

askings = Table(  # what we asked of peers: whether they keep a delivery
    "askings", metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("deliveries.id"), nullable=False, index=True),
    Column("peer", String, nullable=False),
    Column("transaction_uid", String, nullable=False, unique=True),
    Column("state", String, nullable=False),               # due | asking | asked | answered | unanswered | unasked
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),              # asked: when it counts as unanswered
    Column("lease_until", Double),
    Column("worker", String),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("reason", Text),
    Column("counts", Integer, nullable=False),             # 0: before a person asked for the delivery again
    Index("askings_by_state", "state", "peer"),
)  # fmt: skip

features = Table(  # what monitoring watches
    "features", metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("number", Double),
    Column("text", Text),
)  # fmt: skip

tallies = Table(  # how often what happened, counted from events: /metrics reads these, and they never go down
    "tallies", metadata,
    Column("name", String, primary_key=True),
    Column("labels", String, primary_key=True),            # canonical JSON
    Column("value", Double, nullable=False),
)  # fmt: skip

events = Table(  # append-only: triggers refuse UPDATE and DELETE (see migrations)
    "events", metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("type", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("object", String, nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("prev_hash", String, nullable=False),
    Column("hash", String, nullable=False),
)  # fmt: skip


def upgrade(url: str, to: str = "head") -> None:
    """Bring the database at `url` to a schema version, the newest by default (Alembic); creates it when it is empty.
    Raises Unreachable."""
    from alembic.config import Config
    from alembic.util import CommandError

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        engine = make_engine(url)
        with engine.begin() as connection:
            _upgrade(connection, settings, to)
        engine.dispose()
    except sa.exc.OperationalError as error:
        raise Unreachable(str(error.orig).strip().splitlines()[0]) from error
    except CommandError as error:
        raise Unreachable(f"this version does not know its schema; was it written by a newer one? {error}") from error
    except ModuleNotFoundError as error:
        raise Unreachable(f"{error}: pip install 'overread[postgres]'") from error


def _upgrade(connection: sa.Connection, settings: Any, to: str) -> None:
    from alembic import command

    if connection.dialect.name == "postgresql":
        # Two processes that start together must not both migrate.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7108251)")
    settings.attributes["connection"] = connection
    command.upgrade(settings, to)


def newest_version() -> str:
    """The schema version that `upgrade` leads to."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return str(ScriptDirectory.from_config(settings).get_current_head())
