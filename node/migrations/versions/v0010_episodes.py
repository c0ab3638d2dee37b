"""Alarms that opened together belong to one episode; how near each channel is to an alarm stands beside its state."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("watch_states", sa.Column("standing", sa.Text(), nullable=True))
    op.add_column("alarms", sa.Column("episode", sa.Integer(), nullable=True))
    op.execute("UPDATE alarms SET episode = id")
