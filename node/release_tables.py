"""The tables of release: modes that were set, verdicts of people, versions made live.

Times are seconds since the epoch, UTC. No column holds patient data.
"""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Integer, String, Table, Text, UniqueConstraint

from node.engine import metadata

route_modes = Table(  # what was set since the configuration was read; the stricter of both is in force
    "route_modes", metadata,
    Column("route", String, primary_key=True), Column("mode", String, nullable=False),
    Column("set_by", String, nullable=False), Column("why", Text, nullable=False), Column("at", Double, nullable=False),
)  # fmt: skip

reviews = Table(  # a human's verdict on a result
    "reviews", metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("sop_uid", String, nullable=False, index=True), # of the output that was looked at
    Column("verdict", String, nullable=False),             # accepted | rejected | changed
    Column("given_by", String, nullable=False),
    Column("why", Text, nullable=False),
    Column("source", String, nullable=False),              # how it came: cli, rest, dicom, ...
    Column("at", Double, nullable=False),                  # when the person said so
    Column("recorded_at", Double, nullable=False),
    UniqueConstraint("sop_uid", "verdict", "given_by", "source", "at", name="one_review"),
)  # fmt: skip

promotions = Table(  # pipeline -> the version of its model that is live, where a person has chosen it
    "promotions", metadata,
    Column("pipeline", String, primary_key=True), Column("version", String, nullable=False),
    Column("promoted_by", String, nullable=False), Column("why", Text, nullable=False),
    Column("at", Double, nullable=False),
)  # fmt: skip
