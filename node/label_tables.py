"""The tables of what comes back from those who read the studies.

Times are seconds since the epoch, UTC. No column holds patient data.
"""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, String, Table, Text

from node.engine import metadata

labels = Table(  # what was reported of a study; a corrected value replaces, and the row before it stays
    "labels", metadata,
    Column("id", Integer, primary_key=True),
    Column("study_uid", String, nullable=False),
    Column("finding", String, nullable=False),             # in small letters
    Column("value", Integer),                              # 1: it is there; null: what the source said is withdrawn
    Column("source", String, nullable=False),
    Column("date", String, nullable=False),                # of the report, YYYY-MM-DD[THH:MM:SS]; empty: not said
    Column("added_at", Double, nullable=False),
    Column("replaced_at", Double),                         # null: this one counts
    Index("labels_by_study", "study_uid", "finding"),
    Index("labels_by_time", "added_at"),
)  # fmt: skip
Index("one_current_label", labels.c.study_uid, labels.c.finding, labels.c.source, unique=True,
      sqlite_where=labels.c.replaced_at.is_(None), postgresql_where=labels.c.replaced_at.is_(None))  # fmt: skip

documents_read = Table(  # received reports and key object selections that were read for labels and reviews
    "documents_read", metadata,
    Column("instance_id", ForeignKey("instances.id"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("labels", Integer, nullable=False),             # how many
    Column("reviews", Integer, nullable=False),
    Column("reason", Text),                                # why it could not be read
)  # fmt: skip
