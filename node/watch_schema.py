"""The tables of monitoring: where the detectors stand, baselines, alarms, and what people are to be told.

Times are seconds since the epoch, UTC. No column holds patient data.
"""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, String, Table, Text

from node.engine import metadata

ALL = "*"  # the row of watch_states that says up to where the log is read

watch_states = Table(
    "watch_states", metadata,
    Column("family", String, primary_key=True),            # pipeline|model|site
    Column("seq", Integer, nullable=False),                # of the last event that counted
    Column("updated_at", Double, nullable=False),
    Column("state", Text, nullable=False),                 # JSON: node.watch.course
    Column("standing", Text),                              # JSON: channel -> part of the threshold; null: no baseline
)  # fmt: skip

baselines = Table(
    "baselines", metadata,
    Column("id", Integer, primary_key=True),
    Column("family", String, nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("state", String, nullable=False),               # proposed | accepted | grown | retired
    Column("parent", Integer),                             # grown: the accepted one that it grew from
    Column("created_at", Double, nullable=False),
    Column("digest", String, nullable=False),              # SHA-256 of content
    Column("summary", Text, nullable=False),               # JSON: what `overread baseline show` tells
    Column("content", Text, nullable=False),               # JSON: node.watch.normal
    Column("accepted_at", Double),
    Column("accepted_by", String),
    Column("why", Text),
)  # fmt: skip

alarms = Table(
    "alarms", metadata,
    Column("id", Integer, primary_key=True),
    Column("family", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("kind", String, nullable=False),                # drift | limit | silence | golden
    Column("state", String, nullable=False),               # open | acknowledged | resolved | cleared
    Column("seq", Integer, nullable=False),                # of the event that raised it; 0: time alone did
    Column("opened_at", Double, nullable=False),
    Column("story", Text, nullable=False),                 # JSON: node.watch.account
    Column("acknowledged_at", Double),
    Column("acknowledged_by", String),
    Column("resolved_at", Double),
    Column("resolved_by", String),
    Column("resolution", String),                          # false-alarm | data-fixed | accepted-change | model-changed
    Column("why", Text),
    Column("cleared_at", Double),
    Column("muted_until", Double),
    Column("escalated", Integer, nullable=False),          # how many times
    Column("episode", Integer),                            # the first alarm of those that likely have one cause
    Column("stop", String),                                # the stop-rule: due | done; null: it does not apply
)  # fmt: skip
Index("one_open_alarm", alarms.c.family, alarms.c.channel, unique=True,
      sqlite_where=alarms.c.cleared_at.is_(None), postgresql_where=alarms.c.cleared_at.is_(None))  # fmt: skip

messages = Table(  # to people, until they are sent
    "messages", metadata,
    Column("id", Integer, primary_key=True),
    Column("alarm_id", ForeignKey("alarms.id")),
    Column("via", String, nullable=False),                 # webhook | email
    Column("body", Text, nullable=False),                  # JSON
    Column("state", String, nullable=False),               # due | sent | failed
    Column("attempts", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("sent_at", Double),
    Column("reason", Text),
    Index("messages_by_state", "state", "due_at"),
)  # fmt: skip

golden_records = Table(  # the newest of a pipeline, model version and study counts; older ones stay
    "golden_records", metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("by", String, nullable=False),                  # the actor: work, user/<name>
    Column("reason", Text),                                # of a person who accepted it; null: the first run
    Column("pipeline", String, nullable=False),
    Column("pipeline_version", String, nullable=False),
    Column("model", String, nullable=False),
    Column("model_version", String, nullable=False),
    Column("digest", String, nullable=False),              # of the model's card, which covers its weights
    Column("study", String, nullable=False),               # the digest of its instances
    Column("software", Text, nullable=False),              # JSON: versions and device
    Column("features", Text, nullable=False),              # JSON
    Index("golden_by_pipeline", "pipeline", "model_version"),
)  # fmt: skip
