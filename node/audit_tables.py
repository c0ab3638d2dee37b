"""The tables around the audit log, beside `node.schema`, which has all others: its signed heads, the patients, and its
readers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, String, Table, Text, UniqueConstraint

from node.engine import metadata

heads = Table(  # signed tree heads of `events`: append-only too
    "heads", metadata,
    Column("size", Integer, primary_key=True, autoincrement=False),  # events under it
    Column("timestamp", BigInteger, nullable=False),       # milliseconds since the epoch
    Column("root", String, nullable=False),
    Column("key", String, nullable=False),                 # fingerprint of the key that signed
    Column("signature", String, nullable=False),
    Column("peaks", Text, nullable=False),                 # JSON: the tree's full subtrees, to go on from
    Column("last_hash", String, nullable=False),           # of its last event
    Column("purged_at", Double),                           # the events under it are gone on purpose
)  # fmt: skip

patients = Table(  # who the patients are: beside the log, and the one table with patient data; rows may be erased
    "patients", metadata,
    Column("id", String, primary_key=True),                # random
    Column("study_uid", String, nullable=False),
    Column("digest", String, nullable=False),              # as events name the patient
    Column("patient_id", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("accession", Text, nullable=False),             # empty: the study has none
    Column("study_date", Text, nullable=False),
    Column("at", Double, nullable=False),
    UniqueConstraint("study_uid", "digest", "accession", name="one_patient"),
    Index("patients_by_accession", "accession"),
    Index("patients_by_patient", "patient_id"),
)  # fmt: skip

places = Table(  # how far somebody who is sent the log has got it
    "places", metadata,
    Column("reader", String, primary_key=True),
    Column("seq", Integer, nullable=False),
)  # fmt: skip
